//! Who may act: one operator at a time, which says so again and again in a Lease.
//!
//! Clocks are not compared: a Lease has run out when it was seen unchanged for its whole duration, by the time that
//! elapsed where it was watched.

use std::time::Duration;

/// How long a Lease is good that nobody renews.
pub const DURATION: Duration = Duration::from_secs(15);

/// How long its holder acts after it last began to renew it. What it sent by then has been answered, or is refused, before
/// another may take the Lease.
pub const ACTS: Duration = Duration::from_secs(11);

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it, if anybody does.
    pub holder: Option<String>,
    /// Its version, which changes whenever it is renewed.
    pub version: String,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Take it.
    Take,
    /// Wait for so long at most; it is held by somebody.
    Wait(Duration, String),
}

/// A candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    /// The Lease as it was last seen changed, and when.
    seen: Option<(Seen, Duration)>,
}

impl Candidate {
    /// A candidate of this identity.
    pub fn new(identity: String) -> Self {
        Candidate { identity, seen: None }
    }

    /// Who it is.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether the Lease may be taken. `is_gone` says of its holder whether it is known to have ended.
    pub fn claim(&mut self, lease: &Seen, elapsed: Duration, is_gone: impl FnOnce(&str) -> bool) -> Claim {
        let Some(holder) = lease.holder.as_deref().filter(|holder| !holder.is_empty()) else { return Claim::Take };
        // One of the same identity is this one in an earlier life.
        if holder == self.identity || is_gone(holder) {
            return Claim::Take;
        }
        let since = match &self.seen {
            Some((seen, since)) if seen == lease => *since,
            _ => {
                self.seen = Some((lease.clone(), elapsed));
                elapsed
            }
        };
        let left = (since + DURATION).saturating_sub(elapsed);
        if left.is_zero() { Claim::Take } else { Claim::Wait(left, holder.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn seen(holder: &str, version: u64) -> Seen {
        Seen { holder: Some(holder.to_owned()), version: version.to_string() }
    }

    #[test]
    fn a_lease_that_is_free_or_ones_own_is_taken_at_once() {
        let mut me = Candidate::new("me".into());
        let free = Seen { holder: None, version: "1".into() };
        assert_eq!(me.claim(&free, Duration::ZERO, |_| false), Claim::Take);
        assert_eq!(me.claim(&seen("", 1), Duration::ZERO, |_| false), Claim::Take);
        assert_eq!(me.claim(&seen("me", 1), Duration::ZERO, |_| false), Claim::Take);
        assert_eq!(me.claim(&seen("gone", 1), Duration::ZERO, |holder| holder == "gone"), Claim::Take);
        assert_eq!(me.claim(&seen("other", 1), Duration::ZERO, |_| false), Claim::Wait(DURATION, "other".into()));
    }

    /// One of several operators, in a world of which they know nothing but the Lease.
    struct One {
        candidate: Candidate,
        /// When it last began to renew the Lease, if it holds it.
        renewed: Option<u64>,
        /// What it read of the Lease and means to write, by when it began.
        writing: Option<(u64, String)>,
    }

    proptest! {
        /// Whoever stops, sleeps or is slow: there are never two that act.
        #[test]
        fn only_one_acts(steps in vec((0..3_usize, 0..6_u8, 0..9_u64), 1..200)) {
            let mut all: Vec<One> = ["a", "b", "c"]
                .map(|name| One { candidate: Candidate::new(name.into()), renewed: None, writing: None })
                .into();
            let (mut lease, mut version, mut now) = (Seen { holder: None, version: "0".into() }, 0_u64, 0_u64);
            for (who, what, seconds) in steps {
                now += seconds;
                let at = Duration::from_secs(now);
                let one = &mut all[who];
                let name = one.candidate.identity().to_owned();
                match what {
                    // It reads, and begins to write where it may.
                    0..3 => {
                        let holds = one.renewed.is_some() && lease.holder.as_deref() == Some(&name);
                        if holds || one.candidate.claim(&lease, at, |_| false) == Claim::Take {
                            one.writing = Some((now, lease.version.clone()));
                        } else {
                            one.renewed = None;
                        }
                    }
                    // What it wrote arrives, if the Lease is still what it read.
                    3..5 => if let Some((began, _)) = one.writing.take().filter(|(_, read)| *read == lease.version) {
                        version += 1;
                        lease = Seen { holder: Some(name), version: version.to_string() };
                        one.renewed = Some(began);
                    },
                    // It ends, and says so.
                    _ => if one.renewed.take().is_some() && lease.holder.as_deref() == Some(&name) {
                        version += 1;
                        lease = Seen { holder: None, version: version.to_string() };
                    },
                }
                let act = all.iter().filter(|one| one.renewed.is_some_and(|since| at < Duration::from_secs(since) + ACTS));
                prop_assert!(act.count() <= 1);
            }
        }
    }
}
