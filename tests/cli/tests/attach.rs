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
fn a_client_can_keep_its_signals_and_its_input() {
    let name = unique("keeps");
    let script = "while :; do read x || sleep 1000; echo got $x; done";
    shared().run_d(&name, ["-i", "busybox", "sh", "-c", script]);
    // It shows nothing by which one could know that it is attached.
    let mut attached =
        shared().events(&serde_json::json!({"container": [&name], "event": ["attach"]}));
    let mut quiet = shared()
        .cli(["attach", "--no-stdin", "--sig-proxy=false", &name])
        .spawn();
    attached.read_until("\"attach\"");
    let mut other = shared().cli(["attach", &name]).spawn();
    other.write("words\n");
    quiet.wait_for("got words");
    other.wait_for("got words");
    quiet.signal(Signal::TERM);
    drop(quiet);
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    other.write("more\n");
    other.wait_for("got more");
    drop(other);
    shared().remove(&[&name]);
}

#[test]
fn a_client_that_goes_away_leaves_the_container_alone() {
    let name = unique("gone");
    let args = ["run", "-i", "--name", &name, "busybox", "sh", "-c", LOOP];
    let mut run = shared().cli(args).spawn();
    run.wait_for("ready");
    drop(run);
    // What it writes may be read before its start is answered, and before that it does not run.
    shared().wait_status(&name, "running");
    shared().docker(["stop", &name]).ok();
    assert_eq!(shared().format(&name, "{{.State.ExitCode}}"), "8");
    shared().remove(&[&name]);
}

#[test]
fn a_slow_reader_delays_nobody_and_misses_nothing() {
    let name = unique("slow");
    let script = "read x; yes 0123456789 | head -c 150000000; echo; echo finished >&2";
    let args = ["-i", "--log-driver", "none", "busybox", "sh", "-c", script];
    shared().run_d(&name, args);
    let target = |query: &str| format!("/containers/{name}/attach?stream=1&{query}");
    let attach = |query: &str| shared().request("POST", &target(query)).upgrade().open();
    let (mut stuck, mut input) = (attach("stdout=1&stderr=1"), attach("stdin=1"));
    let mut second = attach("stdout=1");
    input.write("go\n");
    if shared().is_old_dockerd() {
        // There the container waits for its clients.
        shared().remove(&[&name]);
        return;
    }
    // Nobody reads; the container runs to its end all the same.
    shared().docker(["wait", &name]).ok().out_is("0");
    for (client, stderr) in [(&mut stuck, true), (&mut second, false)] {
        let all = demux(&client.rest(PATIENCE).unwrap());
        let of = |wanted: u8| {
            let mine = all.iter().filter(|(stream, _)| *stream == wanted);
            mine.flat_map(|(_, bytes)| bytes)
                .copied()
                .collect::<Vec<u8>>()
        };
        let out = of(1);
        assert_eq!(out.len(), 150_000_001);
        assert!(
            out[..150_000_000]
                .chunks(11)
                .all(|line| b"0123456789\n".starts_with(line))
        );
        assert_eq!(of(2), if stderr { &b"finished\n"[..] } else { b"" });
        assert_eq!(of(3), b"");
    }
    shared().remove(&[&name]);
}

#[test]
fn a_pipe_that_reads_slowly_gets_everything() {
    let script = "docker run --rm --log-driver none busybox sh -c \
        'yes 0123456789 | head -c 30000000' | { sleep 2; wc -c; }";
    shared().shell(script).run().ok().out_is("30000000");
}

#[test]
fn without_room_for_its_backlog_a_slow_client_is_told_so_and_nobody_else_notices() {
    let daemon = testkit::Daemon::start(testkit::Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    // Too small for even the beginning of a backlog.
    let spool = daemon.data_root().join("tmp");
    std::fs::create_dir_all(&spool).unwrap();
    let mut mount = daemon.sandbox().command("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&spool);
    testkit::run_command(mount).ok();
    let script = "read x; yes 0123456789 | head -c 20000000";
    let args = ["-i", "--log-driver", "none", "busybox", "sh", "-c", script];
    daemon.run_d("talks", args);
    let target = |query: &str| format!("/containers/talks/attach?stream=1&{query}");
    let attach = |query: &str| daemon.request("POST", &target(query)).upgrade().open();
    let (mut stuck, mut input) = (attach("stdout=1&stderr=1"), attach("stdin=1"));
    input.write("go\n");
    daemon.docker(["wait", "talks"]).ok().out_is("0");
    let frames = demux(&stuck.rest(PATIENCE).unwrap());
    let (last, before) = frames.split_last().unwrap();
    assert_eq!(last.0, 2);
    let words = String::from_utf8_lossy(&last.1);
    assert!(
        words.contains("reads too slowly, and the disk has no room"),
        "{words}"
    );
    let read: usize = before.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!((1..20_000_000).contains(&read), "{read}");
    daemon.docker(["rm", "talks"]).ok();
    // What fits into memory needs no disk, and the docker CLI says what went wrong.
    let seen = "docker run --rm --log-driver none busybox sh -c 'yes | head -c 100000' | wc -c";
    daemon.shell(seen).run().ok().out_is("100000");
    let slow = "docker run --rm --log-driver none busybox sh -c 'yes | head -c 20000000' \
        | { sleep 3; cat >/dev/null; }";
    daemon.shell(slow).run().ok().err_has("reads too slowly");
    let mut unmount = daemon.sandbox().command("umount");
    unmount.arg(&spool);
    testkit::run_command(unmount).ok();
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

/// There is nothing to wait for: the session begins and is over, while the container runs on.
#[test]
fn who_asks_for_no_stream_is_let_go() {
    let name = unique("nothing");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    // No standard input is open either, so who only types has come for nothing, too.
    for query in ["", "stream=1", "stream=1&stdin=1", "stdin=1"] {
        let target = format!("/containers/{name}/attach?{query}");
        let mut attach = shared().request("POST", &target).upgrade().open();
        assert_eq!(attach.status, 101, "{query}");
        assert_eq!(attach.rest(PATIENCE).unwrap(), b"", "{query}");
    }
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
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

/// One frame from a WebSocket's server: its kind and what is in it.
fn frame(socket: &mut testkit::Exchange, ahead: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    loop {
        if let [first, second, rest @ ..] = &ahead[..] {
            assert_eq!(second & 0x80, 0, "a server does not mask");
            let (length, skip) = match (second, rest) {
                (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
                (126, _) => (usize::MAX / 2, 4),
                (length, _) => (usize::from(*length), 2),
            };
            if ahead.len() >= skip + length {
                let kind = first & 0x0f;
                let content = ahead.drain(..skip + length).skip(skip).collect();
                return Some((kind, content));
            }
        }
        ahead.extend(socket.next(PATIENCE).expect("readable")?);
    }
}

/// A frame as a client sends it, masked with zeros.
fn masked(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(content.len()).expect("short");
    [&[0x80 | kind, length, 0, 0, 0, 0], content].concat()
}

#[test]
fn over_a_websocket() {
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;
    let open = |version: &str, name: &str| {
        let query = "stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-x,x";
        let target = format!("{version}/containers/{name}/attach/ws?{query}");
        shared()
            .request("GET", &target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Origin", "http://localhost")
            .open()
    };
    // Attached before it starts; a half-line in two messages; its end closes the WebSocket.
    let name = unique("ws");
    let script = "read x; echo got $x";
    shared()
        .docker([
            "create", "-i", "--name", &name, "busybox", "sh", "-c", script,
        ])
        .ok();
    let mut socket = open("", &name);
    assert_eq!(socket.status, 101);
    let accept = socket.header("Sec-WebSocket-Accept").map(str::to_owned);
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let mut ahead = Vec::new();
    socket.write(masked(PING, b"are you there"));
    assert_eq!(
        frame(&mut socket, &mut ahead),
        Some((PONG, b"are you there".to_vec()))
    );
    socket.write(masked(BINARY, b"wo"));
    socket.write(masked(TEXT, b"rds\n"));
    shared().docker(["start", &name]).ok();
    assert_eq!(
        frame(&mut socket, &mut ahead),
        Some((BINARY, b"got words\n".to_vec()))
    );
    assert_eq!(
        frame(&mut socket, &mut ahead).map(|(kind, _)| kind),
        Some(CLOSE)
    );
    socket.write(masked(CLOSE, b""));
    shared().remove(&[&name]);
    // Who leaves leaves it running: by closing, and by the keys.
    shared().run_d(&name, ["-it", "busybox", "cat"]);
    for leave in [masked(CLOSE, b""), masked(BINARY, b"\x18x")] {
        let (mut socket, mut ahead) = (open("/v1.27", &name), Vec::new());
        if socket.status == 400 {
            socket = open("", &name);
        }
        socket.write(masked(BINARY, b"x\n"));
        let (kind, _) = frame(&mut socket, &mut ahead).unwrap();
        assert!(matches!(kind, TEXT | BINARY), "{kind}");
        socket.write(&leave);
        while frame(&mut socket, &mut ahead).is_some_and(|(kind, _)| kind != CLOSE) {}
        assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    }
    shared().remove(&[&name]);
    assert_eq!(open("", "nosuch").status, 404);
    let target = format!("/containers/{name}/attach/ws?stream=1&stdout=1");
    assert!(shared().request("GET", &target).send().status >= 400);
}
