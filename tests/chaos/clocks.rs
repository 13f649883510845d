//! Clocks that are wrong: a skew opens nothing, closes nothing that stands, and moves no end.

use crate::stage::{Reach, Stage};
use anyhow::Result;
use std::time::Duration;

#[tokio::test]
async fn a_wrong_clock_moves_no_end_and_closes_nothing() -> Result<()> {
    let mut stage = Stage::start("chaos-clocks", &[]).await?;
    let nothing = async |stage: &mut Stage| {
        stage.proxy.heal();
        Ok(())
    };
    let behind = async |stage: &mut Stage| {
        stage.proxy.shift_dates(|_| -60);
        Ok(())
    };
    stage.play("answers dated 60 s behind", Reach::Answered, behind, Duration::from_secs(10), nothing).await?;
    let third = async |stage: &mut Stage| {
        stage.proxy.shift_dates(|number| if number % 3 == 0 { -40 } else { 0 });
        Ok(())
    };
    stage
        .play("a third of the answers dated 40 s behind", Reach::Answered, third, Duration::from_secs(10), nothing)
        .await?;
    let one = async |stage: &mut Stage| {
        stage.proxy.shift_dates(|number| if number == 0 { 300 } else { 0 });
        Ok(())
    };
    stage.play("one answer dated 300 s ahead", Reach::Answered, one, Duration::from_secs(10), nothing).await?;
    let ahead = async |stage: &mut Stage| {
        stage.proxy.shift_dates(|_| 60);
        Ok(())
    };
    stage.play("answers dated 60 s ahead", Reach::Answered, ahead, Duration::from_secs(10), nothing).await?;
    stage.give_back().await
}
