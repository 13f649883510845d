//! What stands in the way of a request, in two sentences: what helps one that waits does not help one that is over.

/// Something that stands in the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Why, in one word.
    pub reason: &'static str,
    /// What to do about it while the request waits.
    pub waiting: String,
    /// The same once it is refused, and whoever asks anew corrects it.
    pub refused: String,
    /// What it does to the request.
    pub effect: Effect,
}

/// What an obstacle does to a request. What does not keep its policy's terms (`Ineligible`) denies it at once, and is no
/// obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It waits, and whoever asks anew corrects it, or others do: it is a mistake, and counted as one.
    Holds,
    /// The endpoint of a storage is closed. Nobody is asked to agree to what opens nothing; what the policy gives by itself is
    /// given, with the endpoint closed until it can be opened. It is no mistake of a request, whatever else is wrong with that.
    LeavesClosed,
}

impl Obstacle {
    /// As somebody is told whose request waits.
    pub fn of_one_that_waits(self) -> Missing {
        Missing { reason: self.reason, message: self.waiting }
    }

    /// As somebody is told whose request is refused.
    pub fn of_one_refused(self) -> Missing {
        Missing { reason: self.reason, message: self.refused }
    }
}

impl From<Missing> for Obstacle {
    fn from(Missing { reason, message }: Missing) -> Self {
        Obstacle { reason, waiting: message.clone(), refused: message, effect: Effect::Holds }
    }
}

/// Something that is missing for now, so that nothing can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Why, in one word.
    pub reason: &'static str,
    /// What to do about it.
    pub message: String,
}
