//! Pods that reach for what a grant gave to others.

use crate::{
    ledger::attack,
    people::{all_denied, all_forbidden},
    story::{Story, container, pod, text},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

const SECRETS: &str = "grant-secrets.cloister.dev";
const OTHERS: &str = "is a credential of a grant, for pods of the ServiceAccount that its name ends in";
const IDENTITY: &str = "pod-identity.cloister.dev";
const LABEL: &str = "cloister.dev/service-account";

#[tokio::test]
async fn a_pod_does_not_claim_another_account() -> Result<()> {
    let attack = attack("a pod relabelled into a grant, on create, update, patch, apply and by its subresources");
    let story = Story::new("relabel").await?;
    story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    let label = json!({"metadata": {"labels": {LABEL: "trainer"}}});
    let mut claims = pod("other");
    claims["metadata"] = label["metadata"].clone();
    alice.create("Pod", "claims", claims.clone()).await.denied_by(IDENTITY, "is set for you").await?;
    alice.apply("Pod", "claims", claims.clone()).await.denied_by(IDENTITY, "is set for you").await?;
    alice.generate("Pod", "claims-", pod("other")).await.ok()?;

    alice.create("Pod", "other", pod("other")).await.ok()?;
    all_denied(alice.change("Pod", "other", label.clone()).await, IDENTITY, "is set for you").await?;
    let by_status = story.root.change("Pod/status", "other", label.clone()).await;
    all_denied(by_status, IDENTITY, "is set for you").await?;
    for subresource in ["Pod/ephemeralcontainers", "Pod/resize"] {
        let answer = story.root.merge(subresource, "other", label.clone()).await;
        ensure!(answer.code >= 400 || answer.body["metadata"]["labels"][LABEL] == "other", "{}", answer.body);
    }
    let bind = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "other", "labels": {LABEL: "trainer"}},
        "target": {"kind": "Node", "name": "node"},
    });
    alice.post("Pod/binding", "other", bind.clone()).await.forbidden().await?;
    story.root.post("Pod/binding", "other", bind).await.denied_by("pod-binding.cloister.dev", "leave them out").await?;
    let after = alice.get("Pod", "other").await.ok()?;
    ensure!(after["metadata"]["labels"][LABEL] == "other", "{after}");
    attack.held()
}

fn csi(driver: &str, secret: &str) -> Value {
    json!([{"name": "v", "csi": {"driver": driver, "nodePublishSecretRef": {"name": secret}}}])
}

/// Every way in which a pod names a Secret that Pod Security admits, and those that it does not.
fn forms(secret: &str) -> Vec<Value> {
    let with = |field: &str, value: Value| {
        let mut one = pod("other");
        one["spec"][field] = value;
        one
    };
    let main = |field: &str, value: Value| {
        let mut main = container("main");
        main[field] = value;
        json!([main])
    };
    let key =
        json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token", "optional": true}}}]);
    let from = json!([{"secretRef": {"name": secret}}]);
    vec![
        with("volumes", json!([{"name": "v", "secret": {"secretName": secret}}])),
        with("volumes", json!([{"name": "v", "projected": {"sources": [{"secret": {"name": secret}}]}}])),
        with("volumes", csi("listed.example.com", secret)),
        with("imagePullSecrets", json!([{"name": secret}])),
        with("containers", main("env", key.clone())),
        with("containers", main("envFrom", from.clone())),
        with("initContainers", main("env", key)),
        with("initContainers", main("envFrom", from)),
    ]
}

#[tokio::test]
async fn a_pod_of_another_account_does_not_get_the_credential() -> Result<()> {
    let attack = attack("the copy named by another account's pod: volume, projected, csi, pull secret, env, envFrom");
    let story = Story::new("thief").await?;
    story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    for form in forms(&story.copy()) {
        let mut form = form;
        if form["spec"]["initContainers"].is_array() {
            form["spec"]["initContainers"][0]["name"] = json!("init");
        }
        alice.create("Pod", "thief", form.clone()).await.denied_by(SECRETS, OTHERS).await?;
        alice.generate("Pod", "thief-", form.clone()).await.denied_by(SECRETS, OTHERS).await?;
        alice.apply("Pod", "thief", form).await.denied_by(SECRETS, OTHERS).await?;
    }
    let mut unlisted = pod("other");
    unlisted["spec"]["volumes"] = csi("unlisted.example.com", &story.copy());
    alice.create("Pod", "thief", unlisted).await.denied_by_some("", "denied request: ").await?;
    let mut lax = pod("default");
    lax["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": story.copy()}}]);
    alice.create("Pod", "thief", lax).await.denied_by(SECRETS, "this pod runs as default").await?;
    ensure!(alice.get("Pod", "thief").await.code == 404);
    attack.held()
}

#[tokio::test]
async fn a_running_pod_of_another_account_does_not_get_the_credential() -> Result<()> {
    let attack = attack("the copy named by an ephemeral container");
    let story = Story::new("debug").await?;
    story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    alice.create("Pod", "other", pod("other")).await.ok()?;
    let mut debugger = container("debug");
    debugger["envFrom"] = json!([{"secretRef": {"name": story.copy()}}]);
    let change = json!({"spec": {"ephemeralContainers": [debugger]}});
    all_forbidden(alice.change("Pod/ephemeralcontainers", "other", change.clone()).await).await?;
    for answer in [
        story.root.merge("Pod/ephemeralcontainers", "other", change.clone()).await,
        story.root.replace("Pod/ephemeralcontainers", "other", &change).await,
    ] {
        answer.denied_by(SECRETS, OTHERS).await?;
    }
    let after = alice.get("Pod", "other").await.ok()?;
    ensure!(after["spec"]["ephemeralContainers"].is_null());
    attack.held()
}

#[tokio::test]
async fn a_controller_makes_no_such_pod_either() -> Result<()> {
    let attack = attack("the copy named by a Deployment of another account");
    let story = Story::new("deploy").await?;
    story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    let mut template = pod("other");
    template["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": story.copy()}}]);
    template["metadata"] = json!({"labels": {"app": "thief"}});
    let deployment =
        json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "thief"}}, "template": template}});
    alice.create("Deployment", "thief", deployment).await.ok()?;
    eventually("its controller to be told", async || {
        let deployment = alice.get("Deployment", "thief").await.ok()?;
        let failure = crate::story::condition(&deployment, "ReplicaFailure");
        let told = failure.map(|failure| text(&failure["message"])).unwrap_or_default();
        ensure!(told.contains(SECRETS) && told.contains(OTHERS), "it says {told:?}");
        Ok(())
    })
    .await?;
    let pods = alice.list("Pod").await.ok()?;
    ensure!(pods["items"].as_array().is_some_and(Vec::is_empty), "{pods}");
    attack.held()
}

#[tokio::test]
async fn an_account_does_not_bring_the_credential_along() -> Result<()> {
    let attack = attack("the copy named by the pull secrets of an account");
    let story = Story::new("smuggle").await?;
    story.opened("run", json!({})).await?;
    let smuggles = json!({"imagePullSecrets": [{"name": story.copy()}]});
    for who in ["alice", "olga"] {
        all_forbidden(story.person(who).await?.change("ServiceAccount", "other", smuggles.clone()).await).await?;
    }
    let says = "is managed by Cloister, which alone writes it";
    let answers = story.root.change("ServiceAccount", "other", smuggles.clone()).await;
    all_denied(answers, "managed-objects.cloister.dev", says).await?;
    // An account of one's own brings it to nobody.
    story.root.create("ServiceAccount", "mule", smuggles).await.ok()?;
    eventually("the account to be seen", async || {
        let refused = story.person("alice").await?.create("Pod", "mule", pod("mule")).await;
        refused.denied_by(SECRETS, OTHERS).await
    })
    .await?;
    attack.held()
}

#[tokio::test]
async fn a_pod_does_not_leave_the_network() -> Result<()> {
    let attack = attack("hostNetwork, host ports, host paths, host processes and privileged containers");
    let story = Story::new("host").await?;
    let alice = story.person("alice").await?;
    let with = |pointer: &str, value: Value| {
        let mut one = pod("trainer");
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(parent) = one["spec"].pointer_mut(parent) {
            parent[key] = value;
        }
        one
    };
    for one in [
        with("/hostNetwork", json!(true)),
        with("/hostPID", json!(true)),
        with("/hostIPC", json!(true)),
        with("/containers/0/ports", json!([{"containerPort": 80, "hostPort": 80}])),
        with("/volumes", json!([{"name": "v", "hostPath": {"path": "/var/lib/kubelet"}}])),
        with("/containers/0/securityContext", json!({"privileged": true})),
        with("/containers/0/securityContext/capabilities", json!({"drop": ["ALL"], "add": ["NET_ADMIN"]})),
    ] {
        alice.create("Pod", "host", one.clone()).await.refused(403, "violates PodSecurity \"restricted").await?;
        story.root.apply("Pod", "host", one).await.refused(403, "violates PodSecurity \"restricted").await?;
    }
    ensure!(alice.get("Pod", "host").await.code == 404);
    attack.held()
}

#[tokio::test]
async fn a_pod_does_not_choose_its_node() -> Result<()> {
    let attack = attack("nodeName, past the scheduler, on create and by a Binding");
    let story = Story::new("node").await?;
    let alice = story.person("alice").await?;
    let mut there = pod("trainer");
    there["spec"]["nodeName"] = json!("control-plane");
    for answer in [
        alice.create("Pod", "there", there.clone()).await,
        alice.generate("Pod", "there-", there.clone()).await,
        story.root.apply("Pod", "there", there).await,
    ] {
        answer.denied_by("pod-node.cloister.dev", "the scheduler chooses the node").await?;
    }
    alice.create("Pod", "free", pod("trainer")).await.ok()?;
    let bind = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "free"},
        "target": {"kind": "Node", "name": "control-plane"},
    });
    alice.post("Pod/binding", "free", bind).await.forbidden().await?;
    let change = json!({"spec": {"nodeName": "control-plane"}});
    alice.merge("Pod", "free", change).await.refused(422, "pod updates may not change fields").await?;
    ensure!(alice.get("Pod", "free").await.ok()?["spec"]["nodeName"].is_null());
    attack.held()
}

#[tokio::test]
async fn nobody_enters_a_pod() -> Result<()> {
    let attack = attack("exec, attach, port-forward and the proxy by members without a grant");
    let story = Story::new("enter").await?;
    story.opened("run", json!({})).await?;
    story.root.create("Pod", "worker", pod("trainer")).await.ok()?;
    for who in ["alice", "olga", "sam", "petra"] {
        let who = story.person(who).await?;
        for way in ["exec?command=sh&stdin=true", "attach?stdin=true", "portforward", "proxy/"] {
            who.get(&format!("Pod/{way}"), "worker").await.forbidden().await?;
            who.post(&format!("Pod/{way}"), "worker", json!({})).await.forbidden().await?;
        }
    }
    attack.held()
}

#[tokio::test]
async fn members_get_no_tokens() -> Result<()> {
    let attack = attack("a ServiceAccount's token asked for, or made as a Secret, to outlive the grant");
    let story = Story::new("token").await?;
    story.opened("run", json!({})).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 31536000}});
    let secret = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": {"annotations": {"kubernetes.io/service-account.name": "trainer"}},
    });
    for who in ["alice", "olga", "sam", "petra"] {
        let who = story.person(who).await?;
        who.post("ServiceAccount/token", "trainer", request.clone()).await.forbidden().await?;
        who.create("Secret", "token", secret.clone()).await.forbidden().await?;
    }
    attack.held()
}
