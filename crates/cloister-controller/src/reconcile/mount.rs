//! A mount that may have lost its grants: one that was removed by force leaves it behind.

use super::{grant::holders, work_off};
use crate::{context::Context, error::Error, key::Key, write::Target};
use cloister_api::{StorageAccessGrant, labels};
use cloister_core::{
    child::{ChildKey, ChildKind},
    grant::{answers_for_share, has_begun, orphaned_mount},
};
use kube::Api;
use std::sync::Arc;

/// Takes a mount away that no grant speaks for.
pub async fn reconcile(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let plan = {
        let index = context.index();
        let mount = ChildKey::new(ChildKind::GrantMount, name);
        let stands = index.children.get(namespace).is_some_and(|children| children.all.contains_key(&mount));
        // A grant that is being revoked takes its mount away itself.
        let claimed = index.of_mount(namespace, name).any(|(_, grant)| {
            grant.object.as_ref().is_ok_and(|grant| answers_for_share(grant) && has_begun(grant, now))
        });
        if !stands || claimed {
            return Ok(());
        }
        orphaned_mount(&mount, &holders(&index, namespace, &format!("{}{name}", labels::GRANT_SECRET_PREFIX)))
    };
    let target: Target<StorageAccessGrant> = Target {
        key: Key::Mount(namespace.clone(), name.clone()),
        namespace: namespace.clone(),
        api: Api::namespaced(context.client.clone(), namespace),
        metadata: Default::default(),
        finalizer: labels::GRANT_FINALIZER,
    };
    work_off(context, &target, plan, |_, _| None).await.result()
}
