//! Chaos: faults of the network, of clocks and of the process, while namespaces are made and grants of every kind are
//! approved and end. For each fault: what is still open after each end and for how long, and when everything is as
//! declared again after the fault.
//!
//! The people and this test talk to the API server directly; only the operator goes through the proxy. Everything is on
//! loopback. `cargo test --workspace --test chaos -- --nocapture` prints a line for each fault.

mod clocks;
mod crowd;
mod definitions;
mod disk;
mod ledger;
mod names;
mod network;
mod pods;
mod process;
mod record;
mod rights;
mod squatters;
mod stage;
mod starts;
