//! What is declared in a benchmark: a catalogue, typical namespaces and typical grants.

use anyhow::{Result, bail};
use cloister_api::{
    AccessPolicy, AccessReview, CloisterConfig, EgressAllowlist, GrantMount, ResearchNamespace, StorageAccessGrant,
    StorageResource, labels,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::Secret,
    rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// Who asks for grants.
pub const PERSON: &str = "alice";

/// The groups of who asks.
pub const GROUPS: [&str; 1] = ["researchers"];

/// Who deletes what the operator keeps: nobody else but the operator may.
pub const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// How many grants each namespace has.
pub const GRANTS_PER_NAMESPACE: usize = 5;

/// The policy that asks one person.
pub const COURT: &str = "one-approver";

const ALLOWLISTS: [(&str, &str, u16); 2] =
    [("package-mirror", "203.0.113.0/24", 443), ("datasets", "198.51.100.0/24", 443)];

fn object<K: DeserializeOwned>(value: Value) -> Result<K> {
    Ok(serde_json::from_value(value)?)
}

/// A typical namespace: people in three roles, two allowlists, a quota, limits, and an account.
///
/// # Errors
///
/// It does not fit the kind.
pub fn namespace(name: &str) -> Result<ResearchNamespace> {
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": name, "labels": {"team": "bench"}},
        "spec": {
            "tier": "Standard",
            "members": [
                {"role": "Owner", "subjects": [{"kind": "Group", "name": "leads"}]},
                {"role": "Researcher", "subjects": [{"kind": "User", "name": PERSON}, {"kind": "User", "name": "bob"}]},
                {"role": "Viewer", "subjects": [{"kind": "Group", "name": "auditors"}]},
            ],
            "egress": {"allowlists": ALLOWLISTS.map(|(name, ..)| name)},
            "quota": {"requests.cpu": "64", "requests.nvidia.com/gpu": "8"},
            "limitRange": [{"type": "Container", "default": {"memory": "2Gi"}}],
            "serviceAccounts": [{"name": "trainer"}],
        },
    }))
}

/// The allowlists that the namespaces name.
///
/// # Errors
///
/// They do not fit the kind.
pub fn allowlists() -> Result<Vec<EgressAllowlist>> {
    let allowlist = |(name, network, port): (&str, &str, u16)| {
        object(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": name},
            "spec": {
                "description": "a network that security has agreed to", "namespaceSelector": {},
                "rules": [{"name": "https", "networks": [network], "ports": [{"port": port, "protocol": "TCP"}]}],
            },
        }))
    };
    ALLOWLISTS.into_iter().map(allowlist).collect()
}

/// Writes the allowlists, and what lets the people of the benchmark do what they do.
///
/// # Errors
///
/// The API server refuses something.
pub async fn write_catalogue(client: &Client) -> Result<()> {
    for allowlist in allowlists()? {
        create(Api::all(client.clone()), allowlist).await?;
    }
    // Everything but to act as somebody else, of which there would be an alarm.
    let role: ClusterRole = object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "bench:people"},
        "rules": [{
            "apiGroups": ["*"], "resources": ["*"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        }],
    }))?;
    create(Api::all(client.clone()), role).await?;
    for user in [PERSON, COLLECTOR] {
        let binding: ClusterRoleBinding = object(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("bench:{user}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bench:people"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))?;
        create(Api::all(client.clone()), binding).await?;
    }
    Ok(())
}

/// Waits until the API server serves watches of all our kinds, which it does a little later than lists.
///
/// # Errors
///
/// It does not.
pub async fn until_watchable(client: &Client) -> Result<()> {
    async fn one<K>(client: &Client) -> Result<()>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(client.clone());
        // From the cache, which is what serves watches, too.
        let cached = ListParams::default().match_any();
        for _ in 0..600 {
            if api.list(&cached).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} cannot be watched", K::plural(&()))
    }
    one::<ResearchNamespace>(client).await?;
    one::<EgressAllowlist>(client).await?;
    one::<StorageResource>(client).await?;
    one::<AccessPolicy>(client).await?;
    one::<StorageAccessGrant>(client).await?;
    one::<GrantMount>(client).await?;
    one::<CloisterConfig>(client).await
}

/// Writes the storage that the grants are for, with its credentials and a policy that agrees to everything.
///
/// # Errors
///
/// The API server refuses something.
pub async fn write_storage(client: &Client) -> Result<()> {
    let policy: AccessPolicy = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "automatic"},
        "spec": {
            "requesters": [{"kind": "Group", "name": GROUPS[0]}],
            "maxDuration": "24h", "autoApprove": ["true"], "limits": {"active": 10000, "pending": 10000},
        },
    }))?;
    create(Api::all(client.clone()), policy).await?;
    for at in 0..GRANTS_PER_NAMESPACE {
        let name = storage_name(at);
        let secret: Secret = object(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": name, "namespace": "cloister-credentials",
                "annotations": {labels::STORAGE_RESOURCES: name},
            },
            "stringData": {"account": name, "key": "not a key, but about as long as one: 0123456789abcdef"},
        }))?;
        create(Api::namespaced(client.clone(), "cloister-credentials"), secret).await?;
        let storage: StorageResource = object(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": name},
            "spec": {
                "description": "public checkpoints", "sensitivity": "Low",
                "endpoint": {"networks": [format!("192.0.2.{at}/32")], "ports": [{"port": 443, "protocol": "TCP"}]},
                "roles": [{
                    "name": "reader", "permissions": ["list", "read"], "accessPolicy": "automatic",
                    "clusterRole": "cloister:storage-reader",
                    "credential": {"secretRef": {"namespace": "cloister-credentials", "name": name}},
                }],
            },
        }))?;
        create(Api::all(client.clone()), storage).await?;
    }
    Ok(())
}

/// Writes a policy that asks one person, and a storage whose role is a ClusterRole alone.
///
/// # Errors
///
/// The API server refuses something.
pub async fn write_court(client: &Client) -> Result<()> {
    let policy: AccessPolicy = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": COURT},
        "spec": {
            "requesters": [{"kind": "User", "name": PERSON}], "maxDuration": "8h", "defaultDuration": "1h",
            "limits": {"active": 10000, "pending": 10000},
            "approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}],
        },
    }))?;
    create(Api::all(client.clone()), policy).await?;
    let storage: StorageResource = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": "decided"},
        "spec": {
            "sensitivity": "High",
            "roles": [{"name": "reader", "accessPolicy": COURT, "clusterRole": "cloister:storage-reader"}],
        },
    }))?;
    create(Api::all(client.clone()), storage).await
}

/// A request under that policy.
///
/// # Errors
///
/// It does not fit the kind.
pub fn request(namespace: &str, at: usize) -> Result<StorageAccessGrant> {
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant",
        "metadata": {"name": grant_name(at), "namespace": namespace},
        "spec": {
            "storage": "decided", "role": "reader", "justification": "a benchmark",
            "subjects": [{"kind": "User", "name": PERSON}],
        },
    }))
}

/// An approval of a request.
///
/// # Errors
///
/// It does not fit the kind, or the request is not one of the API server's.
pub fn approval(request: &StorageAccessGrant) -> Result<AccessReview> {
    let metadata = &request.metadata;
    let digest = request.status.as_ref().map(|status| status.digest.as_str()).filter(|digest| !digest.is_empty());
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview",
        "metadata": {"name": metadata.name, "namespace": metadata.namespace},
        "spec": {
            "requestRef": {"kind": "StorageAccessGrant", "name": metadata.name, "uid": metadata.uid},
            "digest": digest.map_or_else(|| format!("v1:sha256:{}", "0".repeat(64)), str::to_owned),
            "decision": "Approve",
        },
    }))
}

/// The binding of a request that was approved.
///
/// # Errors
///
/// It does not fit the kind.
pub fn binding(request: &StorageAccessGrant) -> Result<RoleBinding> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": format!("cloister-grant.{name}"),
            "labels": {
                labels::MANAGED_BY: labels::MANAGER, labels::GRANT: name, labels::GRANT_KIND: "StorageAccessGrant",
            },
            "ownerReferences": [{
                "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "name": name,
                "uid": request.metadata.uid,
            }],
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:storage-reader",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": PERSON}],
    }))
}

fn storage_name(at: usize) -> String {
    format!("checkpoints-{at}")
}

/// The name of one of a namespace's grants.
pub fn grant_name(at: usize) -> String {
    format!("eval-{at}")
}

/// One of a namespace's grants, each for storage of its own, that ends at this time.
///
/// # Errors
///
/// It does not fit the kind.
pub fn grant(namespace: &str, at: usize, end: Timestamp) -> Result<StorageAccessGrant> {
    let duration = SignedDuration::from_hours(2);
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant",
        "metadata": {"name": grant_name(at), "namespace": namespace},
        "spec": {
            "storage": storage_name(at), "role": "reader",
            "mount": {"serviceAccountName": "trainer", "mountPath": format!("/var/run/cloister/{}", storage_name(at))},
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
            "requestedDuration": format!("{}s", duration.as_secs()),
            "startTime": (end - duration).to_string(),
            "justification": "a benchmark",
        },
    }))
}

async fn create<K>(api: Api<K>, object: K) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + serde::Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}
