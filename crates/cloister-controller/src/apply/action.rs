//! The actions of a plan.

use super::{target::ObjectTarget, writer::Writer};
use crate::error::Error;
use cloister_core::model::plan::Action;
use cloister_index::{decode::Decoded, index::Indexed};
use kube::Resource;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

impl Writer {
    /// Executes one action.
    ///
    /// # Errors
    ///
    /// The request failed, or its effect is not confirmed.
    pub async fn execute<K>(&self, target: &ObjectTarget<K>, action: Action) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let namespace = &target.namespace;
        match action {
            Action::AddFinalizer => self.finalizer(target, true).await,
            Action::DropFinalizer => self.finalizer(target, false).await,
            Action::ApplyNamespace(labels) => self.apply_namespace(&target.key, namespace, &labels).await,
            Action::MarkAdopting(since) => self.mark_adopting(&target.key, namespace, since).await,
            Action::RenewAccount { name, uid } => self.renew_account(namespace, &name, uid).await,
            Action::DeleteNamespace { uid } => self.delete_namespace(&target.key, namespace, uid).await,
            Action::Apply(child) => self.apply(&target.key, namespace, *child).await,
            Action::Delete(key) => self.delete(&target.key, namespace, &key).await,
            Action::Release(key) => self.release(&target.key, namespace, &key).await,
            Action::CopyCredential { from, to } => self.copy_credential(namespace, &from, &to).await,
            Action::DestroyCredential { name } => self.destroy_credential(namespace, &name).await,
            Action::DeletePod { name, uid } => self.delete_pod(namespace, &name, uid).await,
            Action::Unmount { name, at } => self.unmount(&target.key, namespace, &name, at).await,
            Action::ConfirmPodsGone { secret, on_expiry } => self.confirm_pods_gone(namespace, secret, on_expiry).await,
        }
    }
}
