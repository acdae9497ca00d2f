//! How much a volume takes.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes in a directory tree: each file counts once, however many names it has. Symbolic links
/// are not followed; what cannot be read counts nothing.
#[must_use]
pub fn disk_usage(root: &Path) -> u64 {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                waiting.push(entry.path());
            } else if data.nlink() < 2 || seen.insert((data.dev(), data.ino())) {
                total += data.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_two_names_counts_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(dir.path().join("sub")).expect("mkdir");
        std::fs::write(dir.path().join("a"), [0; 1000]).expect("write");
        std::fs::hard_link(dir.path().join("a"), dir.path().join("sub/b")).expect("link");
        std::fs::write(dir.path().join("sub/c"), [0; 10]).expect("write");
        assert_eq!(disk_usage(dir.path()), 1010);
        assert_eq!(disk_usage(&dir.path().join("absent")), 0);
    }
}
