//! The reviews of a grant, with those who made them, and how one is recorded.

use crate::{grant::Input, model::text::written};
use cloister_api::{AccessReview, Decision, Identity, RecordedReview};

/// The reviews of a grant, with those who made them.
pub fn reviews_of<'a>(uid: &str, input: &Input<'a>) -> Vec<(&'a AccessReview, &'a Identity)> {
    let about_it = input.reviews.iter().filter(|review| review.spec.request_ref.uid == uid);
    about_it.filter_map(|review| Some((*review, review.spec.reviewer.as_ref()?))).collect()
}

/// What somebody did about a grant, with what they said of it.
pub fn in_words(review: &AccessReview, reviewer: &Identity, did: &str) -> String {
    let why = written(&review.spec.comment).map(|comment| format!(": {comment}")).unwrap_or_default();
    format!("{} {did}{why}", reviewer.username)
}

/// A review as it is recorded.
pub fn recorded(review: &AccessReview, reviewer: &Identity) -> RecordedReview {
    RecordedReview {
        name: review.metadata.name.clone().unwrap_or_default(),
        uid: review.metadata.uid.clone().unwrap_or_default(),
        decision: review.spec.decision,
        reviewer: reviewer.clone(),
    }
}

/// Those who agreed by what is recorded.
pub fn agreed(reviews: &[RecordedReview]) -> Vec<&Identity> {
    reviews.iter().filter(|review| review.decision == Decision::Approve).map(|review| &review.reviewer).collect()
}

/// Whether a uid or a digest is nobody's: zeros, as the examples have them.
pub fn is_placeholder(text: &str) -> bool {
    text.rsplit(':').next().unwrap_or_default().chars().all(|digit| matches!(digit, '0' | '-'))
}
