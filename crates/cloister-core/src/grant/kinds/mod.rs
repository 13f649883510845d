//! The kinds of grants: what each is for, and how that is opened.

pub(crate) mod caution;
pub(crate) mod declared;
mod egress_grant;
pub(crate) mod ineligible;
pub(crate) mod kind;
pub(crate) mod obstacle;
pub(crate) mod residue;
mod resolve;
mod role_grant;
mod storage_endpoint;
mod storage_grant;
pub(crate) mod storage_role;
pub(crate) mod target_error;
mod together;
