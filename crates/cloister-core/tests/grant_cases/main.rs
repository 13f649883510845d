//! What a grant is told in concrete cases, and what then stands.

mod desk;
mod ends;
#[path = "../common/grants.rs"]
mod grants;
mod mounts;
#[path = "../common/objects.rs"]
mod objects;
mod terms;
