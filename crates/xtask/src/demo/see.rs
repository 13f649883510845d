//! What happens in the cluster, seen by watches that have nothing to do with the operator.

use anyhow::{Context, Result, bail};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, GrantMount, ResearchNamespace, RoleGrant,
    StorageAccessGrant, StorageResource, labels,
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Namespace, Pod, Secret},
    events::v1::Event as Note,
    networking::v1::NetworkPolicy,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    task::JoinSet,
};

/// One change, as a watch reported it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When the watch reported it, by this machine's clock.
    pub at: Timestamp,
    /// The kind of the object.
    pub kind: &'static str,
    /// Whether the object is gone.
    pub gone: bool,
    /// The API server's revision of the change. All objects are counted by one counter, so that revisions order changes of
    /// different kinds.
    pub revision: u64,
    /// The object after the change; before it, if the object is gone.
    pub object: DynamicObject,
}

impl Sighting {
    /// Whether it is of this object. A cluster-wide object has the namespace "".
    pub fn is(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.kind == kind
            && self.object.namespace().unwrap_or_default() == namespace
            && self.object.metadata.name.as_deref() == Some(name)
    }

    /// A label of the object.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.object.labels().get(key).map(String::as_str)
    }

    /// A field of the object, such as `/status/phase`.
    pub fn field(&self, pointer: &str) -> Option<&Value> {
        self.object.data.pointer(pointer)
    }

    /// A field that is a text.
    pub fn text(&self, pointer: &str) -> &str {
        self.field(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A condition that speaks of the newest generation.
    pub fn condition(&self, type_: &str) -> Option<&Value> {
        let conditions = self.field("/status/conditions")?.as_array()?;
        let found = conditions.iter().find(|condition| condition["type"] == type_)?;
        (found["observedGeneration"].as_i64() == self.object.metadata.generation).then_some(found)
    }

    /// Whether a condition is True, for the newest generation.
    pub fn is_true(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition["status"] == "True")
    }

    /// The object as its type.
    ///
    /// # Errors
    ///
    /// It is of another type.
    pub fn typed<K: DeserializeOwned>(&self) -> Result<K> {
        Ok(serde_json::from_value(serde_json::to_value(&self.object)?)?)
    }
}

/// All that was seen since the watches began, in the order in which it was reported.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Vec<Sighting>>>,
    changed: Receiver<()>,
    _watches: JoinSet<()>,
}

impl Watch {
    /// Begins to watch, and returns when all that is there was seen.
    ///
    /// # Errors
    ///
    /// A watch does not begin.
    pub async fn start(client: &Client) -> Result<Self> {
        let seen = Arc::default();
        let (changed, mut receiver) = watch::channel(());
        let (begun, mut begins) = watch::channel(0_usize);
        let mut watches = JoinSet::new();
        let mut follow = |kind: &'static str, resource: ApiResource| {
            let api = Api::all_with(client.clone(), &resource);
            watches.spawn(follow(kind, api, Arc::clone(&seen), changed.clone(), begun.clone()));
        };
        follow("Namespace", of::<Namespace>());
        follow("NetworkPolicy", of::<NetworkPolicy>());
        follow("RoleBinding", of::<RoleBinding>());
        follow("Secret", of::<Secret>());
        follow("Pod", of::<Pod>());
        follow("ResearchNamespace", of::<ResearchNamespace>());
        follow("EgressAllowlist", of::<EgressAllowlist>());
        follow("StorageResource", of::<StorageResource>());
        follow("AccessPolicy", of::<AccessPolicy>());
        follow("CloisterConfig", of::<CloisterConfig>());
        follow("StorageAccessGrant", of::<StorageAccessGrant>());
        follow("GrantMount", of::<GrantMount>());
        follow("AccessRole", of::<AccessRole>());
        follow("RoleGrant", of::<RoleGrant>());
        follow("AccessReview", of::<AccessReview>());
        follow("Event", of::<Note>());
        let count = watches.len();
        let all = tokio::time::timeout(Duration::from_secs(20), begins.wait_for(|begun| *begun == count)).await;
        all.context("the watches do not begin")??;
        receiver.mark_unchanged();
        Ok(Watch { seen, changed: receiver, _watches: watches })
    }

    /// Waits until what was seen answers the question, for as long as `patience`.
    ///
    /// # Errors
    ///
    /// It does not in time.
    pub async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        answer: impl Fn(&[Sighting]) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Some(answer) = answer(&self.seen()) {
                return Ok(answer);
            }
            let left = patience.saturating_sub(began.elapsed());
            if tokio::time::timeout(left, changed.changed()).await.is_err() {
                let last = self.last_words();
                bail!("waited {} s in vain to see {what}; the last changes seen were:\n{last}", patience.as_secs());
            }
        }
    }

    /// Waits until an object is seen that answers the question.
    ///
    /// # Errors
    ///
    /// It is not in time.
    pub async fn sighting(
        &self,
        what: &str,
        patience: Duration,
        is_it: impl Fn(&Sighting) -> bool,
    ) -> Result<Sighting> {
        self.until(what, patience, |seen| seen.iter().find(|sighting| is_it(sighting)).cloned()).await
    }

    /// What there is of a kind, as it was seen last, by namespace and name.
    pub fn all(&self, kind: &str, namespace: &str) -> Vec<Sighting> {
        let seen = self.seen();
        let mut latest: HashMap<&str, &Sighting> = HashMap::new();
        for sighting in seen.iter().filter(|s| s.kind == kind && s.object.namespace().unwrap_or_default() == namespace)
        {
            latest.insert(sighting.object.metadata.name.as_deref().unwrap_or_default(), sighting);
        }
        let mut there: Vec<Sighting> = latest.into_values().filter(|sighting| !sighting.gone).cloned().collect();
        there.sort_by_key(|sighting| sighting.object.name_any());
        there
    }

    /// What there is in any namespace that the operator wrote, as `KIND NAMESPACE/NAME`.
    pub fn written_by_the_operator(&self) -> Vec<String> {
        let seen = self.seen();
        let mut latest: HashMap<String, &Sighting> = HashMap::new();
        for sighting in seen.iter() {
            let Some(namespace) = sighting.object.namespace() else { continue };
            latest.insert(format!("{} {namespace}/{}", sighting.kind, sighting.object.name_any()), sighting);
        }
        let ours = |seen: &Sighting| !seen.gone && seen.label(labels::MANAGED_BY) == Some(labels::MANAGER);
        let mut written: Vec<String> =
            latest.into_iter().filter(|(_, seen)| ours(seen)).map(|(what, _)| what).collect();
        written.sort();
        written
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_words(&self) -> String {
        let seen = self.seen();
        let lines = seen.iter().rev().take(8).rev().map(|sighting| {
            let namespace = sighting.object.namespace().map(|namespace| namespace + "/").unwrap_or_default();
            let (kind, name) = (sighting.kind, sighting.object.name_any());
            let what = if sighting.gone { "gone" } else { sighting.text("/status/phase") };
            format!("  {} {kind} {namespace}{name} {what}\n", sighting.at)
        });
        lines.collect()
    }
}

fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

async fn follow(
    kind: &'static str,
    api: Api<DynamicObject>,
    seen: Arc<Mutex<Vec<Sighting>>>,
    changed: Sender<()>,
    begun: Sender<usize>,
) {
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let (gone, object) = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => (false, object),
            Ok(Event::Delete(object)) => (true, object),
            Ok(Event::InitDone) => {
                begun.send_modify(|begun| *begun += 1);
                continue;
            }
            // The watch begins again by itself.
            Ok(Event::Init) | Err(_) => continue,
        };
        let revision = object.resource_version().and_then(|revision| revision.parse().ok()).unwrap_or_default();
        let sighting = Sighting { at: Timestamp::now(), kind, gone, revision, object };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(sighting);
        changed.send_replace(());
    }
}

/// What a NetworkPolicy opens, in a few words.
pub fn opens(policy: &NetworkPolicy) -> String {
    let Some(spec) = &policy.spec else { return "nothing".to_owned() };
    let pods = spec.pod_selector.as_ref().map(written).filter(|labels| !labels.is_empty());
    let pods = pods.map_or_else(|| "all pods".to_owned(), |labels| format!("pods {labels}"));
    let mut openings = Vec::new();
    for rule in spec.egress.iter().flatten() {
        openings.push(format!("→ {}{}", peers(rule.to.as_deref()), ports(rule.ports.as_deref())));
    }
    for rule in spec.ingress.iter().flatten() {
        openings.push(format!("← {}{}", peers(rule.from.as_deref()), ports(rule.ports.as_deref())));
    }
    match openings.as_slice() {
        [] => format!("{pods}: nothing in, nothing out"),
        some => format!("{pods} {}", some.join(", ")),
    }
}

fn peers(peers: Option<&[k8s_openapi::api::networking::v1::NetworkPolicyPeer]>) -> String {
    let named = peers.unwrap_or_default().iter().map(|peer| match (&peer.ip_block, &peer.namespace_selector) {
        (Some(block), _) => block.cidr.clone(),
        (None, namespace) => {
            let namespace = namespace.as_ref().and_then(|n| n.match_labels.as_ref()?.values().next().cloned());
            let pods = peer.pod_selector.as_ref().map(written).filter(|labels| !labels.is_empty());
            match (namespace, pods) {
                (Some(namespace), Some(pods)) => format!("pods {pods} of {namespace}"),
                (Some(namespace), None) => format!("pods of {namespace}"),
                (None, Some(pods)) => format!("own pods {pods}"),
                (None, None) => "own pods".to_owned(),
            }
        }
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { "everywhere".to_owned() } else { named.join(", ") }
}

fn ports(ports: Option<&[k8s_openapi::api::networking::v1::NetworkPolicyPort]>) -> String {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let mut by_protocol: Vec<(String, Vec<&str>)> = Vec::new();
    for port in ports.unwrap_or_default() {
        let number = match &port.port {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(name)) => name.clone(),
            None => "*".to_owned(),
        };
        let number = port.end_port.map_or(number.clone(), |end| format!("{number}–{end}"));
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        match by_protocol.iter_mut().find(|(known, _)| *known == number) {
            Some((_, protocols)) => protocols.push(protocol),
            None => by_protocol.push((number, vec![protocol])),
        }
    }
    by_protocol.iter().map(|(number, protocols)| format!(" {}/{number}", protocols.join("+"))).collect()
}

fn written(selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let short = |key: &str| key.rsplit('/').next().unwrap_or(key).to_owned();
    labels.map(|(key, value)| format!("{}={value}", short(key))).collect::<Vec<_>>().join(",")
}
