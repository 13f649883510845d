//! The copies of credentials. The operator writes them and can read none: what stands under the name of one it knows by
//! what the API server answers to a write.

use super::writer::{Writer, create_params, patch_params};
use crate::error::Error;
use cloister_api::{SecretReference, labels};
use cloister_core::grant::{copy_meta, mount_key, mount_of_secret};
use either::Either;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// The type of a Secret that says nothing of what is in it, as that of a copy does.
const OPAQUE: &str = "Opaque";

impl Writer {
    /// Writes a copy. What stands under its name and cannot be made one, or is more than one, is another's, and goes.
    pub(super) async fn copy_credential(&self, namespace: &str, from: &SecretReference, to: &str) -> Result<(), Error> {
        self.destroyed.forget(namespace, to);
        let source: Api<Secret> = Api::namespaced(self.client(), &from.namespace);
        let what = || format!("read Secret {}/{}", from.namespace, from.name);
        let kept = self.requests.request(what, source.get(&from.name)).await?;
        let Some(data) = kept.data.filter(|data| !data.is_empty()) else {
            return Err(Error::CredentialGone { namespace: from.namespace.clone(), name: from.name.clone() });
        };
        // Whatever becomes of this operator meanwhile, the copy does not outlive its mount.
        let mount = mount_of_secret(to).unwrap_or(to);
        let uid = {
            let index = self.store.index();
            let known = index.children.get(namespace).and_then(|children| children.all.get(&mount_key(mount)));
            known.and_then(|known| known.uid.clone())
        };
        let Some(uid) = uid else {
            return Err(Error::MountGone { namespace: namespace.to_owned(), name: mount.to_owned() });
        };
        let copy = Secret { metadata: copy_meta(namespace, mount, &uid), data: Some(data), ..Secret::default() };
        let api: Api<Secret> = Api::namespaced(self.client(), namespace);
        let what = || format!("write Secret {namespace}/{to}");
        self.metrics.wrote("patch", "Secret");
        let params = PatchParams::apply(labels::MANAGER).force();
        match self.requests.request(what, api.patch(to, &params, &Patch::Apply(&copy))).await {
            Ok(written) if is_copy(&written, &copy) => return Ok(()),
            Ok(_) => {}
            // What is of another type, or immutable, refuses for good to be written.
            Err(error) if error.is_final() && self.is_in_the_way(&api, what, &copy).await => {}
            Err(error) => return Err(error),
        }
        self.delete_secret(&api, namespace, to).await?;
        self.metrics.wrote("create", "Secret");
        let written = self.requests.request(what, api.create(&create_params(), &copy)).await?;
        if is_copy(&written, &copy) {
            Ok(())
        } else {
            Err(Error::NotAsWritten { what: format!("Secret {namespace}/{to}") })
        }
    }

    pub(super) async fn destroy_credential(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.empty_and_delete(namespace, name).await?;
        self.destroyed.note(namespace, name);
        Ok(())
    }

    async fn empty_and_delete(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let api: Api<Secret> = Api::namespaced(self.client(), namespace);
        // Emptied first: the kubelets take an emptied Secret out of running pods, too.
        let empty = json!({"data": null});
        let params = patch_params();
        self.metrics.wrote("patch", "Secret");
        let what = || format!("empty Secret {namespace}/{name}");
        match self.requests.request(what, api.patch(name, &params, &Patch::Merge(&empty))).await {
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
        self.metrics.wrote("delete", "Secret");
        match self.requests.request(what, api.delete(name, &DeleteParams::default())).await {
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
        && written.metadata.owner_references.as_deref().unwrap_or_default()
            == copy.metadata.owner_references.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_more_is_no_copy() {
        let of = |value: serde_json::Value| -> Secret { serde_json::from_value(value).unwrap() };
        let mount = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount", "name": "a", "uid": "m"});
        let owned = json!({"name": "a", "ownerReferences": [mount]});
        let copy = of(json!({"metadata": owned, "data": {"token": "eA=="}}));
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "u"});
        for (written, is) in [
            (json!({"data": {"token": "eA=="}, "metadata": {"ownerReferences": [mount]}}), true),
            (
                json!({"data": {"token": "eA=="}, "type": "Opaque", "metadata": {"uid": "u", "ownerReferences": [mount]}}),
                true,
            ),
            (json!({"data": {"token": "eQ=="}, "metadata": owned}), false),
            (json!({"data": {"token": "eA==", "more": "eA=="}, "metadata": owned}), false),
            (json!({"data": {"token": "eA=="}, "immutable": true, "metadata": owned}), false),
            (
                json!({"data": {"token": "eA=="}, "type": "kubernetes.io/service-account-token", "metadata": owned}),
                false,
            ),
            (json!({"data": {"token": "eA=="}, "metadata": {"ownerReferences": [mount, owner]}}), false),
            (json!({"data": {"token": "eA=="}}), false),
        ] {
            assert_eq!(is_copy(&of(written.clone()), &copy), is, "{written}");
        }
    }
}
