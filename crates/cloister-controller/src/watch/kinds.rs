//! Which kinds are watched.

use super::{
    feed::{Scope, Watches, run},
    needs,
    synced::Watched,
};
use crate::store::Store;
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, GrantKind, GrantMount, ResearchNamespace,
    StorageResource, labels, with_grant_type,
};
use cloister_core::{cluster::settings::Settings, egress::Installed};
use cloister_index::{
    decode::Decoded,
    index::{API_SERVER, API_SERVER_NAMESPACE, Dirty, GatedPod, Indexed, SERVICE_NAME, Secret},
};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, ResourceQuota, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
    node::v1::RuntimeClass,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, Client, Resource, runtime::watcher::Config};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::debug;

/// How long reviews wait for the first lists of grants.
const GRANTS_FIRST: Duration = Duration::from_secs(5);

/// Starts all watches. Each task ends only when its watch is dead, and says of which kind it was.
pub fn start(watches: &Arc<Watches>) -> JoinSet<&'static str> {
    let client = || watches.connection.client();
    let all = Config::default;
    let managed = || Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let mut tasks = JoinSet::new();
    let mut begin = |kind: &'static str, watch: &dyn Fn(Watched) -> BoxFuture<'static, ()>| {
        let watch = watch(watches.store.synced.begin(kind));
        tasks.spawn(async move {
            watch.await;
            kind
        });
    };
    /// Begins the watch of one kind.
    macro_rules! watch {
        ($kind:expr, $type:ty, $config:expr) => {
            begin($kind, &|watched| {
                let scope = Scope { kind: $kind, namespace: None, config: $config };
                Box::pin(run(watches.clone(), Api::<$type>::all(client()), scope, watched))
            })
        };
    }
    watch!("CloisterConfig", Decoded<CloisterConfig>, all());
    watch!("ResearchNamespace", Decoded<ResearchNamespace>, all());
    watch!("EgressAllowlist", Decoded<EgressAllowlist>, all());
    watch!("StorageResource", Decoded<StorageResource>, all());
    watch!("AccessPolicy", Decoded<AccessPolicy>, all());
    watch!("AccessRole", Decoded<AccessRole>, all());
    for kind in GrantKind::ALL {
        with_grant_type!(kind, K => watch!(kind.as_str(), Decoded<K>, all()));
    }
    // Where the grants are known first, no review of one that has ended is ever kept whole.
    begin("AccessReview", &|watched| {
        let (watches, api) = (watches.clone(), Api::<Decoded<AccessReview>>::all(client()));
        let scope = Scope { kind: "AccessReview", namespace: None, config: all() };
        Box::pin(async move {
            let _ = timeout(GRANTS_FIRST, watches.store.synced.wait(Some(&needs::GRANTS))).await;
            run(watches, api, scope, watched).await;
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
    watch!("RuntimeClass", RuntimeClass, all());
    watch!("Pod", GatedPod, all());
    tasks
}

/// Watches the Secrets of the credential namespaces, which the settings name, and of no other.
pub async fn credentials(watches: Arc<Watches>) {
    let wanted = |settings: &Settings| {
        settings.spec.credential_namespaces.iter().map(|namespace| (namespace.clone(), String::new())).collect()
    };
    let within = |client, namespace: &str| Api::<Secret>::namespaced(client, namespace);
    follow(watches, "Secret", wanted, within).await;
}

/// Watches the endpoints of the cluster's own DNS, which the settings name, and those of the API server.
pub async fn dns_endpoints(watches: Arc<Watches>) {
    let wanted = |settings: &Settings| {
        let dns = &settings.spec.dns;
        let of = |namespace: &str, service: &str| (namespace.to_owned(), format!("{SERVICE_NAME}={service}"));
        [of(&dns.namespace, &dns.service), of(API_SERVER_NAMESPACE, API_SERVER)].into()
    };
    let within = |client, namespace: &str| Api::<EndpointSlice>::namespaced(client, namespace);
    follow(watches, "EndpointSlice", wanted, within).await;
}

/// Watches all policies of a network plugin's kind, as long as there is such a kind.
pub async fn plugin_policies<K>(watches: Arc<Watches>, kind: &'static str, is_there: fn(Installed) -> bool)
where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let known = watches.clone();
    let wanted = move |_: &Settings| {
        let everywhere = is_there(known.store.index().installed()).then(Default::default);
        everywhere.into_iter().collect()
    };
    follow(watches, kind, wanted, |client, _: &str| Api::<K>::all(client)).await;
}

/// Watches all objects of a kind on which no decision waits, such as what says what the cluster's own networks are. That it
/// cannot be listed holds up nothing: it is said.
pub async fn everywhere<K>(watches: Arc<Watches>, kind: &'static str, watched: Watched)
where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<K>::all(watches.connection.client());
    run(watches, api, Scope { kind, namespace: None, config: Config::default() }, watched).await;
}

/// Watches the namespaces that the settings name, each with a label selector, as the settings change; the one without a
/// name stands for all. What is watched no more is known no more. Ends only when one of the watches is dead.
async fn follow<K>(
    watches: Arc<Watches>,
    kind: &'static str,
    wanted: impl Fn(&Settings) -> BTreeSet<(String, String)>,
    api: impl Fn(Client, &str) -> Api<K>,
) where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let store = &watches.store;
    let mut running: BTreeMap<(String, String), (AbortHandle, Watched)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut settings = store.followed.subscribe();
    loop {
        // What changes after this was seen is seen in the next round.
        settings.borrow_and_update();
        let version = store.synced.settings();
        let settings_now = store.index().settings().clone();
        let wanted = wanted(&settings_now);
        for ((namespace, _), (task, _)) in running.extract_if(.., |what, _| !wanted.contains(what)) {
            task.abort();
            forget::<K>(store, &namespace);
        }
        for what in wanted {
            if running.contains_key(&what) {
                continue;
            }
            let (namespace, labels) = &what;
            debug!(kind, %namespace, "watching");
            let api = api(watches.connection.client(), namespace);
            let only: Option<Arc<str>> = (!namespace.is_empty()).then(|| namespace.as_str().into());
            let watched = store.synced.begin_in(kind, only.clone());
            let scope = Scope { kind, namespace: only, config: Config::default().labels(labels) };
            let task = tasks.spawn(run(watches.clone(), api, scope, watched.clone()));
            running.insert(what, (task, watched));
        }
        store.synced.followed(kind, version);
        store.resume();
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
fn forget<K: Indexed>(store: &Store, namespace: &str) {
    let mut dirty = Dirty::new();
    let mut index = store.index_mut();
    for name in K::known(&index) {
        if namespace.is_empty() || *name.namespace == *namespace {
            K::remove(&mut index, &name, &mut dirty);
        }
    }
    drop(index);
    store.enqueue(dirty);
}
