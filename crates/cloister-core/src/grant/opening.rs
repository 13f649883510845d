//! What a grant opens while it lasts.

use super::{Input, target::GrantTarget};
use crate::{
    child::{Child, ChildKey, ChildKind},
    egress::{Refusal, Surroundings, open_endpoint},
    namespace::{
        children::{object_meta, role_binding},
        policies,
    },
};
use cloister_api::{GrantMount, GrantMountSpec, Mount, StorageAccessGrant, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// What overlapping grants share: the mount of one role of one storage for one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The StorageResource.
    pub storage: String,
    /// Its role.
    pub role: String,
    /// The ServiceAccount.
    pub account: String,
}

impl Share {
    /// What a grant shares, where it has a mount.
    pub fn of(grant: &StorageAccessGrant) -> Option<Self> {
        grant.spec.mount.as_ref().map(|mount| Share {
            storage: grant.spec.storage.clone(),
            role: grant.spec.role.clone(),
            account: mount.service_account_name.clone(),
        })
    }
}

/// The name of the GrantMount. None of the parts holds a dot, so that no two shares have one name.
pub fn mount_name(share: &Share) -> String {
    format!("{}.{}.{}", share.storage, share.role, share.account)
}

/// The name of the Secret: it ends in the account, so that an admission policy can tell who may reference it.
pub fn secret_name(share: &Share) -> String {
    format!("{}{}", labels::GRANT_SECRET_PREFIX, mount_name(share))
}

/// The children that one grant opens for itself, and why its endpoint stays closed, if it does.
pub fn children(
    grant: &StorageAccessGrant,
    target: &GrantTarget<'_>,
    input: &Input<'_>,
) -> (Vec<Child>, Option<Refusal>) {
    let mut children = Vec::new();
    if let Some(role) = &target.role.cluster_role {
        let metadata = owned_meta(grant, input);
        children.push(Child::RoleBinding(role_binding(metadata, role, input.namespace, &grant.spec.subjects)));
    }
    let refusal = match &target.storage.spec.endpoint {
        None => None,
        Some(endpoint) => {
            let pods = grant.spec.mount.as_ref().map(|mount| pods_of(&mount.service_account_name));
            let surroundings = Surroundings { never: &input.settings.never, services: input.services };
            match open_endpoint(endpoint, pods.as_ref(), &surroundings) {
                Ok(opening) => {
                    let mut policy = policies::opening(input.namespace, "", &opening);
                    policy.metadata = owned_meta(grant, input);
                    children.push(Child::NetworkPolicy(policy));
                    None
                }
                Err(refusal) => Some(refusal),
            }
        }
    };
    (children, refusal)
}

/// The mount of a share, with the version of the credential that stands behind it.
pub fn grant_mount(namespace: &str, share: &Share, mount: &Mount, version: &str) -> Child {
    let name = mount_name(share);
    let mut metadata = object_meta(namespace, &name);
    metadata.annotations = Some(BTreeMap::from([(labels::CREDENTIAL_VERSION.to_owned(), version.to_owned())]));
    Child::GrantMount(Box::new(GrantMount {
        metadata,
        spec: GrantMountSpec {
            service_account_name: share.account.clone(),
            secret_name: secret_name(share),
            volume_name: volume_name(share),
            mount_path: mount.mount_path.clone(),
        },
    }))
}

/// The key of a share's mount.
pub fn mount_key(share: &Share) -> ChildKey {
    ChildKey::new(ChildKind::GrantMount, &mount_name(share))
}

/// A volume's name has at most 63 characters, so it is a digest.
fn volume_name(share: &Share) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(mount_name(share).as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("cloister-{hex}")
}

/// The pods of an account, by the label that admission sets and checks.
fn pods_of(account: &str) -> LabelSelector {
    let label = (labels::SERVICE_ACCOUNT.to_owned(), account.to_owned());
    LabelSelector { match_labels: Some(BTreeMap::from([label])), match_expressions: None }
}

/// The metadata of what belongs to one grant, which the grant owns: it does not outlive the grant, whatever happens to
/// the operator.
fn owned_meta(grant: &StorageAccessGrant, input: &Input<'_>) -> ObjectMeta {
    let mut metadata = object_meta(input.namespace, &format!("cloister-grant.{}", input.name));
    metadata.labels.get_or_insert_default().insert(labels::GRANT.to_owned(), input.name.to_owned());
    metadata.owner_references = grant.metadata.uid.clone().map(|uid| {
        vec![OwnerReference {
            api_version: format!("{}/{}", cloister_api::GROUP, cloister_api::VERSION),
            kind: "StorageAccessGrant".to_owned(),
            name: input.name.to_owned(),
            uid,
            controller: None,
            block_owner_deletion: None,
        }]
    });
    metadata
}
