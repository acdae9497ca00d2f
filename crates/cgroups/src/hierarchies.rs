//! Where the hierarchies are mounted, and where in them a process is.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which part of the hierarchy is mounted: `/` for all of it.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
}

impl Mount {
    /// Where the cgroup `path` is seen through this mount, if it is.
    pub(crate) fn place(&self, path: &Path) -> Option<PathBuf> {
        // The kernel shows a process outside of the reader's cgroup namespace with dots.
        if path.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let inside = path.strip_prefix(&self.root).ok()?;
        Some(self.point.join(inside))
    }
}

/// The hierarchies of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Version 1, by controller; a named hierarchy as `name=systemd`.
    pub(crate) v1: BTreeMap<String, Mount>,
    /// Version 2.
    pub(crate) v2: Option<Mount>,
}

impl Hierarchies {
    /// Decodes `/proc/self/mountinfo`; lines that are none are passed over.
    pub(crate) fn parse(mountinfo: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(point)) = (left.next(), left.next()) else {
                continue;
            };
            let mount = Mount {
                root: unescape(root).into(),
                point: unescape(point).into(),
            };
            let mut right = right.split(' ');
            match right.next() {
                // The first one is the system's; later ones are somebody's copies of it.
                Some("cgroup2") => drop(found.v2.get_or_insert(mount)),
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',') {
                        found
                            .v1
                            .entry(option.to_owned())
                            .or_insert_with(|| mount.clone());
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Undoes the escapes of mountinfo: `\040` is a blank.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Where a process is: `/proc/<pid>/cgroup` by controller, `""` for version 2.
pub(crate) fn memberships(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            found.extend(controllers.split(',').map(|controller| (controller, path)));
        }
    }
    found
}

/// The cgroup of the container `id` above (or at) `path`. An init that makes cgroups of its own,
/// as systemd does, moves itself below the container's.
pub(crate) fn of_container(path: &str, id: &str) -> Option<PathBuf> {
    let mut own = PathBuf::new();
    for part in Path::new(path).components() {
        own.push(part);
        // `<id>`, or `docker-<id>.scope` where systemd makes them.
        if part.as_os_str().to_string_lossy().contains(id) {
            return Some(own);
        }
    }
    None
}
