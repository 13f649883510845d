//! Addresses, ports, selectors and names: what they are, and which of them nobody opens.

pub(crate) mod blocks;
mod cuts;
mod domain;
pub(crate) mod label;
pub(crate) mod networks;
pub(crate) mod never;
mod policy_port;
pub(crate) mod ports;
pub(crate) mod public;
mod refusal;
mod selector;
mod selector_fault;
mod source;
pub(crate) mod special;
pub(crate) mod writable;

pub use cuts::CutBy;
pub use domain::{DomainName, NameFault};
pub use never::NeverOpened;
pub use policy_port::{PolicyPort, PolicyPortNumber};
pub use public::is_public;
pub use refusal::Refusal;
pub(crate) use refusal::{WILDCARD_NOT_ENFORCEABLE, listed};
pub use selector::Selector;
pub use selector_fault::SelectorFault;
pub use source::{KnownNetwork, NeverWhy, Source};
pub use writable::Pieces;
