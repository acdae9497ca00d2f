//! Shims that hang while the daemon starts.

use testkit::{Mortal, Options, PATIENCE, eventually, run_command};

use super::*;

/// The shims of a container, in the sandbox's own count.
fn shims(daemon: &Daemon, id: &str) -> Vec<String> {
    let processes = Leaks::count(daemon).processes;
    let shims = processes
        .iter()
        .filter(|line| line.contains("containerd-shim") && line.contains(id));
    shims
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect()
}

#[track_caller]
fn signal(daemon: &Daemon, signal: &str, pids: &[String]) {
    let mut kill = daemon.sandbox().command("kill");
    kill.arg(signal).args(pids);
    run_command(kill).ok();
}

/// The daemon starts, and that takes none of its time limits.
#[track_caller]
fn boots_at_once(daemon: &Daemon) {
    let begin = Instant::now();
    daemon.boot();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[test]
fn a_shim_that_hangs_does_not_hold_up_the_start_of_the_daemon() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    let before = with_another(&daemon);
    let id = daemon.run_d("hung", ["busybox", "sleep", "1000"]);
    let pid = daemon.format("hung", "{{.State.Pid}}");
    let shim = shims(&daemon, &id);
    assert_eq!(shim.len(), 1);
    daemon.kill9();
    signal(&daemon, "-STOP", &shim);
    boots_at_once(&daemon);
    // As far as anybody can know.
    let state = "{{.State.Status}} {{.State.Pid}}";
    assert_eq!(daemon.format("hung", state), format!("running {pid}"));
    others_go_on(&daemon, "hung");
    // It goes on where it was.
    signal(&daemon, "-CONT", &shim);
    daemon.docker(["exec", "hung", "true"]).ok();
    daemon.kill9();
    signal(&daemon, "-STOP", &shim);
    boots_at_once(&daemon);
    // Without its shim, nobody knows how it ended.
    signal(&daemon, "-KILL", &shim);
    daemon.wait_status("hung", "exited");
    assert_eq!(daemon.format("hung", "{{.State.ExitCode}}"), "255");
    daemon.docker(["start", "hung"]).ok();
    let shim = shims(&daemon, &id);
    daemon.kill9();
    signal(&daemon, "-STOP", &shim);
    boots_at_once(&daemon);
    // It can be had dead all the same, and that is known.
    daemon.cli(["kill", "hung"]).spawn().finish(LIMIT).ok();
    assert_eq!(daemon.format("hung", "{{.State.ExitCode}}"), "137");
    daemon.docker(["rm", "hung"]).ok();
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_start_cut_off_whose_shim_hangs_is_taken_back_meanwhile() {
    let Some(mortal) = Mortal::start(Options::default()) else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = with_another(daemon);
    let create = daemon.docker(["create", "--name", "hung", "busybox", "sleep", "1000"]);
    let id = create.ok().out().to_owned();
    mortal.doom("start:started");
    daemon.docker(["start", "hung"]);
    mortal.is_dead("start:started");
    signal(daemon, "-STOP", &shims(daemon, &id));
    boots_at_once(daemon);
    assert_eq!(daemon.format("hung", "{{.State.Status}}"), "created");
    others_go_on(daemon, "hung");
    // A start waits for the end of what was.
    daemon.cli(["start", "hung"]).spawn().finish(LIMIT).ok();
    daemon.docker(["exec", "hung", "true"]).ok();
    let only = eventually("one shim is left", PATIENCE, || {
        let shims = shims(daemon, &id);
        (shims.len() == 1).then_some(shims)
    });
    assert_eq!(only.len(), 1);
    daemon.docker(["rm", "-f", "hung", "other"]).ok();
    before.settle(daemon, PATIENCE);
}
