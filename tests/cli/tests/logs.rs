//! `docker logs`, the json-file and the local driver.

use serde_json::json;
use testkit::{Daemon, Exchange, Options, PATIENCE, demux, eventually, shared, unique};

/// A container that writes what it is told to. A line that has come is read before the next one is
/// written: the two streams are read apart, so what comes close together may come in either order.
struct Said(Exchange);

impl Said {
    #[track_caller]
    fn start(name: &str, options: &[&str]) -> Said {
        let script = "while read stream words; do case $stream in \
            0) printf '%s' \"$words\"; exit;; *) echo $words >&$stream;; esac; done";
        let run = shared().cli(["run", "-di", "--name", name]).args(options);
        let run = run.args(["busybox", "sh", "-c", script]);
        run.run().ok();
        let streams = "stream=1&stdin=1&stdout=1&stderr=1";
        let target = format!("/containers/{name}/attach?{streams}");
        Said(shared().request("POST", &target).upgrade().open())
    }

    /// Has it write a line to standard output (1) or error (2).
    #[track_caller]
    fn says(&mut self, stream: u8, line: &str) {
        self.0.write(format!("{stream} {line}\n"));
        self.0.read_until(&format!("{line}\n"));
    }

    /// Has it end.
    #[track_caller]
    fn ends(self) {
        self.ends_with("");
    }

    /// Has it end after words that end no line.
    #[track_caller]
    fn ends_with(mut self, words: &str) {
        self.0.write(format!("0 {words}\n"));
        self.0.rest(PATIENCE).expect("the end of the stream");
    }
}

#[test]
fn streams_and_tail() {
    let name = unique("tail");
    let mut said = Said::start(&name, &[]);
    for i in 1..=4 {
        said.says(1, &format!("o{i}"));
        said.says(2, &format!("e{i}"));
    }
    said.ends();
    let all = shared().docker(["logs", &name]).ok();
    assert_eq!((all.out(), all.err()), ("o1\no2\no3\no4", "e1\ne2\ne3\ne4"));
    let tail = shared().docker(["logs", "--tail", "2", &name]).ok();
    let lines: Vec<_> = tail.stdout.lines().chain(tail.stderr.lines()).collect();
    assert_eq!(lines, ["o4", "e4"]);
    let none = shared().docker(["logs", "--tail", "0", &name]).ok();
    assert_eq!((none.out(), none.err()), ("", ""));
    for every in ["all", "-1", "100"] {
        let tail = format!("--tail={every}");
        assert_eq!(
            shared().docker(["logs", &tail, &name]).ok().stdout,
            all.stdout
        );
    }
    shared().remove(&[&name]);
}

#[test]
fn follow_ends_at_the_exit() {
    let name = unique("follow");
    let script = "for i in 1 2 3; do echo l$i; sleep 0.3; done";
    shared().run_d(&name, ["busybox", "sh", "-c", script]);
    shared()
        .docker(["logs", "-f", &name])
        .ok()
        .out_is("l1\nl2\nl3");
    // Following a container that has ended ends too.
    shared()
        .docker(["logs", "-f", &name])
        .ok()
        .out_is("l1\nl2\nl3");
    shared().remove(&[&name]);
}

#[test]
fn follow_sees_a_restart_of_the_container_only_when_asked_again() {
    let name = unique("again");
    shared()
        .docker(["run", "--name", &name, "busybox", "echo", "x"])
        .ok();
    shared().docker(["start", "-a", &name]).ok();
    shared().docker(["logs", "-f", &name]).ok().out_is("x\nx");
    shared().remove(&[&name]);
}

#[test]
fn follow_ends_when_the_container_is_removed() {
    let name = unique("removed");
    shared().run_d(&name, ["busybox", "sh", "-c", "echo here; sleep 1000"]);
    let mut logs = shared().cli(["logs", "-f", &name]).spawn();
    logs.wait_for("here");
    shared().remove(&[&name]);
    logs.wait();
}

#[test]
fn timestamps_since_and_until() {
    let name = unique("since");
    let script = "echo one; sleep 1.2; echo two";
    shared()
        .docker(["run", "--name", &name, "busybox", "sh", "-c", script])
        .ok();
    let output = shared().docker(["logs", "-t", &name]).ok();
    let stamps: Vec<_> = output
        .stdout
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(
        stamps.iter().map(|(_, word)| *word).collect::<Vec<_>>(),
        ["one", "two"]
    );
    let stamp = stamps[0].0;
    assert!(
        stamp.len() == "2025-01-01T00:00:00.000000000Z".len() && stamp.ends_with('Z'),
        "{stamp}"
    );
    // The limits themselves are inside.
    shared()
        .docker(["logs", "--since", stamps[1].0, &name])
        .ok()
        .out_is("two");
    shared()
        .docker(["logs", "--since", stamps[0].0, &name])
        .ok()
        .out_is("one\ntwo");
    shared()
        .docker(["logs", "--until", stamps[0].0, &name])
        .ok()
        .out_is("one");
    shared()
        .docker(["logs", "--since", "1h", &name])
        .ok()
        .out_is("one\ntwo");
    shared()
        .docker(["logs", "--until", "1h", &name])
        .ok()
        .out_is("");
    let target = |query: &str| format!("/containers/{name}/logs?stdout=1&{query}");
    let answer = shared()
        .api("GET", &target("since=4000000000"), None)
        .is(200);
    assert!(answer.body.is_empty());
    let bad = shared().api("GET", &target("since=yesterday"), None);
    // 20.10 answers 500 to what is the client's fault.
    assert_eq!(
        bad.status,
        if shared().is_old_dockerd() { 500 } else { 400 }
    );
    shared().remove(&[&name]);
}

#[test]
fn the_raw_answer() {
    let name = unique("raw");
    shared()
        .docker([
            "run",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            "echo o; echo e >&2",
        ])
        .ok();
    let target = format!("/containers/{name}/logs?stdout=1&stderr=1");
    let answer = shared().api("GET", &target, None).is(200);
    let mut frames = demux(&answer.body);
    frames.sort();
    assert_eq!(frames, [(1, b"o\n".to_vec()), (2, b"e\n".to_vec())]);
    let only = shared()
        .api("GET", &format!("/containers/{name}/logs?stderr=1"), None)
        .is(200);
    assert_eq!(demux(&only.body), [(2, b"e\n".to_vec())]);
    let none = shared()
        .api("GET", &format!("/containers/{name}/logs"), None)
        .is(400);
    assert_eq!(
        none.message(),
        "Bad parameters: you must choose at least one stream"
    );
    shared()
        .docker(["logs", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn headers_come_before_the_first_line() {
    let name = unique("silent");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let target = format!("/containers/{name}/logs?stdout=1&follow=1");
    let logs = shared().request("GET", &target).open();
    assert_eq!(logs.status, 200);
    shared().remove(&[&name]);
}

#[test]
fn a_terminal_s_log_is_not_framed() {
    let name = unique("tty");
    let args = [
        "run",
        "-t",
        "--name",
        &name,
        "busybox",
        "sh",
        "-c",
        "echo o; echo e >&2",
    ];
    shared().docker(args).ok();
    assert_eq!(shared().docker(["logs", &name]).ok().stdout, "o\r\ne\r\n");
    let answer = shared()
        .api("GET", &format!("/containers/{name}/logs?stdout=1"), None)
        .is(200);
    assert_eq!(answer.text(), "o\r\ne\r\n");
    shared().remove(&[&name]);
}

#[test]
fn odd_lines() {
    let name = unique("odd");
    // No newline at the end; empty lines; a line of 40 kB; bytes that are no text.
    let script =
        "echo; head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\000c\\n'; printf end";
    shared()
        .docker(["run", "--name", &name, "busybox", "sh", "-c", script])
        .ok();
    let output = shared().docker(["logs", &name]).ok();
    let mut wanted = b"\n".to_vec();
    wanted.extend(vec![b'x'; 40000]);
    wanted.extend(b"\n");
    let bytes = &output.stdout_bytes;
    assert!(bytes.starts_with(&wanted), "{} bytes", bytes.len());
    assert!(bytes.ends_with(b"end"), "{:?}", &bytes[bytes.len() - 20..]);
    // The JSON file cannot hold bytes that are no UTF-8; NUL it can.
    assert!(bytes.windows(4).any(|window| window == b"b\0c\n"));
    shared().remove(&[&name]);
}

#[test]
fn rotation() {
    let name = unique("rotate");
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i 0123456789012345678901234567890; i=$((i+1)); done";
    let args = [
        "run",
        "--name",
        &name,
        "--log-opt",
        "max-size=10k",
        "--log-opt",
        "max-file=3",
    ];
    shared()
        .cli(args)
        .args(["busybox", "sh", "-c", script])
        .run()
        .ok();
    let path = shared().format(&name, "{{.LogPath}}");
    let size = |suffix: &str| std::fs::metadata(format!("{path}{suffix}")).map(|meta| meta.len());
    assert!(size(".1").is_ok() && size(".2").is_ok() && size(".3").is_err());
    // A file is closed when it has passed the limit, by one line at most.
    for suffix in ["", ".1", ".2"] {
        assert!(
            size(suffix).unwrap() <= 10_000 + 300,
            "{suffix}: {:?}",
            size(suffix)
        );
    }
    let output = shared().docker(["logs", &name]).ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(
        lines.last().unwrap().starts_with("line 499 "),
        "{:?}",
        lines.last()
    );
    assert!(
        lines.len() > 100 && lines.len() < 400,
        "{} lines",
        lines.len()
    );
    let numbers: Vec<usize> = lines
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|two| two[1] == two[0] + 1),
        "lines in order, none lost"
    );
    let tail = shared().docker(["logs", "--tail", "150", &name]).ok();
    assert_eq!(tail.stdout.lines().count(), 150);
    shared().remove(&[&name]);
}

#[test]
fn follow_goes_on_over_a_rotation() {
    if shared().is_old_dockerd() {
        return; // It may miss a file: the follower was rewritten in 22.06.
    }
    let name = unique("follow-rotate");
    let args = ["--log-opt", "max-size=4k", "--log-opt", "max-file=2"];
    let mut said = Said::start(&name, &args);
    let mut logs = shared().cli(["logs", "-f", &name]).spawn();
    // No more at a time than the log keeps.
    for i in 0..300 {
        let line = format!("line {i} 0123456789012345678901234567890");
        said.says(1, &line);
        if i % 10 == 9 {
            logs.wait_for(&format!("{line}\n"));
        }
    }
    said.ends();
    let output = logs.wait().ok();
    assert_eq!(output.stdout.lines().count(), 300, "{}", output.out());
    shared().remove(&[&name]);
}

#[test]
fn drivers() {
    let name = unique("none");
    shared()
        .docker([
            "run",
            "--log-driver",
            "none",
            "--name",
            &name,
            "busybox",
            "echo",
            "x",
        ])
        .ok()
        .out_is("x");
    shared()
        .docker(["logs", &name])
        .exits(1)
        .err_has("configured logging driver does not support reading");
    shared().remove(&[&name]);
    shared()
        .docker(["run", "--rm", "--log-driver", "nosuch", "busybox", "true"])
        .exits(125)
        .err_has("error looking up logging plugin nosuch: plugin \"nosuch\" not found");
    let bad = ["run", "--rm", "--log-opt", "nosuch=1", "busybox", "true"];
    shared()
        .docker(bad)
        .exits(125)
        .err_has("unknown log opt 'nosuch' for json-file log driver");
}

#[test]
fn details_show_chosen_labels() {
    let name = unique("details");
    let args = [
        "run",
        "--name",
        &name,
        "--log-opt",
        "labels=la",
        "--log-opt",
        "env=EE",
    ];
    let rest = ["-l", "la=lv", "-e", "EE=ev", "busybox", "echo", "x"];
    shared().cli(args).args(rest).run().ok();
    let output = shared().docker(["logs", "--details", &name]).ok();
    assert!(
        output.stdout.contains("la=lv") && output.stdout.contains("EE=ev"),
        "{output}"
    );
    assert!(output.stdout.ends_with(" x\n"), "{output}");
    shared().remove(&[&name]);
}

#[test]
fn the_file_is_docker_s() {
    let name = unique("file");
    shared()
        .docker(["run", "--name", &name, "busybox", "echo", "text \"q\" <&>"])
        .ok();
    let path = shared().format(&name, "{{.LogPath}}");
    let line = eventually("the log is written", PATIENCE, || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.ends_with('\n').then_some(text)
    });
    let json: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
    assert_eq!(json["log"], "text \"q\" <&>\n");
    assert_eq!(json["stream"], "stdout");
    assert!(json["time"].as_str().unwrap().ends_with('Z'));
    assert!(path.ends_with("-json.log"), "{path}");
    shared().remove(&[&name]);
}

#[test]
fn the_local_driver_keeps_what_json_file_does() {
    let (daemon, name) = (shared(), unique("local"));
    let driver = ["--log-driver", "local", "--log-opt", "labels=tier"];
    let mut said = Said::start(&name, &[&driver[..], &["-l", "tier=front"]].concat());
    for (stream, word) in [(1, "o1"), (2, "e1"), (2, "e2"), (1, "o2")] {
        said.says(stream, word);
    }
    said.ends_with("open");
    let all = daemon.docker(["logs", &name]).ok();
    assert_eq!(all.stdout, "o1\no2\nopen");
    assert_eq!(all.err(), "e1\ne2");
    daemon
        .docker(["logs", "--tail", "1", &name])
        .ok()
        .out_is("open");
    let details = daemon
        .docker(["logs", "--details", "--tail", "1", &name])
        .ok();
    details.out_is("tier=front open");
    daemon
        .docker(["logs", "--since", "2100-01-01", &name])
        .ok()
        .out_is("");
    assert_eq!(daemon.format(&name, "{{.LogPath}}"), "");
    let id = daemon.format(&name, "{{.Id}}");
    let folder = daemon
        .data_root()
        .join("containers")
        .join(id)
        .join("local-logs");
    let file = std::fs::read(folder.join("container.log")).expect("the log");
    assert_eq!(file.get(4..12), Some(&b"\x0a\x06stdout"[..]));
    // Another run goes on in the same log.
    let start = daemon.cli(["start", "-ai", &name]);
    start.stdin("0 again\n").run().ok();
    let logs = daemon.docker(["logs", &name]).ok();
    assert_eq!(logs.stdout, "o1\no2\nopenagain");
    daemon.remove(&[&name]);
}

#[test]
fn the_local_driver_is_followed_and_rotates() {
    let (daemon, name) = (shared(), unique("localrotates"));
    let script =
        "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last";
    let run = ["run", "-d", "--name", &name, "--log-driver", "local"];
    let run = daemon
        .cli(run)
        .args(["--log-opt", "max-size=5k", "--log-opt", "max-file=3"]);
    run.args(["busybox", "sh", "-c", script]).run().ok();
    let followed = daemon.docker(["logs", "-f", &name]).ok();
    assert!(followed.out().ends_with("last"), "{followed}");
    daemon.docker(["wait", &name]).ok();
    let kept = daemon.docker(["logs", &name]).ok();
    let lines = kept.stdout.lines().count();
    assert!((50..500).contains(&lines), "{lines} lines are kept");
    assert!(kept.stdout.contains("line 499\nlast"));
    for (option, words) in [
        ("odd=1", "unknown log opt 'odd' for log driver local"),
        (
            "max-size=big",
            "invalid value for max-size: big: invalid size: 'big'",
        ),
        (
            "max-file=1",
            "compression cannot be enabled when max file count is 1",
        ),
        ("compress=maybe", "invalid boolean value for compress"),
    ] {
        let run = ["run", "--rm", "--log-driver", "local", "--log-opt", option];
        let run = daemon.cli(run).args(["busybox", "true"]).run();
        run.exits(125).err_has(words);
    }
    daemon.remove(&[&name]);
}

#[test]
fn any_driver_can_be_the_daemons_default() {
    let daemon = Daemon::start(Options {
        config: json!({"log-driver": "local", "log-opts": {"max-size": "1m"}}),
        ..Options::default()
    });
    daemon
        .docker(["run", "--name", "one", "busybox", "echo", "hello"])
        .ok();
    daemon.docker(["logs", "one"]).ok().out_is("hello");
    assert_eq!(
        daemon.format("one", "{{json .HostConfig.LogConfig}}"),
        r#"{"Type":"local","Config":{"max-size":"1m"}}"#
    );
    daemon.remove(&["one"]);
    let config = json!({"log-driver": "none"}).to_string();
    std::fs::write(daemon.config_file(), config).expect("written");
    daemon.restart();
    let info = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(info["LoggingDriver"], "none");
    std::fs::write(daemon.config_file(), "{}").expect("written");
    daemon.stop();
    daemon.refuses(
        &["--log-driver=syslog"],
        "error looking up logging plugin syslog: plugin \"syslog\" not found",
    );
}
