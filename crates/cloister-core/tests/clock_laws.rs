//! The laws of time: whatever becomes of one clock, nothing ends before its time, and nothing is kept open past it.

use cloister_core::cluster::clock::{Agreement, Judge, Moment};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};
use std::time::Duration;

/// A machine, an API server, and the time as it is.
struct World {
    judge: Judge,
    /// What has elapsed since the machine was started, in milliseconds.
    elapsed: u64,
    /// How far the machine's clock is off, in seconds.
    machine: i64,
    answers: u64,
}

const BEGIN: i64 = 1_800_000_000;

impl World {
    fn new(machine: i64) -> Self {
        World { judge: Judge::default(), elapsed: 5_000, machine, answers: 0 }
    }

    fn truth(&self) -> Timestamp {
        Timestamp::from_millisecond(BEGIN * 1000 + self.elapsed as i64).unwrap()
    }

    fn moment(&self) -> Moment {
        Moment {
            machine: self.truth() + SignedDuration::from_secs(self.machine),
            elapsed: Duration::from_millis(self.elapsed),
        }
    }

    /// An answer to a request that was sent so many milliseconds ago, and whose date is off by so many seconds.
    fn answer(&mut self, took: u64, off: i64) {
        let date = (self.truth() + SignedDuration::from_secs(off)).as_second();
        let sent = Duration::from_millis(self.elapsed.saturating_sub(took));
        self.judge.answer(Timestamp::from_second(date).unwrap(), sent, self.moment());
        self.answers += 1;
    }

    /// How far the time that counts is from the truth, in milliseconds.
    fn error(&mut self) -> i64 {
        let moment = self.moment();
        self.judge.now(moment).as_millisecond() - self.truth().as_millisecond()
    }

    fn agreement(&mut self) -> Agreement {
        let moment = self.moment();
        self.judge.agreement(moment)
    }

    fn is_sane(&mut self) -> bool {
        self.agreement() == Agreement::Sane
    }

    /// Lives on with a heartbeat each two seconds and now and then another answer; `off` says of each answer, by its number,
    /// how far its date is off. `each` looks after every step.
    fn live(&mut self, seconds: u64, off: impl Fn(u64) -> i64, mut each: impl FnMut(&mut World)) {
        for step in 0..seconds * 2 {
            self.elapsed += 500;
            if step % 4 == 0 {
                self.answer(20, off(self.answers));
            }
            if step % 7 == 0 {
                self.answer(3, off(self.answers));
            }
            each(self);
        }
    }
}

fn near(world: &mut World) {
    let error = world.error();
    // Never ahead: nothing ends before its time.
    assert!((-2_000..=0).contains(&error), "{error} ms off: {:?}", world.agreement());
}

fn far() -> impl Strategy<Value = i64> {
    prop_oneof![-4000..-33_i64, 33..4000_i64]
}

/// What goes wrong, one after the other, with time to recover in between.
#[derive(Clone, Debug)]
enum Fault {
    /// The machine's clock is off for so long.
    Machine { off: i64, seconds: u64 },
    /// All answers are off for a short time.
    Dates { off: i64, seconds: u64 },
    /// The API server's own clock is off for long.
    Server { off: i64, seconds: u64 },
    /// Every third answer is off.
    Third { off: i64, seconds: u64 },
    /// One answer is off by whatever it likes.
    One { off: i64 },
    /// The process stands still; one answer to a request from before is read after it.
    Stopped { seconds: u64 },
    /// Nobody answers.
    Silence { seconds: u64 },
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (far(), 1..200_u64).prop_map(|(off, seconds)| Fault::Machine { off, seconds }),
        (far(), 1..=10_u64).prop_map(|(off, seconds)| Fault::Dates { off, seconds }),
        (far(), 60..300_u64).prop_map(|(off, seconds)| Fault::Server { off, seconds }),
        (far(), 1..300_u64).prop_map(|(off, seconds)| Fault::Third { off, seconds }),
        (-1_000_000..1_000_000_i64).prop_map(|off| Fault::One { off }),
        (1..600_u64).prop_map(|seconds| Fault::Stopped { seconds }),
        (1..600_u64).prop_map(|seconds| Fault::Silence { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn one_wrong_clock_moves_the_time_of_nothing(faults in vec(fault(), 1..6), before in 8..90_u64) {
        let mut world = World::new(0);
        world.live(before, |_| 0, near);
        prop_assert!(world.is_sane());
        for fault in faults {
            let mut was_sane = true;
            match fault {
                Fault::Machine { off, seconds } => {
                    world.machine = off;
                    world.live(seconds, |_| 0, |world| {
                        near(world);
                        assert!(!world.is_sane(), "what may be opened is opened by a machine that is {off} s off");
                    });
                    world.machine = 0;
                }
                Fault::Dates { off, seconds } => world.live(seconds, |_| off, |world| {
                    near(world);
                    was_sane &= world.is_sane();
                }),
                Fault::Server { off, seconds } => {
                    world.live(seconds, |_| off, near);
                    if seconds > 62 {
                        prop_assert!(!world.is_sane(), "it is not noticed");
                    }
                }
                Fault::Third { off, seconds } => world.live(seconds, |number| if number % 3 == 0 { off } else { 0 }, |world| {
                    near(world);
                    was_sane &= world.is_sane();
                }),
                Fault::One { off } => {
                    world.answer(5, off);
                    near(&mut world);
                    was_sane &= world.is_sane();
                }
                Fault::Stopped { seconds } => {
                    let took = seconds * 1000;
                    world.elapsed += took;
                    world.answer(took, -(seconds as i64));
                    near(&mut world);
                    was_sane &= world.is_sane();
                }
                Fault::Silence { seconds } => {
                    world.elapsed += seconds * 1000;
                    near(&mut world);
                    was_sane &= world.is_sane();
                }
            }
            prop_assert!(was_sane, "it holds up what may be opened");
            world.live(62, |_| 0, near);
            prop_assert!(world.is_sane(), "it does not recover: {:?}", world.agreement());
        }
    }

    #[test]
    fn a_machine_that_starts_with_a_wrong_clock_takes_the_time_of_the_answers(off in far(), seconds in 8..100_u64) {
        let mut world = World::new(off);
        prop_assert_eq!(world.agreement(), Agreement::Unknown);
        for _ in 0..3 {
            prop_assert!(!world.is_sane());
            world.answer(5, 0);
        }
        world.live(seconds, |_| 0, |world| {
            near(world);
            assert!(!world.is_sane());
        });
        world.machine = 0;
        world.live(8, |_| 0, near);
        prop_assert!(world.is_sane(), "its clock was put right");
    }

    #[test]
    fn nothing_is_known_from_one_answer(off in -4000..4000_i64) {
        let mut world = World::new(0);
        world.answer(5, off);
        prop_assert!(!world.is_sane());
        prop_assert_eq!(world.error(), 0);
    }
}

/// A virtual machine that was paused: what had elapsed stood still, and its clock was put right afterwards.
#[test]
fn a_pause_that_nobody_counted_is_made_up_for() {
    let mut world = World::new(0);
    world.live(60, |_| 0, near);
    // All others are an hour on; so is the machine, as its host puts it right.
    world.machine = 3600;
    assert!(!world.is_sane(), "until somebody confirms it");
    for _ in 0..3 {
        world.answer(5, 3600);
    }
    assert!(world.is_sane());
    assert!((world.error() - 3_600_000).abs() <= 1000);
}

#[test]
fn what_is_said_of_a_skew_names_the_clock_that_is_wrong() {
    let mut world = World::new(0);
    world.live(60, |_| 0, near);
    world.machine = -60;
    world.live(4, |_| 0, near);
    let Agreement::Skewed(skew) = world.agreement() else { panic!("it is not noticed") };
    assert_eq!((skew.machine_ahead.as_secs(), skew.server_ahead.as_secs()), (-60, 0));
    world.machine = 0;
    world.live(60, |_| 0, near);
    world.live(60, |_| 90, near);
    let Agreement::Skewed(skew) = world.agreement() else { panic!("it is not noticed") };
    assert!(skew.machine_ahead.as_secs() == 0 && (88..=91).contains(&skew.server_ahead.as_secs()), "{skew:?}");
}
