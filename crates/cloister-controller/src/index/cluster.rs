//! The cluster around the research namespaces: Namespaces, pods, Services and the credentials' Secrets.

use super::{Dirty, Index, Indexed, listed::Listed, relations};
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
    api::core::v1::{Namespace, NamespaceStatus, Service},
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, Time},
        util::intstr::IntOrString,
    },
};
use kube::{Resource, core::PartialObjectMeta};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

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
            held_by: self.metadata.deletion_timestamp.as_ref().and(self.status.as_ref()).and_then(held_by),
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

/// How much of what Kubernetes says is repeated.
const HELD_BY: usize = 1024;

/// Why Kubernetes cannot end a Namespace, in its own words.
fn held_by(status: &NamespaceStatus) -> Option<Box<str>> {
    let conditions = status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    let said: Vec<&str> = conditions.filter_map(|condition| condition.message.as_deref()).collect();
    let said: String = said.join("; ").chars().take(HELD_BY).collect();
    (!said.is_empty()).then(|| said.into())
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
    #[serde(deserialize_with = "few_of_it")]
    metadata: ObjectMeta,
    spec: Option<Copies>,
    status: Option<PodPhase>,
}

/// The few things of its metadata that are needed: labels, annotations and managed fields are the tenant's to fill.
fn few_of_it<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Few {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<Time>,
    }
    let Few { name, namespace, uid, resource_version, deletion_timestamp } = Few::deserialize(deserializer)?;
    Ok(ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, ..ObjectMeta::default() })
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
        let mut secrets = self.spec.map(|Copies(found)| found).unwrap_or_default();
        secrets.sort();
        secrets.dedup();
        let facts = PodFacts {
            uid: self.metadata.uid.unwrap_or_default().into(),
            terminating: self.metadata.deletion_timestamp.is_some(),
            secrets,
        };
        if facts.secrets.is_empty() {
            let held = take_holder(index, &at);
            index.other_pods.insert(&at);
            held.into_iter().for_each(|pod| relations::of_holder(index, &at.namespace, &pod.secrets, dirty));
            return;
        }
        index.other_pods.remove(&at);
        let pods = index.pods.entry(at.namespace.clone()).or_default();
        if pods.get(&at.name) == Some(&facts) {
            return;
        }
        let secrets = facts.secrets.clone();
        let before = pods.insert(at.name, facts);
        let before = before.into_iter().flat_map(|before| before.secrets);
        relations::of_holder(index, &at.namespace, &before.chain(secrets).collect::<Vec<_>>(), dirty);
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        let pod = take_holder(index, at);
        let was_known = index.other_pods.remove(at) || pod.is_some();
        if was_known && index.pods_in(&at.namespace) == 0 && index.research.contains_key(&at.namespace) {
            // A namespace that is being deleted may wait for its last pod.
            dirty.insert(Key::Namespace(at.namespace.clone()));
        }
        if let Some(pod) = pod {
            relations::of_holder(index, &at.namespace, &pod.secrets, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let mut names = Vec::new();
        for (namespace, pods) in &index.pods {
            names.extend(pods.keys().map(|name| ObjectName { namespace: namespace.clone(), name: name.clone() }));
        }
        names
    }

    fn forget_unlisted(index: &mut Index, _: Option<&str>, listed: &Listed, dirty: &mut Dirty) {
        for at in Self::known(index).into_iter().filter(|at| !listed.contains(at)) {
            <Self as Indexed>::remove(index, &at, dirty);
        }
        for namespace in index.other_pods.retain(listed) {
            if index.pods_in(&namespace) == 0 && index.research.contains_key(&namespace) {
                dirty.insert(Key::Namespace(namespace));
            }
        }
    }
}

fn take_holder(index: &mut Index, at: &ObjectName) -> Option<PodFacts> {
    let pods = index.pods.get_mut(&at.namespace)?;
    let pod = pods.remove(&at.name);
    if pods.is_empty() {
        index.pods.remove(&at.namespace);
    }
    pod
}

/// The copies of credentials that a pod's spec names, whatever the field: the pod may hold them. The spec is read text by
/// text and nothing else of it is kept, however large it is.
#[derive(Clone, Debug, Default)]
struct Copies(Vec<Box<str>>);

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = Vec::new();
        Texts(&mut found).deserialize(deserializer)?;
        Ok(Copies(found))
    }
}

/// Visits every text of a value.
struct Texts<'a>(&'a mut Vec<Box<str>>);

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if text.starts_with(labels::GRANT_SECRET_PREFIX) {
            self.0.push(text.into());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Texts(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(Texts(self.0))?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
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
