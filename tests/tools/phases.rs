//! What waits by kstatus for a grant that opens something outside of its namespace: of each kind, and while what it opened
//! is taken away.

use crate::{
    kstatus::{comes_to, decide, later, seen_of},
    stage::{Stage, stage},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

const NAMESPACE: &str = "taken-away";

/// What the pods of the account mount.
const COPY: &str = "cloister-grant-taken-away.reader.trainer";

fn object_of(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn catalogue() -> String {
    let credentials = "cloister-credentials";
    let security = json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let items = json!([
        {
            "apiVersion": "v1", "kind": "Secret", "stringData": {"token": "opens-nothing"},
            "metadata": {
                "name": NAMESPACE, "namespace": credentials,
                "annotations": {"cloister.dev/storage-resources": NAMESPACE, "cloister.dev/minimum-sensitivity": "Low"},
            },
        },
        object_of("AccessPolicy", None, NAMESPACE, json!({
            "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "1h", "autoApprove": ["true"],
            "approvalRules": security,
        })),
        object_of("StorageResource", None, NAMESPACE, json!({
            "sensitivity": "Low",
            "endpoint": {"networks": ["198.51.100.0/28"], "ports": [{"port": 443}]},
            "roles": [{
                "name": "reader", "accessPolicy": NAMESPACE, "clusterRole": "cloister:storage-reader",
                "credential": {"secretRef": {"namespace": credentials, "name": NAMESPACE}},
            }],
        })),
        object_of("ResearchNamespace", None, NAMESPACE, json!({
            "tier": "Standard", "serviceAccounts": [{"name": "trainer"}],
            "members": [{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}],
        })),
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The pod that goes on holding the credential, as a finalizer keeps it.
fn pod() -> String {
    let main = json!({
        "name": "main", "image": "example.com/none",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "worker", "namespace": NAMESPACE, "finalizers": ["example.com/slow"]},
        "spec": {
            "serviceAccountName": "trainer", "containers": [main],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    })
    .to_string()
}

/// Asks as alice.
async fn ask(stage: &Stage, kind: &str, name: &str, mut spec: Value) -> Result<()> {
    spec["justification"] = json!("to be seen");
    if spec["requestedDuration"].is_null() {
        spec["requestedDuration"] = json!("30m");
    }
    let text = object_of(kind, Some(NAMESPACE), name, spec).to_string();
    eventually("alice's rights", async || stage.ok("alice", &["create", "-f", "-"], &text)).await.map(drop)
}

fn let_go(stage: &Stage) -> Result<()> {
    let bare = r#"{"metadata":{"finalizers":null}}"#;
    stage.ok("admin", &["patch", "pod", "worker", "-n", NAMESPACE, "--type=merge", "-p", bare], "").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_worked_on_and_then_done() -> Result<()> {
    let stage = stage().await;
    stage.ok("admin", &["create", "-f", "-"], &catalogue())?;
    stage.ok("admin", &["wait", "--for=condition=Ready", &format!("rns/{NAMESPACE}"), "--timeout=30s"], "")?;

    let mount = json!({"serviceAccountName": "trainer", "mountPath": "/var/run/cloister/data"});
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let storage = json!({"storage": NAMESPACE, "role": "reader", "mount": mount, "subjects": subjects});
    ask(stage, "StorageAccessGrant", "held", storage).await?;
    let to = |network: &str| json!({"rule": {"name": "lab", "networks": [network], "ports": [{"port": 22}]}});
    for name in ["opened", "refused"] {
        ask(stage, "EgressGrant", name, to("192.0.2.128/28")).await?;
        comes_to(stage, ("EgressGrant", NAMESPACE, name), "Pending", "Current").await?;
    }
    decide(stage, ("EgressGrant", NAMESPACE, "refused"), "Deny", "Pending").await?;
    decide(stage, ("EgressGrant", NAMESPACE, "opened"), "Approve", "Pending").await?;
    comes_to(stage, ("EgressGrant", NAMESPACE, "refused"), "Denied", "Current").await?;
    comes_to(stage, ("EgressGrant", NAMESPACE, "opened"), "Active", "Current").await?;
    decide(stage, ("EgressGrant", NAMESPACE, "opened"), "Revoke", "Active").await?;
    comes_to(stage, ("EgressGrant", NAMESPACE, "opened"), "Revoked", "Current").await?;
    for (name, differs, phase) in
        [("later", json!({"startTime": later()}), "Approved"), ("over", json!({"requestedDuration": "1s"}), "Expired")]
    {
        let mut spec = to("192.0.2.128/28");
        differs.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
        ask(stage, "EgressGrant", name, spec).await?;
        decide(stage, ("EgressGrant", NAMESPACE, name), "Approve", "Pending").await?;
        comes_to(stage, ("EgressGrant", NAMESPACE, name), phase, "Current").await?;
    }
    // It can never be opened.
    ask(stage, "EgressGrant", "broken", to("169.254.169.254/32")).await?;
    comes_to(stage, ("EgressGrant", NAMESPACE, "broken"), "Pending", "Failed").await?;
    let requests_wait = |most: Value| {
        let patch = json!({"spec": {"pendingRequestTTL": most}}).to_string();
        stage.ok("admin", &["patch", "accesspolicy", "egress", "--type=merge", "-p", &patch], "")
    };
    requests_wait(json!("1s"))?;
    ask(stage, "EgressGrant", "late", to("192.0.2.128/28")).await?;
    comes_to(stage, ("EgressGrant", NAMESPACE, "late"), "TimedOut", "Current").await?;
    requests_wait(Value::Null)?;

    comes_to(stage, ("StorageAccessGrant", NAMESPACE, "held"), "Active", "Current").await?;
    eventually("a pod with the credential", async || {
        let made = stage.ok("admin", &["create", "-o", "json", "-f", "-"], &pod())?;
        if made.contains(COPY) {
            return Ok(());
        }
        let_go(stage)?;
        stage.ok("admin", &["delete", "pod", "worker", "-n", NAMESPACE, "--force"], "")?;
        anyhow::bail!("it was admitted without")
    })
    .await?;
    decide(stage, ("StorageAccessGrant", NAMESPACE, "held"), "Revoke", "Active").await?;
    comes_to(stage, ("StorageAccessGrant", NAMESPACE, "held"), "Revoking", "InProgress").await?;
    let_go(stage)?;
    comes_to(stage, ("StorageAccessGrant", NAMESPACE, "held"), "Revoked", "Current").await?;

    let seen = seen_of(stage, "StorageResource", NAMESPACE)?;
    ensure!(seen.status == "Current", "{seen:?}");
    let reviews: Vec<_> = stage.kstatus()?.into_iter().filter(|seen| seen.kind == "AccessReview").collect();
    let ours: Vec<_> =
        reviews.iter().filter(|seen| seen.name.starts_with("held-") || seen.name.starts_with("opened-")).collect();
    ensure!(ours.len() == 3 && ours.iter().all(|seen| seen.status == "Current"), "{ours:?}");
    Ok(())
}
