//! What the operator does, in a real cluster, as the people and tools that use it see it.

mod namespace;
mod support;
