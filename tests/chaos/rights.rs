//! An operator that may not look at pods: what it cannot see, it does not say.

use crate::stage::{Asked, LATE, Reach, Stage};
use anyhow::{Context, Result, bail, ensure};
use cloister_api::{GrantKind, labels};
use cloister_tests::{eventually, scene::pod};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::Pod,
    rbac::v1::{ClusterRole, PolicyRule},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::time::Duration;
use xtask::cluster::client;

/// The rights of the operator.
struct Rights {
    roles: Api<ClusterRole>,
    whole: Vec<PolicyRule>,
    /// Pods, as far as the operator may see them.
    seen: Api<Pod>,
}

impl Rights {
    async fn of(stage: &Stage) -> Result<Self> {
        let roles: Api<ClusterRole> = Api::all(stage.bare.admin.clone());
        let whole = roles.get("cloister:operator").await?.rules.context("it has no rights")?;
        let (namespace, account) = (labels::SYSTEM_NAMESPACE, labels::OPERATOR_ACCOUNT);
        let operator = client(stage.bare.cluster.service_account_kubeconfig(namespace, account).await?).await?;
        Ok(Rights { roles, whole, seen: Api::all(operator) })
    }

    /// Takes the right to list and to watch pods, and waits until it is refused.
    async fn take(&self) -> Result<()> {
        let mut fewer = self.whole.clone();
        for rule in fewer.iter_mut().filter(|rule| rule.resources.as_deref() == Some(&["pods".to_owned()])) {
            rule.verbs.retain(|verb| verb != "list" && verb != "watch");
        }
        ensure!(fewer != self.whole, "no rule is about pods alone");
        self.set(&fewer).await?;
        eventually("the operator to be refused", async || match self.seen.list(&ListParams::default().limit(1)).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            answer => bail!("it is answered {answer:?}"),
        })
        .await
    }

    async fn give_back(&self) -> Result<()> {
        self.set(&self.whole).await
    }

    async fn set(&self, rules: &[PolicyRule]) -> Result<()> {
        let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]);
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        self.roles.patch("cloister:operator", &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
        Ok(())
    }
}

fn pods(stage: &Stage) -> Api<Pod> {
    Api::namespaced(stage.bare.admin.clone(), "lab")
}

fn name(asked: &Asked) -> String {
    format!("holds-{}", asked.name)
}

/// Makes a pod for each credential that is mounted, which nobody sees.
async fn hold_all(stage: &Stage) -> Result<()> {
    // Later, a credential is given to no new pod.
    let until = Timestamp::now() + SignedDuration::from_secs(5);
    for asked in stage.asked().iter().filter(|asked| asked.end > until) {
        let (Some(account), Some(secret)) = (asked.account(), asked.secret()) else { continue };
        let made = pods(stage).create(&PostParams::default(), &pod(&name(asked), account)).await?;
        ensure!(serde_json::to_string(&made.spec)?.contains(secret), "{} was given no credential", name(asked));
    }
    Ok(())
}

/// Waits until what ends soon should be over, and sees that all of it is but what a pod holds which nobody can see.
async fn only_what_is_seen_is_over(stage: &Stage) -> Result<()> {
    let soon = Timestamp::now() + SignedDuration::from_mins(5);
    let ending: Vec<&Asked> = stage.asked().iter().filter(|asked| asked.end < soon).collect();
    let last = ending.iter().map(|asked| asked.end).max().context("nothing ends")?;
    eventually("the last end", async || {
        ensure!(Timestamp::now() > last + LATE, "it is to come");
        Ok(())
    })
    .await?;
    let mut revoking = 0;
    for asked in ending {
        let phase = stage.phase(asked).await?;
        if pods(stage).get_opt(&name(asked)).await?.is_some() {
            ensure!(phase == "Revoking", "{} is {phase}, and nobody can see its pod", asked.name);
            revoking += 1;
        } else if asked.kind != GrantKind::StorageAccessGrant {
            ensure!(phase == "Expired", "{} is {phase}", asked.name);
            stage.is_closed(asked)?;
        }
    }
    ensure!(revoking > 0, "no pod was there at an end");
    println!("{revoking} grants are Revoking while their pods are alive and nobody can see them");
    stage.until_alert("RevocationUnconfirmed", true).await?;
    stage.until_readiness(503, "Pod").await?;
    stage.until_alert("WatchStale", true).await
}

/// The pods of what is over are gone, and those of what lasts are untouched; then these go too.
async fn all_is_seen(stage: &Stage) -> Result<()> {
    for asked in stage.asked().iter().filter(|asked| asked.secret().is_some()) {
        let (name, lasts) = (name(asked), asked.end > Timestamp::now());
        let is_there = pods(stage).get_opt(&name).await?.is_some();
        ensure!(is_there == lasts, "{name} is {}", if is_there { "there" } else { "gone" });
        if is_there {
            pods(stage).delete(&name, &DeleteParams::default()).await?;
        }
    }
    stage.until_alert("RevocationUnconfirmed", false).await?;
    stage.until_alert("WatchStale", false).await?;
    stage.until_readiness(200, "ok").await
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_not_over_and_all_else_ends_on_time() -> Result<()> {
    let mut stage = Stage::start("chaos-blind", &[]).await?;
    let rights = Rights::of(&stage).await?;
    let during = Duration::from_secs(25);
    let give_back = async |stage: &mut Stage| {
        only_what_is_seen_is_over(stage).await?;
        rights.give_back().await
    };
    let take = async |stage: &mut Stage| {
        rights.take().await?;
        // A watch that stands goes on without the right.
        stage.proxy.reset();
        hold_all(stage).await
    };
    stage.play("the right to look at pods taken", Reach::Blind, take, during, give_back).await?;
    all_is_seen(&stage).await?;

    let start = async |stage: &mut Stage| {
        rights.take().await?;
        if let Some(operator) = stage.operator.take() {
            operator.kill()?;
        }
        hold_all(stage).await?;
        stage.operator = Some(stage.bare.spawn_through(&stage.proxy, &[]).await?);
        stage.until_readiness(503, "Pod").await
    };
    stage.play("started without the right to look at pods", Reach::Blind, start, during, give_back).await?;
    all_is_seen(&stage).await
}
