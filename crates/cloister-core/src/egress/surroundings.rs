//! What is known of the cluster around a rule.

use super::{never::NeverOpened, service::ServiceFacts};
use crate::{evaluator::Facts, names::Held};
use cloister_api::ServiceReference;

/// What is known of the cluster around a rule.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The networks that no rule opens by address.
    pub never: &'a NeverOpened,
    /// Finds a Service. Nothing where it does not exist.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Whether a name can stand for all names below it: whether what opens it sees names.
    pub wildcards: bool,
}

impl<'a> Surroundings<'a> {
    /// What declarations about these names speak of.
    pub(crate) fn facts(&self, names: &'a [Held]) -> Facts<'a> {
        Facts { names, services: self.services, never: self.never }
    }
}
