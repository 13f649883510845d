//! Writes Namespaces.

use super::writer::{Writer, create_params, patch_params};
use crate::error::Error;
use cloister_api::labels;
use cloister_core::{model::plan::NamespaceLabels, namespace::is_owned_label};
use cloister_index::key::Key;
use either::Either;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api,
    api::{DeleteParams, Patch, Preconditions},
};
use serde_json::json;

impl Writer {
    pub(super) async fn apply_namespace(&self, key: &Key, name: &str, labels: &NamespaceLabels) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client());
        let known = self.store.index().namespaces.get(name).map(|(observed, _)| observed.clone());
        let what = || format!("write Namespace {name}");
        let namespace = match known {
            None => {
                let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
                let metadata =
                    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
                let namespace = Namespace { metadata, ..Namespace::default() };
                self.metrics.wrote("create", "Namespace");
                self.requests.request(what, api.create(&create_params(), &namespace)).await?
            }
            Some(observed) => {
                let gone = observed.labels.keys().filter(|key| is_owned_label(key) && !labels.contains_key(&***key));
                let gone = gone.map(|key| (key.to_string(), serde_json::Value::Null));
                let wanted = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
                let all: serde_json::Map<_, _> = gone.chain(wanted).collect();
                let patch = json!({"metadata": {"labels": all, "uid": observed.uid}});
                let params = patch_params();
                self.metrics.wrote("patch", "Namespace");
                self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await?
            }
        };
        self.note(key, namespace);
        // That was the operator itself.
        self.store.index_mut().relabelled.remove(name);
        Ok(())
    }

    pub(super) async fn mark_adopting(&self, key: &Key, name: &str, since: Option<Timestamp>) -> Result<(), Error> {
        let Some(uid) = self.store.index().namespaces.get(name).map(|(observed, _)| observed.uid.clone()) else {
            return Ok(());
        };
        let api: Api<Namespace> = Api::all(self.client());
        let since = since.map(|since| since.as_second().to_string());
        let patch = json!({"metadata": {"labels": {labels::ADOPTING: since}, "uid": uid}});
        let params = patch_params();
        self.metrics.wrote("patch", "Namespace");
        let what = || format!("write label {} of Namespace {name}", labels::ADOPTING);
        let namespace = self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await?;
        self.note(key, namespace);
        self.store.index_mut().relabelled.remove(name);
        Ok(())
    }

    pub(super) async fn delete_namespace(&self, key: &Key, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client());
        let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid), resource_version: None });
        self.metrics.wrote("delete", "Namespace");
        match self.requests.request(|| format!("delete Namespace {name}"), api.delete(name, &params)).await {
            Ok(Either::Left(namespace)) => self.note(key, namespace),
            Ok(Either::Right(_)) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
