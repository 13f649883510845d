//! Who may ask and who must agree, and what came of it.

pub(crate) mod afresh;
pub(crate) mod approval;
mod assignment;
pub(crate) mod auto_approval;
pub(crate) mod bars;
pub(crate) mod borne_out;
pub(crate) mod case;
pub(crate) mod changed;
pub(crate) mod decisions;
pub(crate) mod eligibility;
pub(crate) mod limits;
pub(crate) mod membership;
pub(crate) mod mistakes;
pub(crate) mod not_counted;
pub(crate) mod permission;
pub(crate) mod satisfiable;
pub(crate) mod taken_back;
