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
mod case;
mod changed;
mod credential;
mod decisions;
mod declared;
mod did;
pub mod digest;
mod egress;
pub(crate) mod eligibility;
mod end;
mod found;
mod guard;
mod ineligible;
mod input;
mod kind;
mod lag;
mod late;
mod limits;
mod lookups;
mod membership;
mod mistakes;
mod mount;
mod not_counted;
mod object;
mod obstacle;
mod open;
mod outcome;
mod own;
mod pending;
mod people;
mod permission;
mod phases;
mod question;
mod remains;
mod residue;
mod resolve;
mod review;
mod reviews;
mod revoke;
mod role;
pub(crate) mod satisfiable;
mod sensitivity;
mod share;
mod status;
mod storage;
mod summary;
mod taken_back;
mod target_error;
mod together;
mod undecided;
mod wait;
pub(crate) mod words;

pub use break_glass::{Debt, has_broken_glass, owes_review, owes_review_by};
pub use credential::{CredentialFacts, NOT_OFFERED, secret_named, version as content_version};
pub use declared::ALREADY_OPEN;
pub use guard::{Guard, POLICY_NOT_ALLOWED};
pub use input::{Beside, Declared, Holder, Home, Input, Neighbour};
pub use lag::over_since;
pub use lookups::{Catalogue, Known, Listed, Other};
pub use mount::{Copy, GRACE, LastEnd, SETTLING, goes_with, last_call, unclaimed};
pub use object::{Grant, Terms, has_begun, is_approved, is_open};
pub use people::same_person;
pub use phases::plan;
pub use remains::{may_hold, mount_named_by};
pub use review::{answer::is_answered, is_answered_by, review, to_answer};
pub use satisfiable::{NEVER_APPROVES, satisfiable, useless};
pub use sensitivity::{Sensitive, policy_strength, too_weak};
pub use share::{Share, copy_meta, mount_key, mount_name, mount_of_secret, secret_name, secret_of};
pub use status::{failed, is_given_up};
pub use storage::mounted;
