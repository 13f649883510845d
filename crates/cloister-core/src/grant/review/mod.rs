//! Reviews: what is asked of those who decide, and what is said of each review.

mod did;
mod gone;
mod judge;
mod late;
mod question;

pub use judge::{is_answered_by, review, to_answer};
