//! Which keys go first, and which must not be worked on at the same time.

use std::sync::Arc;

/// Which of the waiting keys go first. Each lane has a concurrency of its own, so that none waits for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// A grant that must end.
    Ending,
    /// What may take something else away.
    Closing,
    /// All that may open something.
    #[default]
    Normal,
    /// A grant that has opened: its status is still to be written. A crowd of reviews does not keep it waiting.
    Opened,
    /// There is only a status to write.
    Status,
}

/// How many grants end at a time. What ends waits for answers of the API server most of its time.
const ENDING: usize = 64;

/// How many things are closed at a time, beside grants.
const CLOSING: usize = 32;

/// How many statuses are written at a time, in each of the two lanes that do nothing else: so few that they take a small
/// share of a busy API server from what opens and closes.
const STATUSES: usize = 4;

impl Lane {
    /// All lanes, in their order.
    pub const ALL: [Lane; 5] = [Lane::Ending, Lane::Closing, Lane::Normal, Lane::Opened, Lane::Status];

    /// How many keys of this lane are in flight at most. Only what opens depends on the number of workers.
    pub fn concurrency(self, workers: usize) -> usize {
        match self {
            Lane::Ending => ENDING,
            Lane::Closing => CLOSING,
            Lane::Normal => workers,
            Lane::Opened | Lane::Status => STATUSES,
        }
    }
}

/// What keys have in common that must not be worked on at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// A mount, by namespace and name.
    Mount(Arc<str>, Box<str>),
    /// The requests to mount something for an account, by namespace and name: each must know what those before it got.
    Requests(Arc<str>, Box<str>),
    /// The requests of a person to use break-glass, by one of the things that a person is known by: each must know what
    /// those before it owe.
    BreakGlass(&'static str, Box<str>),
}

/// How a key takes its turn in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Together with others that open.
    Open,
    /// Together with others that end, and before those that open.
    End,
    /// With nobody else.
    Alone,
}

impl Mode {
    /// What serves for both.
    #[must_use]
    pub fn and(self, other: Mode) -> Mode {
        if self == other { self } else { Mode::Alone }
    }
}

/// What is known of a key when it is queued: how urgent it is, and whose turn it must wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Its lane.
    pub lane: Lane,
    /// The groups that it takes a turn in.
    pub turns: Vec<(Group, Mode)>,
}

impl Ticket {
    /// A ticket for a lane, with no turns to wait for.
    pub fn of(lane: Lane) -> Self {
        Ticket { lane, turns: Vec::new() }
    }

    /// Takes up what else is known: the more urgent lane, and every turn that either asks for.
    pub fn merge(&mut self, other: Ticket) {
        self.lane = self.lane.min(other.lane);
        for (group, mode) in other.turns {
            match self.turns.iter_mut().find(|(known, _)| *known == group) {
                Some((_, known)) => *known = known.and(mode),
                None => self.turns.push((group, mode)),
            }
        }
    }

    /// Whether it holds every turn that the other one asks for.
    pub fn covers(&self, other: &Ticket) -> bool {
        let held = |group: &Group, mode: Mode| {
            self.turns.iter().any(|(mine, how)| mine == group && (*how == mode || *how == Mode::Alone))
        };
        other.turns.iter().all(|(group, mode)| held(group, *mode))
    }
}
