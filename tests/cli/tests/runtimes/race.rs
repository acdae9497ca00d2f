//! Reloads while clients read and start.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use testkit::{Daemon, Options, PATIENCE, eventually};

use super::*;

const RELOADS: usize = 2_000;

#[test]
fn reloads_are_seen_whole_while_containers_start() {
    if is_dockerd() {
        return;
    }
    let config = |letter: &str| {
        let runtime = |args: &str| json!({"path": RUNC, "runtimeArgs": ["--log-format", args]});
        let args = if letter == "a" {
            ["json", "text"]
        } else {
            ["text", "json"]
        };
        let mut runtimes = json!({"first": runtime(args[0]), "second": runtime(args[1])});
        runtimes[format!("only-{letter}")] = runtime("json");
        let default = if letter == "a" { "first" } else { "second" };
        json!({"labels": [format!("letter={letter}")], "default-runtime": default, "runtimes": runtimes})
    };
    let configs = [config("a"), config("b")];
    let daemon = Daemon::start(Options {
        config: configs[0].clone(),
        ..Options::default()
    });
    let begin = Instant::now();
    let over = AtomicBool::new(false);
    let (reads, starts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let going = || !over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while going() {
                    is_one_of(&info(&daemon), &configs);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while going() {
                    started(&daemon);
                    starts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // A failure of any must end the others.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let few =
                || reads.load(Ordering::Relaxed) <= 500 || starts.load(Ordering::Relaxed) <= 10;
            // The machine may be slow at one of them; each must have met many of the others.
            for n in (1..).take_while(|n| *n <= RELOADS || few()) {
                assert!(begin.elapsed() < 5 * PATIENCE, "they do not come to an end");
                let next = &configs[n % 2];
                daemon.write("daemon.json", next.to_string());
                // Now and then by signal, which does not say when it is done.
                if n % 100 == 0 {
                    hang_up(&daemon);
                    eventually("the reload is live", PATIENCE, || {
                        (info(&daemon)["Labels"] == next["labels"]).then_some(())
                    });
                } else {
                    ask_for_reload(&daemon);
                }
            }
        }));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (reads, starts) = (reads.into_inner(), starts.into_inner());
    eprintln!("{RELOADS} reloads, {reads} reads, {starts} starts");
    daemon.docker(["ps", "-aq"]).ok().out_is("");
    // Six contents, and as many scripts however often they took turns.
    assert_eq!(wrappers(&daemon).len(), 6, "{:?}", wrappers(&daemon));
}

/// What `berthd config reload` does, without a process for each.
#[track_caller]
fn ask_for_reload(daemon: &Daemon) {
    let socket = daemon.exec_root().join("berthd.sock");
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(b"\"reload\"").expect("asked");
    stream.shutdown(Shutdown::Write).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("{\"Ok\":"), "{answer}");
}

/// All that `/info` tells is from the same configuration.
#[track_caller]
fn is_one_of(info: &Value, configs: &[Value; 2]) {
    let of = configs
        .iter()
        .find(|config| config["labels"] == info["Labels"]);
    let of = of.unwrap_or_else(|| panic!("labels of neither: {}", info["Labels"]));
    assert_eq!(info["DefaultRuntime"], of["default-runtime"]);
    let mut shown = info["Runtimes"].clone();
    for stock in ["runc", "io.containerd.runc.v2"] {
        shown
            .as_object_mut()
            .expect("an object")
            .remove(stock)
            .expect("a stock runtime");
    }
    for runtime in shown.as_object_mut().expect("an object").values_mut() {
        runtime.as_object_mut().expect("an object").remove("status");
    }
    assert_eq!(shown, of["runtimes"]);
}

/// A container is made under the default, started, and removed; each answers as it should.
#[track_caller]
fn started(daemon: &Daemon) {
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}});
    let id = daemon
        .api("POST", "/containers/create", Some(&body))
        .is(201)
        .json()["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    daemon
        .api("POST", &format!("/containers/{id}/start"), None)
        .is(204);
    daemon
        .api("DELETE", &format!("/containers/{id}?force=1"), None)
        .is(204);
}
