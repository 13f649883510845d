//! The definitions of kinds: of our own, which may change under what was read by them, and of those of network plugins,
//! which come and go.

use super::{
    feed::{Soon, Watches, with_ends},
    synced::Watched,
};
use crate::store::Store;
use cloister_api::{
    GROUP,
    plugin::{CHANNEL, CiliumNetworkPolicy, ClusterNetworkPolicy, EXPERIMENTAL},
};
use cloister_core::egress::{Channel, Installed};
use cloister_index::index::Dirty;
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Event, watcher},
    },
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tracing::{info, warn};

/// When the objects are read anew after a definition has changed: soon, and once more when every API server has it.
const REREAD: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// A definition, as far as it is read.
type Definition = PartialObjectMeta<CustomResourceDefinition>;

/// The properties of a definition that the operator uses.
struct DefinitionState {
    generation: Option<i64>,
    /// Whether it has fields that are not settled yet, where it says so.
    experimental: bool,
}

/// Watches the definitions, and tells `watched` when it is known which there are.
pub async fn watch(watches: Arc<Watches>, watched: Watched) {
    let store = &watches.store;
    let api: Api<Definition> = Api::all(watches.connection.client());
    watched.listens(watches.connection.listen(api.resource_url()));
    let config = with_ends(Config::default());
    let begin = || watcher(api.clone(), config.clone()).backoff(Soon).boxed();
    let mut known: HashMap<String, DefinitionState> = HashMap::new();
    let mut listed: HashSet<String> = HashSet::new();
    let mut restored = store.restored.subscribe();
    let mut events = begin();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Ok(()) = restored.changed() => {
                events = begin();
                continue;
            }
        };
        let Some(event) = event else { return };
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(definition)) => {
                listed.insert(definition.name_any());
                note(store, &definition, &mut known);
                // Those that are still to come are not gone.
                continue;
            }
            Ok(Event::InitDone) => known.retain(|name, _| listed.contains(name)),
            Ok(Event::Apply(definition)) => note(store, &definition, &mut known),
            Ok(Event::Delete(definition)) => {
                known.remove(&definition.name_any());
            }
            Err(error) => {
                warn!(%error, "the watch of definitions failed; the operator restarts it");
                continue;
            }
        }
        install(store, &known);
        watched.complete();
        store.resume();
    }
}

/// Takes note of a definition. The API server goes on sending objects as the old one has them for a while, without the
/// fields that a newer one brought; so when one of ours changes, all of the kind are read anew.
fn note(store: &Arc<Store>, definition: &Definition, known: &mut HashMap<String, DefinitionState>) {
    let name = definition.name_any();
    if definition.metadata.deletion_timestamp.is_some() {
        known.remove(&name);
        return;
    }
    let generation = definition.metadata.generation;
    let experimental = definition.annotations().get(CHANNEL).is_some_and(|channel| channel == EXPERIMENTAL);
    let before = known.insert(name.clone(), DefinitionState { generation, experimental });
    if name.ends_with(&format!(".{GROUP}")) && before.is_some_and(|before| before.generation != generation) {
        info!(definition = name, "the definition of a kind has changed; the operator reads its objects again");
        let store = store.clone();
        tokio::spawn(async move {
            // Each API server takes it over in its own time.
            for wait in REREAD {
                tokio::time::sleep(wait).await;
                store.definitions.send_modify(|count| *count += 1);
            }
        });
    }
}

/// The kinds of network policies among these that the operator does not watch.
fn unwatched<'a>(definitions: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let watched = [CiliumNetworkPolicy::DEFINITION, ClusterNetworkPolicy::DEFINITION];
    let of_policies =
        definitions.filter(|name| name.split('.').next().is_some_and(|plural| plural.contains("networkpolic")));
    of_policies.filter(|name| !watched.contains(&name.as_str())).cloned().collect()
}

/// What could open egress, beside NetworkPolicies.
fn install(store: &Store, known: &HashMap<String, DefinitionState>) {
    let cluster = known.get(ClusterNetworkPolicy::DEFINITION);
    let installed = Installed {
        cilium: known.contains_key(CiliumNetworkPolicy::DEFINITION),
        cluster: cluster.map(|known| if known.experimental { Channel::Experimental } else { Channel::Standard }),
    };
    let mut dirty = Dirty::new();
    store.index_mut().unwatched(unwatched(known.keys()), &mut dirty);
    if store.index().installed() == installed {
        store.enqueue(dirty);
        return;
    }
    store.index_mut().install(installed, &mut dirty);
    let backend = store.index().settings().backend;
    info!(?installed, ?backend, "the available egress backends have changed");
    store.enqueue(dirty);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_network_policies_that_nobody_watches_are_known() {
        let installed = [
            "globalnetworkpolicies.crd.projectcalico.org",
            "ciliumclusterwidenetworkpolicies.cilium.io",
            "fqdnnetworkpolicies.networking.gke.io",
            "ciliumnetworkpolicies.cilium.io",
            "clusternetworkpolicies.policy.networking.k8s.io",
            "egressgrants.cloister.dev",
            "widgets.networkpolicies.example.com",
        ];
        let installed = installed.map(str::to_owned);
        let unwatched: Vec<String> = unwatched(installed.iter()).into_iter().collect();
        let expected = [
            "ciliumclusterwidenetworkpolicies.cilium.io",
            "fqdnnetworkpolicies.networking.gke.io",
            "globalnetworkpolicies.crd.projectcalico.org",
        ];
        assert_eq!(unwatched, expected);
    }
}
