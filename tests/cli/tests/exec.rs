//! `docker exec`.

use serde_json::json;
use testkit::{Output, PATIENCE, demux, shared, unique};

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
    let after = inspect();
    assert_eq!(
        (&after["Running"], &after["ExitCode"]),
        (&json!(false), &json!(6))
    );
    // A second start is refused, as is an exec that nobody made.
    let again = shared().api(
        "POST",
        &format!("/exec/{id}/start"),
        Some(&json!({"Detach": true})),
    );
    assert!(matches!(again.status, 409 | 500), "{}", again.status);
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

#[test]
fn twelve_at_once() {
    let target = Box::new(&[]);
    let all: Vec<_> = (0..12)
        .map(|n| {
            shared()
                .cli(["exec", &target.0, "echo", &format!("r{n}")])
                .spawn()
        })
        .collect();
    for (n, exec) in all.into_iter().enumerate() {
        exec.wait().ok().out_is(&format!("r{n}"));
    }
}
