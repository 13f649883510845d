//! A grant, what a decision about it depends on, and what is written down of it.

pub(crate) mod any_grant;
pub(crate) mod credential_facts;
pub(crate) mod credential_mount_key;
pub mod digest;
pub(crate) mod input;
pub(crate) mod judged;
pub(crate) mod lookups;
pub(crate) mod owed;
pub(crate) mod own;
pub(crate) mod people;
pub(crate) mod remains;
pub(crate) mod reviews;
pub(crate) mod sensitivity;
pub(crate) mod target;
pub(crate) mod unreviewed_break_glass;
pub(crate) mod words;
