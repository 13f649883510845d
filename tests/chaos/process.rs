//! An operator that is stopped, killed, or not alone.

use crate::{
    record::complete,
    stage::{Reach, Stage},
};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// How long a killed operator is waited for at most: its Lease is good for 15 s after it was last renewed, whoever waits
/// looks at it every 3 s, and two requests and a turn of the scheduler on a busy machine take less than the rest.
const TAKEOVER: SignedDuration = SignedDuration::from_secs(15 + 3 + 2);

fn signal(stage: &Stage, signal: Signal) -> Result<()> {
    let pid = i32::try_from(stage.operator()?.pid())?;
    kill_process(Pid::from_raw(pid).ok_or_else(|| anyhow::anyhow!("no process"))?, signal)?;
    Ok(())
}

#[tokio::test]
async fn an_operator_that_sleeps_over_ends_closes_them_when_it_wakes() -> Result<()> {
    let mut stage = Stage::start("chaos-asleep", &[]).await?;
    let stop = async |stage: &mut Stage| signal(stage, Signal::STOP);
    let wake = async |stage: &mut Stage| signal(stage, Signal::CONT);
    stage.play("the operator stopped for 40 s", Reach::CutOff, stop, Duration::from_secs(40), wake).await?;
    stage.give_back().await
}

#[tokio::test]
async fn an_operator_that_is_killed_again_and_again_goes_on_where_it_was() -> Result<()> {
    let mut stage = Stage::start("chaos-killed", &[]).await?;
    stage
        .play(
            "the operator killed ten times",
            Reach::CutOff,
            async |_| Ok(()),
            Duration::from_secs(1),
            async |stage| {
                for _ in 0..10 {
                    if let Some(operator) = stage.operator.take() {
                        operator.kill()?;
                    }
                    stage.start_operator().await?;
                }
                Ok(())
            },
        )
        .await?;
    stage.give_back().await
}

async fn lease(stage: &Stage) -> Result<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(stage.bare.admin.clone(), "cloister-system");
    leases.get("cloister-operator").await?.spec.context("nobody holds the Lease")
}

#[tokio::test]
async fn of_two_operators_one_acts_and_the_other_takes_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record.jsonl");
    let text = || Ok(std::fs::read_to_string(&record)?);
    let arguments = |identity| ["--identity", identity, "--audit", record.to_str().unwrap_or_default()];
    let mut stage = Stage::start("chaos-two", &arguments("first")).await?;
    let second = stage.bare.spawn_through(&stage.proxy, &arguments("second")).await?;
    eventually("the second to stand by", async || {
        let (code, said) = second.get("/readyz").await?;
        ensure!(code == 200 && said.contains("standby: first"), "it says {code} {said}");
        Ok(())
    })
    .await?;
    let before = lease(&stage).await?;
    let nothing = async |_: &mut Stage| Ok(());
    stage.play("two operators side by side", Reach::Answered, nothing, Duration::from_secs(30), nothing).await?;
    let after = lease(&stage).await?;
    ensure!(
        (&before.holder_identity, before.lease_transitions) == (&after.holder_identity, after.lease_transitions),
        "the Lease went from {before:?} to {after:?}"
    );
    ensure!(second.metric("cloister_writes_total", "").await? == 0.0, "the second wrote");
    let proof = complete(&stage, text).await?;
    ensure!(proof.chains == 1, "the record forks: {proof:?}");

    let mut killed = Timestamp::now();
    let kill = async |stage: &mut Stage| {
        if let Some(first) = stage.operator.replace(second) {
            killed = Timestamp::now();
            first.kill()?;
        }
        Ok(())
    };
    // What ends meanwhile is closed within seconds of the takeover.
    stage
        .play("the operator that acts killed", Reach::CutOff, kill, Duration::from_secs(8), async |stage| {
            eventually("the second to take over", async || {
                let holder = lease(stage).await?.holder_identity.unwrap_or_default();
                ensure!(holder == "second", "{holder} holds the Lease");
                Ok(())
            })
            .await
        })
        .await?;
    let acquired = lease(&stage).await?.acquire_time.context("the Lease does not say since when")?;
    let took = acquired.0.duration_since(killed);
    println!("the operator that acts killed: the other took over after {:.1} s", took.as_secs_f64());
    ensure!(took <= TAKEOVER, "it took {took:#}");
    let proof = complete(&stage, text).await?;
    ensure!(proof.chains == 1, "the record forks: {proof:?}");
    stage.give_back().await
}
