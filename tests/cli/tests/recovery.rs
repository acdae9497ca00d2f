//! The daemon and its containerd die by `kill -9` while containers run.

use std::collections::BTreeMap;
use std::time::Duration;

use testkit::{Containerd, Daemon, Leaks, Options, PATIENCE, Place, eventually};

/// dockerd kills its containers unless told otherwise; berthd never does.
fn options() -> Options {
    let mut options = Options::default();
    if testkit::flavour() == testkit::Flavour::Dockerd {
        options.config = serde_json::json!({"live-restore": true});
    }
    options
}

/// The last line of a container's log, a counter that goes on as long as it runs.
fn count(daemon: &Daemon, name: &str) -> u64 {
    let tail = daemon.docker(["logs", "--tail", "1", name]).ok();
    tail.out().parse().unwrap_or(0)
}

const COUNT: &str = "trap 'exit 3' TERM; i=0; while :; do i=$((i+1)); echo $i; usleep 100000; done";

/// What must not change over a recovery.
fn facts(daemon: &Daemon) -> BTreeMap<String, String> {
    let list = daemon.docker(["ps", "-aq", "--no-trunc"]).ok();
    let ids: Vec<_> = list.stdout.lines().map(str::to_owned).collect();
    let format = "{{.Name}}|{{.State.Status}}|{{.State.Pid}}|{{.State.StartedAt}}|{{.RestartCount}}|\
        {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}}{{end}}|{{json .NetworkSettings.Ports}}";
    let cli = daemon.cli(["inspect", "-f", format]).args(&ids);
    let output = cli.run().ok();
    ids.into_iter()
        .zip(output.stdout.lines().map(str::to_owned))
        .collect()
}

#[test]
fn twenty_containers_outlive_berthd_and_then_containerd() {
    let daemon = Daemon::start(options());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let runs: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let cli = daemon.cli(["run", "-d", "--name", name]);
            let cli = if n == 0 { cli.args(["-p", "8080:80"]) } else { cli };
            let script = if n == 0 {
                "mkdir /w; echo page >/w/i; trap 'exit 3' TERM; httpd -p 80 -h /w; while :; do usleep 50000; done"
            } else {
                COUNT
            };
            cli.args(["busybox", "sh", "-c", script]).spawn()
        })
        .collect();
    for run in runs {
        run.wait().ok();
    }
    let facts_before = facts(&daemon);
    daemon.kill9();
    daemon.boot();
    assert_eq!(facts(&daemon), facts_before, "after kill -9 of the daemon");
    page_is_there(&daemon);
    still_counting(&daemon, "c7");
    let old = daemon.kill9_containerd();
    eventually("another containerd runs", PATIENCE, || {
        (daemon.containerd_pid() != old).then_some(())
    });
    assert_eq!(facts(&daemon), facts_before, "after kill -9 of containerd");
    page_is_there(&daemon);
    still_counting(&daemon, "c8");
    // Each way to end one works.
    eventually("a container can be killed", PATIENCE, || {
        (daemon.docker(["kill", "c9"]).code == 0).then_some(())
    });
    daemon.docker(["wait", "c9"]).ok().out_is("137");
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let rest: Vec<_> = names
        .iter()
        .filter(|name| **name != "c9")
        .copied()
        .collect();
    daemon.cli(["stop"]).args(&rest).run().ok();
    for name in &rest {
        assert_eq!(
            daemon.format(name, "{{.State.Status}} {{.State.ExitCode}}"),
            "exited 3",
            "{name}"
        );
    }
    daemon.docker(["start", "c1"]).ok();
    daemon.remove(&names);
    before.settle(&daemon, PATIENCE);
}

fn page_is_there(daemon: &Daemon) {
    let page = eventually("the published port answers", PATIENCE, || {
        daemon.fetch(Place::Outside, "192.0.2.1:8080", "/i")
    });
    assert_eq!(page, "page\n");
}

/// The container runs, and what it writes is still logged.
fn still_counting(daemon: &Daemon, name: &str) {
    let before = count(daemon, name);
    eventually(&format!("{name} goes on to log"), PATIENCE, || {
        (count(daemon, name) > before + 3).then_some(())
    });
}

#[test]
fn what_died_meanwhile_is_seen_as_exited() {
    let daemon = Daemon::start(options());
    let before = Leaks::count(&daemon);
    for (name, script) in [
        ("dies", "exec sleep 1000"),
        ("stays", "exec sleep 1000"),
        ("code", "until [ -e /go ]; do usleep 20000; done; exit 6"),
    ] {
        daemon.run_d(name, ["busybox", "sh", "-c", script]);
    }
    let auto = [
        "run", "-d", "--rm", "--name", "auto", "busybox", "sleep", "1000",
    ];
    daemon.docker(auto).ok();
    let pid = |name: &str| daemon.format(name, "{{.State.Pid}}");
    let (dies, auto, code) = (pid("dies"), pid("auto"), pid("code"));
    daemon.kill9();
    let go = daemon.sandbox().proc().join(&code).join("root/go");
    std::fs::write(go, "").expect("it runs");
    let mut kill = daemon.sandbox().command("kill");
    kill.args(["-9", &dies, &auto]);
    testkit::run_command(kill).ok();
    for pid in [dies, auto, code] {
        let process = daemon.sandbox().proc().join(&pid);
        eventually("the process is gone", PATIENCE, || {
            (!process.exists()).then_some(())
        });
    }
    daemon.boot();
    daemon.wait_status("dies", "exited");
    daemon.wait_status("code", "exited");
    assert_eq!(daemon.format("stays", "{{.State.Status}}"), "running");
    if !daemon.is_old_dockerd() {
        // containerd still knows how they ended.
        assert_eq!(daemon.format("dies", "{{.State.ExitCode}}"), "137");
        assert_eq!(daemon.format("code", "{{.State.ExitCode}}"), "6");
    }
    eventually("the --rm one is removed", PATIENCE, || {
        (daemon.api("GET", "/containers/auto/json", None).status == 404).then_some(())
    });
    daemon.docker(["start", "dies"]).ok();
    assert_eq!(daemon.format("dies", "{{.State.Running}}"), "true");
    daemon.remove(&["dies", "stays", "code"]);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn everything_is_still_configured_after_a_restart() {
    let daemon = Daemon::start(options());
    daemon
        .docker([
            "create", "--name", "made", "-l", "a=b", "-m", "64m", "busybox", "true",
        ])
        .ok();
    daemon
        .docker([
            "run",
            "--name",
            "ran",
            "busybox",
            "sh",
            "-c",
            "echo logged; exit 4",
        ])
        .exits(4);
    daemon.run_d(
        "runs",
        ["-p", "127.0.0.1:8080:80", "busybox", "sleep", "1000"],
    );
    daemon.docker(["tag", "busybox", "kept:1"]).ok();
    let strip = |name: &str| {
        let mut all = daemon.inspect(name);
        // What is counted from scratch.
        all.as_object_mut().unwrap().remove("ResolvConfPath");
        all
    };
    let before: Vec<_> = ["made", "ran", "runs"].map(strip).into();
    daemon.kill9();
    daemon.boot();
    let after: Vec<_> = ["made", "ran", "runs"].map(strip).into();
    for (before, after) in before.iter().zip(&after) {
        for part in [
            "Id",
            "Name",
            "Created",
            "Config",
            "HostConfig",
            "State",
            "Image",
            "Mounts",
            "RestartCount",
        ] {
            assert_eq!(after[part], before[part], "{part} of {}", before["Name"]);
        }
    }
    daemon.docker(["logs", "ran"]).ok().out_is("logged");
    daemon.docker(["image", "inspect", "kept:1"]).ok();
    // A name is still taken, an address still given, a port still held.
    daemon
        .docker(["create", "--name", "made", "busybox"])
        .exits(1)
        .err_has("is already in use by container");
    let run = ["run", "--rm", "-p", "127.0.0.1:8080:80", "busybox", "true"];
    daemon.docker(run).exits(125).err_has("already");
    daemon.run_d("other", ["busybox", "sleep", "1000"]);
    let address =
        |name: &str| daemon.format(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert_ne!(address("other"), address("runs"));
    daemon.docker(["start", "-a", "made"]).ok();
}

#[test]
fn clients_come_back_to_a_container_with_input() {
    let daemon = Daemon::start(options());
    daemon.run_d("echo", ["-i", "busybox", "cat"]);
    daemon.run_d("term", ["-it", "busybox", "sh"]);
    daemon.kill9();
    daemon.boot();
    let mut attach = daemon.cli(["attach", "echo"]).spawn();
    attach.write("hello\n");
    attach.wait_for("hello\n");
    let mut pty = daemon.pty(["attach", "term"]);
    pty.send("echo $((6*7))\n");
    pty.wait_for("42\r\n");
    pty.send("exit 7\n");
    assert_eq!(pty.wait(), 7);
    daemon.docker(["kill", "echo"]).ok();
}

#[test]
fn a_client_that_waits_over_a_containerd_restart() {
    let daemon = Daemon::start(options());
    daemon.run_d(
        "waited",
        [
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; while :; do usleep 20000; done",
        ],
    );
    // The head of the answer comes when it waits.
    let mut wait = daemon.request("POST", "/containers/waited/wait").open();
    daemon.kill9_containerd();
    eventually("it can be stopped", PATIENCE, || {
        (daemon.docker(["stop", "waited"]).code == 0).then_some(())
    });
    let answer = wait.rest(PATIENCE).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    // 20.10 answers as soon as containerd is gone.
    let code = answer.contains("\"StatusCode\":3");
    assert!(code || daemon.is_old_dockerd(), "{answer}");
    daemon
        .docker(["run", "--rm", "busybox", "echo", "again"])
        .ok()
        .out_is("again");
}

#[test]
fn a_foreign_containerd_is_not_the_daemon_s_to_end() {
    let foreign = Options {
        containerd: Containerd::Foreign,
        ..options()
    };
    let daemon = Daemon::start(foreign);
    daemon.run_d("runs", ["busybox", "sleep", "1000"]);
    let pid = daemon.containerd_pid();
    daemon.kill9();
    daemon.boot();
    assert_eq!(daemon.format("runs", "{{.State.Status}}"), "running");
    daemon.docker(["rm", "-f", "runs"]).ok();
    daemon.stop();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.containerd_pid(), pid);
}
