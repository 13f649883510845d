//! The cluster around the research namespaces: Namespaces, pods, Services and the credentials' Secrets.

use super::{
    Dirty, Index, Indexed, dns::PORT as DNS, facts::ServiceEntry, named::enqueue_dependents_of_named, networks,
    relations, roots,
};
use crate::{
    decode::version,
    key::{Key, ObjectName},
};
use cloister_api::{Protocol, labels};
use cloister_core::{
    address::PolicyPortNumber,
    cluster::references::Named,
    egress::{ServiceFacts, ServicePortFacts},
    grant::{CredentialFacts, content_version},
    namespace::{ObservedNamespace, is_owned_label},
};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, NamespaceStatus, Service},
        node::v1::RuntimeClass,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{net::IpAddr, sync::Arc};

/// The Secret of a credential. Nothing of its content is kept but a hash.
pub type Secret = k8s_openapi::api::core::v1::Secret;

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
        let is_relabelled = before.is_some_and(|(before, _)| before.labels != observed.labels);
        if is_relabelled && index.research.contains_key(&name) {
            index.relabelled.insert(name.clone());
        }
        if before.map(|(before, _)| before) != Some(&observed) {
            relations::enqueue_dependents_of_namespace(index, &name, dirty);
        }
        if index.namespaces.insert(name.clone(), (observed, version)).is_none() {
            enqueue_dependents_of_named(index, Named::Namespace, &name, dirty);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.namespaces.remove(&name.name).is_some() {
            if index.research.contains_key(&name.name) {
                index.relabelled.insert(name.name.clone());
            }
            relations::enqueue_dependents_of_namespace(index, &name.name, dirty);
            enqueue_dependents_of_named(index, Named::Namespace, &name.name, dirty);
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

impl Indexed for Service {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let entry = entry(self);
        if index.services.get(&at) != Some(&entry) {
            let addresses = entry.addresses.clone();
            let before = index.services.insert(at.clone(), entry);
            let before = before.into_iter().flat_map(|before| before.addresses);
            networks::take_service(index, &at, &before.chain(addresses).collect::<Vec<_>>(), dirty);
            relations::enqueue_dependents_of_service(index, &at, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if let Some(before) = index.services.remove(at) {
            networks::take_service(index, at, &before.addresses, dirty);
            relations::enqueue_dependents_of_service(index, at, dirty);
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
        uid: service.metadata.uid.unwrap_or_default(),
        ports: ports.collect(),
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        on_node: None,
        selector: spec.selector.unwrap_or_default(),
    };
    let dns_ports = spec.ports.iter().flatten().filter(|port| port.port == i32::from(DNS));
    let dns_ports = dns_ports.map(|port| port.name.as_deref().unwrap_or_default().into()).collect();
    ServiceEntry { facts, addresses, dns_ports }
}

fn enqueue_dependents_of_runtime_class(index: &mut Index, dirty: &mut Dirty) {
    roots::renew_settings(index);
    dirty.insert(Key::Config);
    dirty.extend(index.research.keys().cloned().map(Key::Namespace));
}

/// Of a RuntimeClass nothing matters but that it is there.
impl Indexed for RuntimeClass {
    const BY_VERSION: bool = false;

    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let ObjectName { name, .. } = ObjectName::of(&self.metadata);
        if index.runtime_classes.insert(name) {
            enqueue_dependents_of_runtime_class(index, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if index.runtime_classes.remove(&at.name) {
            enqueue_dependents_of_runtime_class(index, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        roots::cluster_names(index.runtime_classes.iter())
    }
}

impl Indexed for Secret {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let data = self.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
        let content = content_version(self.metadata.uid.as_deref().unwrap_or_default(), data);
        let facts = CredentialFacts::of(&self.metadata, content);
        if index.credentials.get(&at) != Some(&facts) {
            index.credentials.insert(at.clone(), facts);
            relations::enqueue_dependents_of_credential(index, &at, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if index.credentials.remove(at).is_some() {
            relations::enqueue_dependents_of_credential(index, at, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.credentials.keys().cloned().collect()
    }
}
