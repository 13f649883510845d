//! All that is wrong with a request, said at once.

use super::{eligibility::Ineligible, kind::Missing};
use std::fmt;

/// What to do about a request that was refused: its spec is immutable.
pub const ASK_AGAIN: &str = "A grant cannot be changed: delete it, and ask again";

/// All that is wrong with a request: at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Missing>);

impl Mistakes {
    /// These, if there are any.
    ///
    /// # Errors
    ///
    /// There are.
    pub fn none(all: Vec<Ineligible>) -> Result<(), Self> {
        if all.is_empty() { Ok(()) } else { Err(Mistakes(all.into_iter().map(Missing::from).collect())) }
    }

    /// One of them, to begin with.
    pub fn one(first: Missing) -> Self {
        Mistakes(vec![first])
    }

    /// The same, and others.
    #[must_use]
    pub fn and(mut self, others: impl IntoIterator<Item = Missing>) -> Self {
        self.0.extend(others);
        self
    }

    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match &*self.0 {
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
        if let [one] = &*self.0 {
            return formatter.write_str(&one.message);
        }
        write!(formatter, "{} mistakes", self.0.len())?;
        for (at, one) in self.0.iter().enumerate() {
            let before = if at == 0 { ": " } else { "; " };
            write!(formatter, "{before}({}) {}: {}", at + 1, one.reason, one.message)?;
        }
        Ok(())
    }
}
