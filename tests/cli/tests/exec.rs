//! `docker exec`.

use serde_json::json;
use testkit::{Daemon, Leaks, Options, Output, PATIENCE, demux, eventually, shared, unique};

/// A running container of the test's own, removed at the end.
struct Box(String);

impl Box {
    fn new(options: &[&str]) -> Box {
        let name = unique("exec");
        let run = shared().cli(["run", "-d", "--name", &name]).args(options);
        run.args(["busybox", "sleep", "1000"]).run().ok();
        Box(name)
    }

    fn exec(&self, options: &[&str], command: &[&str]) -> Output {
        shared()
            .cli(["exec"])
            .args(options)
            .arg(&self.0)
            .args(command)
            .run()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        shared().remove(&[&self.0]);
    }
}

#[test]
fn output_and_exit_code() {
    let target = Box::new(&["-e", "BASE=1", "-w", "/tmp"]);
    let output = target
        .exec(&[], &["sh", "-c", "echo o; echo e >&2; exit 3"])
        .exits(3);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("o\n", "e\n")
    );
    let show = ["sh", "-c", "echo $BASE $X; pwd; id -u; id -g"];
    target
        .exec(&["-e", "X=y"], &show)
        .ok()
        .out_is("1 y\n/tmp\n0\n0");
    target
        .exec(&["-w", "/etc", "-u", "12:34"], &show)
        .ok()
        .out_is("1\n/etc\n12\n34");
    for code in [0, 1, 125, 137, 255] {
        target
            .exec(&[], &["sh", "-c", &format!("exit {code}")])
            .exits(code);
    }
    // It is in the container's namespaces and its cgroup.
    target
        .exec(&[], &["cat", "/proc/1/comm"])
        .ok()
        .out_is("sleep");
}

#[test]
fn input() {
    let target = Box::new(&[]);
    let input = (0..1000).map(|n| format!("{n}\n")).collect::<String>();
    let exec = shared().cli(["exec", "-i", &target.0, "wc", "-l"]);
    exec.stdin(input).run().ok().out_is("1000");
    let bytes: Vec<u8> = (0..2_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = shared()
        .cli(["exec", "-i", &target.0, "cat"])
        .stdin(bytes.clone())
        .run()
        .ok();
    assert!(
        output.stdout_bytes == bytes,
        "{} bytes came back",
        output.stdout_bytes.len()
    );
}

#[test]
fn a_terminal() {
    let target = Box::new(&[]);
    let mut pty = shared().pty(["exec", "-it", &target.0, "sh"]);
    pty.wait_for("/ # ");
    pty.send("until [ \"$(stty size)\" = '24 80' ]; do usleep 20000; done; echo fir''st ok\n");
    pty.wait_for("first ok\r\n");
    pty.resize(33, 101);
    pty.send("until [ \"$(stty size)\" = '33 101' ]; do usleep 20000; done; echo sec''ond ok\n");
    pty.wait_for("second ok\r\n");
    pty.send("echo $TERM; exit 4\n");
    pty.wait_for("xterm\r\n");
    assert_eq!(pty.wait(), 4);
    target
        .exec(&["-t"], &["sh", "-c", "test -t 1 && echo istty"])
        .ok()
        .out_is("istty");
}

#[test]
fn detached() {
    let target = Box::new(&[]);
    target
        .exec(&["-d"], &["sh", "-c", "echo made >/tmp/made"])
        .ok()
        .out_is("");
    testkit::eventually("the detached exec has run", PATIENCE, || {
        (target.exec(&[], &["cat", "/tmp/made"]).out() == "made").then_some(())
    });
}

#[test]
fn commands_that_cannot_run() {
    let target = Box::new(&[]);
    // The text is the exec's output in 20.10, and an error since.
    let missing = target
        .exec(&[], &["nosuchcmd"])
        .exits(if shared().is_old_dockerd() { 126 } else { 127 });
    let text = "exec: \"nosuchcmd\": executable file not found in $PATH";
    assert!(
        format!("{}{}", missing.stdout, missing.stderr).contains(text),
        "{missing}"
    );
    let denied = target.exec(&[], &["/etc/passwd"]).exits(126);
    assert!(
        format!("{}{}", denied.stdout, denied.stderr).contains("permission denied"),
        "{denied}"
    );
    target.exec(&["-u", "nosuchuser"], &["true"]).exits(126);
    target.exec(&[], &["true"]).ok();
}

#[test]
fn containers_that_do_not_run() {
    let name = unique("stopped");
    let id = shared()
        .docker(["create", "--name", &name, "busybox", "true"])
        .ok();
    let refusal = shared().docker(["exec", &name, "true"]).exits(1);
    let wanted = format!("ontainer {} is not running", id.out());
    assert!(refusal.stderr.contains(&wanted), "{refusal}");
    shared()
        .docker(["exec", "nosuch", "true"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().docker(["start", "-a", &name]).ok();
    shared().docker(["exec", &name, "true"]).exits(1);
    shared().remove(&[&name]);
}

#[test]
fn it_ends_with_the_container() {
    let target = Box::new(&[]);
    let mut exec = shared()
        .cli(["exec", &target.0, "sh", "-c", "echo in; sleep 1000"])
        .spawn();
    exec.wait_for("in");
    let ids = shared().inspect(&target.0)["ExecIDs"].clone();
    assert_eq!(ids.as_array().unwrap().len(), 1, "{ids}");
    shared().docker(["kill", &target.0]).ok();
    exec.wait().exits(137);
    assert!(shared().inspect(&target.0)["ExecIDs"].is_null());
}

#[test]
fn the_raw_calls() {
    let target = Box::new(&[]);
    let body = json!({
        "Cmd": ["sh", "-c", "read x; echo got $x; echo e >&2; exit 6"],
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
    });
    let created = shared().api(
        "POST",
        &format!("/containers/{}/exec", target.0),
        Some(&body),
    );
    let id = created.is(201).json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64);
    let inspect = || {
        shared()
            .api("GET", &format!("/exec/{id}/json"), None)
            .is(200)
            .json()
    };
    let before = inspect();
    assert_eq!(
        (&before["Running"], &before["ExitCode"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(before["ProcessConfig"]["entrypoint"], "sh");
    let start = shared()
        .request("POST", &format!("/exec/{id}/start"))
        .json(&json!({"Detach": false, "Tty": false}));
    let mut stream = start.upgrade().open();
    assert_eq!((stream.status, stream.reason.as_str()), (101, "UPGRADED"));
    testkit::eventually("it runs", PATIENCE, || {
        let now = inspect();
        (now["Running"] == true && now["Pid"].as_i64()? > 0).then_some(())
    });
    stream.write("in\n");
    let mut frames = demux(&stream.rest(PATIENCE).unwrap());
    frames.sort();
    assert_eq!(frames, [(1, b"got in\n".to_vec()), (2, b"e\n".to_vec())]);
    // The container lets go of it before it is told to have ended.
    let after = testkit::eventually("it has ended", PATIENCE, || {
        Some(inspect()).filter(|now| now["Running"] == false)
    });
    assert_eq!(shared().inspect(&target.0)["ExecIDs"], json!(null));
    assert_eq!(after["ExitCode"], 6);
    // A second start is refused, as is an exec that nobody made.
    let again = shared().api(
        "POST",
        &format!("/exec/{id}/start"),
        Some(&json!({"Detach": true})),
    );
    assert!(matches!(again.status, 409 | 500), "{}", again.status);
    let text = format!("xec command {id} has already run");
    assert!(again.message().contains(&text), "{}", again.message());
    let missing = shared().api("GET", "/exec/nosuch/json", None).is(404);
    assert!(
        missing.message().contains("No such exec instance"),
        "{}",
        missing.message()
    );
    let bad = shared().api(
        "POST",
        &format!("/containers/{}/exec", target.0),
        Some(&json!({"Cmd": []})),
    );
    assert!(
        matches!(bad.status, 400 | 500) && bad.message().contains("No exec command specified"),
        "{}",
        bad.text()
    );
}

#[test]
fn privileges_and_capabilities() {
    let target = Box::new(&["--cap-drop", "ALL"]);
    let caps = ["grep", "CapEff", "/proc/self/status"];
    target.exec(&[], &caps).ok().out_has("0000000000000000");
    let plain = Box::new(&[]);
    plain.exec(&[], &caps).ok().out_has("00000000a80425fb");
    plain
        .exec(&["-u", "1000"], &caps)
        .ok()
        .out_has("0000000000000000");
}

/// An exec of `command` through the API, started with a raw connection: its id and the stream.
fn attached(daemon: &Daemon, container: &str, command: &[&str]) -> (String, testkit::Exchange) {
    let body = json!({"Cmd": command, "AttachStdin": true, "AttachStdout": true});
    let created = daemon.api(
        "POST",
        &format!("/containers/{container}/exec"),
        Some(&body),
    );
    let id = created.is(201).json()["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let start = daemon.request("POST", &format!("/exec/{id}/start"));
    let stream = start.json(&json!({"Detach": false})).upgrade().open();
    assert_eq!(stream.status, 101);
    // The answer's head comes before the process runs.
    eventually("the exec runs", PATIENCE, || {
        let found = daemon.api("GET", &format!("/exec/{id}/json"), None);
        (found.is(200).json()["Pid"] != 0).then_some(())
    });
    (id, stream)
}

/// Waits until nothing of an exec is left: FIFOs, and the shim's own record of it.
fn no_execs_left(daemon: &Daemon, id: &str) {
    eventually("nothing of an exec is left", PATIENCE, || {
        let directory = daemon.exec_root().join("io").join(id);
        let fifos = std::fs::read_dir(directory).expect("the container runs");
        let names = fifos.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        });
        let ours = names.filter(|name| !name.starts_with("init-")).count();
        let socket = daemon.containerd_socket();
        let mut ctr = daemon.sandbox().command("ctr");
        ctr.arg("-a")
            .arg(socket)
            .args(["-n", "moby", "tasks", "ps", id]);
        let processes = testkit::run_command(ctr).ok();
        (ours == 0 && !processes.stdout.contains("exec_id")).then_some(())
    });
}

#[test]
fn fifty_at_once() {
    let daemon = Daemon::start(Options::default());
    let id = daemon.run_d("target", ["busybox", "sleep", "1000"]);
    let before = Leaks::count(&daemon);
    let all: Vec<_> = (0..50)
        .map(|n| {
            daemon
                .cli(["exec", "target", "echo", &format!("r{n}")])
                .spawn()
        })
        .collect();
    for (n, exec) in all.into_iter().enumerate() {
        exec.finish(5 * PATIENCE).ok().out_is(&format!("r{n}"));
    }
    assert!(daemon.inspect("target")["ExecIDs"].is_null());
    before.settle(&daemon, PATIENCE);
    if !daemon.is_old_dockerd() {
        no_execs_left(&daemon, &id);
    }
}

#[test]
fn a_client_that_is_killed_leaves_no_exec() {
    let daemon = Daemon::start(Options::default());
    let id = daemon.run_d("target", ["busybox", "sleep", "1000"]);
    let before = Leaks::count(&daemon);
    for command in ["cat", "yes | head -c 3000000; cat"] {
        let (_, mut stream) = attached(&daemon, "target", &["sh", "-c", command]);
        stream.write("x\n");
        stream.next(PATIENCE).unwrap();
        // In the middle of its output, and of its input.
        drop(stream);
    }
    eventually("they have ended", PATIENCE, || {
        daemon.inspect("target")["ExecIDs"].is_null().then_some(())
    });
    before.settle(&daemon, PATIENCE);
    if !daemon.is_old_dockerd() {
        no_execs_left(&daemon, &id);
    }
}

#[test]
fn a_terminal_is_resized_as_soon_as_there_is_one() {
    let target = Box::new(&[]);
    let body = json!({"Cmd": ["sleep", "1000"], "Tty": true});
    let created = shared().api(
        "POST",
        &format!("/containers/{}/exec", target.0),
        Some(&body),
    );
    let id = created.is(201).json()["Id"].as_str().unwrap().to_owned();
    // Asked before there is anything to resize, it waits for that.
    std::thread::scope(|scope| {
        let resize = format!("/exec/{id}/resize?h=40&w=132");
        let resized = scope.spawn(move || shared().api("POST", &resize, None));
        let start = format!("/exec/{id}/start");
        let detached = json!({"Detach": true, "Tty": true});
        shared().api("POST", &start, Some(&detached)).is(200);
        resized.join().unwrap().is(200);
        let again = shared().api("POST", &start, Some(&detached));
        let text = format!("xec command {id} is already running");
        assert!(again.message().contains(&text), "{}", again.message());
    });
}

#[test]
fn detach_keys_end_only_the_connection() {
    let target = Box::new(&[]);
    let running = || {
        let ids = shared().inspect(&target.0)["ExecIDs"].clone();
        ids.as_array().map_or(0, Vec::len)
    };
    // The docker CLI finds the keys itself, and goes away.
    let keys = ["exec", "-it", "--detach-keys", "ctrl-x,x", &target.0];
    let script = ["sh", "-c", "echo re''ady; exec cat"];
    let mut pty = shared().pty(keys.iter().chain(&script));
    pty.wait_for("ready");
    pty.send("\x18x");
    pty.wait();
    assert_eq!(running(), 1);
    // For others the daemon does.
    let body = json!({
        "Cmd": script, "Tty": true, "AttachStdin": true, "AttachStdout": true, "DetachKeys": "ctrl-x,x",
    });
    let created = shared().api(
        "POST",
        &format!("/containers/{}/exec", target.0),
        Some(&body),
    );
    let id = created.is(201).json()["Id"].as_str().unwrap().to_owned();
    let start = shared().request("POST", &format!("/exec/{id}/start"));
    let mut stream = start.json(&json!({"Tty": true})).upgrade().open();
    stream.read_until("ready");
    stream.write("\x18x");
    stream.rest(PATIENCE).unwrap();
    let format = "{{.Action}} {{.Actor.Attributes.execID}}";
    let mut events = shared()
        .cli(["events", "--since", "10m", "--format", format])
        .spawn();
    events.wait_for(&format!("exec_detach {id}\n"));
    assert_eq!(running(), 2);
}

#[test]
fn those_of_a_daemon_that_was_killed_are_seen_out() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return; // It ends its containers with it.
    }
    let id = daemon.run_d("target", ["busybox", "sleep", "1000"]);
    let before = Leaks::count(&daemon);
    // One that reads to the end of its input, one that writes more than a FIFO holds, and one that
    // ends while nobody looks.
    let go = "until [ -e /go ]; do usleep 50000; done; yes | head -c 3000000; echo wrote >/wrote";
    let (_, reader) = attached(&daemon, "target", &["sh", "-c", "cat; echo read >/read"]);
    let (old, writer) = attached(&daemon, "target", &["sh", "-c", go]);
    let (_, ends) = attached(&daemon, "target", &["sh", "-c", "cat; echo ended"]);
    daemon.kill9();
    drop((reader, writer, ends));
    daemon.boot();
    // Nobody can ask for them, as with dockerd, but they go on.
    daemon
        .api("GET", &format!("/exec/{old}/json"), None)
        .is(404);
    daemon.docker(["exec", "target", "touch", "/go"]).ok();
    for file in ["/read", "/wrote"] {
        eventually("it has run to its end", PATIENCE, || {
            let seen = daemon.docker(["exec", "target", "cat", file]);
            (seen.code == 0).then_some(())
        });
    }
    no_execs_left(&daemon, &id);
    daemon
        .docker(["exec", "target", "rm", "/go", "/read", "/wrote"])
        .ok();
    before.settle(&daemon, PATIENCE);
}
