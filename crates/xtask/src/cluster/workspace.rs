//! Where the checkout is, whatever the working directory.

use std::path::{Path, PathBuf};

use super::{Error, Result};

/// The root of the checkout: the nearest folder above that holds the source of the embedded cluster.
pub fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    // The last one is where this was compiled, for a binary that is run by its path from anywhere.
    let starts = [package, Some(here.clone()), Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")))];
    let found = starts.iter().flatten().find_map(|start| {
        let root = start.ancestors().find(|dir| module(dir).join("go.mod").is_file())?;
        Some(root.to_owned())
    });
    found.ok_or(Error::NoWorkspace { from: here })
}

/// The Go module of the embedded cluster.
pub(super) fn module(root: &Path) -> PathBuf {
    root.join("tests/cluster")
}
