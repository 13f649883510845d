//! Another grant whose mount stands against one that is asked for, and what can be done about it.

use super::mount::overlap;
use crate::grant::{Input, OtherMount};
use cloister_api::Mount;
use std::fmt;

/// The grant whose mount stands against one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its name.
    grant: String,
    /// Where it mounts its credential.
    path: String,
    /// Whether that is the same credential.
    is_same: bool,
}

/// The grant whose mount conflicts with this one: the mounts of one key have one path, and the mounts of two keys have paths
/// of which neither is inside the other. A conflict with the same key is reported first, because it leaves only one path.
pub fn conflict(mount: &Mount, name: &str, input: &Input<'_>) -> Option<Conflict> {
    let is_same = |other: &&OtherMount<'_>| other.mount == name && other.mount_path != mount.mount_path;
    let is_in_the_way = |other: &&OtherMount<'_>| other.mount != name && overlap(other.mount_path, &mount.mount_path);
    let all = || input.other_mounts.iter();
    let (other, is_same) = match all().find(is_same) {
        Some(other) => (other, true),
        None => (all().find(is_in_the_way)?, false),
    };
    Some(Conflict { grant: other.name.to_owned(), path: other.mount_path.to_owned(), is_same })
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { grant, path, is_same } = self;
        if *is_same {
            write!(
                formatter,
                "grant {grant} mounts the same credential at {path} in the pods of the same ServiceAccount, and a credential \
                 has only one path there; ask with mountPath {path}, or after all grants that mount it there have ended"
            )
        } else {
            write!(
                formatter,
                "grant {grant} mounts another credential at {path} in the pods of the same ServiceAccount, and no credential \
                 is mounted in the folder of another; ask with a mountPath that is neither in {path} nor above it, or after \
                 all grants that mount it there have ended"
            )
        }
    }
}
