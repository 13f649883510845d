//! Attacks: each is a short story of people in a real cluster with the operator running. Each says that nothing opened,
//! what the attacker was told, and what was recorded.

mod break_glass;
mod clocks;
mod copies;
mod endpoints;
mod forged;
mod furnish;
mod identity;
mod impersonation;
mod ledger;
mod operator_account;
mod operator_bounds;
mod people;
mod policies;
mod replay;
mod restarts;
mod stage;
mod status;
mod story;
mod widen;
mod widen_objects;
mod widen_pods;
