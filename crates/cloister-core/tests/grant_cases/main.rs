//! What a grant is told in concrete cases, and what then stands.

mod accounts;
mod arriving;
mod break_glass;
mod catalogue;
mod cautions;
mod confirmed;
mod decisions;
mod desk;
mod digests;
mod doubts;
mod ends;
mod forged;
#[path = "../common/grants.rs"]
mod grants;
mod guards;
mod held;
mod kinds;
mod late;
mod leaving;
mod lists;
mod mistakes;
mod mounts;
mod never_reviewed;
#[path = "../common/objects.rs"]
mod objects;
mod raced;
mod requests;
mod revocations;
mod rules;
mod said;
#[path = "../common/steps.rs"]
mod steps;
mod terms;
mod together;
mod whatever_is_missing;
mod while_it_waits;
