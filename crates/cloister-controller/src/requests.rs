//! How many requests may be under way: a share of them is kept for what closes, and one for grants that must end.
//!
//! A request counts against the lane of the key that it is made for, which goes with the task.

use crate::queue::Lane;
use std::future::Future;
use tokio::sync::{Semaphore, SemaphorePermit};

tokio::task_local! {
    static LANE: Lane;
}

/// Does some work for a key of this lane.
pub async fn within<T>(lane: Lane, work: impl Future<Output = T>) -> T {
    LANE.scope(lane, work).await
}

/// The permits for requests.
#[derive(Debug)]
pub struct Requests {
    ending: Semaphore,
    closing: Semaphore,
    all: Semaphore,
}

impl Requests {
    /// So many at a time, and three at the least.
    pub fn new(most: usize) -> Self {
        let kept = (most / 8).max(1);
        Requests {
            ending: Semaphore::new(kept),
            closing: Semaphore::new(kept),
            all: Semaphore::new(most.saturating_sub(2 * kept).max(1)),
        }
    }

    /// Waits for a permit for the work that is under way. None of the semaphores is ever closed.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        let lane = LANE.try_with(|lane| *lane).unwrap_or_default();
        let permit = match lane {
            Lane::Ending => tokio::select! {
                biased;
                permit = self.all.acquire() => permit,
                permit = self.closing.acquire() => permit,
                permit = self.ending.acquire() => permit,
            },
            Lane::Closing => tokio::select! {
                biased;
                permit = self.all.acquire() => permit,
                permit = self.closing.acquire() => permit,
            },
            Lane::Normal | Lane::Status => self.all.acquire().await,
        };
        permit.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn now<'a>(requests: &'a Requests, lane: Lane) -> Option<SemaphorePermit<'a>> {
        within(lane, requests.permit()).now_or_never().flatten()
    }

    #[tokio::test]
    async fn what_closes_needs_no_permit_of_what_opens() {
        for most in [1, 3, 8, 32] {
            let requests = Requests::new(most);
            let opening: Vec<_> = std::iter::from_fn(|| now(&requests, Lane::Normal)).collect();
            assert!(!opening.is_empty());
            let closing: Vec<_> = std::iter::from_fn(|| now(&requests, Lane::Closing)).collect();
            assert!(!closing.is_empty());
            let ending: Vec<_> = std::iter::from_fn(|| now(&requests, Lane::Ending)).collect();
            assert!(!ending.is_empty());
            assert_eq!(opening.len() + closing.len() + ending.len(), most.max(3));
        }
    }

    #[tokio::test]
    async fn what_ends_may_use_all() {
        let requests = Requests::new(32);
        let ending: Vec<_> = std::iter::from_fn(|| now(&requests, Lane::Ending)).collect();
        assert_eq!(ending.len(), 32);
    }
}
