//! The credential of a StorageAccessGrant: where it is kept, how it comes to pods, and how it is taken from them.

pub(crate) mod mount;
pub(crate) mod mount_conflict;
