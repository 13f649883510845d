//! What there is to say of a review, and what was said of it.

use cloister_api::{AccessReview, condition::COUNTED};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

pub(crate) fn counted(review: &AccessReview) -> Option<&Condition> {
    let mut conditions = review.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == COUNTED)
}

/// Whether it was said of a review that it counts, or why not. One that waits until it can be judged has no answer yet, and
/// one that counts as soon as its request waits for nothing else has none that lasts.
pub fn is_answered(review: &AccessReview) -> bool {
    has_answer(review) && !is_conditional(review)
}

pub fn has_answer(review: &AccessReview) -> bool {
    counted(review).is_some_and(|counted| counted.status != "Unknown")
}

/// Whether it is said of a review that it counts once its request does not wait for something else.
pub fn is_conditional(review: &AccessReview) -> bool {
    counted(review).is_some_and(|counted| counted.status == "True" && counted.message.contains(ONCE))
}

/// What is said of a review that agrees to what waits for something else.
pub(crate) const ONCE: &str = ", as soon as the request no longer waits for something else (";

/// Whether it was said of a review that it does not count.
pub fn is_refused(review: &AccessReview) -> bool {
    counted(review).is_some_and(|counted| counted.status == "False")
}

/// What there is to say of a review.
pub enum Judged {
    /// It counts, for this.
    Counts(String),
    /// It does not, for this reason.
    Refused(&'static str, String),
    /// Nobody can say now whether it does.
    Waits(&'static str, String),
    /// There was nothing left to decide when it was seen.
    TooLate(&'static str, String),
}
