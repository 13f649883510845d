//! Which kinds are watched.

use crate::{
    context::Context,
    decode::Decoded,
    index::{Dirty, GatedPod, Indexed, SERVICE_NAME, Secret},
    watch::{Scope, run},
};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, EgressGrant, GrantMount,
    ResearchNamespace, RoleGrant, StorageAccessGrant, StorageResource, labels,
};
use cloister_core::{egress::Installed, settings::Settings};
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, ResourceQuota, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, Client, Resource, runtime::watcher::Config};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch::{self, Receiver},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::debug;

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

    /// Of these kinds, whether each has seen its first list.
    fn of(&self, kinds: &[&str]) -> Vec<Receiver<bool>> {
        let all = self.lock();
        all.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, synced)| synced.clone()).collect()
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
    // Where the grants are known first, no review of one that has ended is ever kept whole.
    let grants = synced.of(&["StorageAccessGrant", "EgressGrant", "RoleGrant"]);
    begin("AccessReview", &|synced| {
        let (context, api) = (context.clone(), Api::<Decoded<AccessReview>>::all(client()));
        let scope = Scope { kind: "AccessReview", namespace: None, config: all() };
        let grants = grants.clone();
        Box::pin(async move {
            let listed =
                grants.into_iter().map(|mut grants| async move { grants.wait_for(|listed| *listed).await.is_ok() });
            let _ = timeout(FIRST_LIST, join_all(listed)).await;
            run(context, api, scope, synced).await;
        })
    });
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
    let within = |client, namespace: &str| Api::<Secret>::namespaced(client, namespace);
    follow(context, "Secret", wanted, within, first).await;
}

/// Watches the endpoints of the cluster's own DNS, which the settings name.
pub async fn dns_endpoints(context: Arc<Context>, first: watch::Sender<bool>) {
    let wanted = |settings: &Settings| {
        let dns = &settings.spec.dns;
        [(dns.namespace.clone(), format!("{SERVICE_NAME}={}", dns.service))].into()
    };
    let within = |client, namespace: &str| Api::<EndpointSlice>::namespaced(client, namespace);
    follow(context, "EndpointSlice", wanted, within, first).await;
}

/// Watches all policies of a network plugin's kind, as long as there is such a kind.
pub async fn plugin_policies<K>(
    context: Arc<Context>,
    kind: &'static str,
    is_there: fn(Installed) -> bool,
    first: watch::Sender<bool>,
) where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let known = context.clone();
    let wanted = move |_: &Settings| {
        let everywhere = is_there(known.index().installed()).then(Default::default);
        everywhere.into_iter().collect()
    };
    follow(context, kind, wanted, |client, _: &str| Api::<K>::all(client), first).await;
}

/// Watches the namespaces that the settings name, each with a label selector, as the settings change; the one without a
/// name stands for all. What is watched no more is known no more. Ends only when one of the watches is dead. `first` is
/// told when those that the settings name at first are complete.
async fn follow<K>(
    context: Arc<Context>,
    kind: &'static str,
    wanted: impl Fn(&Settings) -> BTreeSet<(String, String)>,
    api: impl Fn(Client, &str) -> Api<K>,
    first: watch::Sender<bool>,
) where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut running: BTreeMap<(String, String), (AbortHandle, Receiver<bool>)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut settings = context.settings_changed.subscribe();
    loop {
        let settings_now = context.index().settings().clone();
        let wanted = wanted(&settings_now);
        for ((namespace, _), (task, _)) in running.extract_if(.., |what, _| !wanted.contains(what)) {
            task.abort();
            forget::<K>(&context, &namespace);
        }
        for what in wanted {
            if running.contains_key(&what) {
                continue;
            }
            let (namespace, labels) = &what;
            debug!(kind, %namespace, "watching");
            let api = api(context.client.clone(), namespace);
            let only = (!namespace.is_empty()).then(|| namespace.as_str().into());
            let scope = Scope { kind, namespace: only, config: Config::default().labels(labels) };
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

/// Forgets all objects of a kind, in one namespace or all.
fn forget<K: Indexed>(context: &Context, namespace: &str) {
    let mut dirty = Dirty::new();
    let mut index = context.index_mut();
    for name in K::known(&index) {
        if namespace.is_empty() || *name.namespace == *namespace {
            K::remove(&mut index, &name, &mut dirty);
        }
    }
    drop(index);
    context.enqueue(dirty);
}

/// How long the first list of a namespace that the settings name may take.
const FIRST_LIST: Duration = Duration::from_secs(10);
