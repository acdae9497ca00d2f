//! What the kernel was told about a container: its cgroup's files, on hosts of any cgroup version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Daemon;

const ROOT: &str = "/sys/fs/cgroup";

impl Daemon {
    /// A file of a running container's cgroup, trimmed: `v1` in the hierarchy of `controller`, or
    /// `v2` where the host has only the unified one.
    #[track_caller]
    pub fn cgroup(&self, container: &str, controller: &str, v1: &str, v2: &str) -> String {
        let pid = self.inspect(container)["State"]["Pid"].to_string();
        let path = self.sandbox().proc().join(&pid).join("cgroup");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{container} runs: {}: {error}", path.display()));
        let file = if is_unified() {
            let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
            Path::new(ROOT)
                .join(own.expect("it is in a cgroup"))
                .join(v2)
        } else {
            let own = text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let controllers = parts.next()?;
                let found = controllers.split(',').any(|name| name == controller);
                found.then_some(parts.next()?.trim_start_matches('/'))
            });
            let own = own.unwrap_or_else(|| panic!("no {controller} in {text}"));
            Path::new(ROOT).join(controller).join(own).join(v1)
        };
        std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
            .trim()
            .to_owned()
    }
}

/// Whether the host has cgroup v2 alone.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether a word of `name` is a container's ID.
pub(crate) fn holds_id(name: &str) -> bool {
    name.split(['/', '-', '.', '_'])
        .any(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Cgroups named by a container's ID that hold no process.
pub(crate) fn empty_of_containers() -> BTreeSet<String> {
    let mut empty = BTreeSet::new();
    let mut todo = vec![(PathBuf::from(ROOT), 0)];
    while let Some((dir, depth)) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if holds_id(&entry.file_name().to_string_lossy()) {
                // One that vanishes under our eyes is none that was left behind.
                let processes = std::fs::read_to_string(entry.path().join("cgroup.procs"));
                if processes.is_ok_and(|text| text.is_empty()) {
                    empty.insert(entry.path().display().to_string());
                }
            } else if depth < 3 {
                todo.push((entry.path(), depth + 1));
            }
        }
    }
    empty
}
