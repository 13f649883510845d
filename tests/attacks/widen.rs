//! What was agreed to, made more than it was: by its policy, its target, or its role.

use crate::{
    ledger::attack,
    people::all_forbidden,
    story::{Story, condition, ready, text, uid},
};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

#[tokio::test]
async fn a_policy_that_is_widened_lengthens_nothing() -> Result<()> {
    let attack = attack("a policy widened after approval, to make an open grant last");
    let story = Story::new("lengthen").await?;
    let grant = story.opened("run", json!({"requestedDuration": null})).await?;
    let before = story.standing().await?;
    story.policy(json!({"maxDuration": "8760h", "defaultDuration": "8760h"})).await?;
    story.settle().await?;
    story.unchanged(&before).await?;
    let after = story.again(&grant).await?;
    ensure!(after["status"]["expiresAt"] == grant["status"]["expiresAt"] && after["status"]["phase"] == "Active");
    attack.held()
}

#[tokio::test]
async fn a_policy_that_asks_for_more_ends_what_has_less() -> Result<()> {
    let attack = attack("a grant kept that was approved before its policy was tightened");
    let story = Story::new("tighten").await?;
    let grant = story.opened("run", json!({})).await?;
    let owners = json!([{"kind": "Group", "name": "weights-owners"}]);
    story.policy(json!({"approvalRules": [{"name": "owners", "required": 2, "approvers": owners}]})).await?;
    story.ends(&grant, "Revoked", "ApprovalsNotEnough", "were not enough for AccessPolicy").await?;
    attack.held()
}

#[tokio::test]
async fn what_waits_for_its_start_is_asked_of_the_policy_again() -> Result<()> {
    let attack = attack("a grant approved early, to outlast a policy that shuts its requester out");
    let story = Story::new("early").await?;
    let start = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let grant = story.alice_asks("run", json!({"startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()})).await?;
    story.approve(&grant).await?;
    story.until(&grant, "Approved").await?;
    ensure!(story.standing_of(&grant).await?.is_empty(), "it opened before its time");
    story.policy(json!({"requesters": [{"kind": "User", "name": "bob"}]})).await?;
    story.ends(&grant, "Revoked", "RequesterNotEligible", "alice is not among the requesters").await?;
    attack.held()
}

#[tokio::test]
async fn policies_are_written_by_those_who_write_policies() -> Result<()> {
    let attack = attack("a policy or the settings written by researcher, owner, approver or catalogue writer");
    let story = Story::new("mine").await?;
    let wide = json!({"spec": {"autoApprove": ["true"]}});
    let weak = json!({"spec": {"minimumApprovals": {"High": 0, "Critical": 0}}});
    let whole = json!({"spec": {"maxDuration": "1h", "autoApprove": ["true"]}});
    for who in ["alice", "olga", "sam", "petra"] {
        let who = story.person(who).await?;
        all_forbidden(who.change("AccessPolicy", &story.name, wide.clone()).await).await?;
        all_forbidden(who.change("CloisterConfig", "cloister", weak.clone()).await).await?;
        who.create("AccessPolicy", "mine", whole.clone()).await.forbidden().await?;
        who.delete("AccessPolicy", &story.name).await.forbidden().await?;
        who.delete_all("AccessPolicy", &format!("?labelSelector=story%3D{}", story.name)).await.forbidden().await?;
        who.delete("CloisterConfig", "cloister").await.forbidden().await?;
        who.delete_all("CloisterConfig", "?labelSelector=x%3Dy").await.forbidden().await?;
    }
    // Nor do those who write policies say what the policies are for.
    let pia = story.person("pia").await?;
    let policy = json!({"spec": {"description": "x"}});
    all_forbidden(pia.change("StorageResource", &story.name, policy.clone()).await).await?;
    all_forbidden(pia.change("AccessRole", &story.name, policy).await).await?;
    attack.held()
}

/// An open grant whose target is then changed ends, and says why.
async fn ends_when(
    prefix: &str,
    change: impl AsyncFn(&Story<'static>) -> Result<()>,
    reason: &str,
    says: &str,
) -> Result<()> {
    let story = Story::new(prefix).await?;
    let grant = story.opened("run", json!({})).await?;
    ensure!(!story.standing_of(&grant).await?.is_empty());
    change(&story).await?;
    story.ends(&grant, "Revoked", reason, says).await?;
    Ok(())
}

#[tokio::test]
async fn another_endpoint_is_another_thing() -> Result<()> {
    let attack = attack("the storage's endpoint widened after approval");
    let wider = json!({"endpoint": {"networks": ["198.51.100.0/28", "192.0.2.0/24"], "ports": [{"port": 443}]}});
    let says = "since it was approved: its endpoint; ask again";
    ends_when("endpoint", async |story| story.storage(wider.clone()).await, "TargetChanged", says).await?;
    attack.held()
}

/// The role of a story's storage, but for what is said.
fn role(story: &Story<'_>, more: Value) -> Value {
    let mut role = json!({
        "name": "reader", "accessPolicy": story.name, "clusterRole": "cloister:storage-reader",
        "credential": {"secretRef": {"namespace": "cloister-credentials", "name": story.name}},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        role[key] = value.clone();
    }
    json!({"roles": [role]})
}

#[tokio::test]
async fn another_credential_is_another_thing() -> Result<()> {
    let attack = attack("the storage's credential pointed elsewhere after approval");
    let change = async |story: &Story<'static>| {
        let offered = json!({"annotations": {"cloister.dev/storage-resources": story.name}});
        let keys = json!({"metadata": offered, "stringData": {"token": "the keys of the kingdom"}});
        let name = format!("{}-keys", story.name);
        story.root.elsewhere("cloister-credentials").apply("Secret", &name, keys).await.ok()?;
        let elsewhere = json!({"credential": {"secretRef": {"namespace": "cloister-credentials", "name": name}}});
        story.storage(role(story, elsewhere)).await
    };
    let says = "since it was approved: where its credential is kept; ask again";
    ends_when("credential", change, "TargetChanged", says).await?;
    attack.held()
}

#[tokio::test]
async fn another_cluster_role_is_another_thing() -> Result<()> {
    let attack = attack("the storage's ClusterRole exchanged after approval");
    let change =
        async |story: &Story<'static>| story.storage(role(story, json!({"clusterRole": "cloister:debugger"}))).await;
    // Nobody has changed either of the two.
    let says = "since it was approved: which ClusterRole it names; ask again";
    ends_when("exchange", change, "TargetChanged", says).await?;
    attack.held()
}

#[tokio::test]
async fn another_policy_is_another_decision() -> Result<()> {
    let attack = attack("the storage pointed at a weaker policy, before and after approval");
    let story = Story::new("weaker").await?;
    let open = story.opened("open", json!({})).await?;
    let waiting = story.alice_asks("waiting", json!({})).await?;
    let review = story.review(&story.person("sam").await?, &waiting, "Approve").await?;
    story.counts(&review).await?;
    // One that approves by itself is too weak for what is kept there.
    let weak = format!("{}-weak", story.name);
    let policy =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": ["true"]});
    story.publish("AccessPolicy", &weak, json!({"spec": policy})).await?;
    story.storage(role(&story, json!({"accessPolicy": weak}))).await?;
    story.ends(&open, "Revoked", "TargetChanged", "was changed to name AccessPolicy").await?;
    story.settle().await?;
    let waiting = eventually("it to be said", async || {
        let waiting = story.again(&waiting).await?;
        ensure!(waiting["status"]["reason"] == "PolicyTooWeak", "{}", ready(&waiting));
        Ok(waiting)
    })
    .await?;
    ensure!(waiting["status"]["phase"] == "Pending" && ready(&waiting).contains("minimumApprovals"));
    story.does_not_count(&review, "NotAnApprover", "names no approvers").await?;
    ensure!(story.standing_of(&waiting).await?.is_empty());
    attack.held()
}

/// Lets the operator bind a ClusterRole of the story's own, as its documentation says, and offers it by an AccessRole.
async fn offer(story: &Story<'_>, rules: Value) -> Result<()> {
    let bind = json!({"rules": [{
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": [story.name], "verbs": ["bind"],
    }]});
    let name = format!("{}-bind", story.name);
    story.root.apply("ClusterRole", &name, bind).await.ok()?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": "cloister-system", "name": "cloister-operator"}],
    });
    story.root.apply("ClusterRoleBinding", &name, binding).await.ok()?;
    story.root.apply("ClusterRole", &story.name, json!({"rules": rules})).await.ok()?;
    let role = json!({"spec": {"clusterRole": story.name, "accessPolicy": story.name}});
    story.publish("AccessRole", &story.name, role).await?;
    eventually("the role to be known", async || {
        let role = story.root.get("AccessRole", &story.name).await.ok()?;
        let reason = condition(&role, "Ready").map(|ready| text(&ready["reason"])).unwrap_or_default();
        ensure!(["Reconciled", "ClusterRoleRefused"].contains(&reason), "it is {reason}");
        Ok(())
    })
    .await
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], more: Value) -> Value {
    let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    for (key, value) in more.as_object().into_iter().flatten() {
        rule[key] = value.clone();
    }
    rule
}

/// A RoleGrant of a role that then allows something else ends.
async fn ends_with_rules(prefix: &str, first: Value, then: Value, reason: &str, says: &str) -> Result<()> {
    let story = Story::new(prefix).await?;
    offer(&story, json!([first])).await?;
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", story.wish_role("alice")).await?;
    story.approve(&grant).await?;
    story.until(&grant, "Active").await?;
    story.root.apply("ClusterRole", &story.name, json!({"rules": [then]})).await.ok()?;
    story.ends(&grant, "Revoked", reason, says).await?;
    Ok(())
}

#[tokio::test]
async fn a_role_that_allows_more_is_another() -> Result<()> {
    let attack = attack("a ClusterRole's rules widened after approval");
    let (narrow, wide) = (
        rule(&[""], &["configmaps"], &["get"], json!({})),
        rule(&[""], &["configmaps", "pods", "pods/exec"], &["get"], json!({})),
    );
    let says = "since it was approved: what ClusterRole wider-";
    ends_with_rules("wider", narrow, wide, "TargetChanged", says).await?;
    attack.held()
}

#[tokio::test]
async fn no_names_are_all_names() -> Result<()> {
    let attack = attack("resourceNames emptied after approval, which RBAC reads as all");
    let of = |names: Value| rule(&[""], &["configmaps"], &["get"], json!({"resourceNames": names}));
    let says = "since it was approved: what ClusterRole names-";
    ends_with_rules("names", of(json!(["one"])), of(json!([])), "TargetChanged", says).await?;
    attack.held()
}

#[tokio::test]
async fn a_role_that_turns_dangerous_is_taken_away() -> Result<()> {
    let attack = attack("a ClusterRole that is given Secrets after approval");
    let (narrow, wide) = (
        rule(&[""], &["configmaps"], &["get"], json!({})),
        rule(&[""], &["configmaps", "secrets"], &["get"], json!({})),
    );
    ends_with_rules("turned", narrow, wide, "TargetGone", "a Secret that was read is kept").await?;
    attack.held()
}

/// A RoleGrant of a role that would let its holder keep access is never opened, though all agree; and the catalogue says
/// which rule is at fault.
async fn refused(name: &'static str, prefix: &str, rule: Value, why: &str) -> Result<()> {
    let (attack, story) = (attack(name), Story::new(prefix).await?);
    offer(&story, json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}, rule])).await?;
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    story.approve(&grant).await?;
    story.nothing_opened(&grant, &before).await?;
    let grant = story.again(&grant).await?;
    ensure!(grant["status"]["reason"] == "ClusterRoleRefused", "{}", grant["status"]);
    ensure!(ready(&grant).contains(why), "it says {:?}, and not {why:?}", ready(&grant));
    ensure!(condition(&grant, "Stalled").is_some_and(|stalled| stalled["status"] == "True"));
    let reviews = story.root.list("AccessReview").await.ok()?;
    for review in reviews["items"].as_array().context("reviews")? {
        story.waits(review, "ClusterRoleRefused").await?;
    }
    let role = story.root.get("AccessRole", &story.name).await.ok()?;
    ensure!(condition(&role, "Ready").is_some_and(|ready| ready["reason"] == "ClusterRoleRefused"), "{role}");
    attack.held()
}

const RBAC: &[&str] = &["rbac.authorization.k8s.io"];
const OURS: &[&str] = &["cloister.dev"];

#[tokio::test]
async fn a_role_that_reads_secrets_is_refused() -> Result<()> {
    let rule = rule(&[""], &["secrets"], &["get"], json!({"resourceNames": []}));
    refused("an AccessRole that reads Secrets", "secrets", rule, "a Secret that was read is kept").await
}

#[tokio::test]
async fn a_role_that_binds_is_refused() -> Result<()> {
    let rule = rule(RBAC, &["clusterroles"], &["bind"], json!({"resourceNames": ["view"]}));
    refused("an AccessRole that binds", "bind", rule, "it gives permissions").await
}

#[tokio::test]
async fn a_role_that_escalates_is_refused() -> Result<()> {
    let rule = rule(RBAC, &["roles"], &["escalate"], json!({}));
    refused("an AccessRole that escalates", "escalate", rule, "it gives permissions").await
}

#[tokio::test]
async fn a_role_that_impersonates_is_refused() -> Result<()> {
    let rule = rule(&[""], &["serviceaccounts"], &["impersonate"], json!({"resourceNames": ["trainer"]}));
    refused("an AccessRole that impersonates", "impersonate", rule, "another identity").await
}

#[tokio::test]
async fn a_role_that_makes_tokens_is_refused() -> Result<()> {
    let rule = rule(&[""], &["serviceaccounts/token"], &["create"], json!({}));
    refused("an AccessRole that makes tokens", "tokens", rule, "a token outlives the grant").await
}

#[tokio::test]
async fn a_role_that_writes_bindings_is_refused() -> Result<()> {
    let rule = rule(RBAC, &["rolebindings"], &["create"], json!({}));
    refused("an AccessRole that writes bindings", "bindings", rule, "a binding outlives the grant").await
}

#[tokio::test]
async fn a_role_that_writes_what_cloister_decides_by_is_refused() -> Result<()> {
    let rule = rule(OURS, &["accessreviews"], &["get", "create"], json!({}));
    refused("an AccessRole that reviews", "reviews", rule, "it writes objects by which Cloister decides").await
}

#[tokio::test]
async fn a_role_that_opens_the_network_is_refused() -> Result<()> {
    let rule = rule(&["networking.k8s.io"], &["networkpolicies"], &["patch"], json!({}));
    refused("an AccessRole that writes NetworkPolicies", "network", rule, "a policy outlives the grant").await
}

#[tokio::test]
async fn a_role_with_a_wildcard_of_resources_is_refused() -> Result<()> {
    let rule = rule(&[""], &["*"], &["get"], json!({}));
    refused("an AccessRole with a wildcard of resources", "resources", rule, "a wildcard also allows").await
}

#[tokio::test]
async fn a_role_with_a_wildcard_of_verbs_is_refused() -> Result<()> {
    let rule = rule(&[""], &["pods"], &["*"], json!({}));
    refused("an AccessRole with a wildcard of verbs", "verbs", rule, "a wildcard also allows").await
}

#[tokio::test]
async fn a_role_that_the_operator_may_not_bind_is_not_bound() -> Result<()> {
    let attack = attack("an AccessRole to edit, admin and cluster-admin");
    let story = Story::new("unlisted").await?;
    let alice = story.person("alice").await?;
    let before = story.standing().await?;
    for (at, (name, reason)) in [
        ("edit", "ClusterRoleRefused"),
        ("admin", "ClusterRoleRefused"),
        ("cluster-admin", "ClusterRoleRefused"),
        ("system:discovery", "ClusterRoleNotBindable"),
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("{}-{at}", story.name);
        let spec = json!({"spec": {"clusterRole": name, "accessPolicy": story.name}});
        story.person("petra").await?.apply("AccessRole", &role, spec).await.ok()?;
        let mut wish = story.wish_role("alice");
        wish["spec"]["role"] = json!(role);
        let grant = eventually("the role to be known", async || {
            let run = format!("run-{at}");
            alice.delete("RoleGrant", &run).await;
            let grant = story.ask(&alice, "RoleGrant", &run, wish.clone()).await?;
            ensure!(grant["status"]["reason"] == reason, "{}: {}", grant["status"]["reason"], ready(&grant));
            Ok(grant)
        })
        .await?;
        story.approve(&grant).await?;
        story.nothing_opened(&grant, &before).await?;
        let says = if reason == "ClusterRoleNotBindable" { "may not bind" } else { "would let its holder keep access" };
        ensure!(ready(&story.again(&grant).await?).contains(says), "{}", ready(&grant));
        ensure!(
            story.stage.record(uid(&grant))?.iter().all(|one| text(&one["type"]) == "dev.cloister.grant.requested.v1")
        );
    }
    attack.held()
}
