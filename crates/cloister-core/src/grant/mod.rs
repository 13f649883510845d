//! Grants: from a request, over the decision of people, to an opening that ends.
//!
//! One engine moves grants of every kind; what a kind adds (`kind::Kind`) is what it is for and how that is opened and
//! taken away. A grant's end is written down before anything is opened, and never computed again. Who has agreed is
//! written down with it, and is asked again of the policy as it is now at every look. What was opened is taken away in an
//! order that leaves no gap, and only when all of it is confirmed gone is the grant called ended.

mod afresh;
mod approval;
mod assignment;
mod auto_approval;
mod bars;
mod borne_out;
mod break_glass;
mod canonical;
mod changed;
mod credential;
mod decisions;
mod declared;
mod did;
pub mod digest;
mod egress;
pub(crate) mod eligibility;
mod end;
mod guard;
mod input;
mod kind;
mod lag;
mod late;
mod limits;
mod membership;
mod mistakes;
mod mount;
mod not_counted;
mod object;
mod obstacle;
mod open;
mod outcome;
mod pending;
mod people;
mod phases;
mod question;
mod remains;
mod residue;
mod review;
mod revoke;
mod role;
mod satisfiable;
mod share;
mod status;
mod storage;
mod summary;
mod taken_back;
mod target;
mod together;
mod undecided;
mod wait;
pub(crate) mod words;

pub use break_glass::{Debt, has_broken_glass, owes_review, owes_review_by};
pub use credential::{CredentialFacts, NOT_OFFERED, secret_named, version as content_version};
pub use declared::ALREADY_OPEN;
pub use eligibility::signed;
pub use guard::{Guard, POLICY_NOT_ALLOWED};
pub use input::{Catalogue, Declared, Holder, Home, Input, Listed};
use kind::Target;
pub use lag::over_since;
pub use limits::Other;
pub use mount::{Copy, GRACE, LastEnd, Neighbour, SETTLING, goes_with, last_call, unclaimed};
pub use object::{Grant, Terms};
pub use people::same_person;
pub use phases::plan;
pub use remains::{may_hold, mount_named_by};
pub use review::{is_answered, is_answered_by, review, to_answer};
pub use satisfiable::{NEVER_APPROVES, satisfiable, useless};
pub use share::{Share, copy_meta, mount_key, mount_name, mount_of_secret, secret_name, secret_of};
pub use status::{failed, is_given_up};
pub use storage::mounted;
pub(crate) use storage::pods_of;
pub(crate) use summary::destination;
pub use target::{Known, Sensitive, policy_strength, too_weak};
pub use together::Beside;
pub(crate) use words::{CLUSTER_ADMINS, CONFIG_WRITERS, POLICY_WRITERS, SECRET_KEEPERS};

use cloister_api::GrantPhase;
use jiff::Timestamp;

/// Whether a grant counts on what it opens: it is approved, its time has come, and it has not ended.
pub fn is_open(grant: &Grant, now: Timestamp) -> bool {
    is_approved(grant, now) && has_begun(grant, now)
}

/// Whether the time has come at which a grant starts, if it is approved.
pub fn has_begun(grant: &Grant, now: Timestamp) -> bool {
    grant.terms().start_time.is_none_or(|start| start.0 <= now)
}

/// Whether a grant is approved and has not ended.
pub fn is_approved(grant: &Grant, now: Timestamp) -> bool {
    let Some(status) = grant.status() else { return false };
    matches!(status.phase, GrantPhase::Approved | GrantPhase::Active)
        && !grant.is_deleted()
        && status.expires_at.as_ref().is_some_and(|end| end.0 > now)
}
