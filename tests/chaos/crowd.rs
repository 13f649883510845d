//! Others who ask for much: an end elsewhere is not late for it.

use crate::stage::{Reach, Stage};
use anyhow::{Result, ensure};
use cloister_api::GrantKind;
use cloister_tests::{eventually, scene::pod};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::interval;

const CROWD: &str = "crowd";

/// How many requests are made at a time.
const AT_A_TIME: usize = 4;

#[tokio::test]
async fn twenty_grants_of_one_mount_delay_no_end_elsewhere() -> Result<()> {
    let mut stage = Stage::start("chaos-mount", &[]).await?;
    stage.declare(CROWD).await?;
    stage.converged().await?;
    let ask = async |stage: &mut Stage| {
        stage.proxy.delay(Duration::from_millis(150));
        for at in 0..20 {
            let spec = json!({
                "storage": "data", "role": "reader", "requestedDuration": "12s", "justification": "chaos",
                "subjects": [{"kind": "ServiceAccount", "name": "trainer-0"}],
                "mount": {"serviceAccountName": "trainer-0", "mountPath": "/var/run/cloister/data"},
            });
            stage.make("StorageAccessGrant", Some(CROWD), &format!("crowd-{at}"), spec).await?;
        }
        Ok(())
    };
    stage
        .play("20 grants of one mount, 150 ms each way", Reach::Answered, ask, Duration::from_secs(25), async |stage| {
            stage.proxy.heal();
            Ok(())
        })
        .await?;
    eventually("the crowd's grants to have ended", async || {
        let all = stage.api("StorageAccessGrant", Some(CROWD)).list(&ListParams::default()).await?;
        let open: Vec<String> =
            all.iter().filter(|one| one.data["status"]["phase"] != "Expired").map(ResourceExt::name_any).collect();
        ensure!(open.is_empty(), "{open:?} have not");
        let mounts = stage.api("GrantMount", Some(CROWD)).list(&ListParams::default()).await?;
        ensure!(mounts.items.is_empty(), "their mount stands");
        Ok(())
    })
    .await?;
    stage.give_back().await
}

/// Makes a pod and takes it away again, ten times a second.
async fn pods_come_and_go(pods: Api<Pod>) -> Result<()> {
    let mut tick = interval(Duration::from_millis(100));
    for at in 0_u64.. {
        tick.tick().await;
        let name = format!("pod-{at}");
        pods.create(&PostParams::default(), &pod(&name, "trainer-0")).await?;
        pods.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn denied_grants_reviews_and_pods_in_a_loop_delay_no_end_elsewhere() -> Result<()> {
    let mut stage = Stage::start("chaos-crowd", &[]).await?;
    stage.declare(CROWD).await?;
    let policy = json!({
        "requesters": [{"kind": "Group", "name": "nobody"}], "maxDuration": "8h",
        "approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}],
    });
    stage.make("AccessPolicy", None, "others", policy).await?;
    let role = json!({"clusterRole": "cloister:debugger", "accessPolicy": "others"});
    stage.make("AccessRole", None, "others", role).await?;
    stage.converged().await?;
    let reviewed = stage.ask(GrantKind::RoleGrant, CROWD, 3600).await?;
    let uid = stage.api("RoleGrant", Some(CROWD)).get(&reviewed.name).await?.uid().unwrap_or_default();

    let (grants, reviews) = (stage.api("RoleGrant", Some(CROWD)), stage.api("AccessReview", Some(CROWD)));
    let make = |kind: &str, name: String, spec: serde_json::Value| -> Result<DynamicObject> {
        let object =
            json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        Ok(serde_json::from_value(object)?)
    };
    let mut requests = Vec::new();
    for at in 0..300 {
        let spec = json!({
            "role": "others", "subjects": [{"kind": "User", "name": "alice"}], "requestedDuration": "1h",
            "justification": "chaos",
        });
        requests.push((grants.clone(), make("RoleGrant", format!("denied-{at}"), spec)?));
        for which in 0..2 {
            let spec = json!({
                "requestRef": {"kind": "RoleGrant", "name": reviewed.name, "uid": uid},
                "digest": format!("v1:sha256:{}", "0".repeat(64)), "decision": "Approve",
            });
            requests.push((reviews.clone(), make("AccessReview", format!("review-{at}-{which}"), spec)?));
        }
    }
    let pods: Api<Pod> = Api::namespaced(stage.bare.admin.clone(), CROWD);
    let looping = tokio::spawn(pods_come_and_go(pods));
    let making = tokio::spawn(async move {
        let made = stream::iter(requests)
            .map(|(api, object)| async move { api.create(&PostParams::default(), &object).await.map(drop) });
        made.buffer_unordered(AT_A_TIME).try_collect::<()>().await
    });
    let nothing = async |_: &mut Stage| Ok(());
    stage
        .play("300 denied grants, 600 reviews, pods in a loop", Reach::Answered, nothing, Duration::from_secs(15), {
            async |_| {
                making.await??;
                ensure!(!looping.is_finished(), "the pods came to an end");
                looping.abort();
                Ok(())
            }
        })
        .await?;
    eventually("all of them to be denied", async || {
        let count = stage.operator()?.metric("cloister_grants", "phase=\"Denied\"").await?;
        ensure!(count == 300.0, "{count} are");
        Ok(())
    })
    .await
}
