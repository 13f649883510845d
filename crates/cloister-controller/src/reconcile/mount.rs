//! A mount that may have lost its grants, and the copies that pods hold of it: one that was removed by force leaves it
//! behind, and a pod may have come to its copy when nobody looked.

use super::Reconciler;
use crate::{apply::ObjectTarget, error::Error, snapshot::Snapshot};
use cloister_api::{StorageAccessGrant, labels};
use cloister_core::grant::secret_of;
use cloister_index::key::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

impl Reconciler {
    /// Takes away a mount that no grant speaks for, and the pods that hold its copy.
    pub(super) async fn mount(&self, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
        let is_destroyed = self.writer.destroyed.has(namespace, &secret_of(name));
        let plan = Snapshot::take(&self.sources).decide_mount(namespace, name, is_destroyed);
        let Some(plan) = plan else { return Ok(()) };
        let target: ObjectTarget<StorageAccessGrant> = ObjectTarget {
            finalizer: labels::GRANT_FINALIZER,
            ..self.namespaced(Key::Mount(namespace.clone(), name.clone()), namespace, ObjectMeta::default())
        };
        self.work_off(&target, plan, |_, _| None).await.result()
    }
}
