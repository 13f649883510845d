//! Writes the status of an object.

use super::{
    target::ObjectTarget,
    writer::{Writer, create_params, patch_params},
};
use crate::error::Error;
use cloister_index::{decode::Decoded, index::Indexed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, api::Patch};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::fmt::Debug;

impl Writer {
    /// Writes the status of an object, whole, in the version that was read.
    ///
    /// A replacement costs the API server less than a patch: it need not write the object out to apply one.
    ///
    /// # Errors
    ///
    /// The request failed, also because the object is no longer what was read. That it is gone is no failure.
    pub async fn status<K, S>(&self, target: &ObjectTarget<K>, status: &S) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = &target.metadata;
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": resource_version},
            "status": status,
        });
        let name = name.as_deref().unwrap_or_default();
        let request = kube::core::Request::new(target.api.resource_url())
            .replace_subresource("status", name, &create_params(), body.to_string().into_bytes())
            .map_err(kube::Error::BuildRequest);
        let client = self.client();
        self.metrics.wrote("update", target.key.kind());
        let request = async move { client.request(request?).await };
        self.said(target, self.requests.request(|| format!("write the status of {}", target.key), request).await)
    }

    /// Writes the status of an object, whole, in whatever version it is: its finalizer is written too. One that is in another
    /// phase by now has moved on without this operator, which may have been stopped for long: it stays as it is.
    ///
    /// # Errors
    ///
    /// The request failed, also because the object has moved on. That it is gone is no failure.
    pub async fn status_of_any_version<K, S>(&self, target: &ObjectTarget<K>, status: &S) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        let name = target.metadata.name.as_deref().unwrap_or_default();
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": target.metadata.uid})];
        patch.extend(target.found.test());
        patch.push(json!({"op": "add", "path": "/status", "value": status}));
        let patch: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap_or_default();
        let params = patch_params();
        let patch = Patch::Json::<()>(patch);
        self.metrics.wrote("patch", target.key.kind());
        let request = target.api.patch_status(name, &params, &patch);
        self.said(target, self.requests.request(|| format!("write the status of {}", target.key), request).await)
    }

    fn said<K>(&self, target: &ObjectTarget<K>, answer: Result<Decoded<K>, Error>) -> Result<(), Error>
    where
        Decoded<K>: Indexed,
    {
        match answer {
            Ok(object) => {
                self.alerts.status_written();
                self.note_of(target, object);
                Ok(())
            }
            Err(error) if error.category() == "not_found" => Ok(()),
            Err(error) => Err(error),
        }
    }
}
