//! Writes ServiceAccounts, to which others write too.

use super::writer::{Writer, patch_params};
use crate::error::Error;
use cloister_api::labels;
use cloister_core::model::child::{Child, names::DEFAULT_ACCOUNT};
use cloister_index::key::Key;
use either::Either;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Writer {
    /// Deletes an account. The watch tells that it is gone, and the plan after that makes it anew where Kubernetes does not.
    pub(super) async fn renew_account(&self, namespace: &str, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid), resource_version: None });
        let what = || format!("delete ServiceAccount {namespace}/{name}, which makes its old tokens invalid");
        self.metrics.wrote("delete", "ServiceAccount");
        match self.requests.request(what, api.delete(name, &params)).await {
            Ok(Either::Left(account)) if !account.metadata.finalizers.as_deref().unwrap_or_default().is_empty() => {
                Err(Error::NotGone { what: format!("ServiceAccount {namespace}/{name}") })
            }
            Ok(_) => Ok(()),
            // Gone, or another by now.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn server_side_apply(
        &self,
        key: &Key,
        namespace: &str,
        account: ServiceAccount,
    ) -> Result<(), Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let name = account.metadata.name.clone().unwrap_or_default();
        let what = || format!("write ServiceAccount {namespace}/{name}");
        self.metrics.wrote("patch", "ServiceAccount");
        let params = PatchParams::apply(labels::MANAGER).force();
        let mut written = self.requests.request(what, api.patch(&name, &params, &Patch::Apply(&account))).await?;
        // What is somebody else's is left as it is by applying one's own.
        let others = of_others(&account, &written);
        if others != json!({}) {
            let params = patch_params();
            self.metrics.wrote("patch", "ServiceAccount");
            written = self.requests.request(what, api.patch(&name, &params, &Patch::Merge(&others))).await?;
        }
        let came_back = Child::ServiceAccount(written.clone());
        self.note(key, written);
        self.answered(namespace, &Child::ServiceAccount(account), &came_back)
    }
}

/// What takes off an account what others have put on it, of what gives its pods something: annotations, and ways to images.
/// The account that Kubernetes makes may have ways to images of others.
fn of_others(wanted: &ServiceAccount, written: &ServiceAccount) -> Value {
    let annotations = wanted.metadata.annotations.as_ref();
    let others = written.metadata.annotations.iter().flatten().map(|(annotation, _)| annotation);
    let others: BTreeMap<&String, ()> =
        others.filter(|one| annotations.is_none_or(|all| !all.contains_key(*one))).map(|one| (one, ())).collect();
    let mut patch = serde_json::Map::new();
    if !others.is_empty() {
        patch.insert("metadata".to_owned(), json!({"annotations": others}));
    }
    let pull = |account: &ServiceAccount| -> BTreeSet<String> {
        account.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect()
    };
    let is_default = wanted.metadata.name.as_deref() == Some(DEFAULT_ACCOUNT);
    if !is_default && pull(written) != pull(wanted) {
        patch.insert("imagePullSecrets".to_owned(), json!(wanted.image_pull_secrets));
    }
    Value::Object(patch)
}
