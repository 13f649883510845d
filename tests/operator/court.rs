//! A research namespace whose grants people decide about.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, AccessReview, GrantPhase, GrantStatus, StorageResource};
use cloister_tests::scene::{Scene, condition};
use cloister_tests::{eventually, ours::ours, unique};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::{
    Api, Resource, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// A namespace with a policy that asks one of security and two of the owners.
pub struct Court {
    pub scene: Scene,
    pub name: String,
}

impl Court {
    pub async fn new(prefix: &str, more: Value) -> Result<Self> {
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
    pub async fn let_approvers_review(&self) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "approvers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:approver"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "approvers"}],
        });
        let params = PatchParams::apply("test").force();
        self.scene.all::<ClusterRoleBinding>().patch("approvers", &params, &Patch::Apply(binding)).await?;
        Ok(())
    }

    pub async fn policy(&self, more: Value) -> Result<()> {
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

    pub async fn apply<K>(&self, kind: &str, name: &str, spec: Value) -> Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let object =
            json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        Ok(self.scene.all::<K>().patch(name, &params, &Patch::Apply(object)).await?)
    }

    /// Makes an object as somebody; researchers and approvers have the roles that are shipped.
    pub async fn make<K>(&self, who: &str, groups: &[&str], object: Value) -> Result<K>
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

    pub async fn ask(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let mut spec = spec;
        spec["justification"] = json!("a test");
        let object =
            json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let client = self.scene.world.client_for("alice", &[]).await?;
        let api = ours(&client, kind, Some(&self.name));
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    pub async fn ask_for_storage(&self, name: &str, more: Value) -> Result<()> {
        let mut spec = json!({"storage": self.name, "role": "reader", "subjects": [{"kind": "User", "name": "alice"}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.ask("StorageAccessGrant", name, spec).await
    }

    pub async fn status(&self, kind: &str, name: &str) -> Result<(DynamicObject, GrantStatus)> {
        let object = ours(&self.scene.admin, kind, Some(&self.name)).get(name).await?;
        let status = object.data.get("status").context("nothing is said of it")?;
        let status = serde_json::from_value(status.clone())?;
        Ok((object, status))
    }

    pub async fn until(&self, kind: &str, name: &str, phase: GrantPhase) -> Result<GrantStatus> {
        eventually(&format!("{name} to be {}", phase.as_str()), async || {
            let (object, status) = self.status(kind, name).await?;
            let message = condition(&object, "Ready").map(|ready| ready.message).unwrap_or_default();
            ensure!(status.phase == phase, "it is {}: {}: {message}", status.phase.as_str(), status.reason);
            Ok(status)
        })
        .await
    }

    /// Decides as somebody, about the grant as it is now.
    pub async fn review(&self, who: &str, groups: &[&str], decision: &str, of: (&str, &str)) -> Result<AccessReview> {
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

    pub async fn counted(&self, review: &AccessReview) -> Result<(bool, String)> {
        let name = review.name_any();
        eventually("the review to be judged", async || {
            let review = self.scene.within::<AccessReview>(&self.name).get(&name).await?;
            let counted = condition(&review, "Counted").context("nothing is said of it")?;
            Ok((counted.status == "True", counted.reason))
        })
        .await
    }

    pub async fn binding(&self, name: &str) -> Result<Option<RoleBinding>> {
        Ok(self.scene.within::<RoleBinding>(&self.name).get_opt(name).await?)
    }

    pub async fn event(&self, about: &str, reason: &str) -> Result<String> {
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

pub const STORAGE: (&str, &str) = ("StorageAccessGrant", "run");
