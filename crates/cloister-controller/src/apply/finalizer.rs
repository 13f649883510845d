//! Puts finalizers on objects, and takes them off.

use super::{
    target::ObjectTarget,
    writer::{Writer, patch_params},
};
use crate::error::Error;
use cloister_index::{decode::Decoded, index::Indexed, key::ObjectName};
use kube::{Resource, api::Patch};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

impl Writer {
    pub(super) async fn finalizer<K>(&self, target: &ObjectTarget<K>, add: bool) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let name = target.metadata.name.as_deref().unwrap_or_default();
        let held = target.metadata.finalizers.iter().flatten().map(String::as_str);
        let finalizers: Vec<&str> =
            held.filter(|held| *held != target.finalizer).chain(add.then_some(target.finalizer)).collect();
        // Not by version: the first status is written at the same time.
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": target.metadata.uid})];
        if let Some(held) = target.metadata.finalizers.as_ref().filter(|held| !held.is_empty()) {
            patch.push(json!({"op": "test", "path": "/metadata/finalizers", "value": held}));
        }
        patch.push(json!({"op": "add", "path": "/metadata/finalizers", "value": finalizers}));
        let patch: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap_or_default();
        let patch = Patch::Json::<()>(patch);
        let verb = if add { "set the finalizer" } else { "remove the finalizer" };
        let params = patch_params();
        self.metrics.wrote("patch", target.key.kind());
        let result =
            self.requests.request(|| format!("{verb} {}", target.key), target.api.patch(name, &params, &patch)).await;
        match result {
            Ok(object) if object.metadata.deletion_timestamp.is_some() && finalizers.is_empty() => {
                self.forget::<Decoded<K>>(&target.key, &ObjectName::of(&object.metadata));
                Ok(())
            }
            Ok(object) => {
                self.note_of(target, object);
                Ok(())
            }
            Err(error) if !add && error.category() == "not_found" => Ok(()),
            Err(error) => Err(error),
        }
    }
}
