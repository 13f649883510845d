//! Grants that people decide: who agrees, what opens, and what ends it.

use super::court::{Court, STORAGE};
use anyhow::{Context, Result, ensure};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, EgressState, GrantPhase, ResearchNamespace, StorageAccessGrant,
    StorageResource,
};
use cloister_tests::eventually;
use cloister_tests::ours::ours;
use cloister_tests::scene::condition;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

/// Held by each test in which alice uses break-glass: until that is reviewed, she may not use it anywhere else.
static GLASS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn three_people_of_two_groups_agree_and_one_of_them_ends_it() -> Result<()> {
    let court = Court::new("court", json!({})).await?;
    court.ask_for_storage("run", json!({})).await?;
    // Who is in both groups comes first, and must not take the place of the one who is in one alone.
    let sam = court.review("sam", &["security", "owners"], "Approve", STORAGE).await?;
    assert_eq!(court.counted(&sam).await?, (true, "Counted".into()));
    let alias = court.review("alice", &["security", "owners"], "Approve", STORAGE).await?;
    assert_eq!(court.counted(&alias).await?, (false, "Requester".into()));
    let mallory = court.review("mallory", &["guests"], "Deny", STORAGE).await?;
    assert_eq!(court.counted(&mallory).await?, (false, "NotAnApprover".into()));
    court.review("olga", &["owners"], "Approve", STORAGE).await?;
    eventually("two of three to be counted", async || {
        let (_, status) = court.status(STORAGE.0, STORAGE.1).await?;
        let counted: usize = status.approvals.iter().map(|rule| rule.approved_by.len()).sum();
        ensure!(counted == 2 && status.phase == GrantPhase::Pending, "{status:?}");
        Ok(())
    })
    .await?;
    assert!(court.binding("cloister-grant.run").await?.is_none());
    court.review("otto", &["owners"], "Approve", STORAGE).await?;
    let status = court.until(STORAGE.0, "run", GrantPhase::Active).await?;
    let by = |rule: &str| status.approvals.iter().find(|one| one.rule == rule).map(|one| one.approved_by.clone());
    assert_eq!(by("security").unwrap(), ["sam"]);
    assert_eq!(by("owners").unwrap().len(), 2);
    assert_eq!(status.reviews.len(), 3);
    let binding = court.binding("cloister-grant.run").await?.context("no binding")?;
    assert_eq!(binding.labels()["cloister.dev/grant-kind"], "StorageAccessGrant");

    let late = court.review("late", &["owners"], "Approve", STORAGE).await?;
    assert_eq!(court.counted(&late).await?, (false, "AlreadyApproved".into()));
    assert!(court.binding("cloister-grant.run").await?.is_some());

    court.review("olga", &["owners"], "Revoke", STORAGE).await?;
    let status = court.until(STORAGE.0, "run", GrantPhase::Revoked).await?;
    assert_eq!(status.reason, "RevokedByReview");
    assert!(court.binding("cloister-grant.run").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_refusal_of_an_approver_ends_a_request() -> Result<()> {
    let court = Court::new("refused", json!({})).await?;
    court.ask_for_storage("run", json!({})).await?;
    court.review("sam", &["security"], "Deny", STORAGE).await?;
    let status = court.until(STORAGE.0, "run", GrantPhase::Denied).await?;
    assert_eq!(status.reason, "Denied");
    let (object, _) = court.status(STORAGE.0, "run").await?;
    assert!(condition(&object, "Ready").unwrap().message.contains("sam refused it: sam says so"));
    Ok(())
}

/// While a request waits, and where the review decides at last: nobody is told that a review counts for nothing which
/// decides.
#[tokio::test]
async fn what_is_said_of_a_review_follows_who_may_decide() -> Result<()> {
    let court = Court::new("follows", json!({})).await?;
    let members = async |more: &[&str]| {
        let users = |names: &[&str]| names.iter().map(|name| json!({"kind": "User", "name": name})).collect::<Vec<_>>();
        let researchers = [&["alice"], more].concat();
        let members = json!([
            {"role": "Owner", "subjects": users(&["olivia"])}, {"role": "Researcher", "subjects": users(&researchers)},
        ]);
        // What pods get, members get: they may not decide about it.
        let patch = Patch::Merge(json!({"spec": {"members": members, "serviceAccounts": [{"name": "trainer"}]}}));
        court.scene.all::<ResearchNamespace>().patch(&court.name, &PatchParams::default(), &patch).await
    };
    let said = async |review: &AccessReview, counted: (bool, &str)| {
        eventually(&format!("{counted:?} to be said of {}", review.name_any()), async || {
            let is = court.counted(review).await?;
            ensure!(is == (counted.0, counted.1.to_owned()), "{is:?}");
            Ok(())
        })
        .await
    };
    members(&["sam", "olga"]).await?;
    court.ask_for_storage("run", json!({"subjects": [{"kind": "ServiceAccount", "name": "trainer"}]})).await?;
    let sam = court.review("sam", &["security"], "Approve", STORAGE).await?;
    said(&sam, (false, "Member")).await?;
    let olga = court.review("olga", &["owners"], "Deny", STORAGE).await?;
    said(&olga, (false, "Member")).await?;
    members(&["olga"]).await?;
    said(&sam, (true, "Counted")).await?;
    members(&["sam", "olga"]).await?;
    said(&sam, (false, "Member")).await?;
    members(&[]).await?;
    assert_eq!(court.until(STORAGE.0, "run", GrantPhase::Denied).await?.reason, "Denied");
    said(&olga, (true, "Counted")).await
}

/// Whoever asked ends it all the same; who else may is not known, and nobody is told that theirs counts for nothing.
#[tokio::test]
async fn a_request_is_taken_back_while_its_policy_is_missing() -> Result<()> {
    let court = Court::new("back", json!({})).await?;
    court.scene.all::<AccessPolicy>().delete(&court.name, &DeleteParams::default()).await?;
    court.ask_for_storage("run", json!({})).await?;
    let sam = court.review("sam", &["security"], "Deny", STORAGE).await?;
    assert_eq!(court.counted(&sam).await?, (false, "PolicyNotFound".into()));
    let (_, waits) = court.status(STORAGE.0, "run").await?;
    assert_eq!((waits.phase, &*waits.reason), (GrantPhase::Pending, "PolicyNotFound"));
    let alice = court.review("alice", &[], "Revoke", STORAGE).await?;
    assert_eq!(court.until(STORAGE.0, "run", GrantPhase::Denied).await?.reason, "Withdrawn");
    assert_eq!(court.counted(&alice).await?, (true, "Counted".into()));
    eventually("it to be said that the other came too late", async || {
        let counted = court.counted(&sam).await?;
        ensure!(counted == (false, "AlreadyDecided".into()), "{counted:?}");
        Ok(())
    })
    .await
}

/// Also where only a few facts are kept of the grant and of its reviews.
#[tokio::test]
async fn a_review_of_a_grant_that_is_gone_says_so() -> Result<()> {
    let court = Court::new("gone", json!({})).await?;
    court.ask_for_storage("run", json!({})).await?;
    let review = court.review("sam", &["security"], "Deny", STORAGE).await?;
    court.until(STORAGE.0, "run", GrantPhase::Denied).await?;
    assert_eq!(court.counted(&review).await?, (true, "Counted".into()));
    // What has ended is settled.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    court.scene.within::<StorageAccessGrant>(&court.name).delete("run", &DeleteParams::default()).await?;
    eventually("that its grant is gone to be said", async || {
        let counted = court.counted(&review).await?;
        ensure!(counted == (true, "RequestGone".into()), "{counted:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_changed_policy_drops_reviews_and_ends_what_they_no_longer_satisfy() -> Result<()> {
    let court = Court::new("stricter", json!({})).await?;
    let security = |required: u32| json!([{"name": "security", "required": required, "approvers": [{"kind": "Group", "name": "security"}]}]);
    court.policy(json!({"approvalRules": security(1)})).await?;
    court.ask_for_storage("run", json!({})).await?;
    court.review("sam", &["security"], "Approve", STORAGE).await?;
    court.until(STORAGE.0, "run", GrantPhase::Active).await?;
    // What still satisfies stays.
    court.policy(json!({"approvalRules": security(1), "maxDuration": "4h"})).await?;
    court.ask_for_storage("other", json!({})).await?;
    court.review("sam", &["security"], "Approve", ("StorageAccessGrant", "other")).await?;
    court.until(STORAGE.0, "other", GrantPhase::Active).await?;
    assert_eq!(court.status(STORAGE.0, "run").await?.1.phase, GrantPhase::Active);

    court.policy(json!({"approvalRules": security(2)})).await?;
    for name in ["run", "other"] {
        let status = court.until(STORAGE.0, name, GrantPhase::Revoked).await?;
        assert_eq!(status.reason, "ApprovalsNotEnough");
    }
    Ok(())
}

#[tokio::test]
async fn the_glass_is_broken_once_and_reviewed() -> Result<()> {
    let _alone = GLASS.lock().await;
    let glass = json!({"requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "30m", "reviewWithin": "1h"});
    let court = Court::new("glass", json!({"breakGlass": glass})).await?;
    court.ask_for_storage("run", json!({"breakGlass": true, "requestedDuration": "20m"})).await?;
    let status = court.until(STORAGE.0, "run", GrantPhase::Active).await?;
    let debt = status.break_glass.context("it owes nothing")?;
    assert_eq!(debt.skipped, ["1 approval of security (Group security)", "2 approvals of owners (Group owners)"]);
    let note = court.event("run", "BreakGlass").await?;
    assert!(note.contains("alice used break-glass") && note.contains("2 approvals of owners"), "{note}");

    court.ask_for_storage("again", json!({"breakGlass": true})).await?;
    assert_eq!(court.until(STORAGE.0, "again", GrantPhase::Denied).await?.reason, "EarlierReviewOwed");
    // One's own review settles nothing.
    court.review("alice", &["security"], "Approve", STORAGE).await?;
    let reviewed_by_sam = async |name: &str| {
        court.review("sam", &["security"], "Approve", (STORAGE.0, name)).await?;
        eventually("the review to be noted", async || {
            let (object, status) = court.status(STORAGE.0, name).await?;
            let by = status.break_glass.and_then(|glass| glass.reviewed_by);
            ensure!(by.as_deref() == Some("sam"), "reviewed by {by:?}");
            ensure!(condition(&object, "Reviewed").is_some_and(|reviewed| reviewed.status == "True"), "it is not said");
            Ok(())
        })
        .await
    };
    reviewed_by_sam("run").await?;
    court.ask_for_storage("once-more", json!({"breakGlass": true})).await?;
    court.until(STORAGE.0, "once-more", GrantPhase::Active).await?;
    // Other tests use break-glass as alice, too.
    reviewed_by_sam("once-more").await
}

/// Nobody says of it that it was refused, which the record would keep.
#[tokio::test]
async fn a_review_that_is_owed_waits_for_the_policy_that_says_who_may_make_it() -> Result<()> {
    let _alone = GLASS.lock().await;
    let glass = json!({"requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "30m", "reviewWithin": "1h"});
    let court = Court::new("owed", json!({"breakGlass": glass})).await?;
    court.ask_for_storage("run", json!({"breakGlass": true, "requestedDuration": "20m"})).await?;
    court.until(STORAGE.0, "run", GrantPhase::Active).await?;
    court.scene.all::<AccessPolicy>().delete(&court.name, &DeleteParams::default()).await?;
    assert_eq!(court.until(STORAGE.0, "run", GrantPhase::Revoked).await?.reason, "PolicyGone");
    let review = court.review("sam", &["security"], "Approve", STORAGE).await?;
    let said = async |status: &str, reason: &str| {
        eventually(&format!("the review to be {status}, {reason}"), async || {
            let review = court.scene.within::<AccessReview>(&court.name).get(&review.name_any()).await?;
            let counted = condition(&review, "Counted").context("nothing is said of it")?;
            ensure!(counted.status == status && counted.reason == reason, "{counted:?}");
            Ok(())
        })
        .await
    };
    said("Unknown", "PolicyNotFound").await?;
    let (object, _) = court.status(STORAGE.0, "run").await?;
    let owed = condition(&object, "Reviewed").context("nothing is owed")?;
    let named = owed.message.contains(&format!("AccessPolicy {}, which role reader", court.name));
    assert!(owed.reason == "ReviewOwed" && named && owed.message.contains("no longer exists"), "{owed:?}");
    court.policy(json!({"breakGlass": glass})).await?;
    said("True", "Counted").await?;
    let (_, status) = court.status(STORAGE.0, "run").await?;
    assert_eq!(status.break_glass.and_then(|glass| glass.reviewed_by).as_deref(), Some("sam"));
    Ok(())
}

#[tokio::test]
async fn a_role_is_bound_while_its_grant_lasts() -> Result<()> {
    let court = Court::new("role", json!({})).await?;
    court
        .apply::<AccessRole>(
            "AccessRole",
            &court.name,
            json!({"clusterRole": "cloister:debugger", "accessPolicy": court.name}),
        )
        .await?;
    court.scene.until_condition(&court.scene.all::<AccessRole>(), &court.name, "Ready", "True").await?;
    let subjects = json!([{"kind": "User", "name": "alice"}]);
    court.ask("RoleGrant", "debug", json!({"role": court.name, "subjects": subjects})).await?;
    let of = ("RoleGrant", "debug");
    court.review("sam", &["security"], "Approve", of).await?;
    court.review("olga", &["owners"], "Approve", of).await?;
    court.review("otto", &["owners"], "Approve", of).await?;
    court.until("RoleGrant", "debug", GrantPhase::Active).await?;
    let binding = court.binding("cloister-role-grant.debug").await?.context("no binding")?;
    assert_eq!(binding.role_ref.name, "cloister:debugger");
    // By an owner of the namespace, who is no approver.
    court.review("olivia", &[], "Revoke", of).await?;
    court.until("RoleGrant", "debug", GrantPhase::Revoked).await?;
    assert!(court.binding("cloister-role-grant.debug").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_role_that_would_outlive_its_grant_is_refused() -> Result<()> {
    let court = Court::new("lasting", json!({})).await?;
    for (role, reason, said) in [
        ("edit", "ClusterRoleRefused", "Secret"),
        ("cloister:nowhere", "ClusterRoleNotFound", "create it"),
        ("system:discovery", "ClusterRoleNotBindable", "deploy/rbac/operator.yaml"),
    ] {
        let spec = json!({"clusterRole": role, "accessPolicy": court.name});
        court.apply::<AccessRole>("AccessRole", &court.name, spec).await?;
        eventually(&format!("{role} to be refused"), async || {
            let object = court.scene.all::<AccessRole>().get(&court.name).await?;
            let ready = condition(&object, "Ready").context("nothing is said of it")?;
            ensure!(ready.reason == reason && ready.message.contains(said), "{}: {}", ready.reason, ready.message);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_egress_grant_opens_its_rule_and_covers_the_namespaces() -> Result<()> {
    let court = Court::new("egress", json!({})).await?;
    // The policy of EgressGrants is one for the cluster, so that its tests keep to themselves.
    let rules = json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let spec = json!({"requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "8h", "approvalRules": rules});
    court.apply::<AccessPolicy>("AccessPolicy", "egress", spec).await?;
    let rule = json!({"name": "lab", "networks": ["192.0.2.0/28"], "ports": [{"port": 22}]});
    let patch = json!({"spec": {"egress": {"rules": [rule]}}});
    court.scene.all::<ResearchNamespace>().patch(&court.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let until_state = async |state: EgressState| {
        eventually(&format!("the rule to be {state:?}"), async || {
            let object = court.scene.all::<ResearchNamespace>().get(&court.name).await?;
            let needs = object.status.unwrap_or_default().egress;
            let lab = needs.iter().find(|need| need.name == "rule/lab").context("it is not told")?;
            ensure!(lab.state == state, "{lab:?}");
            Ok(())
        })
        .await
    };
    until_state(EgressState::NeedsGrant).await?;
    court.ask("EgressGrant", "lab", json!({"rule": rule})).await?;
    court.review("sam", &["security"], "Approve", ("EgressGrant", "lab")).await?;
    court.until("EgressGrant", "lab", GrantPhase::Active).await?;
    until_state(EgressState::Active).await?;
    let policies = court.scene.within::<NetworkPolicy>(&court.name);
    assert!(policies.get_opt("cloister-egress-grant.lab").await?.is_some());
    let grants = ours(&court.scene.admin, "EgressGrant", Some(&court.name));
    grants.delete("lab", &Default::default()).await?;
    until_state(EgressState::NeedsGrant).await?;
    assert!(policies.get_opt("cloister-egress-grant.lab").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_renewal_takes_over_without_a_gap() -> Result<()> {
    let court = Court::new("renewal", json!({"autoApprove": ["request.role == 'reader'"]})).await?;
    let storage: StorageResource = court.scene.all().get(&court.name).await?;
    assert_eq!(storage.spec.roles.len(), 1);
    let policy = json!({"approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]});
    court.policy(policy).await?;
    for name in ["first", "second"] {
        court.ask_for_storage(name, json!({})).await?;
        court.review("sam", &["security"], "Approve", ("StorageAccessGrant", name)).await?;
        court.until("StorageAccessGrant", name, GrantPhase::Active).await?;
    }
    court.scene.within::<StorageAccessGrant>(&court.name).delete("first", &Default::default()).await?;
    eventually("the first to be gone", async || {
        ensure!(court.binding("cloister-grant.first").await?.is_none(), "it is bound");
        Ok(())
    })
    .await?;
    assert!(court.binding("cloister-grant.second").await?.is_some());
    Ok(())
}
