//! The operator's own token, in the hands of a thief.

use crate::{
    ledger::attack,
    people::{Answer, Person, all_forbidden},
    story::{Story, pod, text, uid},
};
use anyhow::{Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// Somebody with the operator's token.
async fn thief(story: &Story<'static>) -> Result<Person<'static>> {
    Person::service_account(story.stage, "cloister-system", "cloister-operator", &story.name).await
}

/// Refused with 403, by RBAC or by a policy for the operator, and recorded.
async fn stopped(answer: Answer<'_>) -> Result<()> {
    let told = answer.message();
    let policies = [
        "operator-",
        "namespaces.cloister.dev",
        "requester",
        "reviewer",
        "finalizers.cloister.dev",
        "research-namespace-owners",
    ];
    let ours = policies.iter().any(|policy| told.contains(&format!("ValidatingAdmissionPolicy '{policy}")));
    if answer.code == 403
        && (ours
            || told.contains("cannot")
            || told.contains("attempting to grant")
            || told.contains("may not be deleted"))
    {
        return answer.refused(403, "").await;
    }
    bail!("{}: {told}: {}", answer.code, answer.body)
}

async fn all_stopped(answers: Vec<Answer<'_>>) -> Result<()> {
    for answer in answers {
        stopped(answer).await?;
    }
    Ok(())
}

#[tokio::test]
async fn it_does_not_ask_or_decide() -> Result<()> {
    let (attack, story) =
        (attack("the operator's token: a grant or a review made with it"), Story::new("thief").await?);
    let thief = thief(&story).await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let review = story.decision(&grant, "Approve", json!({}));
    for (what, wish) in [
        ("AccessReview", review),
        ("StorageAccessGrant", story.wish(json!({}))),
        ("RoleGrant", story.wish_role("mallory")),
    ] {
        stopped(thief.create(what, "mine", wish.clone()).await).await?;
        stopped(thief.generate(what, "mine-", wish.clone()).await).await?;
        stopped(thief.apply(what, "mine", wish).await).await?;
        thief.delete_all(what, "").await.forbidden().await?;
    }
    // It removes only what has ended, and only where the settings say so; which of the two is told is open.
    let answer = thief.delete("StorageAccessGrant", "run").await;
    answer.denied_by_some("operator-retention", "the operator removes ").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_change_what_people_said() -> Result<()> {
    let attack =
        attack("the operator's token: the spec of grants, reviews, policies and the catalogue changed with it");
    let story = Story::new("rewrite").await?;
    let thief = thief(&story).await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let review = story.review(&story.person("mallory").await?, &grant, "Approve").await?;
    let before = story.standing().await?;
    for (what, name, change) in [
        ("AccessPolicy", &*story.name, json!({"spec": {"autoApprove": ["true"]}})),
        ("StorageResource", &*story.name, json!({"spec": {"sensitivity": "Low"}})),
        ("AccessRole", &*story.name, json!({"spec": {"clusterRole": "cluster-admin"}})),
        ("ResearchNamespace", &*story.name, json!({"spec": {"quota": {"pods": "9"}}})),
        ("CloisterConfig", "cloister", json!({"spec": {"personKey": ""}})),
        (
            "ResearchNamespace",
            &*story.name,
            json!({"metadata": {"ownerReferences": [
                {"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "7"},
            ]}}),
        ),
    ] {
        all_stopped(thief.change(what, name, change).await).await?;
        thief.delete(what, name).await.forbidden().await?;
    }
    let immutable = |answer: Answer<'static>| async move {
        ensure!([403, 422].contains(&answer.code), "{}: {}", answer.code, answer.body);
        Ok(())
    };
    let name = text(&review["metadata"]["name"]);
    for answer in thief
        .change("AccessReview", name, json!({"spec": {"reviewer": {"username": "sam", "groups": ["security"]}}}))
        .await
    {
        immutable(answer).await?;
    }
    for answer in thief.change("StorageAccessGrant", "run", json!({"spec": {"requestedDuration": "8h"}})).await {
        immutable(answer).await?;
    }
    let along = json!({"spec": {"requestedDuration": "8h"}, "status": {"observedGeneration": 1}});
    let after = thief.merge("StorageAccessGrant/status", "run", along).await.ok()?;
    ensure!(after["spec"] == grant["spec"], "{after}");
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn it_moves_no_end_and_reopens_nothing() -> Result<()> {
    let attack =
        attack("the operator's token: an end moved, approvals forged or a grant that ended opened again with it");
    let story = Story::new("extend").await?;
    let thief = thief(&story).await?;
    let open = story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let later = (Timestamp::now() + SignedDuration::from_hours(99)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for change in [
        json!({"expiresAt": later}),
        json!({"expiresAt": null}),
        json!({"approvedAt": later}),
        json!({"phase": "Pending"}),
        json!({"approvals": [{"rule": "security", "required": 1, "approvedBy": ["mallory"]}]}),
    ] {
        let change = json!({"status": change});
        let answer = thief.merge("StorageAccessGrant/status", "run", change.clone()).await;
        answer.denied_by("operator-decisions.cloister.dev", "").await?;
        all_stopped(thief.change("StorageAccessGrant/status", "run", change).await).await?;
    }
    let answer = thief.merge("StorageAccessGrant/status", "run", json!({"status": {"reviews": []}})).await;
    answer.denied_by("operator-decisions.cloister.dev", "the reviews of a decision cannot change").await?;
    story.unchanged(&before).await?;
    story.review(&story.person("alice").await?, &open, "Revoke").await?;
    let ended = story.ends(&open, "Revoked", "RevokedByReview", "alice revoked it").await?;
    let after = story.standing().await?;
    let again = json!({"status": open["status"]});
    let answer = thief.merge("StorageAccessGrant/status", "run", again.clone()).await;
    answer.denied_by("operator-decisions.cloister.dev", "cannot become Active").await?;
    all_stopped(thief.change("StorageAccessGrant/status", "run", again).await).await?;
    story.unchanged(&after).await?;
    ensure!(story.again(&open).await?["status"] == ended["status"]);
    attack.held()
}

/// A binding as a grant opens it.
fn binding(story: &Story<'_>, role: &str, subject: Value) -> Value {
    let owner = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "name": "run", "uid": "7"});
    json!({
        "metadata": {
            "labels": {
                "app.kubernetes.io/managed-by": "cloister", "cloister.dev/grant": "run", "cloister.dev/grant-kind": "RoleGrant",
                "story": story.name,
            },
            "ownerReferences": [owner],
        },
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role}, "subjects": [subject],
    })
}

fn mallory() -> Value {
    json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": "mallory"})
}

#[tokio::test]
async fn it_does_not_bind_what_is_not_in_its_list() -> Result<()> {
    let attack = attack("the operator's token: cluster-admin, admin, edit and its own role bound with it");
    let story = Story::new("climb").await?;
    let thief = thief(&story).await?;
    let before = story.standing().await?;
    for role in ["cluster-admin", "admin", "edit", "view", "cloister:operator", "cloister:policy-admin", "system:node"]
    {
        for name in ["cloister-role-grant.run", "cloister-viewers", "mine"] {
            stopped(thief.create("RoleBinding", name, binding(&story, role, mallory())).await).await?;
            stopped(thief.apply("RoleBinding", name, binding(&story, role, mallory())).await).await?;
        }
        for name in ["mine", "cloister:owner:mine"] {
            stopped(thief.create("ClusterRoleBinding", name, binding(&story, role, mallory())).await).await?;
        }
    }
    // There is no Role of one's own, which would stand for any; and nothing is bound that would not end with a grant.
    let mut own = binding(&story, "mine", mallory());
    own["roleRef"]["kind"] = json!("Role");
    thief.create("RoleBinding", "cloister-role-grant.run", own).await.refused(404, "\"mine\" not found").await?;
    let mut lasting = binding(&story, "cloister:debugger", mallory());
    lasting["metadata"]["ownerReferences"] = json!([]);
    let answer = thief.create("RoleBinding", "cloister-role-grant.run", lasting).await;
    answer.denied_by("operator-rolebindings.cloister.dev", "owned by the grant").await?;
    let answer = thief.create("RoleBinding", "cloister-viewers", binding(&story, "cloister:debugger", mallory())).await;
    answer.denied_by("operator-rolebindings.cloister.dev", "binds members to their own roles").await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_bind_for_the_system() -> Result<()> {
    let attack = attack("the operator's token: groups of the system and accounts of other namespaces bound with it");
    let story = Story::new("system").await?;
    let thief = thief(&story).await?;
    let before = story.standing().await?;
    for subject in [
        json!({"apiGroup": RBAC_GROUP, "kind": "Group", "name": "system:authenticated"}),
        json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": "system:anonymous"}),
        json!({"kind": "ServiceAccount", "namespace": "default", "name": "default"}),
        json!({"kind": "ServiceAccount", "namespace": "cloister-system", "name": "cloister-operator"}),
    ] {
        for name in ["cloister-role-grant.run"] {
            let wish = binding(&story, "cloister:debugger", subject.clone());
            let answer = thief.create("RoleBinding", name, wish).await;
            answer.denied_by("operator-rolebindings.cloister.dev", "no users or groups of the system").await?;
        }
        let members = json!({"subjects": [subject]});
        all_stopped(thief.change("RoleBinding", "cloister-researchers", members).await).await?;
    }
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_write_outside_of_research_namespaces() -> Result<()> {
    let attack = attack("the operator's token: anything written in kube-system, default or cloister-system with it");
    let story = Story::new("outside").await?;
    let thief = thief(&story).await?;
    for place in ["kube-system", "default", "cloister-system", "cloister-credentials"] {
        let there = thief.elsewhere(place);
        let says = "in research namespaces only";
        let policy = "operator-objects.cloister.dev";
        let wish = binding(&story, "cloister:debugger", mallory());
        there.create("RoleBinding", "cloister-role-grant.run", wish).await.denied_by(policy, says).await?;
        let peer = json!({"spec": {"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}});
        there.create("NetworkPolicy", "cloister-x", peer).await.denied_by(policy, says).await?;
        let secret = json!({"stringData": {"a": "b"}});
        there.create("Secret", "cloister-grant-x.y.z", secret).await.denied_by(policy, says).await?;
        let account = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "cloister"}}});
        stopped(there.create("ServiceAccount", "mine", account.clone()).await).await?;
        all_stopped(there.change("ServiceAccount", "default", account).await).await?;
        stopped(there.delete("ServiceAccount", "default").await).await?;
    }
    attack.held()
}

#[tokio::test]
async fn it_reads_no_secrets_but_the_credentials() -> Result<()> {
    let attack =
        attack("the operator's token: Secrets read with it, by get, list, watch, and by a patch that changes nothing");
    let story = Story::new("reads").await?;
    let thief = thief(&story).await?;
    story.opened("run", json!({})).await?;
    thief.get("Secret", &story.copy()).await.forbidden().await?;
    thief.list("Secret").await.forbidden().await?;
    thief.list("Secret/?watch=true").await.forbidden().await?;
    // The answer would hold what is in them.
    thief.delete_all("Secret", "").await.denied_by("operator-secrets.cloister.dev", "as a collection").await?;
    let own = json!({"stringData": {"token": "of a tenant"}});
    story.root.create("Secret", "tenants", own.clone()).await.ok()?;
    let name = format!("credential-{}", story.name);
    for place in ["kube-system", "default", "cloister-system"] {
        let (there, root) = (thief.elsewhere(place), story.root.elsewhere(place));
        let reserved = root.create("Secret", &format!("cloister-grant-{}", story.name), own.clone()).await;
        reserved.denied_by("reserved-marks.cloister.dev", "choose another name").await?;
        root.create("Secret", &name, own.clone()).await.ok()?;
        there.get("Secret", &name).await.forbidden().await?;
        there.list("Secret").await.forbidden().await?;
        // What is patched is answered.
        for nothing in [json!({}), json!({"metadata": {"annotations": {"a": "b"}}})] {
            let answer = there.merge("Secret", &name, nothing.clone()).await;
            ensure!(!answer.body.to_string().contains("b2YgYSB0ZW5hbnQ"), "it was read: {}", answer.body);
            stopped(answer).await?;
            let answer = there.apply("Secret", &name, nothing).await;
            ensure!(!answer.body.to_string().contains("b2YgYSB0ZW5hbnQ"), "it was read: {}", answer.body);
            stopped(answer).await?;
        }
        root.delete("Secret", &name).await.ok()?;
    }
    let answer = thief.merge("Secret", "tenants", json!({})).await;
    answer.denied_by("operator-secrets.cloister.dev", "no Secrets but those named").await?;
    stopped(thief.delete("Secret", "tenants").await).await?;
    attack.held()
}

#[tokio::test]
async fn it_gets_no_tokens() -> Result<()> {
    let attack = attack("the operator's token: more tokens got with it");
    let story = Story::new("mint").await?;
    let thief = thief(&story).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    stopped(thief.post("ServiceAccount/token", "trainer", request.clone()).await).await?;
    let home = thief.elsewhere("cloister-system");
    stopped(home.post("ServiceAccount/token", "cloister-operator", request.clone()).await).await?;
    let system = thief.elsewhere("kube-system");
    stopped(system.post("ServiceAccount/token", "clusterrole-aggregation-controller", request).await).await?;
    let secret = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "labels": {"app.kubernetes.io/managed-by": "cloister"},
            "annotations": {"kubernetes.io/service-account.name": "trainer"},
        },
    });
    let answer = thief.create("Secret", "cloister-grant-x.y.trainer", secret.clone()).await;
    answer.denied_by("operator-secrets.cloister.dev", "no Secrets that hold a ServiceAccount's token").await?;
    let answer = thief.apply("Secret", "cloister-grant-x.y.trainer", secret).await;
    answer.denied_by("operator-secrets.cloister.dev", "no Secrets that hold a ServiceAccount's token").await?;
    let pose =
        Person::posing_as_account(story.stage, ("cloister-system", "cloister-operator"), "sam", &story.name).await?;
    pose.list("AccessReview").await.refused(403, "cannot impersonate").await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_change_roles_or_policies() -> Result<()> {
    let attack = attack("the operator's token: roles, admission policies, kinds and its own rights changed with it");
    let story = Story::new("rights").await?;
    let thief = thief(&story).await?;
    let rules = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    for name in ["cloister:operator", "cloister:debugger", "cloister:viewer"] {
        all_stopped(thief.change("ClusterRole", name, rules.clone()).await).await?;
        stopped(thief.delete("ClusterRole", name).await).await?;
    }
    for name in ["mine", "cloister:owner:mine"] {
        stopped(thief.create("ClusterRole", name, rules.clone()).await).await?;
    }
    thief.create("Role", "mine", rules).await.forbidden().await?;
    let subjects = json!({"subjects": [mallory()]});
    all_stopped(thief.change("ClusterRoleBinding", "cloister:operator", subjects).await).await?;
    stopped(thief.delete("ClusterRoleBinding", "cloister:operator").await).await?;
    let kind = "accessreviews.cloister.dev";
    all_forbidden(thief.change("CustomResourceDefinition", kind, json!({"metadata": {"labels": {"a": "b"}}})).await)
        .await?;
    thief.delete("CustomResourceDefinition", kind).await.forbidden().await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_open_namespaces() -> Result<()> {
    let attack =
        attack("the operator's token: namespaces unlabelled, taken over, deleted, or without Pod Security with it");
    let story = Story::new("unlabel").await?;
    let thief = thief(&story).await?;
    let label = |value: Value| json!({"metadata": {"labels": {"cloister.dev/research-namespace": value}}});
    let policy = "operator-namespaces.cloister.dev";
    for value in [json!(null), json!("other")] {
        let answer = thief.merge("Namespace", &story.name, label(value.clone())).await;
        answer.denied_by(policy, "only with the label").await?;
        stopped(thief.replace("Namespace", &story.name, &label(value)).await).await?;
    }
    let adopt = json!({"metadata": {"annotations": {"cloister.dev/adopt": "x"}}});
    for place in ["kube-system", "default", "cloister-system", "cloister-credentials"] {
        all_stopped(thief.change("Namespace", place, label(json!(place))).await).await?;
        all_stopped(thief.change("Namespace", place, adopt.clone()).await).await?;
        stopped(thief.delete("Namespace", place).await).await?;
    }
    let pod_security = |what: &str, value: Value| json!({"metadata": {"labels": {format!("pod-security.kubernetes.io/{what}"): value}}});
    for lax in [
        pod_security("enforce", json!("privileged")),
        pod_security("enforce", json!("baseline")),
        pod_security("enforce", json!(null)),
        pod_security("enforce-version", json!("v1.0")),
    ] {
        let answer = thief.merge("Namespace", &story.name, lax.clone()).await;
        answer.denied_by(policy, "keeps Pod Security").await?;
        stopped(thief.replace("Namespace", &story.name, &lax).await).await?;
    }
    // Somebody's namespace, which nobody has offered.
    let theirs = format!("{}-theirs", story.name);
    story.root.create("Namespace", &theirs, json!({})).await.ok()?;
    all_stopped(thief.change("Namespace", &theirs, label(json!(theirs))).await).await?;
    // As if it had been retained, so that who declares it takes it; or as if they had asked for it.
    let retained = json!({"cloister.dev/research-namespace": theirs, "cloister.dev/retained": "true"});
    all_stopped(thief.change("Namespace", &theirs, json!({"metadata": {"labels": retained}})).await).await?;
    let asked = json!({"metadata": {"annotations": {"cloister.dev/adopt": story.name}}});
    all_stopped(thief.change("ResearchNamespace", &story.name, asked).await).await?;
    all_stopped(
        thief.change("Namespace", &theirs, json!({"metadata": {"annotations": {"cloister.dev/adopt": theirs}}})).await,
    )
    .await?;
    stopped(thief.delete("Namespace", &theirs).await).await?;
    attack.held()
}

#[tokio::test]
async fn it_runs_and_enters_no_pods() -> Result<()> {
    let attack = attack("the operator's token: pods made, changed or entered with it");
    let story = Story::new("runs").await?;
    let thief = thief(&story).await?;
    story.root.create("Pod", "worker", pod("trainer")).await.ok()?;
    thief.create("Pod", "mine", pod("trainer")).await.forbidden().await?;
    all_forbidden(thief.change("Pod", "worker", json!({"metadata": {"labels": {"a": "b"}}})).await).await?;
    let debug = json!({"spec": {"ephemeralContainers": [crate::story::container("debug")]}});
    all_forbidden(thief.change("Pod/ephemeralcontainers", "worker", debug).await).await?;
    for way in ["exec?command=sh", "attach", "portforward", "proxy/", "log"] {
        thief.get(&format!("Pod/{way}"), "worker").await.forbidden().await?;
    }
    thief.create("Deployment", "mine", json!({"spec": {}})).await.forbidden().await?;
    thief.delete_all("Pod", "").await.forbidden().await?;
    attack.held()
}

#[tokio::test]
async fn it_does_not_open_the_network() -> Result<()> {
    let attack = attack("the operator's token: a NetworkPolicy to everywhere, or one that no grant ends");
    let story = Story::new("wide").await?;
    let thief = thief(&story).await?;
    let before = story.standing().await?;
    let policy = "operator-networkpolicies.cloister.dev";
    for (name, egress, says) in [
        ("cloister-x", json!([{}]), "opens everything"),
        ("cloister-x", json!([{"ports": [{"port": 443}]}]), "opens everything"),
        ("cloister-x", json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), "opens no network that is wider"),
        ("cloister-x", json!([{"to": [{"ipBlock": {"cidr": "128.0.0.0/1"}}]}]), "opens no network that is wider"),
        ("cloister-x", json!([{"to": [{"ipBlock": {"cidr": "::/0"}}]}]), "or /16 of IPv6"),
        ("cloister-x", json!([{"to": [{"ipBlock": {"cidr": "2000::/3"}}]}]), "or /16 of IPv6"),
        ("mine", json!([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]), "but those named cloister-"),
        ("cloister-grant.run", json!([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]), "owned by"),
    ] {
        let wish = json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}});
        thief.create("NetworkPolicy", name, wish.clone()).await.denied_by(policy, says).await?;
        thief.apply("NetworkPolicy", name, wish).await.denied_by(policy, says).await?;
    }
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn it_mounts_nothing_of_others() -> Result<()> {
    let attack =
        attack("the operator's token: a GrantMount that gives a credential to another account, or another Secret");
    let story = Story::new("mounts").await?;
    let thief = thief(&story).await?;
    let grant = story.opened("run", json!({})).await?;
    ensure!(!uid(&grant).is_empty());
    let before = story.standing().await?;
    let mount = |secret: &str| {
        json!({
            "metadata": {"annotations": {"cloister.dev/credential-version": "1"}},
            "spec": {"serviceAccountName": "other", "secretName": secret, "volumeName": "cloister-x", "mountPath": "/x"},
        })
    };
    for secret in [&*story.copy(), "tenants", "cloister-grant-other"] {
        let answer = thief.create("GrantMount", "mine", mount(secret)).await;
        ensure!([403, 422].contains(&answer.code), "{}: {}", answer.code, answer.body);
        answer.refused(answer.code, "").await?;
    }
    let own = format!("{}.reader.trainer", story.name);
    for answer in thief.change("GrantMount", &own, json!({"spec": {"serviceAccountName": "other"}})).await {
        answer.denied_by("operator-grantmounts.cloister.dev", "mounts nothing but").await?;
    }
    story.unchanged(&before).await?;
    attack.held()
}
