//! The `autoApprove` expressions of an AccessPolicy: CEL over `request`, of which one that is true replaces all
//! approval rules.
//!
//! An expression is checked when its policy is written, against the type of a request: a field that no request has, a
//! function that does not take a value of its type, a comparison of what is never equal, one of texts by their letters, or a
//! part that cannot be evaluated for any request is a fault, and such an expression counts as false.
//!
//! Whatever goes wrong (an expression that does not compile, a missing field, a value that is not a boolean, a panic in
//! the CEL library) counts as false: the request then waits for people.
//!
//! Durations are strings in the request: write `duration(request.requestedDuration) <= duration('4h')`. A group is asked
//! for with `'researchers' in request.requestedBy.groups`, a field that may be absent with `has(request.ticketRef)` or
//! `request.?ticketRef.orValue('')`.
//!
//! The keys of a map, unlike the elements of a list, are gone through in no fixed order: do not compare what `map` and
//! `filter` make of them.
//!
//! CEL always ends, but not always soon. What bounds it here:
//!
//! - an expression has at most [`MAX_LENGTH`] bytes, and [`MAX_NESTING`] expressions inside one another, which bounds
//!   the stack: both fit into 1 MiB, half of a thread's default;
//! - `all`, `exists`, `exists_one`, `map` and `filter` do not stand inside one another, nor on one another's result, and
//!   nothing is added or concatenated inside them. So nothing grows, and the work is at most the length of the
//!   expression times the square of the length of the longest list: each step through a list may look through one;
//! - there are no regular expressions, no clock, no variable but `request`, and only the functions of [`FUNCTIONS`].

mod bounds;
mod compared;
mod constants;
mod environment;
mod expression;
mod fault;
mod request;
mod types;
mod typing;

pub use bounds::FUNCTIONS;
pub use expression::{Evaluation, MAX_LENGTH, MAX_NESTING, approves, check};
pub use request::Request;
