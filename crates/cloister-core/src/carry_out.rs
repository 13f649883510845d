//! How a plan is carried out, whoever does its actions: what takes something away is attempted whatever else fails.

use crate::{
    child::IfRefused,
    plan::{About, Action, After, Chain, HoldsUp, Last, Step},
};
use futures::future::join_all;
use std::future::Future;

/// Why an action failed.
pub trait Failure {
    /// Whether it was refused for good: the same request is refused again until somebody changes something.
    fn is_final(&self) -> bool;
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed<E> {
    /// What it was about.
    pub about: About,
    /// Whether that was to be taken away, or narrowed.
    pub closes: bool,
    /// Whether what stood in its place was taken away instead.
    pub closed_instead: bool,
    /// What waited for it.
    pub holds_up: HoldsUp,
    /// What went wrong.
    pub error: E,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<E> {
    /// What failed.
    pub failures: Vec<Failed<E>>,
    /// Whether everything was attempted that opens, and the last action, where there is one.
    pub went_on: bool,
}

/// Carries out what a plan does.
pub async fn carry_out<E, F>(
    close: Vec<Chain>,
    open: Vec<Vec<Chain>>,
    last: Option<Last>,
    perform: impl Fn(Action) -> F,
) -> Outcome<E>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let perform = &perform;
    let mut failures = all(close, true, perform).await;
    for stage in open {
        if holds_up(&failures, HoldsUp::Opening) {
            return Outcome { failures, went_on: false };
        }
        failures.extend(all(stage, false, perform).await);
    }
    let Some(Last { action, after }) = last else {
        let went_on = !holds_up(&failures, HoldsUp::Opening);
        return Outcome { failures, went_on };
    };
    let may = match after {
        After::WhatHoldsItUp => !holds_up(&failures, HoldsUp::Last),
        After::Everything => failures.is_empty(),
        After::Attempts => failures.iter().all(|failed| failed.error.is_final()),
    };
    if may {
        failures.extend(step(vec![action], false, perform).await);
    }
    Outcome { failures, went_on: may }
}

fn holds_up<E>(failures: &[Failed<E>], what: HoldsUp) -> bool {
    failures.iter().any(|failed| failed.holds_up >= what)
}

async fn all<E, F>(chains: Vec<Chain>, closes: bool, perform: &impl Fn(Action) -> F) -> Vec<Failed<E>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    // All come to their end, whatever becomes of one: a request that is dropped may have been carried out all the same.
    join_all(chains.into_iter().map(|chain| one(chain, closes, perform))).await.into_iter().flatten().collect()
}

async fn one<E, F>(chain: Chain, closes: bool, perform: &impl Fn(Action) -> F) -> Vec<Failed<E>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let mut failures = Vec::new();
    let mut all_done = true;
    for Step { actions, needs_all_before, may_fail } in chain.steps {
        if needs_all_before && !all_done {
            continue;
        }
        let failed = step(actions, closes, perform).await;
        all_done &= may_fail || failed.is_empty();
        failures.extend(failed);
    }
    failures
}

async fn step<E, F>(actions: Vec<Action>, closes: bool, perform: &impl Fn(Action) -> F) -> Vec<Failed<E>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let attempts = actions.into_iter().map(|action| async move {
        let (about, holds_up) = (action.about(), action.holds_up());
        // What stands is still open as it was when a narrower version of it is refused.
        let instead = if closes { instead(&action) } else { None };
        let error = perform(action).await.err()?;
        let closed_instead = match instead.filter(|_| error.is_final()) {
            Some(action) => perform(action).await.is_ok(),
            None => false,
        };
        Some(Failed { about, closes, closed_instead, holds_up, error })
    });
    join_all(attempts).await.into_iter().flatten().collect()
}

/// What is done where the API server refuses for good to write what stands already.
fn instead(action: &Action) -> Option<Action> {
    let Action::Apply(child) = action else { return None };
    match child.if_refused() {
        IfRefused::Delete => Some(Action::Delete(child.key())),
        IfRefused::Write(closed) => Some(Action::Apply(closed)),
        IfRefused::Keep => None,
    }
}
