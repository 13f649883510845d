//! Pods, of which no more is read than which copies of credentials they hold, and how.

use super::{
    Dirty, Index, Indexed,
    facts::{HeldCopy, OnNode, PodFacts},
    listed::Listed,
    on_nodes, pod_metadata,
    pod_references::References,
    relations,
};
use crate::key::{Key, ObjectName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, de::IgnoredAny};
use std::{borrow::Cow, net::IpAddr};

/// A pod as far as it is read: its name, and what it references.
#[derive(Clone, Debug, Deserialize)]
pub struct GatedPod {
    #[serde(deserialize_with = "pod_metadata::few_of_it")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: References,
    status: Option<PodState>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodState {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodAddress>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

impl PodState {
    fn has_ended(&self) -> bool {
        let all = [&self.container_statuses, &self.init_container_statuses, &self.ephemeral_container_statuses];
        let runs = all.into_iter().flatten().flatten().any(|container| container.state.running.is_some());
        !runs && matches!(self.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

#[derive(Clone, Debug, Deserialize)]
struct PodAddress {
    #[serde(default)]
    ip: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ContainerState {
    running: Option<IgnoredAny>,
}

impl GatedPod {
    /// Whether it has run to its end. Then it sends nothing, and holds nothing. Of one whose node is lost others than the
    /// kubelet say that it has failed, and nobody knows of its containers.
    pub fn has_ended(&self) -> bool {
        self.status.as_ref().is_some_and(PodState::has_ended)
    }

    /// The copies that it holds.
    pub fn copies(&self) -> Vec<HeldCopy> {
        if self.has_ended() { Vec::new() } else { self.spec.copies() }
    }

    /// Whether it is the mirror of a static pod. Its kubelet makes it as it likes, in any namespace: so nothing is closed by
    /// it, and nobody sent to change settings.
    fn is_mirror(&self) -> bool {
        self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(pod_metadata::MIRROR))
    }

    fn node(&self) -> &str {
        self.spec.node.as_deref().unwrap_or_default()
    }

    /// What is known of it where it is on the network of its node.
    fn on_node(&self) -> Option<OnNode> {
        let is_known = self.spec.on_node && !self.is_mirror() && !self.has_ended();
        is_known.then(|| OnNode { labels: self.metadata.labels.clone().unwrap_or_default(), node: self.node().into() })
    }

    /// The addresses that it has.
    fn addresses(&self) -> Vec<IpAddr> {
        let status = self.status.iter().filter(|_| !self.has_ended() && !self.is_mirror());
        let all = status.flat_map(|status| status.pod_ips.iter().flatten().map(|one| &one.ip).chain(&status.pod_ip));
        let mut all: Vec<IpAddr> = all.filter_map(|address| address.parse().ok()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The seconds of grace that it is being deleted with, if it is.
    fn grace(&self) -> Option<i64> {
        let ObjectMeta { deletion_timestamp, deletion_grace_period_seconds, .. } = &self.metadata;
        deletion_timestamp.as_ref().map(|_| deletion_grace_period_seconds.unwrap_or_default())
    }

    /// What is known of it, unless it has run to its end.
    fn facts(&self) -> Option<PodFacts> {
        (!self.has_ended()).then(|| PodFacts {
            uid: self.metadata.uid.as_deref().unwrap_or_default().into(),
            grace: self.grace(),
            created: self.metadata.creation_timestamp.as_ref().map(|at| at.0),
            copies: self.spec.copies(),
        })
    }
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
        on_nodes::note(index, &at, self.on_node(), dirty);
        take_addresses(index, &at, self.node(), &self.addresses(), dirty);
        let Some(facts) = self.facts() else { return <Self as Indexed>::remove(index, &at, dirty) };
        if facts.copies.is_empty() {
            let held = take_holder(index, &at);
            index.other_pods.insert(&at);
            held.into_iter().for_each(|pod| enqueue_dependents_of_copies(index, &at, &pod.copies, dirty));
            return;
        }
        index.other_pods.remove(&at);
        let pods = index.pods.entry(at.namespace.clone()).or_default();
        if pods.get(&at.name) == Some(&facts) {
            return;
        }
        let copies = facts.copies.clone();
        let before = pods.insert(at.name.clone(), facts);
        let before = before.into_iter().flat_map(|before| before.copies);
        enqueue_dependents_of_copies(index, &at, &before.chain(copies).collect::<Vec<_>>(), dirty);
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        on_nodes::note(index, at, None, dirty);
        take_addresses(index, at, "", &[], dirty);
        let pod = take_holder(index, at);
        let was_known = index.other_pods.remove(at) || pod.is_some();
        if was_known && index.pods_in(&at.namespace) == 0 && index.research.contains_key(&at.namespace) {
            // A namespace that is being deleted may wait for its last pod.
            dirty.insert(Key::Namespace(at.namespace.clone()));
        }
        if let Some(pod) = pod {
            enqueue_dependents_of_copies(index, at, &pod.copies, dirty);
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
        let gone: Vec<ObjectName> = index.on_nodes.keys().filter(|at| !listed.contains(at)).cloned().collect();
        gone.iter().for_each(|at| on_nodes::note(index, at, None, dirty));
        if index.pod_addresses.retain(listed) {
            dirty.insert(Key::Config);
        }
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

/// A pod has these addresses, or none any more.
fn take_addresses(index: &mut Index, at: &ObjectName, node: &str, addresses: &[IpAddr], dirty: &mut Dirty) {
    let changed = index.pod_addresses.note(at, node, addresses);
    if changed.iter().any(|address| !index.settings.never.contains(*address)) {
        dirty.insert(Key::Config);
    }
}

fn enqueue_dependents_of_copies(index: &Index, at: &ObjectName, copies: &[HeldCopy], dirty: &mut Dirty) {
    copies.iter().for_each(|copy| relations::enqueue_dependents_of_copy(index, &at.namespace, &copy.secret, dirty));
}

fn take_holder(index: &mut Index, at: &ObjectName) -> Option<PodFacts> {
    let pods = index.pods.get_mut(&at.namespace)?;
    let pod = pods.remove(&at.name);
    if pods.is_empty() {
        index.pods.remove(&at.namespace);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const COPY: &str = "cloister-grant-weights.reader.trainer";

    fn held(spec: Value) -> Vec<(String, bool)> {
        let text = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}).to_string();
        let pod: GatedPod = serde_json::from_str(&text).unwrap();
        pod.facts().unwrap().copies.into_iter().map(|copy| (copy.secret.into_string(), copy.emptied)).collect()
    }

    fn volumes(more: Value) -> Value {
        json!([{"name": "first", "emptyDir": {}}, more])
    }

    #[test]
    fn a_whole_volume_that_is_optional_is_emptied() {
        let secret = json!({"name": "v", "secret": {"secretName": COPY, "optional": true, "items": [{"key": "a", "path": "b"}]}});
        let projected = json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": COPY, "optional": true}}]}});
        for volume in [secret, projected] {
            let mount = |more: Value| {
                let mut mount = json!({"name": "v", "mountPath": "/mnt"});
                mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                json!({"volumes": volumes(volume.clone()), "containers": [
                    {"name": "other", "volumeMounts": [{"name": "first", "mountPath": "/x", "subPath": "y"}]},
                    {"name": "main", "volumeMounts": [mount]},
                ]})
            };
            assert_eq!(held(mount(json!({}))), [(COPY.to_owned(), true)]);
            assert_eq!(held(mount(json!({"subPath": ""}))), [(COPY.to_owned(), true)]);
            assert_eq!(held(mount(json!({"subPath": "token"}))), [(COPY.to_owned(), false)]);
            assert_eq!(held(mount(json!({"subPathExpr": "$(X)"}))), [(COPY.to_owned(), false)]);
        }
    }

    #[test]
    fn every_other_form_is_not() {
        let env = json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": COPY, "key": "k", "optional": true}}}]);
        let env_from = json!([{"configMapRef": {"name": "x"}}, {"secretRef": {"name": COPY, "optional": true}}]);
        let optional = json!({"name": "v", "secret": {"secretName": COPY, "optional": true}});
        let mut specs = vec![
            json!({"volumes": volumes(json!({"name": "v", "secret": {"secretName": COPY}}))}),
            json!({"volumes": volumes(json!({"name": "v", "secret": {"secretName": COPY, "optional": false}}))}),
            json!({"volumes": volumes(json!({"name": "v", "projected": {"sources": [{"secret": {"name": COPY}}]}}))}),
            json!({"volumes": volumes(json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": COPY}}}))}),
            json!({"volumes": volumes(json!({"name": "v", "azureFile": {"shareName": "s", "secretName": COPY}}))}),
            json!({"imagePullSecrets": [{"name": COPY}]}),
            json!({"whatever": {"comes": [1, 1.5, -1, true, null, {"later": COPY}]}}),
        ];
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            specs.push(json!({list: [{"name": "main", "env": env}]}));
            specs.push(json!({list: [{"name": "main", "envFrom": env_from}]}));
            // Beside a form that is.
            specs.push(json!({"volumes": [optional], list: [{"name": "main", "envFrom": env_from}]}));
        }
        for spec in specs {
            assert_eq!(held(spec.clone()), [(COPY.to_owned(), false)], "{spec}");
        }
    }

    #[test]
    fn what_is_no_copy_is_nothing() {
        assert!(
            held(json!({"volumes": null, "containers": [{"env": [{"name": "A", "value": "cloister"}]}]})).is_empty()
        );
        assert!(held(Value::Null).is_empty());
        let ended = json!({"metadata": {"name": "a"}, "spec": {"imagePullSecrets": [{"name": COPY}]}, "status": {"phase": "Failed"}});
        assert!(serde_json::from_str::<GatedPod>(&ended.to_string()).unwrap().facts().is_none());
    }

    #[test]
    fn one_that_has_failed_holds_what_its_containers_have() {
        let facts = |status: Value| {
            let pod =
                json!({"metadata": {"name": "a"}, "spec": {"imagePullSecrets": [{"name": COPY}]}, "status": status});
            serde_json::from_str::<GatedPod>(&pod.to_string()).unwrap().facts()
        };
        let (done, runs) = (json!([{"state": {"terminated": {}}}, {}]), json!([{"state": {"running": {}}}]));
        for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            assert!(facts(json!({"phase": "Failed", list: done})).is_none(), "{list}");
            assert!(facts(json!({"phase": "Failed", list: runs})).is_some(), "{list}");
        }
    }
}
