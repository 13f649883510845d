//! A mount that may have lost its grants, and the copies that pods hold of it: one that was removed by force leaves it
//! behind, and a pod may have come to its copy when nobody looked.

use super::{grant::holders, work_off};
use crate::{
    context::Context,
    error::Error,
    index::Index,
    key::Key,
    write::{Found, Target},
};
use cloister_api::{StorageAccessGrant, labels};
use cloister_core::{
    child::Children,
    grant::{Copy, has_begun, secret_of, unclaimed},
};
use kube::Api;
use std::sync::Arc;

/// Takes away a mount that no grant speaks for, and the pods that hold its copy.
pub async fn reconcile(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    static NOTHING: Children = Children::new();
    let now = context.clock.now();
    let plan = {
        let index = context.index();
        let is_ours = index.namespaces.get(namespace).is_some_and(|(home, _)| home.belongs_to(namespace));
        if !is_ours || is_claimed(&index, namespace, name, now) {
            return Ok(());
        }
        let last = index.last_end(namespace, name);
        let copy = Copy {
            mount: name,
            children: index.children.get(namespace).map_or(&NOTHING, |children| &children.all),
            holders: &holders(&index, namespace, &secret_of(name)),
            on_expiry: last.map(|last| last.on_expiry).unwrap_or_default(),
            now,
        };
        unclaimed(&copy, context.destroyed.has(namespace, &secret_of(name)), last)
    };
    let target: Target<StorageAccessGrant> = Target {
        key: Key::Mount(namespace.clone(), name.clone()),
        namespace: namespace.clone(),
        api: Api::namespaced(context.client.clone(), namespace),
        metadata: Default::default(),
        finalizer: labels::GRANT_FINALIZER,
        found: Found::Anyhow,
    };
    work_off(context, &target, plan, |_, _| None).await.result()
}

/// Whether a grant speaks for a mount: it takes it away itself. One that cannot be read does so, too.
pub(super) fn is_claimed(index: &Index, namespace: &str, mount: &str, now: jiff::Timestamp) -> bool {
    let mut speaking = index.of_mount(namespace, mount);
    speaking.any(|(_, grant)| grant.object.as_ref().map_or(true, |grant| has_begun(grant, now)))
}
