//! The cluster around the research namespaces: Namespaces, pods, Services and the credentials' Secrets.

use super::{Dirty, Index, Indexed, relations};
use crate::{
    decode::version,
    key::{Key, ObjectName},
};
use cloister_api::{Protocol, labels};
use cloister_core::{
    egress::{PolicyPortNumber, ServiceFacts, ServicePortFacts},
    namespace::{ObservedNamespace, is_owned_label},
};
use k8s_openapi::{
    api::core::v1::{Namespace, Service},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::{Resource, core::PartialObjectMeta};
use serde::Deserialize;
use std::{borrow::Cow, net::IpAddr, sync::Arc};

/// A Secret of which nothing is known but that it is there.
pub type Secret = PartialObjectMeta<k8s_openapi::api::core::v1::Secret>;

impl Indexed for Namespace {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name: Arc<str> = self.metadata.name.as_deref().unwrap_or_default().into();
        let version = version(&self.metadata);
        let before = index.namespaces.get(&name);
        if before.is_some_and(|(_, known)| *known >= version) {
            return;
        }
        let labels = self.metadata.labels.unwrap_or_default();
        let observed = ObservedNamespace {
            uid: self.metadata.uid.unwrap_or_default().into(),
            labels: labels
                .iter()
                .filter(|(key, _)| is_owned_label(key))
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
            adopt: self.metadata.annotations.and_then(|mut all| all.remove(labels::ADOPT)).map(Into::into),
            terminating: self.metadata.deletion_timestamp.is_some(),
            created: self.metadata.creation_timestamp.map(|at| at.0),
        };
        if before.map(|(before, _)| before) != Some(&observed) {
            relations::of_namespace(index, &name, dirty);
        }
        index.namespaces.insert(name, (observed, version));
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.namespaces.remove(&name.name).is_some() {
            relations::of_namespace(index, &name.name, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let names = index.namespaces.keys();
        names.map(|name| ObjectName { namespace: "".into(), name: name.clone() }).collect()
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its uid.
    pub uid: Box<str>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The copies of credentials that it references, in any form.
    pub secrets: Vec<Box<str>>,
}

/// A pod as far as it is read: its name, and what it references.
#[derive(Clone, Debug, Deserialize)]
pub struct GatedPod {
    metadata: ObjectMeta,
    spec: Option<serde_json::Value>,
    status: Option<PodPhase>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodPhase {
    phase: Option<String>,
}

impl Resource for GatedPod {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Indexed for GatedPod {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        // A pod that has run to its end sends nothing and holds nothing.
        let phase = self.status.and_then(|status| status.phase);
        if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
            return <Self as Indexed>::remove(index, &at, dirty);
        }
        let mut secrets = Vec::new();
        if let Some(spec) = &self.spec {
            copies(spec, &mut secrets);
            secrets.sort();
            secrets.dedup();
        }
        let facts = PodFacts {
            uid: self.metadata.uid.unwrap_or_default().into(),
            terminating: self.metadata.deletion_timestamp.is_some(),
            secrets,
        };
        let pods = index.pods.entry(at.namespace.clone()).or_default();
        if pods.get(&at.name) == Some(&facts) {
            return;
        }
        let concerns = !facts.secrets.is_empty();
        pods.insert(at.name, facts);
        if concerns {
            relations::of_holder(index, &at.namespace, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        let Some(pods) = index.pods.get_mut(&at.namespace) else { return };
        let Some(pod) = pods.remove(&at.name) else { return };
        if pods.is_empty() {
            index.pods.remove(&at.namespace);
            // A namespace that is being deleted may wait for its last pod.
            dirty.insert(Key::Namespace(at.namespace.clone()));
        }
        if !pod.secrets.is_empty() {
            relations::of_holder(index, &at.namespace, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let mut names = Vec::new();
        for (namespace, pods) in &index.pods {
            names.extend(pods.keys().map(|name| ObjectName { namespace: namespace.clone(), name: name.clone() }));
        }
        names
    }
}

/// Every text in a pod's spec that is the name of a copied credential: whatever the field, the pod may hold it.
fn copies(value: &serde_json::Value, found: &mut Vec<Box<str>>) {
    match value {
        serde_json::Value::String(text) if text.starts_with(labels::GRANT_SECRET_PREFIX) => {
            found.push(text.as_str().into())
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| copies(item, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| copies(field, found)),
        _ => {}
    }
}

/// What is known of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// What a rule needs to know.
    pub facts: ServiceFacts,
    /// Its addresses inside the cluster.
    pub addresses: Vec<IpAddr>,
}

impl Indexed for Service {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let entry = entry(self);
        if index.services.get(&at) != Some(&entry) {
            index.services.insert(at.clone(), entry);
            relations::of_service(index, &at, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if index.services.remove(at).is_some() {
            relations::of_service(index, at, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.services.keys().cloned().collect()
    }
}

fn entry(service: Service) -> ServiceEntry {
    let spec = service.spec.unwrap_or_default();
    let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = addresses.filter_map(|address| address.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        let target = match &port.target_port {
            None => PolicyPortNumber::Number(number),
            Some(IntOrString::Int(target)) => PolicyPortNumber::Number(u16::try_from(*target).ok()?),
            Some(IntOrString::String(name)) => PolicyPortNumber::Name(name.clone()),
        };
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        };
        Some(ServicePortFacts { protocol, port: number, target })
    });
    let facts = ServiceFacts {
        ports: ports.collect(),
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        selector: spec.selector.unwrap_or_default(),
    };
    ServiceEntry { facts, addresses }
}

impl Indexed for Secret {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let version: Box<str> = self.metadata.resource_version.unwrap_or_default().into();
        if index.credentials.get(&at) != Some(&version) {
            index.credentials.insert(at.clone(), version);
            relations::of_credential(index, &at, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if index.credentials.remove(at).is_some() {
            relations::of_credential(index, at, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.credentials.keys().cloned().collect()
    }
}
