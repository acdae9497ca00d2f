//! stop, kill, restart, rename, rm and wait.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::{PATIENCE, shared, unique};

fn state(name: &str) -> String {
    shared().format(name, "{{.State.Status}} {{.State.ExitCode}}")
}

/// Tells of each signal that a container is sent.
fn signals(name: &str) -> testkit::Exchange {
    shared().events(&serde_json::json!({"container": [name], "event": ["kill"]}))
}

#[test]
fn stop_waits_and_then_kills() {
    let name = unique("stop");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let begin = Instant::now();
    shared()
        .docker(["stop", "-t", "1", &name])
        .ok()
        .out_is(&name);
    let took = begin.elapsed();
    // Not the ten seconds that are the default.
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!(state(&name), "exited 137");
    // Stopping again is no error: 304.
    shared().docker(["stop", &name]).ok();
    shared()
        .api("POST", &format!("/containers/{name}/stop"), None)
        .is(304);
    shared().remove(&[&name]);
}

#[test]
fn stop_signal() {
    let name = unique("signal");
    let script = "trap 'exit 5' USR1; echo ready; while :; do usleep 20000; done";
    shared().run_d(
        &name,
        ["--stop-signal", "USR1", "busybox", "sh", "-c", script],
    );
    shared().wait_log(&name, "ready");
    shared().docker(["stop", &name]).ok();
    assert_eq!(state(&name), "exited 5");
    assert_eq!(shared().format(&name, "{{.Config.StopSignal}}"), "USR1");
    shared().docker(["start", &name]).ok();
    shared().wait_log(&name, "ready\nready");
    // The request's own signal wins (API 1.42).
    if !shared().is_old_dockerd() {
        shared()
            .api(
                "POST",
                &format!("/containers/{name}/stop?signal=SIGKILL"),
                None,
            )
            .is(204);
        assert_eq!(state(&name), "exited 137");
    }
    shared().remove(&[&name]);
}

#[test]
fn signals_of_real_time_by_their_names() {
    let name = unique("realtime");
    // busybox' sh knows them by their numbers only.
    let script =
        "trap 'echo seven' 41; trap 'exit 6' 37; echo ready; while :; do usleep 20000; done";
    let args = ["--stop-signal", "SIGRTMIN+3", "busybox", "sh", "-c", script];
    shared().run_d(&name, args);
    shared().wait_log(&name, "ready");
    for signal in ["RTMIN+7", "sigrtmax-23", "41"] {
        shared().docker(["kill", "-s", signal, &name]).ok();
    }
    shared().wait_log(&name, "seven");
    shared().docker(["stop", &name]).ok();
    assert_eq!(state(&name), "exited 6");
    shared().remove(&[&name]);
}

#[test]
fn stop_timeout_of_the_container() {
    let name = unique("timeout");
    shared().run_d(&name, ["--stop-timeout", "1", "busybox", "sleep", "1000"]);
    let begin = Instant::now();
    shared().docker(["stop", &name]).ok();
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    shared().remove(&[&name]);
}

#[test]
fn kill_gets_through_during_a_long_stop() {
    let name = unique("through");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let mut signals = signals(&name);
    let stop = shared().cli(["stop", "-t", "50", &name]).spawn();
    let begin = Instant::now();
    // The stop has sent its signal when the event is there; ps and inspect answer meanwhile.
    signals.read_until("\"kill\"");
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    shared().docker(["kill", &name]).ok();
    stop.wait().ok();
    assert!(
        begin.elapsed() < Duration::from_secs(45),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(state(&name), "exited 137");
    shared().remove(&[&name]);
}

#[test]
fn kill_with_signals() {
    let name = unique("kill");
    let script =
        "trap 'echo hup' HUP; trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done";
    let id = shared().run_d(&name, ["busybox", "sh", "-c", script]);
    shared().wait_log(&name, "ready");
    for signal in ["HUP", "SIGHUP", "1"] {
        shared().docker(["kill", "-s", signal, &name]).ok();
    }
    shared().wait_log(&name, "hup");
    assert_eq!(shared().format(&name, "{{.State.Running}}"), "true");
    shared().docker(["kill", "-s", "TERM", &name]).ok();
    shared().docker(["wait", &name]).ok().out_is("3");
    let output = shared().docker(["kill", &name]).exits(1);
    let wanted = if shared().is_old_dockerd() {
        format!("Cannot kill container: {name}: Container {id} is not running")
    } else {
        format!("cannot kill container: {name}: container {id} is not running")
    };
    assert!(output.stderr.contains(&wanted), "{output}");
    shared()
        .api("POST", &format!("/containers/{name}/kill"), None)
        .is(409);
    let bad = shared().api(
        "POST",
        &format!("/containers/{name}/kill?signal=NOSUCH"),
        None,
    );
    assert!(
        bad.message()
            .to_lowercase()
            .contains("invalid signal: nosuch"),
        "{}",
        bad.message()
    );
    shared()
        .docker(["kill", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn restart() {
    let name = unique("restart");
    shared().run_d(
        &name,
        [
            "busybox",
            "sh",
            "-c",
            "echo x >>/count; wc -l </count; sleep 1000",
        ],
    );
    shared().wait_log(&name, "1");
    let before = shared().inspect(&name);
    shared().docker(["restart", "-t", "0", &name]).ok();
    shared().wait_log(&name, "2");
    let after = shared().inspect(&name);
    assert_ne!(before["State"]["StartedAt"], after["State"]["StartedAt"]);
    assert_ne!(before["State"]["Pid"], after["State"]["Pid"]);
    assert_eq!(after["State"]["Running"], true);
    shared().docker(["kill", &name]).ok();
    shared().docker(["wait", &name]).ok();
    // A stopped container is just started.
    shared().docker(["restart", &name]).ok();
    shared().wait_log(&name, "3");
    shared()
        .docker(["restart", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn start_of_a_running_container_is_304() {
    let name = unique("running");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    shared()
        .api("POST", &format!("/containers/{name}/start"), None)
        .is(304);
    shared().docker(["start", &name]).ok();
    shared().remove(&[&name]);
}

#[test]
fn rm() {
    let name = unique("rm");
    let id = shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let output = shared().docker(["rm", &name]).exits(1);
    let wanted = if shared().is_old_dockerd() {
        format!(
            "You cannot remove a running container {id}. Stop the container before attempting removal or force remove"
        )
    } else {
        format!(
            "cannot remove container \"{name}\": container is running: stop the container before removing or force remove"
        )
    };
    assert!(output.stderr.contains(&wanted), "{output}");
    shared()
        .api("DELETE", &format!("/containers/{name}"), None)
        .is(409);
    shared().docker(["rm", "-f", &name]).ok().out_is(&name);
    let missing = shared()
        .api("DELETE", &format!("/containers/{name}"), None)
        .is(404);
    assert_eq!(missing.message(), format!("No such container: {name}"));
    shared()
        .docker(["rm", &name])
        .exits(1)
        .err_has("No such container");
    let folder = shared().data_root().join("containers").join(&id);
    assert!(!folder.exists(), "{} is still there", folder.display());
}

#[test]
fn rename() {
    let (one, two, three) = (unique("name"), unique("name"), unique("name"));
    let id = shared()
        .docker(["create", "--name", &one, "busybox"])
        .ok()
        .out()
        .to_owned();
    shared().docker(["create", "--name", &two, "busybox"]).ok();
    let output = shared().docker(["rename", &two, &one]).exits(1);
    let conflict =
        format!("Conflict. The container name \"/{one}\" is already in use by container \"{id}\"");
    assert!(output.stderr.contains(&conflict), "{output}");
    shared().docker(["rename", &one, &three]).ok();
    assert_eq!(shared().format(&three, "{{.Id}}"), id);
    shared().docker(["container", "inspect", &one]).exits(1);
    // The old name is free.
    shared().docker(["rename", &two, &one]).ok();
    shared()
        .docker(["rename", &one, "bad name"])
        .exits(1)
        .err_has("Invalid container name");
    let same = shared().docker(["rename", &three, &three]).exits(1);
    assert!(
        same.stderr
            .contains("Renaming a container with the same name as its current name"),
        "{same}"
    );
    let target = format!("/containers/{three}/rename");
    let empty = shared().api("POST", &target, None);
    assert!(
        empty.status >= 400
            && empty
                .message()
                .contains("Neither old nor new names may be empty")
    );
    shared()
        .docker(["rename", "nosuch", "x"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&one, &three]);
}

#[test]
fn wait_conditions() {
    let name = unique("wait");
    let target = |condition: &str| format!("/containers/{name}/wait?condition={condition}");
    shared()
        .docker(["create", "--name", &name, "busybox", "sh", "-c", "exit 4"])
        .ok();
    // Not running already: at once, with the code it has.
    let now = shared()
        .api("POST", &target("not-running"), None)
        .is(200)
        .json();
    assert_eq!(now["StatusCode"], 0);
    // The next exit and the removal: headers at once, the rest later.
    let mut next = shared().request("POST", &target("next-exit")).open();
    let mut removed = shared().request("POST", &target("removed")).open();
    assert_eq!((next.status, removed.status), (200, 200));
    assert!(
        next.next(Duration::from_millis(300)).is_err(),
        "nothing has ended yet"
    );
    shared().docker(["start", &name]).ok();
    let body = next.rest(PATIENCE).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["StatusCode"], 4);
    assert!(
        removed.next(Duration::from_millis(300)).is_err(),
        "nothing is removed yet"
    );
    let now = shared()
        .api("POST", &target("not-running"), None)
        .is(200)
        .json();
    assert_eq!(now["StatusCode"], 4);
    shared().docker(["rm", &name]).ok();
    let body = removed.rest(PATIENCE).unwrap();
    assert!(String::from_utf8_lossy(&body).contains("\"StatusCode\":4"));
    shared().api("POST", &target("not-running"), None).is(404);
    if !shared().is_old_dockerd() {
        shared().docker(["create", "--name", &name, "busybox"]).ok();
        let bad = shared().api("POST", &target("odd"), None).is(400);
        assert_eq!(bad.message(), "invalid condition: \"odd\"");
        shared().remove(&[&name]);
    }
}

#[test]
fn wait_of_two_containers() {
    let (one, two) = (unique("wait"), unique("wait"));
    shared().run_d(&one, ["busybox", "sh", "-c", "exit 1"]);
    shared().run_d(&two, ["busybox", "sh", "-c", "exit 2"]);
    shared().docker(["wait", &one, &two]).ok().out_is("1\n2");
    shared().remove(&[&one, &two]);
}

#[test]
fn a_client_that_hangs_up_during_stop_changes_nothing() {
    let name = unique("hangup");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let mut signals = signals(&name);
    let stop = shared().cli(["stop", "-t", "1", &name]).spawn();
    signals.read_until("\"kill\"");
    stop.signal(Signal::KILL);
    // The stop goes on.
    shared().wait_status(&name, "exited");
    assert_eq!(state(&name), "exited 137");
    shared().docker(["rm", &name]).ok();
}
