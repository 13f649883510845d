//! The types that everything else uses: facts about objects, conditions, and plans with their actions.

mod canonical_json;
pub mod carry_out;
pub mod child;
pub mod condition;
pub mod durations;
pub(crate) mod finalizers;
pub(crate) mod hash;
pub mod hold;
pub(crate) mod once;
pub mod ownership;
pub mod plan;
pub mod quantity;
pub(crate) mod shell;
pub mod suggest;
pub mod text;
pub(crate) mod writers;
