//! What happens.

use cloister_api::Decision;
use cloister_core::grant::Home;
use fastrand::Rng;

/// The keys of all grants.
pub const KEYS: [&str; 5] = ["a", "b", "role/a", "egress/a", "role/b"];

/// Whose account asks, and how.
pub const ASKERS: [&str; 6] = ["alice", "alice", "alice", "glass", "account", "mallory"];

#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Somebody asks, for so many times 100 s, from so many times 150 s on.
    Ask {
        key: &'static str,
        who: &'static str,
        length: u32,
        start: i64,
    },
    Review {
        key: &'static str,
        who: usize,
        decision: Decision,
        of: Of,
    },
    /// Somebody deletes the oldest review.
    Forget,
    Policy(&'static str),
    /// The policy is deleted and made again.
    PolicyAgain,
    Storage(&'static str),
    ClusterRole(&'static str),
    /// Who the members of the namespace are.
    Members(&'static str),
    /// Whether the namespace declares the ServiceAccount that grants are for.
    Account(bool),
    Minimum(u32),
    Home(Home),
    Usable(bool),
    Readable(&'static str, bool),
    Credential(Option<u32>),
    Pass(i64),
    /// The operator is started again, with a clock that is behind.
    Back(i64),
    Delete(&'static str),
    /// Somebody takes the finalizer off a grant, and it is gone.
    Force(&'static str),
    /// etcd is saved.
    Save,
    /// etcd is put back as it was saved, and `invalidateGrantsBefore` is set.
    Restore,
    /// Somebody with the operator's token writes something else into the status of a grant.
    Tamper(&'static str, usize),
    /// The operator works on a grant, and is cut off after so many actions.
    Work(&'static str, usize),
    Sweep(usize),
}

/// What a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// What is said in the status.
    This,
    /// Another digest.
    Another,
    /// The grant that had this name before.
    Before,
}

impl Event {
    /// Somebody asks for something.
    pub fn ask(rng: &mut Rng, key: &'static str, length: u32) -> Self {
        let start = [0, 0, 0, 1, 2, -1][rng.usize(..6)];
        Event::Ask { key, who: ASKERS[rng.usize(..ASKERS.len())], length, start }
    }

    pub fn any(rng: &mut Rng) -> Self {
        let key = *rng.choice(&KEYS[..]).unwrap();
        let one = |rng: &mut Rng, of: &[&'static str]| of[rng.usize(..of.len())];
        match rng.u32(..100) {
            0..34 => Event::Work(key, if rng.u32(..4) == 0 { rng.usize(..5) } else { usize::MAX }),
            34..44 => {
                let length = rng.u32(1..11);
                Event::ask(rng, key, length)
            }
            44..66 => Event::Review {
                key,
                who: rng.usize(..super::model::PEOPLE),
                decision: [
                    Decision::Approve,
                    Decision::Approve,
                    Decision::Approve,
                    Decision::Approve,
                    Decision::Deny,
                    Decision::Revoke,
                ][rng.usize(..6)],
                of: [Of::This, Of::This, Of::This, Of::This, Of::This, Of::Another, Of::Before][rng.usize(..7)],
            },
            66 => Event::Forget,
            67..74 => Event::Policy(one(
                rng,
                &["people", "people", "auto", "more", "raised", "others", "no-glass", "keeps", "undecodable", "gone"],
            )),
            74 => Event::PolicyAgain,
            75..77 => Event::Storage(one(rng, &["full", "moved", "bare", "critical", "gone"])),
            77..79 => Event::ClusterRole(one(rng, &["debug", "debug", "wider", "lasting", "unbindable", "gone"])),
            79 => Event::Minimum(rng.u32(..4)),
            80 => Event::Home([Home::Enforced, Home::NotEnforced, Home::Closed][rng.usize(..3)]),
            81 => Event::Usable(rng.bool()),
            82 => Event::Readable(key, rng.bool()),
            83 => Event::Credential([Some(1), Some(2), None][rng.usize(..3)]),
            84..89 => Event::Pass(rng.i64(1..500)),
            89 => Event::Back(rng.i64(1..600)),
            90..92 => Event::Delete(key),
            92 => Event::Force(key),
            93 => Event::Save,
            94 => Event::Account(rng.u32(..4) > 0),
            95 => Event::Restore,
            97 => Event::Members(one(rng, &["alice", "group", "sam", "nobody"])),
            96 => Event::Tamper(key, rng.usize(..super::tamper::TAMPERING)),
            _ => Event::Sweep(if rng.u32(..4) == 0 { rng.usize(..3) } else { usize::MAX }),
        }
    }
}
