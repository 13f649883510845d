//! What a worker is given.

use cloister_index::{key::Key, lane::Ticket};
use std::time::Duration;

/// A key to be worked on now.
#[derive(Debug)]
pub struct Job {
    /// The key.
    pub key: Key,
    /// How long it waited.
    pub age: Duration,
    /// Its lane, and the turns that it holds.
    pub ticket: Ticket,
}
