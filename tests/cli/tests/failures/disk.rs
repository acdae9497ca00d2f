//! The disk is full: what runs goes on, what is new is refused, and all is made good once there is
//! room again.

use std::path::{Path, PathBuf};

use testkit::{Flavour, Options, Output, PATIENCE, eventually, flavour, run_command};

use super::*;

/// Go and Rust begin it differently.
const FULL: &str = "o space left on device";

/// A daemon with a disk of its own, or a part of its data root on one.
struct Small {
    daemon: Daemon,
    disk: PathBuf,
}

impl Small {
    /// `part` is a folder of the data root; empty for all of it.
    fn start(part: &str, size: &str) -> Small {
        let daemon = Daemon::prepare(Options::default());
        let disk = daemon.data_root().join(part);
        let small = Small { daemon, disk };
        let disk = small.disk.display();
        // Only the sandbox sees it.
        small.shell(&format!(
            "mkdir -p {disk} && mount -t tmpfs -o size={size} tmpfs {disk}"
        ));
        small.daemon.boot();
        small.daemon.load_busybox();
        small
    }

    #[track_caller]
    fn shell(&self, script: &str) -> Output {
        let mut shell = self.daemon.sandbox().command("sh");
        shell.args(["-c", script]);
        run_command(shell).ok()
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }

    /// Leaves not a page.
    #[track_caller]
    fn fill(&self) {
        let filler = self.filler();
        let script = format!(
            "dd if=/dev/zero bs=4k >>{} 2>/dev/null; true",
            filler.display()
        );
        self.shell(&script);
    }

    #[track_caller]
    fn make_room(&self) {
        self.shell(&format!("rm {}", self.filler().display()));
    }

    #[track_caller]
    fn read(&self, path: &Path) -> String {
        self.shell(&format!("cat {}", path.display())).stdout
    }
}

/// Writes a line when it is told to, always with the same two processes.
const TALKS: &str = "trap 'echo x' USR1; sleep 1000 & echo x; while :; do wait; done";

/// All that must hold while `part` of the data root is full.
#[track_caller]
fn is_survived(part: &str, size: &str) {
    if flavour() == Flavour::Dockerd {
        return;
    }
    let small = Small::start(part, size);
    let daemon = &small.daemon;
    let before = with_another(daemon);
    daemon
        .docker(["create", "--name", "made", "busybox", "echo", "new"])
        .ok();
    for name in ["stopped", "removed", "stays"] {
        daemon.run_d(name, ["busybox", "sh", "-c", TALKS]);
        daemon.wait_log(name, "x");
    }
    let filled = Leaks::count(daemon);
    small.fill();
    let create = ["create", "--name", "refused", "busybox", "true"];
    daemon.docker(create).exits(1).err_has(FULL);
    filled.settle(daemon, PATIENCE);
    daemon.api("GET", "/containers/refused/json", None).is(404);
    // What runs goes on, and can be dealt with.
    for name in ["stopped", "removed", "stays"] {
        assert_eq!(daemon.format(name, "{{.State.Status}}"), "running");
        let exec = daemon.docker(["exec", name, "echo", "on"]).ok();
        exec.out_is("on");
        daemon.docker(["kill", "-s", "USR1", name]).ok();
        daemon
            .docker(["logs", "--tail", "1", name])
            .ok()
            .out_is("x");
    }
    daemon.docker(["stop", "-t", "0", "stopped"]).ok();
    assert_eq!(daemon.format("stopped", "{{.State.Status}}"), "exited");
    daemon.docker(["rm", "-f", "removed"]).ok();
    daemon.api("GET", "/containers/removed/json", None).is(404);
    small.fill();
    daemon.docker(["ps", "-a"]).ok().out_has("stopped");
    daemon.docker(["kill", "other"]).ok();
    let state = |name: &str| daemon.format(name, "{{json .State}}");
    assert_eq!(daemon.format("other", "{{.State.ExitCode}}"), "137");
    let told = state("other");
    // With room again, what could not be written is, without anybody asking.
    small.make_room();
    let id = daemon.format("other", "{{.Id}}");
    let written = daemon
        .data_root()
        .join("containers")
        .join(id)
        .join("state.json");
    eventually("the state is written", PATIENCE, || {
        small.read(&written).contains("\"exited\"").then_some(())
    });
    daemon.kill9();
    daemon.boot();
    assert_eq!(state("other"), told);
    assert_eq!(daemon.format("stays", "{{.State.Status}}"), "running");
    daemon.docker(["start", "-a", "made"]).ok().out_is("new");
    daemon.docker(["start", "stopped"]).ok();
    daemon.wait_log("stopped", "x");
    daemon.remove(&["made", "stopped", "stays", "other"]);
    before.settle(daemon, PATIENCE);
}

#[test]
fn a_full_disk_of_records_and_logs_is_survived() {
    is_survived("containers", "2m");
}

#[test]
fn a_full_disk_of_snapshots_is_survived() {
    is_survived("containerd", "64m");
}

#[test]
fn a_full_disk_of_all_is_survived() {
    is_survived("", "64m");
}
