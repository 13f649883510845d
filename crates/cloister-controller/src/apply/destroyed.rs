//! The copies of credentials that are known to be gone.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The copies that this process has destroyed, or found gone, and not made again since: by the names of their Secrets.
#[derive(Debug, Default)]
pub struct Destroyed(Mutex<BTreeSet<(Arc<str>, Arc<str>)>>);

impl Destroyed {
    /// Whether a copy is among them.
    pub fn has(&self, namespace: &str, secret: &str) -> bool {
        self.all().contains(&(namespace.into(), secret.into()))
    }

    /// One is gone.
    pub fn note(&self, namespace: &str, secret: &str) {
        self.all().insert((namespace.into(), secret.into()));
    }

    /// One is made.
    pub fn forget(&self, namespace: &str, secret: &str) {
        self.all().remove(&(namespace.into(), secret.into()));
    }

    pub fn keep_in(&self, exists: impl Fn(&str) -> bool) {
        self.all().retain(|(namespace, _)| exists(namespace));
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<(Arc<str>, Arc<str>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
