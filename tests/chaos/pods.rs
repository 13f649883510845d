//! Pods that are made around an end.

use crate::stage::{Asked, Stage};
use anyhow::{Context, Result, ensure};
use cloister_api::GrantKind;
use cloister_tests::{eventually, scene::pod};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use std::time::Duration;
use tokio::time::interval;

/// For how long before and after an end pods are made.
const AROUND: SignedDuration = SignedDuration::from_secs(4);

/// The pods of the namespace that hold a copy of a credential.
async fn holding(pods: &Api<Pod>, secret: &str) -> Result<Vec<String>> {
    let all = pods.list(&ListParams::default()).await?;
    let holds = |pod: &&Pod| serde_json::to_string(&pod.spec).is_ok_and(|spec| spec.contains(secret));
    Ok(all.iter().filter(holds).map(ResourceExt::name_any).collect())
}

/// Makes pods around the end of a grant, and sees that none which holds its credential is there once it is Expired. Says
/// how many were made, and how many of them held it.
async fn around(stage: &Stage, asked: &Asked) -> Result<(usize, usize)> {
    let pods: Api<Pod> = Api::namespaced(stage.bare.admin.clone(), "lab");
    let (account, secret) = (asked.account().context("no account")?, asked.secret().context("no copy")?);
    let (mut made, mut held, mut is_over) = (0, 0, false);
    let mut tick = interval(Duration::from_millis(100));
    while Timestamp::now() < asked.end + AROUND {
        tick.tick().await;
        if Timestamp::now() < asked.end - AROUND {
            continue;
        }
        let new = pods.create(&PostParams::default(), &pod(&format!("{}-{made}", asked.name), account)).await?;
        made += 1;
        held += usize::from(serde_json::to_string(&new.spec)?.contains(secret));
        if !is_over && stage.phase(asked).await? == "Expired" {
            is_over = true;
            let left = holding(&pods, secret).await?;
            ensure!(left.is_empty(), "{} is Expired, and {left:?} hold its credential", asked.name);
        }
    }
    eventually(&format!("{} to be Expired", asked.name), async || {
        let phase = stage.phase(asked).await?;
        ensure!(phase == "Expired", "it is {phase}");
        Ok(())
    })
    .await?;
    let left = holding(&pods, secret).await?;
    ensure!(left.is_empty(), "{} is Expired, and {left:?} hold its credential", asked.name);
    Ok((made, held))
}

#[tokio::test]
async fn no_pod_that_is_made_around_an_end_survives_it() -> Result<()> {
    let mut stage = Stage::start("chaos-pods", &[]).await?;
    let mut ending = Vec::new();
    for _ in 0..6 {
        // `onExpiry` is Terminate where nobody says otherwise.
        ending.push(stage.ask(GrantKind::StorageAccessGrant, "lab", 20).await?);
    }
    let counts = try_join_all(ending.iter().map(|asked| around(&stage, asked))).await?;
    let (made, held): (usize, usize) = counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("pods in a loop around 6 ends: {made} made, {held} with the credential; none is left once it is Expired");
    ensure!(held > 0, "no pod held it");
    stage.converged().await?;
    stage.give_back().await
}
