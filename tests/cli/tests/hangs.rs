//! A part of one container hangs: its shim is stopped, or nobody reads its FIFO. No other container
//! and no reader waits for it, and what concerns it ends with a clear error in limited time.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Daemon, Leaks, Options, PATIENCE, Running, demux, eventually};

/// How long a call into a shim that hangs may take: the daemon gives up after a minute.
const LIMIT: Duration = Duration::from_secs(150);
/// Less than any time limit of the daemon's: who is done by then has waited for none.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The shim of a container, in the sandbox's own count.
fn shim(daemon: &Daemon, container: &str) -> String {
    let pid = daemon.format(container, "{{.State.Pid}}");
    let status = daemon.sandbox().proc().join(pid).join("status");
    let status = std::fs::read_to_string(status).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.expect("a parent").trim().to_owned()
}

fn signal(daemon: &Daemon, signal: &str, pid: &str) {
    let mut kill = daemon.sandbox().command("kill");
    kill.args([signal, pid]);
    testkit::run_command(kill).ok();
}

/// Starts the container that must not notice; what there was before.
fn with_another(daemon: &Daemon) -> Leaks {
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(daemon);
    daemon.run_d("other", ["busybox", "sleep", "1000"]);
    before
}

/// Everything that does not concern the container that hangs.
fn others_go_on(daemon: &Daemon, hung: &str) {
    let begin = Instant::now();
    daemon.docker(["ps", "-a"]).ok().out_has(hung);
    daemon.docker(["inspect", hung]).ok();
    daemon.docker(["logs", hung]).ok();
    daemon.docker(["info"]).ok();
    // A time span of the CLI's is cut to whole seconds.
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("it is later")
        .as_secs_f64();
    let until = format!("{now:.6}");
    let args = ["events", "--since", "1h", "--until", &until];
    let starts = daemon.cli(args).args(["--filter", "event=start"]);
    starts.run().ok().out_has("start");
    daemon
        .docker(["exec", "other", "echo", "fine"])
        .ok()
        .out_is("fine");
    daemon
        .docker(["run", "--rm", "busybox", "echo", "new"])
        .ok()
        .out_is("new");
    daemon.docker(["restart", "-t", "0", "other"]).ok();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
}

#[test]
fn a_shim_that_is_stopped_delays_only_what_concerns_it() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    let before = with_another(&daemon);
    daemon.run_d("hung", ["busybox", "sleep", "1000"]);
    daemon.docker(["exec", "hung", "true"]).ok();
    let shim = shim(&daemon, "hung");
    signal(&daemon, "-STOP", &shim);
    // They all want something from the shim, and are told that they do not get it.
    let waiting: Vec<Running> = [
        &["exec", "hung", "true"][..],
        &["exec", "-d", "hung", "touch", "/tmp/late"],
        &["kill", "-s", "USR1", "hung"],
        &["pause", "hung"],
    ]
    .into_iter()
    .map(|args| daemon.cli(args).spawn())
    .collect();
    others_go_on(&daemon, "hung");
    let mut ended = Vec::new();
    for client in waiting {
        ended.push(client.finish(LIMIT));
    }
    for output in &ended {
        assert_ne!(output.code, 0, "{output}");
        assert!(
            !output.stderr.trim().is_empty() || !output.stdout.trim().is_empty(),
            "{output}"
        );
    }
    others_go_on(&daemon, "hung");
    // Once it goes on, nothing is left of all that.
    signal(&daemon, "-CONT", &shim);
    eventually("it can be removed", PATIENCE, || {
        let answer = daemon.api("DELETE", "/containers/hung?force=1", None);
        (answer.status == 404).then_some(())
    });
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_shim_that_is_killed_ends_its_container() {
    let daemon = Daemon::start(Options::default());
    let before = with_another(&daemon);
    daemon.run_d("hung", ["busybox", "sleep", "1000"]);
    let shim = shim(&daemon, "hung");
    signal(&daemon, "-STOP", &shim);
    let exec = daemon.cli(["exec", "hung", "true"]).spawn();
    signal(&daemon, "-KILL", &shim);
    daemon.wait_status("hung", "exited");
    let output = exec.finish(LIMIT);
    assert_ne!(output.code, 0, "{output}");
    others_go_on(&daemon, "hung");
    daemon.docker(["rm", "-f", "hung"]).ok();
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_container_that_does_not_read_its_input_delays_nobody() {
    let daemon = Daemon::start(Options::default());
    let before = with_another(&daemon);
    daemon.run_d("hung", ["-i", "busybox", "sleep", "1000"]);
    // More than all buffers on the way hold, into the container and into an exec of it.
    let attach = "/containers/hung/attach?stream=1&stdin=1";
    let body = json!({"Cmd": ["sleep", "1000"], "AttachStdin": true});
    let exec = daemon
        .api("POST", "/containers/hung/exec", Some(&body))
        .is(201)
        .json();
    let start = format!("/exec/{}/start", exec["Id"].as_str().unwrap());
    let typing: Vec<_> = [
        (attach, json!(null)),
        (start.as_str(), json!({"Detach": false})),
    ]
    .into_iter()
    .map(|(target, body)| {
        let request = daemon.request("POST", target);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let mut stream = request.upgrade().open();
        // Ends with an error when the connection does.
        std::thread::spawn(move || {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                stream.write(vec![b'x'; 8 << 20]);
            }));
        })
    })
    .collect();
    others_go_on(&daemon, "hung");
    daemon.docker(["rm", "-f", "hung"]).ok();
    for client in typing {
        client.join().unwrap();
    }
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}

/// containerd's list of tasks waits 2 s for each of them, one after the other: longer than any start
/// may take.
#[test]
fn more_hung_shims_than_a_list_of_tasks_waits_for() {
    const HUNG: usize = 36;
    let daemon = Daemon::start(Options::default().args(["--live-restore"]));
    if daemon.is_old_dockerd() {
        return;
    }
    let before = with_another(&daemon);
    let names: Vec<_> = (0..HUNG).map(|number| format!("hung-{number}")).collect();
    let run = |name: &String| {
        let args = ["run", "-d", "--network", "none", "--name", name];
        daemon
            .cli(args)
            .args(["busybox", "sleep", "1000"])
            .run()
            .ok();
    };
    std::thread::scope(|scope| {
        for names in names.chunks(HUNG / 4) {
            scope.spawn(move || names.iter().for_each(run));
        }
    });
    let shims: Vec<_> = names.iter().map(|name| shim(&daemon, name)).collect();
    for shim in &shims {
        signal(&daemon, "-STOP", shim);
    }
    daemon.kill9();
    // Which has a limit: a minute.
    daemon.boot();
    let running = daemon.docker(["ps", "--format", "{{.Names}}"]).ok();
    assert_eq!(running.stdout.lines().count(), HUNG + 1, "{running}");
    // A daemon that has just begun remembers no event yet.
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    others_go_on(&daemon, "hung-0");
    for shim in &shims {
        signal(&daemon, "-CONT", shim);
    }
    daemon.docker(["exec", "hung-0", "true"]).ok();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    daemon.remove(&all);
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}

/// Clients that read the answer's head in large pieces lose what comes with it: docker-py does.
#[test]
fn an_exec_leaves_http_before_its_process_runs() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d("slow", ["busybox", "sleep", "1000"]);
    let shim = shim(&daemon, "slow");
    let body = json!({"Cmd": ["wc", "-c"], "AttachStdin": true, "AttachStdout": true});
    let created = daemon.api("POST", "/containers/slow/exec", Some(&body));
    let id = created.is(201).json()["Id"].clone();
    signal(&daemon, "-STOP", &shim);
    let start = daemon.request(
        "POST",
        &format!("/exec/{}/start", id.as_str().expect("an id")),
    );
    let mut stream = start.json(&json!({"Detach": false})).upgrade().open();
    assert_eq!(stream.status, 101);
    // What is typed before it runs, and the end of it, are not lost.
    stream.write("12345");
    stream.half_close();
    signal(&daemon, "-CONT", &shim);
    let output = stream.rest(PATIENCE).expect("the end of the stream");
    assert_eq!(demux(&output), [(1, b"5\n".to_vec())]);
    daemon.docker(["rm", "-f", "slow"]).ok();
}
