//! How a plan is carried out: the order of its actions, and which of them are skipped after a failure. Actions that remove
//! something are attempted even if others fail.

use super::{
    child::IfRefused,
    plan::{About, Action, After, Chain, HoldsUp, Last, Step},
};
use futures::future::join_all;
use std::future::Future;

/// Why an action failed.
pub trait Failure {
    /// Whether the failure is permanent: the same request fails again until somebody changes something.
    fn is_final(&self) -> bool;
}

/// An error as messages report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedError {
    /// What failed, for which object, and what to do about it.
    pub message: String,
    /// Whether the failure is permanent.
    pub is_final: bool,
}

impl Failure for ReportedError {
    fn is_final(&self) -> bool {
        self.is_final
    }
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed<E> {
    /// The object that the action was about.
    pub about: About,
    /// Whether the action was to remove or narrow it.
    pub closes: bool,
    /// Whether the earlier object was deleted or closed instead.
    pub closed_instead: bool,
    /// Which parts of the plan wait for it.
    pub holds_up: HoldsUp,
    /// The error.
    pub error: E,
}

/// The result of carrying out a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<E> {
    /// The actions that failed.
    pub failures: Vec<Failed<E>>,
    /// The actions that succeeded.
    pub done: Vec<Done>,
    /// Whether the last action was skipped, or failed.
    pub last_is_left: bool,
}

/// An action that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The object that the action was about.
    pub about: About,
    /// Whether the action was to remove or narrow it.
    pub closes: bool,
}

impl<E> Outcome<E> {
    /// Whether nothing was opened, because of an earlier failure.
    pub fn kept_closed(&self) -> bool {
        holds_up(&self.failures, HoldsUp::Opening)
    }

    /// Whether anything was opened.
    pub fn opened(&self) -> bool {
        let opens = |done: &Done| !done.closes && matches!(done.about, About::Child(_) | About::Credential);
        self.done.iter().any(opens)
    }
}

impl<E: Failure + std::fmt::Display> Outcome<E> {
    /// The outcome with its errors as messages, without the failures that are not worth reporting.
    pub fn reported(&self, worth_reporting: impl Fn(&E) -> bool) -> Outcome<ReportedError> {
        let tell = |failed: &Failed<E>| Failed {
            about: failed.about.clone(),
            closes: failed.closes,
            closed_instead: failed.closed_instead,
            holds_up: failed.holds_up,
            error: ReportedError { message: failed.error.to_string(), is_final: failed.error.is_final() },
        };
        Outcome {
            failures: self.failures.iter().filter(|failed| worth_reporting(&failed.error)).map(tell).collect(),
            done: self.done.clone(),
            last_is_left: self.last_is_left,
        }
    }
}

/// Carries out a plan.
pub async fn carry_out<E, F>(
    close: Vec<Chain>,
    open: Vec<Vec<Chain>>,
    last: Option<Last>,
    execute: impl Fn(Action) -> F,
) -> Outcome<E>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let execute = &execute;
    let mut outcome = Outcome { failures: Vec::new(), done: Vec::new(), last_is_left: last.is_some() };
    outcome.take(all(close, true, execute).await);
    for stage in open {
        if outcome.kept_closed() {
            return outcome;
        }
        outcome.take(all(stage, false, execute).await);
    }
    let Some(Last { action, after }) = last else { return outcome };
    let may = match after {
        After::WhatHoldsItUp => !holds_up(&outcome.failures, HoldsUp::Last),
        After::Everything => outcome.failures.is_empty(),
        After::Attempts => outcome.failures.iter().all(|failed| failed.error.is_final()),
    };
    if may {
        let ended = step(vec![action], false, execute).await;
        outcome.last_is_left = ended.iter().any(Result::is_err);
        outcome.take(ended);
    }
    outcome
}

impl<E> Outcome<E> {
    fn take(&mut self, attempts: Vec<Result<Done, Failed<E>>>) {
        for attempt in attempts {
            match attempt {
                Ok(done) => self.done.push(done),
                Err(failed) => self.failures.push(failed),
            }
        }
    }
}

fn holds_up<E>(failures: &[Failed<E>], what: HoldsUp) -> bool {
    failures.iter().any(|failed| failed.holds_up >= what)
}

async fn all<E, F>(chains: Vec<Chain>, closes: bool, execute: &impl Fn(Action) -> F) -> Vec<Result<Done, Failed<E>>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    // All run to their end, even if one fails: the API server may carry out a request although its future is dropped.
    join_all(chains.into_iter().map(|chain| one(chain, closes, execute))).await.into_iter().flatten().collect()
}

async fn one<E, F>(chain: Chain, closes: bool, execute: &impl Fn(Action) -> F) -> Vec<Result<Done, Failed<E>>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let mut attempts = Vec::new();
    let mut all_done = true;
    for Step { actions, needs_all_before, may_fail } in chain.steps {
        if needs_all_before && !all_done {
            continue;
        }
        let attempted = step(actions, closes, execute).await;
        all_done &= may_fail || attempted.iter().all(Result::is_ok);
        attempts.extend(attempted);
    }
    attempts
}

async fn step<E, F>(actions: Vec<Action>, closes: bool, execute: &impl Fn(Action) -> F) -> Vec<Result<Done, Failed<E>>>
where
    E: Failure,
    F: Future<Output = Result<(), E>>,
{
    let attempts = actions.into_iter().map(|action| async move {
        let (about, holds_up) = (action.about(), action.holds_up());
        // If the API server rejects a narrower version, the earlier object is still as open as before.
        let instead = if closes { instead(&action) } else { None };
        let Err(error) = execute(action).await else { return Ok(Done { about, closes }) };
        let closed_instead = match instead.filter(|_| error.is_final()) {
            Some(action) => execute(action).await.is_ok(),
            None => false,
        };
        Err(Failed { about, closes, closed_instead, holds_up, error })
    });
    join_all(attempts).await
}

/// The action to take instead if the API server permanently rejects a write to an object that exists.
fn instead(action: &Action) -> Option<Action> {
    let Action::Apply(child) = action else { return None };
    match child.if_refused() {
        IfRefused::Delete => Some(Action::Delete(child.key())),
        IfRefused::Write(closed) => Some(Action::Apply(closed)),
        IfRefused::Keep => None,
    }
}
