//! An operator that is stopped, killed, or not alone.

use crate::stage::{Reach, Stage};
use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

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
    stage.play("the operator stopped for 40 s", Reach::CutOff, stop, Duration::from_secs(40), wake).await
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
        .await
}
