//! All that is wrong with a request, said at once.

use super::{
    ineligible::Ineligible,
    obstacle::{Effect, Missing, Obstacle},
};
use std::fmt;

/// What to do about a request that was refused: its spec is immutable.
pub const ASK_AGAIN: &str = "A grant cannot be changed: delete it, and ask again";

/// All that is wrong with a request: at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    all: Vec<Missing>,
    /// What else is known of it, though nothing is wrong for sure.
    notes: Vec<String>,
}

impl Mistakes {
    /// These, if there are any.
    ///
    /// # Errors
    ///
    /// There are.
    pub fn none(all: Vec<Ineligible>) -> Result<(), Self> {
        Mistakes::of(all.into_iter().map(Missing::from)).map_or(Ok(()), Err)
    }

    /// These, if there are any.
    pub fn of(all: impl IntoIterator<Item = Missing>) -> Option<Self> {
        let all: Vec<Missing> = all.into_iter().collect();
        (!all.is_empty()).then_some(Mistakes { all, notes: Vec::new() })
    }

    /// One of them, to begin with.
    pub fn one(first: Missing) -> Self {
        Mistakes { all: vec![first], notes: Vec::new() }
    }

    /// The same, and others.
    #[must_use]
    pub fn and(mut self, others: impl IntoIterator<Item = Missing>) -> Self {
        self.all.extend(others);
        self
    }

    /// The same, and what else stands in the way of the request. What only leaves something closed is no mistake.
    #[must_use]
    pub fn and_obstacles(mut self, others: impl IntoIterator<Item = Obstacle>, said: fn(Obstacle) -> Missing) -> Self {
        for other in others {
            let (effect, other) = (other.effect, said(other));
            match effect {
                Effect::Holds => self.all.push(other),
                Effect::LeavesClosed => self.notes.push(other.message),
            }
        }
        self
    }

    /// The same, and what else is known of the request.
    #[must_use]
    pub fn noting(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Why the first of them is one, in one word.
    pub fn first_reason(&self) -> &'static str {
        self.all.first().map_or("SeveralMistakes", |first| first.reason)
    }

    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match &*self.all {
            [one] => one.reason,
            _ => "SeveralMistakes",
        }
    }
}

impl From<Ineligible> for Missing {
    fn from(why: Ineligible) -> Self {
        Missing { reason: why.reason(), message: why.to_string() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = &*self.all {
            formatter.write_str(&one.message)?;
        } else {
            write!(formatter, "{} mistakes", self.all.len())?;
            for (at, one) in self.all.iter().enumerate() {
                let before = if at == 0 { ": " } else { "; " };
                write!(formatter, "{before}({}) {}: {}", at + 1, one.reason, one.message)?;
            }
        }
        self.notes.iter().try_for_each(|note| write!(formatter, ". Note that {note}"))
    }
}
