//! How a fault is played, and what must come of it.

use super::Stage;
use crate::ledger::Place;
use anyhow::{Context, Result, ensure};
use cloister_api::{GrantKind, ResearchNamespace};
use cloister_tests::{eventually, scene::condition};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use std::time::{Duration, Instant};

/// By when everything is as declared after a fault has ended.
pub const CONVERGED: Duration = Duration::from_secs(30);

/// The latest that a grant ends after its time, with an API server that answers.
pub const LATE: SignedDuration = SignedDuration::from_secs(5);

/// How much earlier than its time something may be gone: times are written in whole seconds.
const EARLY: SignedDuration = SignedDuration::from_secs(1);

/// Whether the operator reaches the API server during a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does: ends are on time all along.
    Answered,
    /// It does not, or does not run: what has ended meanwhile is closed within seconds once it does again.
    CutOff,
    /// It does not, and is not told so: it finds out by requests that are not answered in time, and by then everything is
    /// as declared.
    Silent,
    /// It does, and may not look at pods: what needs no look at them ends on time all along. A mount remembers its copy
    /// until it is confirmed that no pod holds it, so that it goes only when the operator may look again.
    Blind,
}

impl Reach {
    /// When what a grant opened was due to be gone, and how late it may be, where the fault ended at a time.
    fn due(self, place: &Place, end: Timestamp, ended: Timestamp) -> Result<(Timestamp, SignedDuration)> {
        let converged = SignedDuration::try_from(CONVERGED)?;
        Ok(match self {
            Reach::Answered => (end, LATE),
            Reach::CutOff => (end.max(ended), LATE),
            Reach::Silent => (end.max(ended), converged),
            Reach::Blind if place.0 == "GrantMount" => (end.max(ended), converged),
            Reach::Blind => (end, LATE),
        })
    }
}

impl Stage {
    /// Whether everything is as declared now: every namespace is enforced and ready, every grant is Active until its end
    /// and over after it, with nothing of it left.
    async fn is_converged(&self) -> Result<()> {
        let research: Api<ResearchNamespace> = Api::all(self.bare.admin.clone());
        for name in &self.namespaces {
            let object = research.get(name).await?;
            for type_ in ["Enforced", "Ready"] {
                let found = condition(&object, type_).with_context(|| format!("nothing is said of {name}"))?;
                ensure!(found.status == "True", "{name} is {type_}={}: {}", found.status, found.message);
            }
        }
        for asked in &self.asked {
            let phase = self.phase(asked).await?;
            let wanted = if asked.end <= Timestamp::now() { "Expired" } else { "Active" };
            ensure!(phase == wanted, "{} {} is {phase} and not {wanted}", asked.kind.as_str(), asked.name);
            if wanted == "Expired" {
                self.is_closed(asked)?;
            }
        }
        for (kind, name) in &self.held {
            let phase = &self.api(kind.as_str(), Some("lab")).get(name).await?.data["status"]["phase"];
            ensure!(phase == "Active", "{} {name}, which was held, is {phase}", kind.as_str());
        }
        Ok(())
    }

    /// Waits until everything is as declared.
    pub async fn converged(&self) -> Result<()> {
        eventually("everything to be as declared", async || self.is_converged().await).await
    }

    /// Plays a fault: grants of every kind end before it, in it and after it, and a namespace is made meanwhile. Says what
    /// came of it, and fails where that is not good enough.
    pub async fn play(
        &mut self,
        what: &str,
        reach: Reach,
        begin: impl AsyncFnOnce(&mut Stage) -> Result<()>,
        during: Duration,
        end: impl AsyncFnOnce(&mut Stage) -> Result<()>,
    ) -> Result<()> {
        let first = self.asked.len();
        let seconds = during.as_secs();
        self.ask_for_all("lab", seconds / 2 + 4).await?;
        self.ask_for_all("lab", seconds + 8).await?;
        self.ask_for_all("lab", 3600).await?;
        let lasting = self.asked.len() - GrantKind::ALL.len();
        begin(self).await?;
        let name = format!("during-{}", self.namespaces.len());
        self.declare(&name).await?;
        tokio::time::sleep(during).await;
        end(self).await?;
        let (ended, since) = (Timestamp::now(), Instant::now());
        self.converged().await.with_context(|| what.to_owned())?;
        let took = since.elapsed();
        // Those that end shortly after the fault, too.
        let last = self.asked[first..lasting].iter().map(|asked| asked.end).max().unwrap_or(ended);
        eventually("the last of them to end", async || {
            ensure!(last < Timestamp::now(), "it has not come");
            self.is_converged().await
        })
        .await?;
        let mut latest = SignedDuration::ZERO;
        for asked in &self.asked[first..lasting] {
            for place in &asked.opens {
                let gone = self.ledger.seen(place)?.gone.context("it is there again")?;
                ensure!(gone >= asked.end - EARLY, "{what}: {place:?} went {} before its end", asked.end - gone);
                let (due, most) = reach.due(place, asked.end, ended)?;
                let late = gone.duration_since(due);
                ensure!(late <= most, "{what}: {place:?} went only {late:#} after it was due");
                latest = latest.max(late);
            }
        }
        println!(
            "{what}: as declared again {:.1} s after its end; the latest end {:.1} s {}",
            took.as_secs_f64(),
            latest.as_secs_f64(),
            if reach == Reach::Answered { "after its time" } else { "after it, or after its time" },
        );
        ensure!(took <= CONVERGED, "{what}: as declared again only {took:?} after its end");
        self.nothing_else_went(lasting)
    }

    /// What stands until a later end, and what belongs to the namespaces, was there all along.
    fn nothing_else_went(&mut self, lasting: usize) -> Result<()> {
        let lasting = self.asked[lasting..][..GrantKind::ALL.len()].iter();
        let lasting: Vec<Place> = lasting.flat_map(|asked| asked.opens.clone()).collect();
        let belongs = |place: &Place| {
            place.0 != "Secret" && place.2.starts_with("cloister-") && !place.2.contains("grant")
                || lasting.contains(place)
        };
        let stays = |place: &Place| belongs(place) && !self.replaced.contains(place);
        let went = self.ledger.which(|place, seen| seen.times_gone > 0 && stays(place));
        ensure!(went.is_empty(), "these went, and nobody asked for it: {went:?}");
        Ok(())
    }
}
