//! When the users of an allowlist were counted.

use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How often the users of an allowlist are counted at most: each namespace that comes changes their number.
const USAGE_WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// When the users of an allowlist were last counted, for those that were a moment ago.
#[derive(Default)]
pub struct Counted(Mutex<HashMap<Arc<str>, Timestamp>>);

impl Counted {
    /// Whether the count of an allowlist's users may be written again, or when it may be.
    pub fn may_count(&self, allowlist: &Arc<str>, now: Timestamp) -> Result<(), Timestamp> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|_, at| *at + USAGE_WINDOW > now);
        match counted.get(allowlist) {
            Some(at) => Err(*at + USAGE_WINDOW),
            None => {
                counted.insert(allowlist.clone(), now);
                Ok(())
            }
        }
    }
}
