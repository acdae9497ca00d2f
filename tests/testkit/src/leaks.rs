//! What a daemon holds on its host, counted: before and after must be the same.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;

use serde_json::Value;

use crate::{Daemon, run_command};

/// Everything of a kind that a container brings, by name. Compare two with `==`, or wait for
/// the first to come back with [`Leaks::settle`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Live processes but for the daemon's own two: `pid command line`.
    pub processes: BTreeSet<String>,
    /// Mounts under the data root and the exec root, and pinned namespaces anywhere.
    pub mounts: BTreeSet<String>,
    /// Network interfaces, but for loopback and the test's own wire.
    pub interfaces: BTreeSet<String>,
    /// Elements of nftables sets and maps, and rules, of all tables.
    pub nft: BTreeSet<String>,
    /// Active snapshots and views of all snapshotters (`key`).
    pub snapshots: BTreeSet<String>,
    /// Containers, tasks and leases in containerd's namespace `moby`.
    pub containerd: BTreeSet<String>,
    /// Folders of containers in the data root; FIFOs and whatever is named by an ID in the exec root.
    pub files: BTreeSet<String>,
    /// Cgroups of containers without a process in them. Those of other daemons of the host are
    /// among them for the moment of a start or an end; [`Leaks::settle`] waits for that.
    pub cgroups: BTreeSet<String>,
}

impl Leaks {
    /// Counts now.
    #[track_caller]
    pub fn count(daemon: &Daemon) -> Leaks {
        let mut leaks = Leaks {
            processes: processes(daemon),
            mounts: mounts(daemon),
            interfaces: interfaces(daemon),
            nft: nft(daemon),
            files: files(daemon),
            cgroups: crate::cgroup::empty_of_containers(),
            ..Leaks::default()
        };
        for snapshotter in snapshotters(daemon) {
            let list = ctr(daemon, &["snapshots", "--snapshotter", &snapshotter, "ls"]);
            for line in list.lines().skip(1) {
                let words: Vec<_> = line.split_ascii_whitespace().collect();
                if words.last() != Some(&"Committed") {
                    leaks
                        .snapshots
                        .insert(words.first().copied().unwrap_or_default().to_owned());
                }
            }
        }
        for (what, args) in [
            ("container", ["containers", "ls", "-q"]),
            ("task", ["tasks", "ls", "-q"]),
            ("lease", ["leases", "ls", "-q"]),
        ] {
            let list = ctr(daemon, &args);
            leaks
                .containerd
                .extend(list.lines().map(|line| format!("{what} {line}")));
        }
        leaks
    }

    /// Waits until there is no more than at `self`'s moment; fails the test with what is left
    /// when that takes longer than `patience`.
    #[track_caller]
    pub fn settle(&self, daemon: &Daemon, patience: std::time::Duration) {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let left = Leaks::count(daemon).minus(self);
            if left == Leaks::default() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "left behind:\n{left}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// What is in `self` and not in `before`.
    pub fn minus(&self, before: &Leaks) -> Leaks {
        let minus = |new: &BTreeSet<String>, old: &BTreeSet<String>| &(new.clone()) - old;
        // By its number: a container's init is still runc for a moment when its start is answered.
        let number = |line: &String| line.split(' ').next().map(str::to_owned);
        let known: BTreeSet<_> = before.processes.iter().map(number).collect();
        let new = self.processes.iter();
        Leaks {
            processes: new
                .filter(|line| !known.contains(&number(line)))
                .cloned()
                .collect(),
            mounts: minus(&self.mounts, &before.mounts),
            interfaces: minus(&self.interfaces, &before.interfaces),
            nft: minus(&self.nft, &before.nft),
            snapshots: minus(&self.snapshots, &before.snapshots),
            containerd: minus(&self.containerd, &before.containerd),
            files: minus(&self.files, &before.files),
            cgroups: minus(&self.cgroups, &before.cgroups),
        }
    }
}

impl std::fmt::Display for Leaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, names) in [
            ("processes", &self.processes),
            ("mounts", &self.mounts),
            ("interfaces", &self.interfaces),
            ("nft", &self.nft),
            ("snapshots", &self.snapshots),
            ("containerd", &self.containerd),
            ("files", &self.files),
            ("cgroups", &self.cgroups),
        ] {
            writeln!(f, "{what}: {}", names.len())?;
            for name in names.iter().take(20) {
                writeln!(f, "  {name}")?;
            }
        }
        Ok(())
    }
}

fn processes(daemon: &Daemon) -> BTreeSet<String> {
    let proc = daemon.sandbox().proc();
    let own = daemon.own_processes();
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(&proc).into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) || own.contains(&pid) {
            continue;
        }
        if is_over(&entry.path()) {
            continue;
        }
        // There is none, for a moment, of what is becoming another program.
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        all.insert(format!("{pid} {}", line.trim_end()));
    }
    all
}

/// Whether a process is gone or a zombie, which holds nothing but a number.
fn is_over(proc: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn mounts(daemon: &Daemon) -> BTreeSet<String> {
    let path = format!("/proc/{}/mountinfo", daemon.sandbox().init());
    let text = std::fs::read_to_string(path).expect("the sandbox is alive");
    let roots = [daemon.data_root(), daemon.exec_root()].map(|path| path.display().to_string());
    let ours = |line: &&str| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        roots.iter().any(|root| point.starts_with(root.as_str())) || line.contains(" - nsfs ")
    };
    text.lines()
        .filter(ours)
        .filter_map(|line| line.split(' ').nth(4))
        .map(str::to_owned)
        .collect()
}

fn interfaces(daemon: &Daemon) -> BTreeSet<String> {
    let path = format!("/proc/{}/net/dev", daemon.sandbox().init());
    let text = std::fs::read_to_string(path).expect("the sandbox is alive");
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    let own = ["lo", "up0", "docker0"];
    names
        .map(|(name, _)| name.trim().to_owned())
        .filter(|n| !own.contains(&n.as_str()))
        .collect()
}

fn nft(daemon: &Daemon) -> BTreeSet<String> {
    let mut command = daemon.sandbox().command("nft");
    command.args(["-j", "list", "ruleset"]);
    let json: Value = serde_json::from_str(&run_command(command).ok().stdout).unwrap_or_default();
    let mut all = BTreeSet::new();
    for item in json["nftables"].as_array().into_iter().flatten() {
        for kind in ["map", "set"] {
            let name = format!("{kind} {}", item[kind]["name"].as_str().unwrap_or_default());
            for element in item[kind]["elem"].as_array().into_iter().flatten() {
                all.insert(format!("{name}: {}", without_counters(element)));
            }
        }
        if let Some(rule) = item.get("rule") {
            // A rule's handle is new each time that the table is written; what it says is not.
            let says = format!("rule {} {}", rule["table"], rule["chain"]);
            let says = format!("{says} {}", without_counters(&rule["expr"]));
            let many = |n: &usize| format!("{says} #{n}");
            let free = (0..).find(|n| !all.contains(&many(n))).unwrap_or_default();
            all.insert(many(&free));
        }
    }
    all
}

/// Without what packets change.
fn without_counters(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_counters).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "counter" && *name != "expires")
            .map(|(name, value)| (name.clone(), without_counters(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[track_caller]
pub(crate) fn ctr(daemon: &Daemon, args: &[&str]) -> String {
    let mut command = daemon.sandbox().command("ctr");
    command
        .arg("--address")
        .arg(daemon.containerd_socket())
        .args(["--namespace", "moby"]);
    command.args(args);
    run_command(command).ok().stdout
}

/// The snapshotters that came up.
pub(crate) fn snapshotters(daemon: &Daemon) -> Vec<String> {
    let list = ctr(
        daemon,
        &["plugins", "ls", "type==io.containerd.snapshotter.v1"],
    );
    let lines = list.lines().skip(1);
    let words = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.last() == Some(&"ok"))
        .filter_map(|words| words.get(1).map(|&name| name.to_owned()))
        .collect()
}

fn files(daemon: &Daemon) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(daemon.data_root().join("containers"))
        .into_iter()
        .flatten()
    {
        all.extend(entry.map(|entry| format!("container {}", entry.file_name().display())));
    }
    // The containerd of the sandbox may keep its own things there.
    let mut todo = vec![daemon.exec_root().to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                todo.push(entry.path());
            }
            let name = entry.path().display().to_string();
            if kind.is_fifo() || crate::cgroup::holds_id(&name) {
                all.insert(name);
            }
        }
    }
    all
}
