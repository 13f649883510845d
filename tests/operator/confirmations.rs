//! Revocations that cannot be seen, that come before the operator can read what it revokes, and that meet pods which keep
//! what they had.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, GrantMount, GrantPhase, ResearchNamespace, StorageAccessGrant, StorageResource};
use cloister_tests::{
    bare::Bare,
    eventually,
    scene::{condition, pod},
};
use k8s_openapi::api::{
    core::v1::{Node, Pod, Secret},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const LAB: &str = "lab";
const SECRET: &str = "cloister-grant-weights.reader.trainer";

/// A cluster with one namespace, one storage, and a policy that approves by itself.
struct Site(Bare);

impl Site {
    async fn start(name: &str) -> Result<Self> {
        let site = Site(Bare::start(name).await?);
        let annotations =
            json!({"cloister.dev/storage-resources": "weights", "cloister.dev/minimum-sensitivity": "Low"});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weights", "annotations": annotations},
            "stringData": {"token": "t"},
        });
        site.make(&site.within::<Secret>("cloister-credentials"), "weights", secret).await?;
        let role = json!({
            "name": "reader", "accessPolicy": "auto", "clusterRole": "cloister:storage-reader",
            "credential": {"secretRef": {"namespace": "cloister-credentials", "name": "weights"}},
        });
        let ours = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let policy = json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": ["true"]});
        let all = site.0.admin.clone();
        site.make(&Api::<AccessPolicy>::all(all.clone()), "auto", ours("AccessPolicy", "auto", policy)).await?;
        let storage = ours("StorageResource", "weights", json!({"sensitivity": "Low", "roles": [role]}));
        site.make(&Api::<StorageResource>::all(all.clone()), "weights", storage).await?;
        let home = json!({"tier": "Standard", "serviceAccounts": [{"name": "trainer"}]});
        site.make(&Api::<ResearchNamespace>::all(all), LAB, ours("ResearchNamespace", LAB, home)).await?;
        Ok(site)
    }

    fn within<K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>>(&self, name: &str) -> Api<K> {
        Api::namespaced(self.0.admin.clone(), name)
    }

    async fn make<K: Clone + Debug + DeserializeOwned>(&self, api: &Api<K>, name: &str, object: Value) -> Result<()> {
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    fn grants(&self) -> Api<StorageAccessGrant> {
        self.within(LAB)
    }

    async fn active(&self, grant: &str, more: Value) -> Result<()> {
        let mut spec = json!({
            "storage": "weights", "role": "reader", "justification": "a test",
            "mount": {"serviceAccountName": "trainer", "mountPath": "/var/run/cloister/weights"},
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": grant}, "spec": spec,
        });
        let alice = self.0.cluster.client_for("alice", &["researchers", "system:masters"]).await?;
        let api: Api<StorageAccessGrant> = Api::namespaced(alice, LAB);
        eventually("the grant to be asked for", async || {
            api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
            Ok(())
        })
        .await?;
        self.until(grant, GrantPhase::Active).await.map(drop)
    }

    async fn until(&self, grant: &str, phase: GrantPhase) -> Result<StorageAccessGrant> {
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

    /// Makes a pod that gets the credential.
    async fn mounted(&self, name: &str) -> Result<()> {
        let pods = self.within::<Pod>(LAB);
        eventually("a pod with the mount", async || {
            let made = pods.create(&PostParams::default(), &pod(name, "trainer")).await?;
            if holds(&made) {
                return Ok(());
            }
            pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
            anyhow::bail!("it was admitted without the mount")
        })
        .await
    }

    /// Whether the copy, its mount and the pod are gone.
    async fn gone(&self, pod: &str) -> Result<()> {
        ensure!(self.within::<Secret>(LAB).get_opt(SECRET).await?.is_none(), "the copy is there");
        let mount = self.within::<GrantMount>(LAB).get_opt("weights.reader.trainer").await?;
        ensure!(mount.is_none(), "the mount is there");
        ensure!(self.within::<Pod>(LAB).get_opt(pod).await?.is_none(), "the pod is there");
        Ok(())
    }
}

fn holds(pod: &Pod) -> bool {
    serde_json::to_string(&pod.spec).is_ok_and(|spec| spec.contains(SECRET))
}

/// What ends, ends by what is in the status, whether the spec can be read or not.
#[tokio::test]
async fn a_grant_that_cannot_be_read_any_more_closes_all_that_it_opened() -> Result<()> {
    let site = Site::start("unread").await?;
    let operator = site.0.operator().await?;
    site.active("ends", json!({"requestedDuration": "25s"})).await?;
    site.active("deleted", json!({"requestedDuration": "1h"})).await?;
    site.mounted("worker").await?;

    // As a newer definition, installed before the operator that knows it.
    let newer = json!({"type": "boolean", "default": false});
    site.0.add_field("storageaccessgrants.cloister.dev", "/properties/spec/properties/newer", newer).await?;
    eventually("all of it to be closed", async || {
        for name in ["ends", "deleted"] {
            let ready = condition(&site.grants().get(name).await?, "Ready").context("nothing is said")?;
            ensure!(ready.reason == "Undecodable", "{}: {}", ready.reason, ready.message);
        }
        site.gone("worker").await
    })
    .await?;
    let late = site.within::<Pod>(LAB).create(&PostParams::default(), &pod("late", "trainer")).await?;
    assert!(!holds(&late), "a new pod gets it");

    site.grants().delete("deleted", &DeleteParams::default()).await?;
    eventually("the grant to be gone", async || {
        ensure!(site.grants().get_opt("deleted").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    let ended = site.until("ends", GrantPhase::Expired).await?;
    assert!(ended.status.context("nothing is said")?.ended_at.is_some());
    site.gone("worker").await?;
    operator.stop().await?;
    site.0.give_back().await
}

/// Without the right to look at pods nothing is confirmed.
#[tokio::test]
async fn a_revocation_that_cannot_be_seen_is_not_confirmed() -> Result<()> {
    let site = Site::start("unseen").await?;
    let operator = site.0.operator().await?;
    site.active("run", json!({"requestedDuration": "8s"})).await?;
    site.mounted("worker").await?;
    let roles: Api<ClusterRole> = Api::all(site.0.admin.clone());
    let whole = roles.get("cloister:operator").await?;
    let mut blind = whole.clone();
    blind.metadata.managed_fields = None;
    for rule in blind.rules.iter_mut().flatten() {
        if rule.resources.as_ref().is_some_and(|resources| resources == &["pods"]) {
            rule.verbs.retain(|verb| verb == "get" || verb == "delete");
        }
    }
    roles.replace("cloister:operator", &PostParams::default(), &blind).await?;
    eventually("it to be unconfirmed", async || {
        let grant = site.grants().get("run").await?;
        let said = condition(&grant, "RevocationUnconfirmed").context("nothing is said")?;
        ensure!((said.status.as_str(), said.reason.as_str()) == ("True", "PodsUnseen"), "{}", said.reason);
        ensure!(grant.status.is_some_and(|status| status.phase == GrantPhase::Revoking), "it is not Revoking");
        ensure!(operator.metric("cloister_alerts", "alert=\"RevocationUnconfirmed\"").await? > 0.0, "no alarm");
        Ok(())
    })
    .await?;
    assert!(site.within::<Secret>(LAB).get_opt(SECRET).await?.is_none(), "the copy waits for nothing");

    let patch = json!({"rules": whole.rules});
    roles.patch("cloister:operator", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let ended = site.until("run", GrantPhase::Expired).await?;
    assert!(condition(&ended, "RevocationUnconfirmed").is_none());
    site.gone("worker").await?;
    operator.stop().await?;
    site.0.give_back().await
}

/// What an operator that was stopped had asked for may arrive when another has ended the grant: nobody can see such a copy.
#[tokio::test]
async fn a_copy_that_is_made_when_its_mount_is_gone_does_not_stay() -> Result<()> {
    let site = Site::start("late-copy").await?;
    let operator = site.0.operator().await?;
    site.active("run", json!({"requestedDuration": "1h"})).await?;
    let (secrets, mounts) = (site.within::<Secret>(LAB), site.within::<GrantMount>(LAB));
    let mut copy = secrets.get(SECRET).await?;
    let mount = mounts.get("weights.reader.trainer").await?;
    let owners: Vec<String> = copy.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect();
    assert_eq!(owners, [mount.metadata.uid.context("a uid")?]);

    site.grants().delete("run", &DeleteParams::default()).await?;
    eventually("all of it to be gone", async || site.gone("none").await).await?;
    operator.stop().await?;
    site.0.without_admission().await?;
    (copy.metadata.uid, copy.metadata.resource_version) = (None, None);
    secrets.create(&PostParams::default(), &copy).await?;
    eventually("the copy to be gone", async || {
        ensure!(secrets.get_opt(SECRET).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    site.0.give_back().await
}

/// With the policies out of force somebody makes pods that keep what they had: they end with the grant, though it says
/// that pods go on.
#[tokio::test]
async fn a_pod_that_keeps_the_credential_ends_with_the_grant() -> Result<()> {
    let site = Site::start("keeps").await?;
    let operator = site.0.operator().await?;
    site.active("run", json!({"requestedDuration": "20s", "onExpiry": "Empty"})).await?;
    site.0.without_admission().await?;
    site.mounted("worker").await?;
    let pods = site.within::<Pod>(LAB);
    let env = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "token"}}}]);
    let mine = json!([{"name": "mine", "secret": {"secretName": SECRET, "optional": true}}]);
    let part = json!([{"name": "mine", "mountPath": "/one/token", "subPath": "token"}]);
    let required = json!([{"name": "mine", "secret": {"secretName": SECRET}}]);
    let lasting = [
        ("env", json!({}), json!({"env": env})),
        ("env-from", json!({}), json!({"envFrom": [{"secretRef": {"name": SECRET}}]})),
        ("part", json!({"volumes": mine}), json!({"volumeMounts": part})),
        ("required", json!({"volumes": required}), json!({})),
    ];
    for (name, spec, container) in &lasting {
        let mut object = serde_json::to_value(pod(name, "trainer"))?;
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        for (key, value) in container.as_object().into_iter().flatten() {
            object["spec"]["containers"][0][key] = value.clone();
        }
        pods.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    site.until("run", GrantPhase::Expired).await?;
    for (name, ..) in &lasting {
        assert!(pods.get_opt(name).await?.is_none(), "{name} keeps the credential");
    }
    let worker = pods.get("worker").await?;
    assert_eq!(worker.metadata.deletion_timestamp, None, "a pod that is emptied goes on");
    operator.stop().await?;
    site.0.give_back().await
}

/// Whoever deletes a pod gives it the grace that its spec names. One that runs on a node, and is deleted before the end,
/// would hold the credential for as long as its author likes.
#[tokio::test]
async fn a_pod_that_is_being_deleted_for_a_year_ends_with_the_grant() -> Result<()> {
    const YEAR: i64 = 31_536_000;
    let site = Site::start("lingers").await?;
    let operator = site.0.operator().await?;
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node-1"}}))?;
    Api::all(site.0.admin.clone()).create(&PostParams::default(), &node).await?;
    site.active("run", json!({"requestedDuration": "12s"})).await?;
    let pods = site.within::<Pod>(LAB);
    let mut long = pod("worker", "trainer");
    long.spec.as_mut().context("a spec")?.termination_grace_period_seconds = Some(YEAR);
    eventually("a pod with the mount", async || {
        let made = pods.create(&PostParams::default(), &long).await?;
        if holds(&made) {
            return Ok(());
        }
        pods.delete("worker", &DeleteParams::default().grace_period(0)).await?;
        anyhow::bail!("it was admitted without the mount")
    })
    .await?;
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "worker"}, "target": {"name": "node-1"}});
    pods.create_subresource::<_, Value>("binding", "worker", &PostParams::default(), &binding).await?;
    pods.delete("worker", &DeleteParams::default()).await?;
    assert_eq!(pods.get("worker").await?.metadata.deletion_grace_period_seconds, Some(YEAR));

    eventually("the pod to be deleted with a short grace", async || {
        let grace = pods.get("worker").await?.metadata.deletion_grace_period_seconds;
        ensure!(grace == Some(1), "its grace is {grace:?}");
        Ok(())
    })
    .await?;
    site.until("run", GrantPhase::Revoking).await?;
    // As the kubelet does, when the grace is over.
    pods.delete("worker", &DeleteParams::default().grace_period(0)).await?;
    site.until("run", GrantPhase::Expired).await?;
    operator.stop().await?;
    site.0.give_back().await
}
