//! The rules of the house, as checks that `cargo test -p house-tests` runs over the repository:
//! `tests/house.rs` applies them; here they stand, each with tests of its own that it can fail.
//!
//! A check returns the violations it found, one sentence each; none means all is well.

pub mod floors;
pub mod manifests;
pub mod promises;
pub mod sources;

use std::path::{Path, PathBuf};

/// The repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file of the repository but for build results and git's own, as (path from the root,
/// path to open). Sorted.
pub fn files(root: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let relative = relative.to_string_lossy().into_owned();
            if relative == ".git" || relative == "target" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                todo.push(path);
            } else {
                found.push((relative, path));
            }
        }
    }
    found.sort();
    Ok(found)
}
