//! The decisions of Cloister, as pure functions: no client, no runtime, no clock.
//!
//! Each kind has a `plan`: from what is declared, what is observed and the time, to what must be done and said. It is
//! total, synchronous and deterministic. Reading the cluster and writing to it are the controller's matter.
//!
//! Each module after those that it uses: [`model`], [`address`], [`dns`], [`egress`], [`cluster`], [`proof`], [`policies`],
//! [`namespace`], [`auto_approve`], [`grant`], [`catalogue`], [`audit`].

pub mod address;
pub mod audit;
pub mod auto_approve;
pub mod catalogue;
pub mod cluster;
pub mod dns;
pub mod egress;
pub mod grant;
pub mod model;
pub mod namespace;
pub mod policies;
pub mod proof;
