//! Which kinds are watched.

use crate::{
    context::Context,
    decode::Decoded,
    index::{GatedPod, Indexed, SERVICE_NAME, Secret},
    watch::{Scope, run},
};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, EgressGrant, GROUP, GrantMount,
    ResearchNamespace, RoleGrant, StorageAccessGrant, StorageResource, labels,
};
use cloister_core::settings::Settings;
use futures::{StreamExt, future::BoxFuture};
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, ResourceQuota, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{Config, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch::{self, Receiver},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, info};

/// Whether each watch has seen its first list.
#[derive(Clone, Default)]
pub struct Synced {
    all: Arc<Mutex<Vec<FirstList>>>,
}

/// A kind, and whether its first list is complete.
type FirstList = (&'static str, Receiver<bool>);

impl Synced {
    fn push(&self, kind: &'static str, receiver: Receiver<bool>) {
        self.lock().push((kind, receiver));
    }

    /// The kinds that are still being listed.
    pub fn missing(&self) -> Vec<&'static str> {
        self.lock().iter().filter(|(_, synced)| !*synced.borrow()).map(|(kind, _)| *kind).collect()
    }

    /// Waits until every first list is complete.
    pub async fn wait(&self) {
        let all = self.lock().clone();
        for (_, mut synced) in all {
            // A watch that ended is noticed by who runs it.
            let _ = synced.wait_for(|synced| *synced).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<FirstList>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts all watches. Each task ends only when its watch is dead, and says of which kind it was.
pub fn start(context: &Arc<Context>, synced: &Synced) -> JoinSet<&'static str> {
    let client = || context.client.clone();
    let all = Config::default;
    let managed = || Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let mut tasks = JoinSet::new();
    let mut begin = |kind: &'static str, watch: &dyn Fn(watch::Sender<bool>) -> BoxFuture<'static, ()>| {
        let (sender, receiver) = watch::channel(false);
        synced.push(kind, receiver);
        let watch = watch(sender);
        tasks.spawn(async move {
            watch.await;
            kind
        });
    };
    /// Begins the watch of one kind.
    macro_rules! watch {
        ($kind:literal, $type:ty, $config:expr) => {
            begin($kind, &|synced| {
                let scope = Scope { kind: $kind, namespace: None, config: $config };
                Box::pin(run(context.clone(), Api::<$type>::all(client()), scope, synced))
            })
        };
    }
    watch!("CloisterConfig", Decoded<CloisterConfig>, all());
    watch!("ResearchNamespace", Decoded<ResearchNamespace>, all());
    watch!("EgressAllowlist", Decoded<EgressAllowlist>, all());
    watch!("StorageResource", Decoded<StorageResource>, all());
    watch!("AccessPolicy", Decoded<AccessPolicy>, all());
    watch!("AccessRole", Decoded<AccessRole>, all());
    watch!("StorageAccessGrant", Decoded<StorageAccessGrant>, all());
    watch!("EgressGrant", Decoded<EgressGrant>, all());
    watch!("RoleGrant", Decoded<RoleGrant>, all());
    watch!("AccessReview", Decoded<AccessReview>, all());
    watch!("GrantMount", GrantMount, all());
    watch!("Namespace", Namespace, all());
    // Those of others matter too: they could widen a namespace that is about to be taken over.
    watch!("NetworkPolicy", NetworkPolicy, all());
    watch!("RoleBinding", RoleBinding, all());
    watch!("ClusterRole", ClusterRole, all());
    watch!("ClusterRoleBinding", ClusterRoleBinding, all());
    watch!("Role", Role, all());
    watch!("ResourceQuota", ResourceQuota, managed());
    watch!("LimitRange", LimitRange, managed());
    watch!("ServiceAccount", ServiceAccount, managed());
    watch!("Service", Service, all());
    watch!("Pod", GatedPod, all());
    tasks
}

/// Watches the Secrets of the credential namespaces, which the settings name, and of no other.
pub async fn credentials(context: Arc<Context>, first: watch::Sender<bool>) {
    let wanted = |settings: &Settings| {
        settings.spec.credential_namespaces.iter().map(|namespace| (namespace.clone(), String::new())).collect()
    };
    follow::<Secret>(context, "Secret", wanted, first).await;
}

/// Watches the endpoints of the cluster's own DNS, which the settings name.
pub async fn dns_endpoints(context: Arc<Context>, first: watch::Sender<bool>) {
    let wanted = |settings: &Settings| {
        let dns = &settings.spec.dns;
        [(dns.namespace.clone(), format!("{SERVICE_NAME}={}", dns.service))].into()
    };
    follow::<EndpointSlice>(context, "EndpointSlice", wanted, first).await;
}

/// Watches the namespaces that the settings name, each with a label selector, as the settings change. Ends only when one
/// of the watches is dead. `first` is told when those that the settings name at first are complete.
async fn follow<K>(
    context: Arc<Context>,
    kind: &'static str,
    wanted: impl Fn(&Settings) -> BTreeSet<(String, String)>,
    first: watch::Sender<bool>,
) where
    K: Indexed
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let mut running: BTreeMap<(String, String), (AbortHandle, Receiver<bool>)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut settings = context.settings_changed.subscribe();
    loop {
        let wanted = wanted(context.index().settings());
        running.retain(|what, (task, _)| {
            let keep = wanted.contains(what);
            if !keep {
                task.abort();
            }
            keep
        });
        for what in wanted {
            if running.contains_key(&what) {
                continue;
            }
            let (namespace, labels) = &what;
            debug!(kind, %namespace, "watching");
            let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
            let scope =
                Scope { kind, namespace: Some(namespace.as_str().into()), config: Config::default().labels(labels) };
            let (sender, synced) = watch::channel(false);
            let task = tasks.spawn(run(context.clone(), api, scope, sender));
            running.insert(what, (task, synced));
        }
        if !*first.borrow() {
            for (_, synced) in running.values_mut() {
                // One that may not be read does not hold up the rest.
                let _ = timeout(FIRST_LIST, synced.wait_for(|synced| *synced)).await;
            }
            first.send_replace(true);
        }
        tokio::select! {
            _ = settings.changed() => {}
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if !ended.is_err_and(|error| error.is_cancelled()) {
                    return;
                }
            }
        }
    }
}

/// Watches the definitions of our kinds. The API server goes on sending objects as the old definition has them for a
/// while, without the fields that a newer one brought; so when one changes, all of the kind are read anew.
pub async fn definitions(context: Arc<Context>) {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(context.client.clone());
    let mut generations: HashMap<String, Option<i64>> = HashMap::new();
    let mut events = watcher(api, Config::default()).default_backoff().applied_objects().boxed();
    while let Some(event) = events.next().await {
        let Ok(definition) = event else { continue };
        let name = definition.name_any();
        if !name.ends_with(&format!(".{GROUP}")) {
            continue;
        }
        let generation = definition.metadata.generation;
        let before = generations.insert(name.clone(), generation);
        if before.is_some_and(|before| before != generation) {
            info!(definition = name, "a kind's definition has changed; its objects are read anew");
            let context = context.clone();
            tokio::spawn(async move {
                // Each API server takes it over in its own time.
                for wait in REREAD {
                    tokio::time::sleep(wait).await;
                    context.definitions.send_modify(|count| *count += 1);
                }
            });
        }
    }
}

/// When the objects are read anew after a definition has changed: soon, and once more when every API server has it.
const REREAD: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// How long the first list of a namespace that the settings name may take.
const FIRST_LIST: Duration = Duration::from_secs(10);
