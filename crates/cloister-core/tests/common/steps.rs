//! How the simulated clusters carry plans out: as the controller does, in an order that differs from round to round.

use super::objects::Failed;
use cloister_core::model::{
    carry_out,
    carry_out::Outcome,
    plan::{Action, Plan},
};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Carries out what a plan does. Actions that may run together come to their end in an order that depends on `rotation`.
pub fn carry_out<S: Clone>(
    plan: &Plan<S>,
    rotation: usize,
    perform: impl FnMut(&Action) -> Result<(), Failed>,
) -> Outcome<Failed> {
    let perform = &RefCell::new(perform);
    let begun = Cell::new(0);
    let one = |action: Action| {
        let turn = begun.replace(begun.get() + 1);
        async move {
            Later(if rotation == 0 { 0 } else { rotation.wrapping_mul(3).wrapping_add(turn * 5) % 7 }).await;
            (perform.borrow_mut())(&action)
        }
    };
    let Plan { close, open, last, .. } = plan.clone();
    futures::executor::block_on(carry_out::carry_out(close, open, last, one))
}

/// What the API server refuses: some requests, and always the same ones, by this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals(pub Option<u64>);

impl Refusals {
    /// Whether an action is refused, for now or for good.
    pub fn of(self, action: &Action) -> Result<(), Failed> {
        let Some(seed) = self.0 else { return Ok(()) };
        let kind = match action {
            Action::Apply(_) => "apply".to_owned(),
            Action::Delete(_) => "delete".to_owned(),
            Action::ApplyNamespace(labels) => format!("label {}", labels.len()),
            action => format!("{action:?}"),
        };
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&(seed, kind, format!("{:?}", action.about())), &mut hasher);
        match std::hash::Hasher::finish(&hasher) % 6 {
            0 => Err(Failed::ForGood),
            1 => Err(Failed::ForNow),
            _ => Ok(()),
        }
    }
}

/// Lets others go first, so many times.
struct Later(usize);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
