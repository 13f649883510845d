//! Grants that people decide: who agrees, what opens, and what ends it.

use anyhow::{Context, Result, ensure};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, EgressState, GrantPhase, GrantStatus, ResearchNamespace,
    StorageAccessGrant, StorageResource,
};
use cloister_tests::scene::{Scene, condition};
use cloister_tests::{eventually, unique};
use k8s_openapi::api::{
    events::v1::Event,
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// A namespace with a policy that asks one of security and two of the owners.
struct Court {
    scene: Scene,
    name: String,
}

impl Court {
    async fn new(prefix: &str, more: Value) -> Result<Self> {
        let court = Court { scene: Scene::new().await, name: unique(prefix) };
        court.let_approvers_review().await?;
        court.policy(more).await?;
        let storage = json!({
            "sensitivity": "High",
            "roles": [{"name": "reader", "accessPolicy": court.name, "clusterRole": "cloister:storage-reader"}],
        });
        court.apply::<StorageResource>("StorageResource", &court.name, storage).await?;
        let members = json!([
            {"role": "Owner", "subjects": [{"kind": "User", "name": "olivia"}]},
            {"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]},
        ]);
        court.scene.enforced(&court.name, json!({"tier": "Standard", "members": members})).await?;
        Ok(court)
    }

    /// As the platform engineer does: the role that is shipped, to the group of those who approve.
    async fn let_approvers_review(&self) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "approvers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:approver"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "approvers"}],
        });
        let params = PatchParams::apply("test").force();
        self.scene.all::<ClusterRoleBinding>().patch("approvers", &params, &Patch::Apply(binding)).await?;
        Ok(())
    }

    async fn policy(&self, more: Value) -> Result<()> {
        let group = |name: &str| json!([{"kind": "Group", "name": name}]);
        let mut spec = json!({
            "requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "8h", "defaultDuration": "1h",
            "approvalRules": [
                {"name": "security", "required": 1, "approvers": group("security")},
                {"name": "owners", "required": 2, "approvers": group("owners")},
            ],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.apply::<AccessPolicy>("AccessPolicy", &self.name, spec).await.map(drop)
    }

    async fn apply<K>(&self, kind: &str, name: &str, spec: Value) -> Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let object =
            json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        Ok(self.scene.all::<K>().patch(name, &params, &Patch::Apply(object)).await?)
    }

    /// Makes an object as somebody; researchers and approvers have the roles that are shipped.
    async fn make<K>(&self, who: &str, groups: &[&str], object: Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let client = self.scene.world.client_for(who, groups).await?;
        let api: Api<K> = Api::namespaced(client, &self.name);
        Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    async fn ask(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let mut spec = spec;
        spec["justification"] = json!("a test");
        let object =
            json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let client = self.scene.world.client_for("alice", &[]).await?;
        let api = untyped(client, &self.name, kind);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    async fn ask_for_storage(&self, name: &str, more: Value) -> Result<()> {
        let mut spec = json!({"storage": self.name, "role": "reader", "subjects": [{"kind": "User", "name": "alice"}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.ask("StorageAccessGrant", name, spec).await
    }

    async fn status(&self, kind: &str, name: &str) -> Result<(DynamicObject, GrantStatus)> {
        let object = untyped(self.scene.admin.clone(), &self.name, kind).get(name).await?;
        let status = object.data.get("status").context("nothing is said of it")?;
        let status = serde_json::from_value(status.clone())?;
        Ok((object, status))
    }

    async fn until(&self, kind: &str, name: &str, phase: GrantPhase) -> Result<GrantStatus> {
        eventually(&format!("{name} to be {}", phase.as_str()), async || {
            let (object, status) = self.status(kind, name).await?;
            let message = condition(&object, "Ready").map(|ready| ready.message).unwrap_or_default();
            ensure!(status.phase == phase, "it is {}: {}: {message}", status.phase.as_str(), status.reason);
            Ok(status)
        })
        .await
    }

    /// Decides as somebody, about the grant as it is now.
    async fn review(&self, who: &str, groups: &[&str], decision: &str, of: (&str, &str)) -> Result<AccessReview> {
        let (kind, name) = of;
        let (object, digest) = eventually("a digest to decide about", async || {
            let (object, status) = self.status(kind, name).await?;
            ensure!(!status.digest.is_empty(), "there is none: {}", status.reason);
            Ok((object, status.digest))
        })
        .await?;
        let mut groups = groups.to_vec();
        groups.push("approvers");
        let review = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview",
            "metadata": {"generateName": format!("{name}-")},
            "spec": {
                "requestRef": {"kind": kind, "name": name, "uid": object.metadata.uid},
                "digest": digest, "decision": decision, "comment": format!("{who} says so"),
            },
        });
        self.make(who, &groups, review).await
    }

    async fn counted(&self, review: &AccessReview) -> Result<(bool, String)> {
        let name = review.name_any();
        eventually("the review to be judged", async || {
            let review = self.scene.within::<AccessReview>(&self.name).get(&name).await?;
            let counted = condition(&review, "Counted").context("nothing is said of it")?;
            Ok((counted.status == "True", counted.reason))
        })
        .await
    }

    async fn binding(&self, name: &str) -> Result<Option<RoleBinding>> {
        Ok(self.scene.within::<RoleBinding>(&self.name).get_opt(name).await?)
    }

    async fn event(&self, about: &str, reason: &str) -> Result<String> {
        eventually(&format!("an Event {reason} about {about}"), async || {
            let events = self.scene.within::<Event>(&self.name).list(&ListParams::default()).await?;
            let found = events.items.into_iter().find(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|of| of.name.as_deref()) == Some(about)
            });
            let event = found.context("there is none")?;
            Ok(event.note.unwrap_or_default())
        })
        .await
    }
}

fn untyped(client: kube::Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cloister.dev", "v1alpha1", kind));
    Api::namespaced_with(client, namespace, &resource)
}

const STORAGE: (&str, &str) = ("StorageAccessGrant", "run");

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
    assert_eq!(court.counted(&late).await?, (false, "AlreadyDecided".into()));
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
    let glass = json!({"requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "30m", "reviewWithin": "1h"});
    let court = Court::new("glass", json!({"breakGlass": glass})).await?;
    court.ask_for_storage("run", json!({"breakGlass": true, "requestedDuration": "20m"})).await?;
    let status = court.until(STORAGE.0, "run", GrantPhase::Active).await?;
    let debt = status.break_glass.context("it owes nothing")?;
    assert_eq!(debt.skipped, ["1 of security (Group security)", "2 of owners (Group owners)"]);
    let note = court.event("run", "BreakGlass").await?;
    assert!(note.contains("alice broke the glass") && note.contains("2 of owners"), "{note}");

    court.ask_for_storage("again", json!({"breakGlass": true})).await?;
    assert_eq!(court.until(STORAGE.0, "again", GrantPhase::Denied).await?.reason, "EarlierReviewOwed");
    // One's own review settles nothing.
    court.review("alice", &["security"], "Approve", STORAGE).await?;
    court.review("sam", &["security"], "Approve", STORAGE).await?;
    eventually("the review to be noted", async || {
        let (object, status) = court.status(STORAGE.0, "run").await?;
        let by = status.break_glass.and_then(|glass| glass.reviewed_by);
        ensure!(by.as_deref() == Some("sam"), "reviewed by {by:?}");
        ensure!(condition(&object, "Reviewed").is_some_and(|reviewed| reviewed.status == "True"), "it is not said");
        Ok(())
    })
    .await?;
    court.ask_for_storage("once-more", json!({"breakGlass": true})).await?;
    court.until(STORAGE.0, "once-more", GrantPhase::Active).await?;
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
    let grants = untyped(court.scene.admin.clone(), &court.name, "EgressGrant");
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
