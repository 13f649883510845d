//! Requests to the API server: by whom they are made, and how many may be under way. A share of them is kept for what
//! closes, and one for grants that must end.
//!
//! A request counts against the lane of the key that it is made for, which goes with the task.

use crate::{error::Error, leader::Leadership, queue::Lane};
use kube::Client;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// How long the API server may take to answer.
const LIMIT: Duration = Duration::from_secs(15);

tokio::task_local! {
    static LANE: Lane;
}

/// Does some work for a key of this lane.
pub async fn within<T>(lane: Lane, work: impl Future<Output = T>) -> T {
    LANE.scope(lane, work).await
}

/// Makes requests as the operator that acts.
pub struct Requests {
    client: Client,
    leadership: Arc<Leadership>,
    permits: Permits,
}

impl Requests {
    /// So many at a time, and three at the least.
    pub fn new(client: Client, leadership: Arc<Leadership>, most: usize) -> Self {
        Requests { client, leadership, permits: Permits::new(most) }
    }

    /// The client to make them by.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether this operator may act now.
    pub fn may_act(&self) -> bool {
        self.leadership.holds()
    }

    /// Waits for a permit for the work that is under way.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.permit().await
    }

    /// Waits for a permit and for the answer.
    ///
    /// # Errors
    ///
    /// The request failed, or another operator may act by now.
    pub async fn request<T>(
        &self,
        what: impl Fn() -> String,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let _permit = self.permit().await;
        if !self.may_act() {
            return Err(Error::NotLeading { what: what() });
        }
        match timeout(LIMIT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Error::Request { what: what(), source: Box::new(source) }),
            Err(_) => Err(Error::Timeout { what: what(), limit: LIMIT }),
        }
    }
}

/// The permits for requests.
#[derive(Debug)]
struct Permits {
    ending: Semaphore,
    closing: Semaphore,
    all: Semaphore,
}

impl Permits {
    fn new(most: usize) -> Self {
        let kept = (most / 8).max(1);
        Permits {
            ending: Semaphore::new(kept),
            closing: Semaphore::new(kept),
            all: Semaphore::new(most.saturating_sub(2 * kept).max(1)),
        }
    }

    /// Waits for one. None of the semaphores is ever closed.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
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
            Lane::Normal | Lane::Opened | Lane::Status => self.all.acquire().await,
        };
        permit.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn now<'a>(requests: &'a Permits, lane: Lane) -> Option<SemaphorePermit<'a>> {
        within(lane, requests.permit()).now_or_never().flatten()
    }

    #[tokio::test]
    async fn what_closes_needs_no_permit_of_what_opens() {
        for most in [1, 3, 8, 32] {
            let requests = Permits::new(most);
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
        let requests = Permits::new(32);
        let ending: Vec<_> = std::iter::from_fn(|| now(&requests, Lane::Ending)).collect();
        assert_eq!(ending.len(), 32);
    }
}
