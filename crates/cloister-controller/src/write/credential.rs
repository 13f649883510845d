//! The copies of credentials. The operator writes them and can read none: what stands under the name of one it knows by
//! what the API server answers to a write.

use super::{Writer, create_params};
use crate::error::Error;
use cloister_api::{SecretReference, labels};
use either::Either;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// The type of a Secret that says nothing of what is in it, as that of a copy does.
const OPAQUE: &str = "Opaque";

impl Writer<'_> {
    /// Writes a copy. What stands under its name and cannot be made one, or is more than one, is another's, and goes.
    pub(super) async fn copy_credential(&self, namespace: &str, from: &SecretReference, to: &str) -> Result<(), Error> {
        self.context.destroyed.forget(namespace, to);
        let source: Api<Secret> = Api::namespaced(self.context.client.clone(), &from.namespace);
        let what = || format!("read Secret {}/{}", from.namespace, from.name);
        let kept = self.request(what, source.get(&from.name)).await?;
        let Some(data) = kept.data.filter(|data| !data.is_empty()) else {
            return Err(Error::CredentialGone { namespace: from.namespace.clone(), name: from.name.clone() });
        };
        let copy = Secret {
            metadata: cloister_core::namespace::children::object_meta(namespace, to),
            data: Some(data),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), namespace);
        let what = || format!("write Secret {namespace}/{to}");
        self.context.metrics.wrote("patch", "Secret");
        let params = PatchParams::apply(labels::MANAGER).force();
        match self.request(what, api.patch(to, &params, &Patch::Apply(&copy))).await {
            Ok(written) if is_copy(&written, &copy) => return Ok(()),
            Ok(_) => {}
            // What is of another type, or immutable, refuses for good to be written.
            Err(error) if error.is_final() && self.is_in_the_way(&api, what, &copy).await => {}
            Err(error) => return Err(error),
        }
        self.delete_secret(&api, namespace, to).await?;
        self.context.metrics.wrote("create", "Secret");
        let written = self.request(what, api.create(&create_params(), &copy)).await?;
        if is_copy(&written, &copy) {
            Ok(())
        } else {
            Err(Error::NotAsWritten { what: format!("Secret {namespace}/{to}") })
        }
    }

    pub(super) async fn destroy_credential(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.empty_and_delete(namespace, name).await?;
        self.context.destroyed.note(namespace, name);
        Ok(())
    }

    async fn empty_and_delete(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), namespace);
        // Emptied first: the kubelets take an emptied Secret out of running pods, too.
        let empty = json!({"data": null});
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        self.context.metrics.wrote("patch", "Secret");
        let what = || format!("empty Secret {namespace}/{name}");
        match self.request(what, api.patch(name, &params, &Patch::Merge(&empty))).await {
            Ok(_) => {}
            Err(error) if error.category() == "not_found" => return Ok(()),
            // What cannot be emptied, such as one that is immutable, goes all the same.
            Err(error) if error.is_final() => {}
            Err(error) => return Err(error),
        }
        self.delete_secret(&api, namespace, name).await
    }

    async fn delete_secret(&self, api: &Api<Secret>, namespace: &str, name: &str) -> Result<(), Error> {
        let what = || format!("delete Secret {namespace}/{name}");
        self.context.metrics.wrote("delete", "Secret");
        match self.request(what, api.delete(name, &DeleteParams::default())).await {
            Ok(Either::Left(secret)) if secret.metadata.finalizers.as_ref().is_some_and(|held| !held.is_empty()) => {
                Err(Error::NotGone { what: format!("Secret {namespace}/{name}") })
            }
            Ok(_) => Ok(()),
            Err(error) if error.category() == "not_found" => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a Secret is a copy as it was written: what holds it is that and nothing besides, and it can be emptied.
fn is_copy(written: &Secret, copy: &Secret) -> bool {
    written.data == copy.data
        && written.type_.as_deref().is_none_or(|type_| type_ == OPAQUE)
        && written.immutable != Some(true)
        && written.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_more_is_no_copy() {
        let of = |value: serde_json::Value| -> Secret { serde_json::from_value(value).unwrap() };
        let copy = of(json!({"metadata": {"name": "a"}, "data": {"token": "eA=="}}));
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "u"});
        for (written, is) in [
            (json!({"data": {"token": "eA=="}}), true),
            (json!({"data": {"token": "eA=="}, "type": "Opaque", "metadata": {"uid": "u"}}), true),
            (json!({"data": {"token": "eQ=="}}), false),
            (json!({"data": {"token": "eA==", "more": "eA=="}}), false),
            (json!({"data": {"token": "eA=="}, "immutable": true}), false),
            (json!({"data": {"token": "eA=="}, "type": "kubernetes.io/service-account-token"}), false),
            (json!({"data": {"token": "eA=="}, "metadata": {"ownerReferences": [owner]}}), false),
        ] {
            assert_eq!(is_copy(&of(written.clone()), &copy), is, "{written}");
        }
    }
}
