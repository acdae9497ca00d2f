//! What containerd has stored of images, by its records and on disk: before and after must be the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Daemon;
use crate::leaks::{ctr, snapshotters};

/// Everything that pulls, loads and removals of images make in containerd's namespace `moby`, each by
/// its kind and name. Of a [`crate::Containerd::Managed`] also what lies on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored(BTreeSet<String>);

impl Stored {
    /// Counts, once containerd has collected what nothing refers to.
    #[track_caller]
    pub fn count(daemon: &Daemon) -> Stored {
        daemon.collect_garbage();
        let mut all = BTreeSet::new();
        let mut add = |kind: &str, list: &str| {
            let names = list
                .lines()
                .filter_map(|line| line.split_whitespace().next());
            all.extend(names.map(|name| format!("{kind} {name}")));
        };
        add("image", &ctr(daemon, &["images", "ls", "-q"]));
        add("lease", &ctr(daemon, &["leases", "ls", "-q"]));
        add("blob", &ctr(daemon, &["content", "ls", "-q"]));
        let ingests = ctr(daemon, &["content", "active"]);
        add("ingest", without_head(&ingests));
        for snapshotter in snapshotters(daemon) {
            let list = ctr(daemon, &["snapshots", "--snapshotter", &snapshotter, "ls"]);
            add(&format!("snapshot of {snapshotter}"), without_head(&list));
        }
        let root = daemon.data_root().join("containerd/daemon");
        for plugin in ["content.v1.content", "snapshotter.v1.overlayfs"] {
            let root = root.join(format!("io.containerd.{plugin}"));
            for folder in ["ingest", "blobs/sha256", "snapshots"] {
                add(folder, &names(&root.join(folder)));
            }
        }
        Stored(all)
    }

    /// Waits until there is just what was at `self`'s moment; fails the test with the difference when
    /// that takes longer than `patience`.
    #[track_caller]
    pub fn settle(&self, daemon: &Daemon, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let now = Stored::count(daemon);
            if now == *self {
                return;
            }
            let left: Vec<_> = now.0.difference(&self.0).collect();
            let gone: Vec<_> = self.0.difference(&now.0).collect();
            assert!(
                Instant::now() < deadline,
                "left behind: {left:#?}\ngone: {gone:#?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The names of one kind: `image`, `lease`, `blob`, `ingest`, `snapshot of overlayfs`.
    pub fn names(&self, kind: &str) -> Vec<&str> {
        let pairs = self.0.iter().filter_map(|one| one.rsplit_once(' '));
        let these = pairs.filter(|(have, _)| *have == kind);
        these.map(|(_, name)| name).collect()
    }
}

/// A table's lines below its head.
fn without_head(table: &str) -> &str {
    table.split_once('\n').map_or("", |(_, rest)| rest)
}

/// What is in a folder, a line each; nothing where there is no folder.
fn names(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join("\n")
}

impl Daemon {
    /// Has containerd collect what nothing refers to, and waits for it.
    #[track_caller]
    pub fn collect_garbage(&self) {
        let lease = ctr(self, &["leases", "create"]);
        // The end of a lease is what one can wait for.
        ctr(self, &["leases", "delete", "--sync", lease.trim()]);
    }
}
