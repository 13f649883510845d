//! What the reviews of one grant are judged by: found once, however many reviews there are.

use crate::grant::{
    DeclaredGrant, Grant, Input,
    decide::{bars::People, case::Case},
    kinds::target_error::TargetError,
    model::{digest, target::Target},
    owes_review,
};
use std::cell::OnceCell;

/// A grant that reviews are about.
pub struct Question<'i, 'a> {
    pub input: &'i Input<'a>,
    pub grant: &'i Grant,
    owes: OnceCell<bool>,
    target: OnceCell<Result<Target<'a>, TargetError>>,
    people: OnceCell<People>,
    digest: OnceCell<String>,
}

impl<'i, 'a> Question<'i, 'a> {
    /// None where the grant cannot be read.
    pub fn of(input: &'i Input<'a>) -> Option<Self> {
        let DeclaredGrant::Read(grant) = input.declared else { return None };
        Some(Question {
            input,
            grant,
            owes: OnceCell::new(),
            target: OnceCell::new(),
            people: OnceCell::new(),
            digest: OnceCell::new(),
        })
    }

    /// Whether it used break-glass and owes its review.
    pub fn owes(&self) -> bool {
        *self.owes.get_or_init(|| owes_review(self.grant, self.input.reviews))
    }

    /// What it is for, or why that is not there.
    pub fn target(&self) -> Result<&Target<'a>, &TargetError> {
        self.target.get_or_init(|| self.grant.of_kind().target(self.input)).as_ref()
    }

    /// Everybody who has reviewed it.
    pub fn people(&self, case: &Case<'_>) -> &People {
        let reviewers = || self.input.reviews.iter().filter_map(|review| review.spec.reviewer.as_ref());
        self.people.get_or_init(|| People::of(case, reviewers()))
    }

    /// Its digest as it is now.
    pub fn digest(&self, target: &Target<'_>) -> &str {
        self.digest.get_or_init(|| digest::of(self.grant, self.input.namespace, target))
    }
}
