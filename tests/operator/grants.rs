//! Grants under a policy that approves by itself: they open, they end, and nothing of them is left.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, GrantMount, GrantPhase, StorageAccessGrant, StorageResource, labels};
use cloister_tests::scene::{Scene, condition, pod};
use cloister_tests::{denied, eventually, unique};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    networking::v1::NetworkPolicy,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// A namespace and a storage of its own, with a policy that approves what is short.
pub struct Lab {
    /// The cluster.
    pub scene: Scene,
    /// The name of all of them.
    pub name: String,
}

impl Lab {
    pub async fn new(prefix: &str) -> Result<Self> {
        let lab = Lab { scene: Scene::new().await, name: unique(prefix) };
        lab.credential("first").await?;
        lab.policy(json!({
            "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "defaultDuration": "1h",
            "autoApprove": ["duration(request.requestedDuration) <= duration('4h')"],
        }))
        .await?;
        lab.storage(json!({"secretRef": {"namespace": "cloister-credentials", "name": lab.name}}), "Low").await?;
        let accounts = json!([{"name": "trainer"}, {"name": "other"}]);
        lab.scene.enforced(&lab.name, json!({"tier": "Standard", "serviceAccounts": accounts})).await?;
        Ok(lab)
    }

    async fn credential(&self, value: &str) -> Result<()> {
        let annotations = json!({labels::STORAGE_RESOURCES: self.name});
        let secret =
            json!({"metadata": {"name": self.name, "annotations": annotations}, "stringData": {"token": value}});
        let params = PatchParams::apply("test").force();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": secret["metadata"], "stringData": secret["stringData"]});
        self.scene.within::<Secret>("cloister-credentials").patch(&self.name, &params, &Patch::Apply(secret)).await?;
        Ok(())
    }

    async fn policy(&self, spec: Value) -> Result<()> {
        let policy = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": self.name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        self.scene.all::<AccessPolicy>().patch(&self.name, &params, &Patch::Apply(policy)).await?;
        Ok(())
    }

    async fn storage(&self, credential: Value, sensitivity: &str) -> Result<()> {
        let storage = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": self.name},
            "spec": {
                "sensitivity": sensitivity,
                "endpoint": {"networks": ["198.51.100.0/28"], "ports": [{"port": 443}]},
                "roles": [{
                    "name": "reader", "accessPolicy": self.name, "clusterRole": "cloister:storage-reader",
                    "credential": credential,
                }],
            },
        });
        let params = PatchParams::apply("test").force();
        self.scene.all::<StorageResource>().patch(&self.name, &params, &Patch::Apply(storage)).await?;
        Ok(())
    }

    fn grants(&self) -> Api<StorageAccessGrant> {
        self.scene.within(&self.name)
    }

    /// Asks as alice, who is in the group of researchers.
    pub async fn ask(&self, grant: &str, more: Value) -> Result<StorageAccessGrant> {
        let mut spec = json!({
            "storage": self.name, "role": "reader", "justification": "a test",
            "mount": {"serviceAccountName": "trainer", "mountPath": "/var/run/cloister/data"},
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let grant = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": grant}, "spec": spec,
        });
        let alice = self.scene.world.client_for("alice", &["researchers", "system:masters"]).await?;
        let api: Api<StorageAccessGrant> = Api::namespaced(alice, &self.name);
        Ok(api.create(&PostParams::default(), &serde_json::from_value(grant)?).await?)
    }

    pub async fn until_phase(&self, grant: &str, phase: GrantPhase) -> Result<StorageAccessGrant> {
        eventually(&format!("{grant} to be {}", phase.as_str()), async || {
            let object = self.grants().get(grant).await?;
            let said = object.status.as_ref().filter(|status| status.observed_generation.is_some());
            let status = said.context("nothing is said of it")?;
            let message = condition(&object, "Ready").map(|ready| ready.message).unwrap_or_default();
            ensure!(status.phase == phase, "it is {}: {}: {message}", status.phase.as_str(), status.reason);
            Ok(object)
        })
        .await
    }

    pub fn secret_name(&self) -> String {
        format!("cloister-grant-{}.reader.trainer", self.name)
    }

    async fn token(&self) -> Result<Option<String>> {
        let secret = self.scene.within::<Secret>(&self.name).get_opt(&self.secret_name()).await?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.get("token").map(|token| String::from_utf8_lossy(&token.0).into_owned()))
    }

    /// What stands in the name of a grant: its binding, its policy, the mount and the copy.
    pub async fn standing(&self, grant: &str) -> Result<[bool; 4]> {
        let name = format!("cloister-grant.{grant}");
        let mount = format!("{}.reader.trainer", self.name);
        Ok([
            self.scene.within::<RoleBinding>(&self.name).get_opt(&name).await?.is_some(),
            self.scene.within::<NetworkPolicy>(&self.name).get_opt(&name).await?.is_some(),
            self.scene.within::<GrantMount>(&self.name).get_opt(&mount).await?.is_some(),
            self.token().await?.is_some(),
        ])
    }

    pub async fn pod(&self, name: &str) -> Result<Pod> {
        let pods = self.scene.within::<Pod>(&self.name);
        let pod = pod(name, "trainer");
        eventually("a pod with the mount", async || {
            let made = pods.create(&PostParams::default(), &pod).await?;
            let volumes = made.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
            let mounted = volumes.iter().filter_map(|volume| volume.secret.as_ref()?.secret_name.clone());
            if mounted.into_iter().any(|mounted| mounted == self.secret_name()) {
                return Ok(made);
            }
            pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
            anyhow::bail!("it was admitted without the mount")
        })
        .await
    }
}

#[tokio::test]
async fn a_grant_opens_and_ends_by_itself() -> Result<()> {
    let lab = Lab::new("opens").await?;
    lab.ask("run", json!({"requestedDuration": "6s"})).await?;
    let grant = lab.until_phase("run", GrantPhase::Active).await?;
    assert_eq!(lab.standing("run").await?, [true; 4]);
    assert_eq!(lab.token().await?.as_deref(), Some("first"));
    assert_eq!(grant.spec.requested_by.as_ref().unwrap().username, "alice");
    let status = grant.status.clone().unwrap();
    let (approved, end) = (status.approved_at.unwrap().0, status.expires_at.unwrap().0);
    assert_eq!(end.duration_since(approved).as_secs(), 6);
    let binding = lab.scene.within::<RoleBinding>(&lab.name).get("cloister-grant.run").await?;
    assert_eq!(binding.owner_references()[0].uid, grant.uid().unwrap());
    let policy = lab.scene.within::<NetworkPolicy>(&lab.name).get("cloister-grant.run").await?;
    let selector = serde_json::to_value(policy.spec.unwrap().pod_selector)?;
    assert_eq!(selector, json!({"matchLabels": {"cloister.dev/service-account": "trainer"}}));
    lab.pod("worker").await?;

    let ended = lab.until_phase("run", GrantPhase::Expired).await?;
    assert!(jiff::Timestamp::now() >= end);
    assert_eq!(ended.status.as_ref().unwrap().expires_at.as_ref().unwrap().0, end, "the end never moves");
    assert_eq!(lab.standing("run").await?, [false; 4]);
    assert!(lab.scene.within::<Pod>(&lab.name).get_opt("worker").await?.is_none(), "the pod that held it is deleted");
    assert_eq!(condition(&ended, "Ready").unwrap().status, "True", "an ended grant is not broken");
    Ok(())
}

#[tokio::test]
async fn deleting_a_grant_revokes_it_first() -> Result<()> {
    let lab = Lab::new("deletes").await?;
    lab.ask("run", json!({})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    lab.pod("worker").await?;
    lab.grants().delete("run", &DeleteParams::default()).await?;
    eventually("the grant to be gone", async || {
        ensure!(lab.grants().get_opt("run").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    assert_eq!(lab.standing("run").await?, [false; 4]);
    assert!(lab.scene.within::<Pod>(&lab.name).get_opt("worker").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn the_first_of_two_grants_takes_nothing_from_the_second() -> Result<()> {
    let lab = Lab::new("overlap").await?;
    lab.ask("one", json!({"requestedDuration": "5s"})).await?;
    lab.until_phase("one", GrantPhase::Active).await?;
    let pod = lab.pod("worker").await?;
    lab.ask("two", json!({"requestedDuration": "1h"})).await?;
    lab.until_phase("two", GrantPhase::Active).await?;
    lab.until_phase("one", GrantPhase::Expired).await?;
    assert_eq!(lab.standing("one").await?, [false, false, true, true], "only what was its own is gone");
    assert_eq!(lab.standing("two").await?, [true; 4]);
    let same = lab.scene.within::<Pod>(&lab.name).get("worker").await?;
    assert_eq!((same.uid(), same.metadata.deletion_timestamp), (pod.uid(), None));

    lab.grants().delete("two", &DeleteParams::default()).await?;
    eventually("the mount to go with the last", async || {
        ensure!(lab.standing("two").await? == [false; 4], "something of it is left");
        ensure!(lab.scene.within::<Pod>(&lab.name).get_opt("worker").await?.is_none(), "the pod is left");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_empty_the_pods_go_on_without_the_credential() -> Result<()> {
    let lab = Lab::new("empties").await?;
    lab.ask("run", json!({"requestedDuration": "5s", "onExpiry": "Empty"})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    lab.pod("worker").await?;
    lab.until_phase("run", GrantPhase::Expired).await?;
    assert_eq!(lab.standing("run").await?, [false; 4]);
    let pod = lab.scene.within::<Pod>(&lab.name).get("worker").await?;
    assert_eq!(pod.metadata.deletion_timestamp, None);
    Ok(())
}

#[tokio::test]
async fn a_grant_is_revoking_until_its_pods_are_gone() -> Result<()> {
    let lab = Lab::new("revoking").await?;
    lab.ask("run", json!({"requestedDuration": "5s"})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    lab.pod("worker").await?;
    let pods = lab.scene.within::<Pod>(&lab.name);
    let hold = json!({"metadata": {"finalizers": ["example.com/slow"]}});
    pods.patch("worker", &PatchParams::default(), &Patch::Merge(hold)).await?;
    let grant = lab.until_phase("run", GrantPhase::Revoking).await?;
    // The mount remembers the copy until nobody holds it, and is put into no pod.
    assert_eq!(lab.standing("run").await?, [false, false, true, false]);
    let mount: GrantMount = lab.scene.within(&lab.name).get(&format!("{}.reader.trainer", lab.name)).await?;
    assert_eq!(mount.annotations()["cloister.dev/credential-version"], "");
    assert!(
        condition(&grant, "Ready").unwrap().message.contains("waiting for 1 pod that holds"),
        "{:?}",
        condition(&grant, "Ready")
    );
    pods.patch("worker", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    lab.until_phase("run", GrantPhase::Expired).await?;
    assert_eq!(lab.standing("run").await?, [false; 4]);
    Ok(())
}

#[tokio::test]
async fn a_rotated_credential_is_copied_again() -> Result<()> {
    let lab = Lab::new("rotates").await?;
    lab.ask("run", json!({})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    lab.credential("second").await?;
    eventually("the copy to follow", async || {
        ensure!(lab.token().await?.as_deref() == Some("second"), "it is still the old one");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn under_a_policy_that_asks_people_a_grant_stays_pending() -> Result<()> {
    let lab = Lab::new("people").await?;
    lab.policy(json!({
        "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": [],
        "approvalRules": [{"name": "security", "required": 2, "approvers": [{"kind": "Group", "name": "security"}]}],
    }))
    .await?;
    lab.ask("run", json!({})).await?;
    let grant = lab.scene.until_condition(&lab.grants(), "run", "Approved", "False").await?;
    assert_eq!(grant.status.as_ref().unwrap().phase, GrantPhase::Pending);
    let ready = condition(&grant, "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "AwaitingApproval"));
    assert!(ready.message.contains("2 more of security (Group security)"), "{}", ready.message);
    assert_eq!(lab.standing("run").await?, [false; 4]);
    Ok(())
}

#[tokio::test]
async fn a_request_outside_the_terms_is_denied_and_says_why() -> Result<()> {
    let lab = Lab::new("terms").await?;
    let cases = [
        ("toolong", json!({"requestedDuration": "9h"}), "DurationTooLong"),
        (
            "group",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "Group", "name": "all"}]}),
            "SubjectNotAllowed",
        ),
        (
            "someone",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "User", "name": "bob"}]}),
            "SubjectNotAllowed",
        ),
        ("past", json!({"startTime": "2020-01-01T00:00:00Z"}), "WindowPassed"),
        ("late", json!({"startTime": "2999-01-01T00:00:00Z"}), "StartTooLate"),
    ];
    for (name, more, reason) in cases {
        lab.ask(name, more).await?;
        let grant = lab.until_phase(name, GrantPhase::Denied).await?;
        assert_eq!(grant.status.unwrap().reason, reason);
        assert_eq!(lab.standing(name).await?, [false; 4]);
    }
    // Somebody who is not among the requesters.
    let bob = lab.scene.world.client_for("bob", &["strangers", "system:masters"]).await?;
    let grant = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": "bob"},
        "spec": {
            "storage": lab.name, "role": "reader", "subjects": [{"kind": "User", "name": "bob"}],
        },
    });
    let api: Api<StorageAccessGrant> = Api::namespaced(bob, &lab.name);
    api.create(&PostParams::default(), &serde_json::from_value(grant)?).await?;
    let grant = lab.until_phase("bob", GrantPhase::Denied).await?;
    assert_eq!(grant.status.unwrap().reason, "RequesterNotAllowed");
    Ok(())
}

#[tokio::test]
async fn what_a_grant_needs_may_come_later() -> Result<()> {
    let lab = Lab::new("later").await?;
    let ask = async |name: &str, more: Value, reason: &str| -> Result<()> {
        lab.ask(name, more).await?;
        let grant = lab.scene.until_condition(&lab.grants(), name, "Ready", "False").await?;
        assert_eq!(grant.status.as_ref().unwrap().phase, GrantPhase::Pending);
        let ready = condition(&grant, "Ready").unwrap();
        assert_eq!(ready.reason, reason, "{}", ready.message);
        // What is missing may have been applied together with it, and is on its way.
        lab.scene.until_condition(&lab.grants(), name, "Stalled", "True").await?;
        Ok(())
    };
    ask("storage", json!({"storage": "nowhere"}), "StorageNotFound").await?;
    ask("role", json!({"role": "writer"}), "RoleNotFound").await?;
    lab.scene.within::<Secret>("cloister-credentials").delete(&lab.name, &DeleteParams::default()).await?;
    eventually("the storage to say that its credential is missing", async || {
        let ready =
            condition(&lab.scene.all::<StorageResource>().get(&lab.name).await?, "Ready").context("nothing is said")?;
        ensure!(ready.reason == "CredentialMissing", "{}", ready.reason);
        Ok(())
    })
    .await?;
    ask("credential", json!({}), "CredentialMissing").await?;
    assert_eq!(lab.standing("credential").await?, [false; 4]);
    lab.credential("late").await?;
    lab.until_phase("credential", GrantPhase::Active).await?;
    assert_eq!(lab.token().await?.as_deref(), Some("late"));

    lab.scene.all::<AccessPolicy>().delete(&lab.name, &DeleteParams::default()).await?;
    let revoked = lab.until_phase("credential", GrantPhase::Revoked).await?;
    assert_eq!(revoked.status.unwrap().reason, "PolicyGone");
    ask("policy", json!({}), "PolicyNotFound").await
}

#[tokio::test]
async fn a_credential_is_read_from_the_credential_namespaces_alone() -> Result<()> {
    let lab = Lab::new("elsewhere").await?;
    let elsewhere: Secret =
        serde_json::from_value(json!({"metadata": {"name": lab.name}, "stringData": {"token": "x"}}))?;
    lab.scene.within::<Secret>("default").create(&PostParams::default(), &elsewhere).await?;
    lab.storage(json!({"secretRef": {"namespace": "default", "name": lab.name}}), "Low").await?;
    lab.ask("run", json!({})).await?;
    let grant = lab.scene.until_condition(&lab.grants(), "run", "Ready", "False").await?;
    let ready = condition(&grant, "Ready").unwrap();
    assert!(ready.message.contains("credentialNamespaces"), "{}", ready.message);
    assert_eq!(lab.standing("run").await?, [false; 4]);
    Ok(())
}

#[tokio::test]
async fn a_policy_too_weak_for_the_content_opens_nothing() -> Result<()> {
    let lab = Lab::new("weak").await?;
    lab.storage(json!({"secretRef": {"namespace": "cloister-credentials", "name": lab.name}}), "Critical").await?;
    lab.ask("run", json!({})).await?;
    let grant = lab.scene.until_condition(&lab.grants(), "run", "Ready", "False").await?;
    assert_eq!(grant.status.as_ref().unwrap().reason, "PolicyTooWeak");
    assert_eq!(lab.standing("run").await?, [false; 4]);
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_closes_takes_its_grants_along() -> Result<()> {
    let lab = Lab::new("closes").await?;
    lab.ask("run", json!({})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    let research: Api<cloister_api::ResearchNamespace> = lab.scene.all();
    research.delete(&lab.name, &DeleteParams::default()).await?;
    let grant = lab.until_phase("run", GrantPhase::Revoked).await?;
    assert_eq!(grant.status.unwrap().reason, "NamespaceClosed");
    assert_eq!(lab.standing("run").await?, [false; 4]);
    eventually("the ResearchNamespace to be gone", async || {
        ensure!(research.get_opt(&lab.name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_the_mounts_account_may_reference_the_copy() -> Result<()> {
    let lab = Lab::new("copy").await?;
    lab.ask("run", json!({})).await?;
    lab.until_phase("run", GrantPhase::Active).await?;
    let mut thief = pod("thief", "other");
    let from = json!([{"secretRef": {"name": lab.secret_name()}}]);
    thief.spec.as_mut().unwrap().containers[0].env_from = Some(serde_json::from_value(from)?);
    let refused = lab.scene.within::<Pod>(&lab.name).create(&PostParams::default(), &thief).await;
    denied(refused, "grant-secrets.cloister.dev")
}
