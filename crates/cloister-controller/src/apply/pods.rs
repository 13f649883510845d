//! Takes credentials out of pods, and pods away.

use super::writer::{Writer, patch_params};
use crate::error::Error;
use cloister_api::{GrantMount, OnExpiry, labels};
use cloister_core::grant::{GRACE, goes_with};
use cloister_index::{
    index::HeldCopy,
    key::{Key, ObjectName},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Patch, Preconditions},
};
use serde_json::json;
use std::sync::Arc;

impl Writer {
    /// Takes the version off a mount, whatever else it says: admission puts it into no pod then.
    ///
    /// # Errors
    ///
    /// The request failed. That it is gone is no failure.
    pub async fn unmount(&self, key: &Key, namespace: &str, name: &str, at: Timestamp) -> Result<(), Error> {
        let api: Api<GrantMount> = Api::namespaced(self.client(), namespace);
        let annotations = json!({labels::CREDENTIAL_VERSION: "", labels::UNMOUNTED_AT: at.to_string()});
        let patch = json!({"metadata": {"annotations": annotations}});
        let params = patch_params();
        self.metrics.wrote("patch", "GrantMount");
        let what = || format!("write GrantMount {namespace}/{name}");
        match self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(mount) => self.note(key, mount),
            Err(error) if error.category() == "not_found" => {
                self.forget::<GrantMount>(key, &ObjectName { namespace: namespace.into(), name: name.into() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks at the pods as the API server has them now.
    pub(super) async fn confirm_pods_gone(
        &self,
        namespace: &Arc<str>,
        secret: String,
        on_expiry: OnExpiry,
    ) -> Result<(), Error> {
        /// How many pods are named.
        const NAMED: usize = 8;
        let namespace_name = namespace.to_string();
        let seen = match self.looks.at(&self.requests, &self.store, namespace).await {
            Ok(seen) => seen,
            Err(source) => return Err(Error::Unseen { namespace: namespace_name, secret, source }),
        };
        let goes = |held: &HeldCopy| *held.secret == *secret && goes_with(on_expiry, held.emptied);
        let left = seen.iter().filter(|pod| pod.copies.iter().any(goes)).map(|pod| pod.name.to_string());
        let pods: Vec<String> = left.take(NAMED).collect();
        if pods.is_empty() { Ok(()) } else { Err(Error::StillHeld { namespace: namespace_name, secret, pods }) }
    }

    pub(super) async fn delete_pod(&self, namespace: &str, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let params = DeleteParams::default()
            .grace_period(GRACE)
            .preconditions(Preconditions { uid: Some(uid), resource_version: None });
        self.metrics.wrote("delete", "Pod");
        match self.requests.request(|| format!("delete Pod {namespace}/{name}"), api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            // Gone, or another pod by now.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
