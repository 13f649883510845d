//! What every request has in common: by whom it is made, and who takes note of its answer.
//!
//! What the API server answers goes into the index at once, so that the next decision knows of it before the watch does.

use super::{destroyed::Destroyed, looks::Looks, target::ObjectTarget};
use crate::{
    report::{Alerts, Metrics},
    requests::Requests,
    store::Store,
};
use cloister_api::labels;
use cloister_index::{
    decode::Decoded,
    index::{Dirty, Indexed},
    key::{Key, ObjectName},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Client,
    api::{PatchParams, PostParams},
};
use std::sync::Arc;

/// Makes the requests.
pub struct Writer {
    /// By which they are made.
    pub requests: Arc<Requests>,
    /// What takes note of the answers.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What hears that a status was taken.
    pub alerts: Arc<Alerts>,
    /// The copies of credentials that are known to be gone.
    pub destroyed: Destroyed,
    /// The looks at pods that must not rest on a watch.
    pub(super) looks: Looks,
}

impl Writer {
    /// A writer.
    pub fn new(requests: Arc<Requests>, store: Arc<Store>, metrics: Arc<Metrics>, alerts: Arc<Alerts>) -> Self {
        Writer { requests, store, metrics, alerts, destroyed: Destroyed::default(), looks: Looks::default() }
    }

    pub(super) fn client(&self) -> Client {
        self.requests.client()
    }

    /// Takes note of the object that was decided about. Where the answer shows it as somebody else has made it meanwhile, it
    /// must be decided about again: the watch will tell nothing that is not known already.
    pub(super) fn note_of<K>(&self, target: &ObjectTarget<K>, object: Decoded<K>)
    where
        Decoded<K>: Indexed,
    {
        let changed = is_another(&target.metadata, &object.metadata);
        self.note(&target.key, object);
        if changed {
            self.store.enqueue([target.key.clone()].into());
        }
    }

    pub(super) fn note<T: Indexed>(&self, own: &Key, object: T) {
        let mut dirty = Dirty::new();
        object.upsert(&mut self.store.index_mut(), &mut dirty);
        dirty.remove(own);
        self.store.enqueue(dirty);
    }

    pub(super) fn forget<T: Indexed>(&self, own: &Key, name: &ObjectName) {
        let mut dirty = Dirty::new();
        T::remove(&mut self.store.index_mut(), name, &mut dirty);
        dirty.remove(own);
        self.store.enqueue(dirty);
    }
}

/// Whether what decisions depend on is another than it was.
fn is_another(decided: &ObjectMeta, answered: &ObjectMeta) -> bool {
    (decided.generation, &decided.labels) != (answered.generation, &answered.labels)
        || decided.deletion_timestamp.is_some() != answered.deletion_timestamp.is_some()
}

pub(super) fn create_params() -> PostParams {
    PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() }
}

/// The parameters of a patch.
pub(super) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_that_shows_another_object_is_no_answer_to_what_was_decided() {
        let meta = |more: serde_json::Value| -> ObjectMeta {
            let mut all = json!({"name": "lab", "generation": 3, "labels": {"team": "lab"}, "resourceVersion": "7"});
            all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            serde_json::from_value(all).unwrap()
        };
        let decided = meta(json!({}));
        for same in [json!({}), json!({"resourceVersion": "9"}), json!({"finalizers": ["cloister.dev/namespace"]})] {
            assert!(!is_another(&decided, &meta(same.clone())), "{same}");
        }
        for other in
            [json!({"generation": 4}), json!({"labels": {}}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})]
        {
            assert!(is_another(&decided, &meta(other.clone())), "{other}");
        }
    }
}
