//! What is wrong with a label selector.

use super::refusal::Refusal;
use thiserror::Error;

/// Why the API server would refuse a selector. One policy that cannot be applied would hold up all others of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorFault(pub(super) String);

impl From<SelectorFault> for Refusal {
    fn from(fault: SelectorFault) -> Self {
        Refusal::PodSelectorInvalid { problem: fault.0 }
    }
}
