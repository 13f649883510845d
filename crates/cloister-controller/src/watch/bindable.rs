//! Which ClusterRoles the operator may bind: the API server is asked, because only it knows.

use super::synced::Watched;
use crate::{requests::Requests, store::Store};
use cloister_index::index::Dirty;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;
use tracing::warn;

/// How long the API server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// How long to wait before asking again where an answer failed.
const AGAIN: Duration = Duration::from_secs(5);

/// What names ClusterRoles, and what they are.
const NAMED: [&str; 3] = ["StorageResource", "AccessRole", "ClusterRole"];

/// Asks about every ClusterRole that the catalogue names, whenever one of them or a role that binds may have changed.
/// Never ends. `watched` is told when all were asked about.
pub async fn ask(requests: Arc<Requests>, store: Arc<Store>, watched: Watched) {
    // What is asked about before all are known would have to be asked again.
    store.synced.wait(Some(&NAMED)).await;
    loop {
        let changed = store.roles_changed.notified();
        let mut failed = false;
        for role in named(&store) {
            match may_bind(&requests, &role).await {
                Ok(bindable) => note(&store, &role, bindable),
                Err(error) => {
                    warn!(%error, role, "cannot ask whether the operator may bind this ClusterRole");
                    failed = true;
                }
            }
        }
        if !failed && !watched.is_listed() {
            watched.complete();
            store.resume();
        }
        if failed {
            let _ = timeout(AGAIN, changed).await;
        } else {
            changed.await;
        }
    }
}

/// The ClusterRoles that storage and AccessRoles name.
fn named(store: &Store) -> BTreeSet<String> {
    let index = store.index();
    let storages = index.storages.values().filter_map(|storage| storage.object.as_ref().ok());
    let by_storage = storages.flat_map(|storage| &storage.spec.roles).filter_map(|role| role.cluster_role.clone());
    let roles = index.roles.values().filter_map(|role| role.object.as_ref().ok());
    by_storage.chain(roles.map(|role| role.spec.cluster_role.clone())).collect()
}

async fn may_bind(requests: &Requests, role: &str) -> kube::Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("rbac.authorization.k8s.io".to_owned()),
        resource: Some("clusterroles".to_owned()),
        verb: Some("bind".to_owned()),
        name: Some(role.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(requests.client());
    let _permit = requests.permit().await;
    let asked = timeout(LIMIT, api.create(&PostParams::default(), &review)).await;
    let answer = asked.unwrap_or_else(|_| Err(kube::Error::Service("no answer in time".into())))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn note(store: &Store, role: &str, bindable: bool) {
    let mut dirty = Dirty::new();
    {
        let mut index = store.index_mut();
        let Some((name, facts)) = index.cluster_roles.get_key_value(role) else { return };
        if facts.bindable == bindable {
            return;
        }
        let name = name.clone();
        if let Some(facts) = index.cluster_roles.get_mut(role) {
            facts.bindable = bindable;
        }
        cloister_index::index::enqueue_dependents_of_cluster_role(&index, &name, &mut dirty);
    }
    // Not by `enqueue`, which would have all asked about again.
    store.again(dirty);
}

#[cfg(test)]
mod tests;
