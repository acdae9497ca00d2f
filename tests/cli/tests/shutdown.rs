//! The end of the daemon.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testkit::{Daemon, Leaks, Options, PATIENCE, eventually};

fn signal(daemon: &Daemon, signal: Signal) {
    kill_process(Pid::from_raw(daemon.pid()).expect("it is there"), signal).expect("it is there");
}

#[test]
fn sigterm_stops_the_containers() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do usleep 20000; done";
    daemon.run_d("polite", ["busybox", "sh", "-c", script]);
    daemon.run_d("second", ["busybox", "sh", "-c", script]);
    daemon
        .docker([
            "run", "-d", "--rm", "--name", "auto", "busybox", "sh", "-c", script,
        ])
        .ok();
    for name in ["polite", "second", "auto"] {
        daemon.wait_log(name, "up");
    }
    let begin = Instant::now();
    daemon.stop();
    // That they were asked, and not killed after ten seconds, is what their exit codes tell.
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    assert!(!daemon.pidfile().exists(), "the pidfile is left");
    daemon.boot();
    for name in ["polite", "second"] {
        assert_eq!(
            daemon.format(name, "{{.State.Status}} {{.State.ExitCode}}"),
            "exited 5"
        );
        daemon.docker(["logs", name]).ok().out_is("up\nbye");
    }
    eventually("the --rm one is gone", PATIENCE, || {
        (daemon.api("GET", "/containers/auto/json", None).status == 404).then_some(())
    });
    daemon.remove(&["polite", "second"]);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn who_does_not_listen_is_killed_in_time() {
    let daemon = Daemon::start(Options::default().args(["--shutdown-timeout", "1"]));
    daemon.run_d("deaf", ["--stop-timeout", "1", "busybox", "sleep", "1000"]);
    let begin = Instant::now();
    daemon.stop();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    daemon.boot();
    assert_eq!(
        daemon.format("deaf", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
}

#[test]
fn a_second_sigterm_forces() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return; // dockerd wants three SIGTERMs, or a SIGQUIT.
    }
    let daemon = Daemon::start(Options::default().args(["--shutdown-timeout", "50"]));
    daemon.run_d("deaf", ["--stop-timeout", "50", "busybox", "sleep", "1000"]);
    let (begin, said) = (Instant::now(), daemon.log().len());
    signal(&daemon, Signal::TERM);
    // Two signals at once are one: the first has been heard when the daemon says so.
    eventually("the shutdown has begun", PATIENCE, || {
        let log = daemon.log()[said..].to_lowercase();
        log.contains("signal 'terminated'").then_some(())
    });
    signal(&daemon, Signal::TERM);
    daemon.ended(Duration::from_secs(20));
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn live_restore_leaves_them_running() {
    let options = Options {
        config: json!({"live-restore": true}),
        ..Options::default()
    };
    let daemon = Daemon::start(options);
    let before = Leaks::count(&daemon);
    daemon.run_d(
        "lives",
        [
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; while :; do usleep 20000; done",
        ],
    );
    let facts =
        "{{.State.Pid}} {{.State.StartedAt}} {{.NetworkSettings.Networks.bridge.IPAddress}}";
    let was = daemon.format("lives", facts);
    let pid = daemon
        .sandbox()
        .proc()
        .join(daemon.format("lives", "{{.State.Pid}}"));
    daemon.stop();
    assert!(pid.exists(), "it was stopped");
    daemon.boot();
    assert_eq!(daemon.format("lives", facts), was);
    daemon.docker(["stop", "lives"]).ok();
    assert_eq!(daemon.format("lives", "{{.State.ExitCode}}"), "3");
    daemon.remove(&["lives"]);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn what_ends_under_live_restore_is_known_exactly() {
    let daemon = Daemon::start(Options {
        config: json!({"live-restore": true}),
        ..Options::default()
    });
    let before = Leaks::count(&daemon);
    let script =
        "while [ ! -e /go ]; do usleep 20000; done; yes x | head -c 100000; echo last; exit 6";
    let restarted = ["--restart", "always", "busybox", "sh", "-c"];
    let restarted = restarted
        .into_iter()
        .chain(["[ -e /go ] && exec sleep 1000; while [ ! -e /go ]; do usleep 20000; done"]);
    daemon.run_d("ends", ["busybox", "sh", "-c", script]);
    daemon.run_d("restarted", restarted);
    daemon.run_d("stays", ["busybox", "sleep", "1000"]);
    let pid = |name: &str| {
        daemon
            .sandbox()
            .proc()
            .join(daemon.format(name, "{{.State.Pid}}"))
    };
    let processes = [pid("ends"), pid("restarted")];
    let stays = daemon.format("stays", "{{.State.Pid}} {{.State.StartedAt}}");
    daemon.stop();
    let stopped = jiff::Timestamp::now();
    for process in &processes {
        std::fs::write(process.join("root/go"), "").expect("its root is there");
    }
    for process in &processes {
        eventually("it has ended", PATIENCE, || {
            (!process.exists()).then_some(())
        });
    }
    // The shim notes the moment once it has reaped the process, and while there is no containerd it
    // tells nobody that it has: what the next daemon might take for that moment is to be later.
    std::thread::sleep(Duration::from_secs(1));
    let ended = jiff::Timestamp::now();
    daemon.boot();
    assert_eq!(
        daemon.format("stays", "{{.State.Pid}} {{.State.StartedAt}}"),
        stays
    );
    daemon.wait_status("ends", "exited");
    assert_eq!(daemon.format("ends", "{{.State.ExitCode}}"), "6");
    if !daemon.is_old_dockerd() {
        let finished: jiff::Timestamp = daemon
            .format("ends", "{{.State.FinishedAt}}")
            .parse()
            .expect("a time");
        assert!(
            stopped <= finished && finished <= ended,
            "{stopped} {finished} {ended}"
        );
        // More than a FIFO holds, written while nobody read.
        daemon.wait_log("ends", "last");
    }
    daemon.wait_status("restarted", "running");
    daemon.remove(&["ends", "restarted", "stays"]);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn sigint_is_as_good_as_sigterm_and_sighup_reloads() {
    let daemon = Daemon::start(Options::default());
    signal(&daemon, Signal::HUP);
    daemon.api("GET", "/_ping", None).is(200);
    signal(&daemon, Signal::INT);
    daemon.ended(PATIENCE);
    daemon.boot();
    daemon.api("GET", "/_ping", None).is(200);
}

#[test]
fn open_streams_do_not_hold_it_up() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d(
        "runs",
        [
            "busybox",
            "sh",
            "-c",
            "trap 'exit 0' TERM; echo up; while :; do usleep 20000; done",
        ],
    );
    daemon.wait_log("runs", "up");
    let mut logs = daemon.cli(["logs", "-f", "runs"]).spawn();
    logs.wait_for("up");
    let events = daemon.request("GET", "/events").open();
    let wait = daemon
        .request("POST", "/containers/runs/wait?condition=removed")
        .open();
    let attach = daemon
        .request("POST", "/containers/runs/attach?stream=1&stdout=1")
        .upgrade()
        .open();
    let begin = Instant::now();
    daemon.stop();
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    drop((events, wait, attach));
    logs.wait();
}
