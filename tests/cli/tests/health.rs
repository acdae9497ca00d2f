//! Health checks: what is probed, when, and what is told of it.

use serde_json::{Value, json};
use testkit::{Compression, Daemon, Image, Leaks, Options, PATIENCE, eventually, shared, unique};

/// Runs a container whose health is checked often.
fn run(daemon: &Daemon, name: &str, check: &str, more: &[&str]) -> String {
    let fast = ["--health-interval", "100ms", "--health-retries", "2"];
    let cli = daemon.cli(["run", "-d", "--name", name, "--health-cmd", check]);
    let cli = cli.args(fast).args(more).args(["busybox", "sleep", "1000"]);
    cli.run().ok().out().to_owned()
}

fn health(daemon: &Daemon, name: &str) -> Value {
    daemon.inspect(name)["State"]["Health"].clone()
}

#[track_caller]
fn becomes(daemon: &Daemon, name: &str, status: &str) {
    eventually(&format!("{name} is {status}"), PATIENCE, || {
        (health(daemon, name)["Status"] == status).then_some(())
    });
}

#[test]
fn it_turns_healthy_and_unhealthy_and_says_so() {
    let name = unique("turns");
    let filter = format!("container={name}");
    let events = ["events", "-f", &filter, "--format", "{{.Action}}"];
    let mut events = shared().cli(events).spawn();
    eventually("the events are followed", PATIENCE, || {
        shared().docker(["create", "--name", &name, "busybox"]).ok();
        shared().remove(&[&name]);
        events.stdout().contains("create").then_some(())
    });
    run(
        shared(),
        &name,
        "test -e /ok && echo fine || exit 1",
        &["--health-retries", "3"],
    );
    let ps = |format: &str, more: &str| {
        let name = format!("name={name}");
        let args = ["ps", "-f", &name, "-f", more, "--format", format];
        shared().docker(args).ok().out().to_owned()
    };
    if health(shared(), &name)["Status"] == "starting" {
        // It may have turned between the two questions.
        let status = ps("{{.Status}}", "status=running");
        assert!(status.contains("(health: starting)") || status.contains("(unhealthy)"));
    }
    events.wait_for("health_status: unhealthy");
    let ill = health(shared(), &name);
    assert!(ill["FailingStreak"].as_i64() >= Some(3), "{ill}");
    assert!(ps("{{.Status}}", "health=unhealthy").ends_with("(unhealthy)"));
    shared().docker(["exec", &name, "touch", "/ok"]).ok();
    events.wait_for("health_status: healthy");
    let well = health(shared(), &name);
    let last = well["Log"]
        .as_array()
        .and_then(|log| log.last())
        .expect("a probe");
    assert_eq!(
        (&last["ExitCode"], &last["Output"]),
        (&json!(0), &json!("fine\n"))
    );
    assert_eq!(well["FailingStreak"], 0);
    assert!(ps("{{.Status}}", "health=healthy").ends_with("(healthy)"));
    assert_eq!(ps("{{.Names}}", "health=starting"), "");
    let told = events.stdout();
    for event in [
        "exec_create: /bin/sh -c test -e /ok",
        "exec_start: /bin/sh -c test",
        "exec_die",
    ] {
        assert!(told.contains(event), "{event}: {told}");
    }
    eventually("five probes are remembered", PATIENCE, || {
        let log = health(shared(), &name)["Log"].as_array().map(Vec::len);
        (log == Some(5)).then_some(())
    });
    // Nobody looks after what has stopped.
    shared().docker(["stop", "-t", "0", &name]).ok();
    assert_eq!(health(shared(), &name)["Status"], "unhealthy");
    assert_eq!(shared().inspect(&name)["ExecIDs"], Value::Null);
    shared().remove(&[&name]);
}

/// While it starts it is asked more often, and what fails does not count.
#[test]
fn its_start_has_an_interval_of_its_own() {
    if shared().is_old_dockerd() {
        return;
    }
    let name = unique("starts");
    let slow = [
        "--health-interval",
        "1h",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "100ms",
        "--health-retries",
        "1",
    ];
    let cli = shared().cli([
        "run",
        "-d",
        "--name",
        &name,
        "--health-cmd",
        "test -e /ready",
    ]);
    cli.args(slow).args(["busybox", "sleep", "1000"]).run().ok();
    let check = shared().inspect(&name)["Config"]["Healthcheck"].clone();
    assert_eq!(check["StartInterval"], 100_000_000);
    eventually("it was asked twice", PATIENCE, || {
        let probes = health(shared(), &name)["Log"].as_array()?.len();
        (probes >= 2).then_some(())
    });
    assert_eq!(health(shared(), &name)["Status"], "starting");
    assert_eq!(health(shared(), &name)["FailingStreak"], 0);
    shared().docker(["exec", &name, "touch", "/ready"]).ok();
    becomes(shared(), &name, "healthy");
    shared().remove(&[&name]);
}

#[test]
fn the_list_tells_health_to_new_clients() {
    if shared().is_old_dockerd() {
        return;
    }
    let names = [unique("listed"), unique("listed")];
    run(shared(), &names[0], "true", &[]);
    shared().run_d(&names[1], ["busybox", "sleep", "1000"]);
    becomes(shared(), &names[0], "healthy");
    let list = |version: &str| {
        let path = format!("/{version}/containers/json");
        let list = shared().api("GET", &path, None).is(200).json();
        let list = list.as_array().cloned().unwrap_or_default();
        let of = |name: &String| {
            let named = json!([format!("/{name}")]);
            let found = list.iter().find(|one| one["Names"] == named);
            found.expect("listed")["Health"].clone()
        };
        names.each_ref().map(of)
    };
    let healthy = json!({"Status": "healthy", "FailingStreak": 0});
    let none = json!({"Status": "none", "FailingStreak": 0});
    assert_eq!(list("v1.52"), [healthy, none]);
    assert_eq!(list("v1.51"), [Value::Null, Value::Null]);
    shared().remove(&names.each_ref().map(String::as_str));
}

/// How many processes of the sandbox run this.
fn processes(daemon: &Daemon, command: &str) -> usize {
    let entries = std::fs::read_dir(daemon.sandbox().proc()).expect("/proc");
    let lines = entries.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.trim_end() == command).count()
}

#[test]
fn a_probe_that_takes_too_long_is_killed_with_what_it_started() {
    let name = unique("slow");
    let check = "echo hangs; sleep 7654 & sleep 7654";
    run(shared(), &name, check, &["--health-timeout", "1s"]);
    eventually("three probes took too long", PATIENCE, || {
        let streak = health(shared(), &name)["FailingStreak"].as_i64();
        (streak >= Some(3)).then_some(())
    });
    // Those of the probe that runs now, once the others have died of their signal.
    eventually("two processes at most are left", PATIENCE, || {
        (processes(shared(), "sleep 7654") <= 2).then_some(())
    });
    let told = health(shared(), &name);
    let probe = &told["Log"][0];
    assert_eq!(probe["ExitCode"], -1);
    assert_eq!(
        probe["Output"],
        "Health check exceeded timeout (1s): hangs\n"
    );
    assert_eq!(told["Status"], "unhealthy");
    shared().remove(&[&name]);
    eventually("nothing is left", PATIENCE, || {
        (processes(shared(), "sleep 7654") == 0).then_some(())
    });
}

#[test]
fn what_a_probe_says_is_limited_and_what_is_not_there_is_told() {
    let name = unique("says");
    run(
        shared(),
        &name,
        "head -c 5000 /dev/zero | tr '\\0' x; exit 3",
        &[],
    );
    let first = |name: &str| {
        eventually("a probe is told", PATIENCE, || {
            health(shared(), name)["Log"].get(0).cloned()
        })
    };
    let probe = first(&name);
    let output = probe["Output"].as_str().expect("text");
    assert_eq!(output.len(), 4096 + 3);
    assert!(output.ends_with("x..."));
    assert_eq!(probe["ExitCode"], 3);
    let missing = unique("missing");
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"],
        "Healthcheck": {"Test": ["CMD", "nosuch"], "Interval": 100_000_000},
    });
    let path = format!("/containers/create?name={missing}");
    shared().api("POST", &path, Some(&body)).is(201);
    shared().docker(["start", &missing]).ok();
    let probe = first(&missing);
    assert_eq!(probe["ExitCode"], -1, "{probe}");
    let output = probe["Output"].as_str().expect("text");
    assert!(output.contains("executable file not found"), "{output}");
    shared().remove(&[&name, &missing]);
}

#[test]
fn what_is_frozen_is_not_probed() {
    let name = unique("frozen");
    let id = run(shared(), &name, "true", &[]);
    becomes(shared(), &name, "healthy");
    let probed = |seconds: u64| {
        let path = format!(
            "/events?since=0&until={seconds}&filters=%7B%22container%22%3A%5B%22{id}%22%5D%2C\
             %22event%22%3A%5B%22exec_start%22%5D%7D"
        );
        let told = shared().api("GET", &path, None).is(200).text();
        told.matches("exec_start").count()
    };
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("after 1970").as_secs() + 1
    };
    shared().docker(["pause", &name]).ok();
    // Each count waits for the second to end: time enough for some probes, but for the first, which
    // is for one that was about to begin.
    probed(now());
    let log = health(shared(), &name)["Log"].clone();
    let before = probed(now());
    assert_eq!(probed(now()), before);
    let frozen = health(shared(), &name);
    assert_eq!(frozen["Log"], log);
    // Nobody looks, which Docker calls that.
    assert_eq!(frozen["Status"], "unhealthy");
    let filter = format!("name={name}");
    let ps = ["ps", "-f", &filter, "--format", "{{.Status}}"];
    assert!(shared().docker(ps).ok().out().ends_with("(Paused)"));
    shared().docker(["unpause", &name]).ok();
    becomes(shared(), &name, "healthy");
    shared().remove(&[&name]);
}

#[test]
fn the_images_check_is_merged_and_can_be_turned_off() {
    let check =
        json!({"Test": ["CMD-SHELL", "test -e /ok"], "Interval": 100_000_000, "Retries": 1});
    let image = Image::busybox("checked:latest").set("Healthcheck", check);
    let image = image.docker_archive(Compression::None);
    shared().cli(["load"]).stdin(image).run().ok();
    let [own, more, off] = [unique("own"), unique("more"), unique("off")];
    shared().run_d(&own, ["checked", "sleep", "1000"]);
    let args = ["--health-retries", "7", "checked", "sleep", "1000"];
    shared().run_d(&more, args);
    let args = ["--no-healthcheck", "checked", "sleep", "1000"];
    shared().run_d(&off, args);
    becomes(shared(), &own, "unhealthy");
    let shown = "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}";
    assert_eq!(
        shared().format(&more, shown),
        "[CMD-SHELL test -e /ok] 100ms 7"
    );
    assert_eq!(health(shared(), &off), Value::Null);
    let test = "{{json .Config.Healthcheck.Test}}";
    assert_eq!(shared().format(&off, test), r#"["NONE"]"#);
    shared().remove(&[&own, &more, &off]);
    shared().docker(["rmi", "checked"]).ok();
}

#[test]
fn wrong_checks_are_refused_in_dockers_words() {
    for (field, value, words) in [
        (
            "Interval",
            1,
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            "Timeout",
            999_999,
            "Timeout in Healthcheck cannot be less than 1ms",
        ),
        (
            "StartPeriod",
            1,
            "StartPeriod in Healthcheck cannot be less than 1ms",
        ),
        ("Retries", -1, "Retries in Healthcheck cannot be negative"),
    ] {
        let body =
            json!({"Image": "busybox", "Healthcheck": {"Test": ["CMD", "true"], field: value}});
        let answer = shared()
            .api("POST", "/containers/create", Some(&body))
            .is(400);
        assert_eq!(answer.message(), words);
    }
}

#[test]
fn probing_goes_on_after_a_crash_of_the_daemon() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    run(&daemon, "checked", "test ! -e /ill", &[]);
    becomes(&daemon, "checked", "healthy");
    daemon.kill9();
    daemon.boot();
    becomes(&daemon, "checked", "healthy");
    daemon.docker(["exec", "checked", "touch", "/ill"]).ok();
    becomes(&daemon, "checked", "unhealthy");
    daemon.remove(&["checked"]);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_runtime_that_hangs_on_probes_delays_nobody() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return;
    }
    let daemon = Daemon::prepare(Options::default());
    let script = "#!/bin/sh\ncase \" $* \" in *' exec '*) sleep 4321;; esac\nexec runc \"$@\"\n";
    let path = daemon.write("hangs", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("chmod");
    let config = json!({"runtimes": {"hangs": {"path": path}}});
    daemon.write("daemon.json", config.to_string());
    daemon.boot();
    daemon.load_busybox();
    run(&daemon, "hung", "true", &["--runtime", "hangs"]);
    eventually("a probe hangs", PATIENCE, || {
        (processes(&daemon, "sleep 4321") > 0).then_some(())
    });
    run(&daemon, "well", "true", &[]);
    becomes(&daemon, "well", "healthy");
    assert_eq!(health(&daemon, "hung")["Status"], "starting");
    daemon.docker(["rm", "-f", "well"]).ok();
}
