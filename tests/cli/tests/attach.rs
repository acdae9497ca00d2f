//! Attaching to containers, with the CLI and on the raw connection.

use std::time::Duration;

use rustix::process::Signal;
use testkit::{PATIENCE, demux, shared, unique};

const LOOP: &str = "trap 'echo got int; exit 9' INT; trap 'echo got term; exit 8' TERM; \
                    echo ready; while :; do usleep 50000; done";

#[test]
fn output_and_exit_code() {
    let name = unique("attach");
    shared().run_d(
        &name,
        [
            "-i",
            "busybox",
            "sh",
            "-c",
            "read x; echo out $x; echo err >&2; exit 6",
        ],
    );
    let mut attach = shared().cli(["attach", &name]).spawn();
    attach.write("in\n");
    attach.wait_for("out in\n");
    let output = attach.wait().exits(6);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out in\n", "err\n")
    );
    shared().remove(&[&name]);
}

#[test]
fn two_clients_see_the_same() {
    let name = unique("two");
    shared().run_d(
        &name,
        [
            "-i",
            "busybox",
            "sh",
            "-c",
            "read x; echo got $x; read y; echo $y",
        ],
    );
    let target = format!("/containers/{name}/attach?stream=1&stdout=1");
    let mut watcher = shared().request("POST", &target).upgrade().open();
    let mut first = shared().cli(["attach", &name]).spawn();
    // The CLI reads its input only when it is attached.
    first.write("one\n");
    first.wait_for("got one");
    assert_eq!(
        demux(&watcher.read_until("got one\n")),
        [(1, b"got one\n".to_vec())]
    );
    first.write("two\n");
    first.wait().ok();
    assert_eq!(
        demux(&watcher.rest(PATIENCE).unwrap()),
        [(1, b"two\n".to_vec())]
    );
    shared().remove(&[&name]);
}

#[test]
fn signals_are_passed_on() {
    for (signal, word, code) in [(Signal::INT, "got int", 9), (Signal::TERM, "got term", 8)] {
        let mut run = shared()
            .cli(["run", "--rm", "busybox", "sh", "-c", LOOP])
            .spawn();
        run.wait_for("ready");
        run.signal(signal);
        run.wait_for(word);
        run.wait().exits(code);
    }
}

#[test]
fn a_client_that_goes_away_leaves_the_container_alone() {
    let name = unique("gone");
    let args = ["run", "-i", "--name", &name, "busybox", "sh", "-c", LOOP];
    let mut run = shared().cli(args).spawn();
    run.wait_for("ready");
    drop(run);
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    shared().docker(["stop", &name]).ok();
    assert_eq!(shared().format(&name, "{{.State.ExitCode}}"), "8");
    shared().remove(&[&name]);
}

#[test]
fn a_slow_reader_delays_only_itself() {
    let name = unique("slow");
    let script = "read x; yes 0123456789 | head -c 20000000; echo; echo finished >&2";
    shared().run_d(
        &name,
        ["-i", "--log-driver", "none", "busybox", "sh", "-c", script],
    );
    let target = |query: &str| format!("/containers/{name}/attach?stream=1&{query}");
    let mut stuck = shared()
        .request("POST", &target("stdout=1&stderr=1"))
        .upgrade()
        .open();
    let mut input = shared()
        .request("POST", &target("stdin=1"))
        .upgrade()
        .open();
    input.write("go\n");
    // Nobody reads `stuck` for a while; inspect answers all the same.
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    let all = demux(&stuck.rest(PATIENCE).unwrap());
    let count: usize = all
        .iter()
        .filter(|(stream, _)| *stream == 1)
        .map(|(_, b)| b.len())
        .sum();
    assert_eq!(count, 20_000_001);
    shared().remove(&[&name]);
}

#[test]
fn a_stopped_container_is_refused() {
    let name = unique("stopped");
    shared()
        .docker(["create", "--name", &name, "busybox", "true"])
        .ok();
    shared()
        .docker(["attach", &name])
        .exits(1)
        .err_has("cannot attach to a stopped container, start it first");
    shared()
        .docker(["attach", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn logs_come_first() {
    let name = unique("logs");
    let script = "echo before; read x; echo after; echo bad >&2";
    shared().run_d(&name, ["-i", "busybox", "sh", "-c", script]);
    shared().wait_log(&name, "before");
    let query = "logs=1&stream=1&stdin=1&stdout=1&stderr=1";
    let target = format!("/containers/{name}/attach?{query}");
    let mut attach = shared().request("POST", &target).upgrade().open();
    assert_eq!(
        demux(&attach.read_until("before\n")),
        [(1, b"before\n".to_vec())]
    );
    attach.write("x\n");
    let mut frames = demux(&attach.rest(PATIENCE).unwrap());
    frames.sort();
    assert_eq!(frames, [(1, b"after\n".to_vec()), (2, b"bad\n".to_vec())]);
    shared().remove(&[&name]);
    // logs=1 without stream=1 ends with the last line.
    shared()
        .docker(["run", "--name", &name, "busybox", "echo", "old"])
        .ok();
    let target = format!("/containers/{name}/attach?logs=1&stdout=1");
    let all = shared()
        .request("POST", &target)
        .upgrade()
        .open()
        .rest(PATIENCE)
        .unwrap();
    assert_eq!(demux(&all), [(1, b"old\n".to_vec())]);
    shared().remove(&[&name]);
}

#[test]
fn half_close_ends_the_input_and_not_the_output() {
    let name = unique("half");
    let body = serde_json::json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "wc -c; echo then >&2"],
        "OpenStdin": true, "StdinOnce": true, "AttachStdin": true,
    });
    let target = format!("/containers/create?name={name}");
    shared().api("POST", &target, Some(&body)).is(201);
    let target = format!("/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    let mut attach = shared().request("POST", &target).upgrade().open();
    assert_eq!((attach.status, attach.reason.as_str()), (101, "UPGRADED"));
    shared()
        .api("POST", &format!("/containers/{name}/start"), None)
        .is(204);
    attach.write("12345");
    attach.half_close();
    let mut frames = demux(&attach.rest(PATIENCE).unwrap());
    frames.sort();
    assert_eq!(frames, [(1, b"5\n".to_vec()), (2, b"then\n".to_vec())]);
    shared().remove(&[&name]);
}

#[test]
fn without_upgrade_the_old_raw_answer() {
    let name = unique("legacy");
    shared().run_d(&name, ["-i", "busybox", "cat"]);
    let target = format!("/containers/{name}/attach?stream=1&stdin=1&stdout=1");
    let mut attach = shared().request("POST", &target).open();
    assert_eq!((attach.status, attach.reason.as_str()), (200, "OK"));
    let kind = attach.header("Content-Type").unwrap().to_owned();
    assert_eq!(kind, "application/vnd.docker.raw-stream");
    attach.write("ping\n");
    assert_eq!(
        demux(&attach.read_until("ping\n")),
        [(1, b"ping\n".to_vec())]
    );
    shared().remove(&[&name]);
}

#[test]
fn the_content_type_tells_the_framing() {
    if shared().is_old_dockerd() {
        return;
    }
    let (plain, tty) = (unique("plain"), unique("tty"));
    shared().run_d(&plain, ["-i", "busybox", "cat"]);
    shared().run_d(&tty, ["-it", "busybox", "cat"]);
    let kind = |version: &str, name: &str| {
        let target = format!("{version}/containers/{name}/attach?stream=1&stdout=1");
        let attach = shared().request("POST", &target).upgrade().open();
        assert_eq!(attach.header("Upgrade"), Some("tcp"));
        assert_eq!(attach.header("Connection"), Some("Upgrade"));
        attach.header("Content-Type").unwrap().to_owned()
    };
    assert_eq!(
        kind("", &plain),
        "application/vnd.docker.multiplexed-stream"
    );
    assert_eq!(
        kind("/v1.42", &plain),
        "application/vnd.docker.multiplexed-stream"
    );
    assert_eq!(kind("/v1.41", &plain), "application/vnd.docker.raw-stream");
    assert_eq!(kind("", &tty), "application/vnd.docker.raw-stream");
    shared().remove(&[&plain, &tty]);
}

#[test]
fn detach_keys_end_only_the_connection() {
    let name = unique("keys");
    shared().run_d(&name, ["-it", "busybox", "cat"]);
    let query = "stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,x";
    let target = format!("/containers/{name}/attach?{query}");
    let mut attach = shared().request("POST", &target).upgrade().open();
    attach.write("hello\n");
    attach.read_until("hello\r\nhello\r\n");
    attach.write("\x18x");
    attach.rest(Duration::from_secs(10)).unwrap();
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    let bad = format!("/containers/{name}/attach?stream=1&stdin=1&detachKeys=nonsense");
    shared().request("POST", &bad).upgrade().send().is(400);
    shared().remove(&[&name]);
}
