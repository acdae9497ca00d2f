//! What Berth stands on fails: the runtime, the shim, containerd, the disk. What concerns it ends
//! with a clear error in limited time, nobody else notices, and afterwards nothing is left.

mod containerd;
mod copies;
mod disk;
mod runtimes;
mod shims;

use std::time::{Duration, Instant};

use testkit::{Daemon, Leaks};

/// Less than the daemon's time limits for what hangs: who is done by then has waited for none.
const AT_ONCE: Duration = Duration::from_secs(30);
/// More than the sum of those that one change can meet.
const LIMIT: Duration = Duration::from_secs(150);

/// Starts the container that must not notice; what there was before.
#[track_caller]
fn with_another(daemon: &Daemon) -> Leaks {
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(daemon);
    run_other(daemon);
    before
}

/// Its init has become what it runs: it counts as what it is.
#[track_caller]
fn run_other(daemon: &Daemon) {
    daemon.run_d("other", ["busybox", "sleep", "1000"]);
    daemon.docker(["exec", "other", "true"]).ok();
}

/// Everything that does not concern the container that hangs.
#[track_caller]
fn others_go_on(daemon: &Daemon, hung: &str) {
    let begin = Instant::now();
    daemon.docker(["ps", "-a"]).ok().out_has(hung);
    daemon.docker(["inspect", hung]).ok();
    daemon.docker(["logs", hung]).ok();
    daemon.docker(["info"]).ok();
    let exec = daemon.docker(["exec", "other", "echo", "fine"]).ok();
    exec.out_is("fine");
    let run = daemon.docker(["run", "--rm", "busybox", "echo", "new"]);
    run.ok().out_is("new");
    daemon.docker(["restart", "-t", "0", "other"]).ok();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}
