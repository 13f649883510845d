//! Break-glass: a grant that opens at once, for a short time, and owes a review.

pub(crate) mod settle;
