//! What the operator does, in a real cluster, as the people and tools that use it see it.

mod account;
mod adoption;
mod bad_input;
mod confirmations;
mod court;
mod decisions;
mod deletion;
mod egress;
mod faults;
mod grants;
mod held;
mod load;
mod namespace;
mod oidc;
mod record;
mod refused;
mod resilience;
mod revocations;
mod standby;
mod unlisted;
