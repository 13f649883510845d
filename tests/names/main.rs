//! Egress by name: a real DNS server whose answers change, the operator that asks it, and what then stands in the cluster.

mod answers;
mod bounds;
mod place;
mod restart;
