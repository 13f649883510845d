//! Grants: from a request, over the decision of people, to an opening that ends.
//!
//! One engine moves grants of every kind; what a kind adds (`kind::Kind`) is what it is for and how that is opened and
//! taken away. A grant's end is written down before anything is opened, and never computed again. Who has agreed is
//! written down with it, and is asked again of the policy as it is now at every look. What was opened is taken away in an
//! order that leaves no gap, and only when all of it is confirmed gone is the grant called ended.

mod break_glass;
mod credential;
pub(crate) mod decide;
mod kinds;
mod lifecycle;
mod model;
mod review;

pub use break_glass::settle::owes_review;
pub use credential::mount::{Copy, GRACE, LastEnd, SETTLING, goes_with, last_call, unclaimed};
pub use decide::satisfiable::{NEVER_APPROVES, NOBODY_MAY_ASK, satisfiable, useless};
pub use kinds::{caution::bears_on, declared::ALREADY_OPEN};
pub use lifecycle::{
    lag::over_since,
    mounted::mounted,
    phases::plan,
    status::{failed, is_given_up},
};
pub use model::{
    any_grant::{Grant, Terms, has_begun, is_approved, is_open},
    credential_facts::{
        CREDENTIAL_NAMESPACE_NOT_ALLOWED, CredentialFacts, NOT_OFFERED, secret_named, version as content_version,
    },
    credential_mount_key::{
        CredentialMountKey, copy_meta, mount_key, mount_name, mount_of_secret, secret_name, secret_of,
    },
    digest,
    input::{Beside, DeclaredGrant, Holder, Home, Input, OtherMount},
    judged::is_answered,
    lookups::{Catalogue, Listed, Lookup, Other},
    owed::{has_broken_glass, owes_review_by},
    people::{matches_nobody, same_person},
    remains::{may_hold, mount_named_by},
    sensitivity::{Sensitive, policy_strength, too_weak},
    unreviewed_break_glass::UnreviewedBreakGlass,
};
pub use review::{is_answered_by, review, to_answer};
