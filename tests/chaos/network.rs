//! An API server that cannot be reached, or hardly.

use crate::stage::{Reach, Stage};
use anyhow::Result;
use std::time::Duration;

async fn heal(stage: &mut Stage) -> Result<()> {
    stage.proxy.heal();
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_is_back_finds_everything_ended_within_seconds() -> Result<()> {
    let mut stage = Stage::start("chaos-refused", &[]).await?;
    let refuse = async |stage: &mut Stage| {
        stage.proxy.refuse();
        Ok(())
    };
    stage.play("connections refused for 40 s", Reach::CutOff, refuse, Duration::from_secs(40), heal).await?;
    let blackhole = async |stage: &mut Stage| {
        stage.proxy.blackhole();
        Ok(())
    };
    stage
        .play("no answers for 20 s", Reach::Silent, blackhole, Duration::from_secs(20), async |stage| {
            // What was swallowed stays so.
            stage.proxy.heal();
            stage.proxy.reset();
            Ok(())
        })
        .await?;
    stage.give_back().await
}

#[tokio::test]
async fn connections_that_are_dead_and_do_not_say_so_are_noticed() -> Result<()> {
    let mut stage = Stage::start("chaos-half-open", &[]).await?;
    let silent = async |stage: &mut Stage| {
        stage.proxy.blackhole_existing();
        Ok(())
    };
    // The fault ends when it is noticed, which is within a minute.
    stage.play("connections silently dead for 60 s", Reach::Silent, silent, Duration::from_secs(60), heal).await?;
    stage.give_back().await
}

#[tokio::test]
async fn a_slow_or_restless_network_delays_no_end() -> Result<()> {
    let mut stage = Stage::start("chaos-slow", &[]).await?;
    let slow = async |stage: &mut Stage| {
        stage.proxy.delay(Duration::from_millis(150));
        Ok(())
    };
    stage.play("150 ms each way", Reach::Answered, slow, Duration::from_secs(12), heal).await?;
    stage
        .play(
            "connections reset ten times",
            Reach::Answered,
            async |_| Ok(()),
            Duration::from_secs(1),
            async |stage| {
                for _ in 0..10 {
                    stage.proxy.reset();
                    tokio::time::sleep(Duration::from_millis(900)).await;
                }
                Ok(())
            },
        )
        .await?;
    stage.give_back().await
}
