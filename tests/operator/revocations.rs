//! What a revocation that is called confirmed has left in the pods, and what two credentials in one folder are.

use super::grants::Lab;
use anyhow::{Context, Result, ensure};
use cloister_api::{GrantPhase, ResidualExposure, StorageResource, labels};
use cloister_tests::{eventually, scene::condition, scene::pod};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// The pods that hold a copy of a credential and are not being deleted.
async fn holding(pods: &Api<Pod>, secret: &str) -> Result<Vec<String>> {
    let all = pods.list(&ListParams::default()).await?;
    let holds = |pod: &Pod| serde_json::to_string(&pod.spec).is_ok_and(|spec| spec.contains(secret));
    let left = all.items.iter().filter(|pod| holds(pod) && pod.metadata.deletion_timestamp.is_none());
    Ok(left.map(ResourceExt::name_any).collect())
}

/// Pods that are made in a loop around the end, whichever way it comes.
#[tokio::test]
async fn no_pod_that_is_made_around_the_end_outlives_it() -> Result<()> {
    /// The most pods that are made.
    const MOST: usize = 1500;
    for revoked in [false, true] {
        let lab = Lab::new("around").await?;
        lab.ask("run", json!({"requestedDuration": if revoked { "1h" } else { "6s" }})).await?;
        lab.until_phase("run", GrantPhase::Active).await?;
        let pods = lab.scene.within::<Pod>(&lab.name);
        let grants = lab.scene.within::<cloister_api::StorageAccessGrant>(&lab.name);
        let (mut injected, mut deleted) = (0, false);
        for count in 0..MOST {
            let made = pods.create(&PostParams::default(), &pod(&format!("pod-{count}"), "trainer")).await?;
            injected += usize::from(serde_json::to_string(&made.spec)?.contains(&lab.secret_name()));
            if revoked && injected == 5 && !deleted {
                deleted = true;
                grants.delete("run", &DeleteParams::default()).await?;
            }
            let found = grants.get_opt("run").await?;
            let phase = found.and_then(|grant| grant.status).map(|status| status.phase);
            if phase.is_none_or(GrantPhase::has_ended) {
                assert_eq!(holding(&pods, &lab.secret_name()).await?, [""; 0], "they outlive it");
                break;
            }
        }
        ensure!(injected > 0, "no pod had the credential");
        assert_eq!(lab.standing("run").await?, [false; 4]);
    }
    Ok(())
}

#[tokio::test]
async fn two_credentials_are_not_mounted_in_one_folder() -> Result<()> {
    let lab = Lab::new("folders").await?;
    let other = format!("{}-b", lab.name);
    let first: StorageResource = lab.scene.all().get(&lab.name).await?;
    let storage = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": other}, "spec": first.spec,
    });
    let storages: Api<StorageResource> = lab.scene.all();
    storages.patch(&other, &PatchParams::apply("test").force(), &Patch::Apply(storage)).await?;
    // Who keeps the credential offers it to both.
    let offered = json!({"metadata": {"annotations": {labels::STORAGE_RESOURCES: format!("{},{other}", lab.name)}}});
    let secrets = lab.scene.within::<Secret>("cloister-credentials");
    secrets.patch(&lab.name, &PatchParams::default(), &Patch::Merge(offered)).await?;
    lab.ask("first", json!({})).await?;
    lab.until_phase("first", GrantPhase::Active).await?;
    let at = |path: &str, account: &str| {
        json!({
            "storage": other, "mount": {"serviceAccountName": account, "mountPath": path},
            "subjects": [{"kind": "ServiceAccount", "name": account}],
        })
    };
    let paths = ["/var/run/cloister/data", "/var/run/cloister/data/more", "/var/run/cloister"];
    for (count, path) in paths.into_iter().enumerate() {
        let name = format!("conflict-{count}");
        lab.ask(&name, at(path, "trainer")).await?;
        let denied = lab.until_phase(&name, GrantPhase::Denied).await?;
        let ready = condition(&denied, "Ready").context("nothing is said")?;
        assert_eq!(ready.reason, "MountConflict", "{path}");
        assert!(
            ready.message.contains("grant first mounts another credential at /var/run/cloister/data"),
            "{}",
            ready.message
        );
    }
    for (name, path, account) in
        [("beside", "/var/run/cloister/data-2", "trainer"), ("apart", "/var/run/cloister/data", "other")]
    {
        lab.ask(name, at(path, account)).await?;
        lab.until_phase(name, GrantPhase::Active).await?;
    }
    Ok(())
}

/// What Kubernetes cannot take back is written down, and said.
#[tokio::test]
async fn what_may_outlast_a_grant_is_said() -> Result<()> {
    let lab = Lab::new("outlasts").await?;
    lab.ask("run", json!({"requestedDuration": "5s", "onExpiry": "Empty"})).await?;
    let active = lab.until_phase("run", GrantPhase::Active).await?;
    let left = active.status.context("nothing is said")?.residual_exposure;
    assert!(left.contains(&ResidualExposure::MountedFiles) && left.contains(&ResidualExposure::CredentialRead));
    let ended = lab.until_phase("run", GrantPhase::Expired).await?;
    let status = ended.status.clone().context("nothing is said")?;
    let (end, until) = (status.ended_at.context("no end")?.0, status.residual_exposure_until.context("no time")?.0);
    assert!(until.duration_since(end).as_secs() >= 90, "{end} {until}");
    let message = condition(&ended, "Ready").context("nothing is said")?.message;
    assert!(message.contains("rotate it at its source"), "{message}");
    eventually("the grant to stay as it is", async || {
        let again = lab.scene.within::<cloister_api::StorageAccessGrant>(&lab.name).get("run").await?;
        ensure!(again.status == ended.status, "it was written again");
        Ok(())
    })
    .await
}
