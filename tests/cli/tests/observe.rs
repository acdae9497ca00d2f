//! `docker stats`, `top`, `container prune` and `system df`.

use serde_json::Value;
use testkit::{Daemon, Exchange, Options, PATIENCE, eventually, shared, unique};

/// One JSON value of a stream that has one a line.
#[track_caller]
fn next(stream: &mut Exchange) -> Option<Value> {
    let piece = stream.next(PATIENCE).expect("an answer in time")?;
    Some(serde_json::from_slice(&piece).expect("a JSON value a line"))
}

fn stats(name: &str, query: &str) -> Value {
    let target = format!("/containers/{name}/stats?{query}");
    shared().api("GET", &target, None).is(200).json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// The values that an attribute has in the events of one action so far.
fn told(daemon: &Daemon, action: &str, attribute: &str) -> Vec<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64().to_string();
    let filter = format!("event={action}");
    let format = format!("{{{{.Actor.Attributes.{attribute}}}}}");
    let output = daemon.docker([
        "events", "--since", "1", "--until", &now, "--filter", &filter, "--format", &format,
    ]);
    output.ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn stats_tell_what_a_container_uses() {
    let name = unique("stats");
    // Something of everything: memory, processor time, traffic, processes.
    let script = "dd if=/dev/zero of=/dev/shm/f bs=1M count=8; wget -q -O /dev/null http://127.0.0.1:1; \
                  ping -c 1 -w 1 172.17.0.1; sleep 1000 & echo ready; while :; do :; done";
    shared().run_d(
        &name,
        [
            "-m",
            "64m",
            "--pids-limit",
            "50",
            "busybox",
            "sh",
            "-c",
            script,
        ],
    );
    shared().wait_log(&name, "ready");
    let told = stats(&name, "stream=false");
    assert_eq!(told["name"], format!("/{name}"));
    assert_eq!(told["id"], shared().format(&name, "{{.Id}}"));
    let (cpu, before) = (&told["cpu_stats"], &told["precpu_stats"]);
    let total = |stats: &Value| number(&stats["cpu_usage"]["total_usage"]);
    let system = |stats: &Value| number(&stats["system_cpu_usage"]);
    assert!(total(cpu) > total(before) && total(before) > 0, "{told}");
    assert!(system(cpu) > system(before) && system(before) > 0, "{told}");
    assert!(number(&cpu["online_cpus"]) > 0);
    assert_ne!(told["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(number(&told["memory_stats"]["limit"]), 64 << 20);
    assert!(number(&told["memory_stats"]["usage"]) > 8 << 20, "{told}");
    assert!(number(&told["memory_stats"]["stats"]["inactive_file"]) < 64 << 20);
    assert_eq!(told["pids_stats"]["limit"], 50);
    assert_eq!(told["pids_stats"]["current"], 2);
    assert!(
        number(&told["networks"]["eth0"]["tx_packets"]) > 0,
        "{told}"
    );
    assert_eq!(
        told["networks"].as_object().map(serde_json::Map::len),
        Some(1)
    );
    assert!(
        told["blkio_stats"]["io_service_bytes_recursive"].is_array()
            || testkit::has_unified_cgroups()
    );

    let line = |format: &str| {
        let output = shared().docker(["stats", "--no-stream", "--format", format, &name]);
        output.ok().out().to_owned()
    };
    let figures = line("{{.Name}} {{.PIDs}} {{.MemUsage}} {{.CPUPerc}}");
    let percent = figures.rsplit(' ').next().unwrap_or_default();
    let percent: f64 = percent.trim_end_matches('%').parse().expect("a percentage");
    assert!(figures.starts_with(&format!("{name} 2 ")), "{figures}");
    assert!(figures.contains("/ 64MiB"), "{figures}");
    // It spins, on a machine that others use too.
    assert!((1.0..=150.0).contains(&percent), "{figures}");
    shared().remove(&[&name]);
}

#[test]
fn one_shot_and_stopped_containers() {
    let name = unique("oneshot");
    shared()
        .docker(["create", "--name", &name, "busybox", "sleep", "1000"])
        .ok();
    let told = stats(&name, "stream=false");
    assert_eq!(told["name"], format!("/{name}"));
    assert_eq!(told["read"], "0001-01-01T00:00:00Z");
    assert_eq!(number(&told["cpu_stats"]["cpu_usage"]["total_usage"]), 0);
    assert_eq!(told["memory_stats"], serde_json::json!({}));
    shared().docker(["start", &name]).ok();
    let told = stats(&name, "stream=false&one-shot=true");
    assert_eq!(told["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(number(&told["precpu_stats"]["system_cpu_usage"]), 0);
    assert!(number(&told["cpu_stats"]["cpu_usage"]["total_usage"]) > 0);
    let refused = format!("/containers/{name}/stats?one-shot=1");
    assert_eq!(
        shared().api("GET", &refused, None).is(400).message(),
        "cannot have stream=true and one-shot=true"
    );
    shared()
        .docker(["stats", "--no-stream", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn a_stream_of_stats_ends_with_the_container() {
    let name = unique("stream");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let target = format!("/containers/{name}/stats");
    let mut stream = shared().request("GET", &target).open();
    let first = next(&mut stream).expect("the first");
    let second = next(&mut stream).expect("the second");
    assert_eq!(second["precpu_stats"], first["cpu_stats"]);
    assert_eq!(second["preread"], first["read"]);
    shared().docker(["kill", &name]).ok();
    eventually("what does not run uses nothing", PATIENCE, || {
        let told = next(&mut stream).expect("it is still there");
        (told["read"] == "0001-01-01T00:00:00Z").then_some(())
    });
    shared().docker(["rm", &name]).ok();
    while next(&mut stream).is_some() {}
}

#[test]
fn a_joined_network_is_told_and_the_hosts_is_not() {
    let (own, joined, hosts) = (unique("net"), unique("net"), unique("net"));
    shared().run_d(&own, ["busybox", "sleep", "1000"]);
    let container = format!("container:{own}");
    shared().run_d(
        &joined,
        ["--network", &container, "busybox", "sleep", "1000"],
    );
    shared().run_d(&hosts, ["--network", "host", "busybox", "sleep", "1000"]);
    let networks = |name: &str| stats(name, "stream=false&one-shot=true")["networks"].clone();
    assert!(networks(&joined)["eth0"].is_object());
    assert_eq!(networks(&hosts), Value::Null);
    shared().remove(&[&joined, &own, &hosts]);
}

#[test]
fn top_shows_the_containers_processes_as_ps_does() {
    let name = unique("top");
    let script = "sleep 4321 & exec sleep 1234";
    shared().run_d(&name, ["busybox", "sh", "-c", script]);
    let top = |args: &[&str]| shared().cli(["top", &name]).args(args).run();
    let shown = eventually("both run", PATIENCE, || {
        let shown = top(&[]).ok().stdout;
        (shown.lines().count() == 3 && !shown.contains("sh -c")).then_some(shown)
    });
    let title = shown.lines().next().unwrap_or_default();
    assert!(title.starts_with("UID") && title.contains("PID"), "{shown}");
    assert!(shown.contains("sleep 4321"), "{shown}");
    let pid = shared().format(&name, "{{.State.Pid}}");
    assert!(shown.split_whitespace().any(|word| word == pid), "{shown}");
    let chosen = top(&["-o", "pid,comm"]).ok().stdout;
    assert!(chosen.starts_with("PID"), "{chosen}");
    assert_eq!(
        chosen
            .lines()
            .filter(|line| line.ends_with("sleep"))
            .count(),
        2
    );
    // f does not go with -q: asked again without.
    assert_eq!(top(&["axf"]).ok().stdout.lines().count(), 3);

    top(&["-o", "comm"])
        .exits(1)
        .err_has("Couldn't find PID field in ps output");
    top(&["-o", "pid=X", "-o", "ppid=PID"])
        .exits(1)
        .err_has("specifying \"ppid=PID\" is not allowed");
    let made = shared().sandbox().run_dir().join("made");
    let injected = format!("-ef; touch {}", made.display());
    top(&[&injected]).exits(1);
    top(&["--nosuch"])
        .exits(1)
        .err_has("error: unknown gnu long option");
    assert!(!made.exists(), "there is no shell");

    assert!(told(shared(), "top", "name").contains(&name));
    let again = unique("top");
    shared().run_d(&again, ["--restart", "always", "busybox", "false"]);
    eventually("it waits for its next start", PATIENCE, || {
        let error = shared().docker(["top", &again]).stderr;
        let wanted = format!(
            "Container {} is restarting, wait until the container is running",
            shared().format(&again, "{{.Id}}")
        );
        error.contains(&wanted).then_some(())
    });
    shared().remove(&[&again]);
    shared().docker(["kill", &name]).ok();
    let id = shared().format(&name, "{{.Id}}");
    let error = format!("Error response from daemon: container {id} is not running");
    assert_eq!(top(&[]).exits(1).err(), error);
    shared().remove(&[&name]);
}

#[test]
fn prune_takes_what_does_not_run() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d("runs", ["busybox", "sleep", "1000"]);
    let write = "dd if=/dev/zero of=/f bs=1000 count=100";
    daemon
        .docker([
            "run", "--name", "wrote", "-l", "keep=no", "busybox", "sh", "-c", write,
        ])
        .ok();
    daemon
        .docker(["create", "--name", "kept", "-l", "keep=yes", "busybox"])
        .ok();
    let names = || {
        let shown = daemon
            .docker(["ps", "-a", "--format", "{{.Names}}"])
            .ok()
            .stdout;
        let mut names: Vec<_> = shown.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    let prune = |filter: &str| daemon.docker(["container", "prune", "-f", "--filter", filter]);
    prune("until=1h").ok();
    prune("label=nosuch").ok();
    assert_eq!(names(), "kept runs wrote");
    prune("name=x").exits(1).err_has("invalid filter 'name'");
    prune("until=soon").exits(1);
    let id = daemon.format("wrote", "{{.Id}}");
    let shown = prune("label!=keep=yes").ok().stdout;
    assert!(shown.contains(&id), "{shown}");
    assert!(shown.contains("Total reclaimed space: 100kB"), "{shown}");
    assert_eq!(names(), "kept runs");
    assert!(told(&daemon, "prune", "reclaimed").contains(&"100000".to_owned()));
    let report = daemon.api("POST", "/containers/prune", None).is(200).json();
    assert_eq!(
        report["ContainersDeleted"].as_array().map(Vec::len),
        Some(1)
    );
    let report = daemon.api("POST", "/containers/prune", None).is(200).json();
    assert_eq!(report["ContainersDeleted"], Value::Null);
    assert_eq!(names(), "runs");
}

#[test]
fn disk_usage_adds_up() {
    let daemon = Daemon::start(Options::default());
    let write = "dd if=/dev/zero of=/v/f bs=1000 count=3; dd if=/dev/zero of=/f bs=1000 count=100; sleep 1000";
    daemon.run_d("runs", ["-v", "used:/v", "busybox", "sh", "-c", write]);
    daemon.docker(["volume", "create", "unused"]).ok();
    daemon.docker(["create", "--name", "made", "busybox"]).ok();
    eventually("it has written", PATIENCE, || {
        let usage = daemon
            .api("GET", "/system/df?type=container", None)
            .is(200)
            .json();
        (number(&usage["ContainerUsage"]["TotalSize"]) == 100_000).then_some(())
    });
    let usage = daemon.api("GET", "/system/df", None).is(200).json();
    let (containers, images) = (&usage["ContainerUsage"], &usage["ImageUsage"]);
    assert_eq!(
        (
            number(&containers["ActiveCount"]),
            number(&containers["TotalCount"])
        ),
        (1, 2)
    );
    assert_eq!(
        number(&containers["Reclaimable"]),
        0,
        "only what does not run"
    );
    assert_eq!(
        (
            number(&images["ActiveCount"]),
            number(&images["TotalCount"])
        ),
        (1, 1)
    );
    assert!(number(&images["TotalSize"]) > 100_000 && number(&images["Reclaimable"]) == 0);
    let volumes = &usage["VolumeUsage"];
    assert_eq!(
        (
            number(&volumes["ActiveCount"]),
            number(&volumes["TotalCount"])
        ),
        (1, 2)
    );
    assert_eq!(
        (
            number(&volumes["TotalSize"]),
            number(&volumes["Reclaimable"])
        ),
        (3000, 0)
    );
    assert_eq!(usage["BuildCacheUsage"]["TotalCount"], 0);
    assert_eq!(
        (&containers["Items"], &images["Items"]),
        (&Value::Null, &Value::Null)
    );

    let usage = daemon
        .api("GET", "/system/df?verbose=1&type=container", None)
        .is(200)
        .json();
    assert_eq!(
        usage["ContainerUsage"]["Items"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(usage["ImageUsage"], Value::Null);
    daemon.api("GET", "/system/df?type=x", None).is(400);

    let old = daemon.api("GET", "/v1.51/system/df", None).is(200).json();
    assert_eq!(old["Containers"].as_array().map(Vec::len), Some(2));
    assert_eq!(old["Images"][0]["Containers"], 2);
    assert_eq!(old["LayersSize"], images["TotalSize"]);
    assert_eq!(old["ContainerUsage"], Value::Null);
    let volumes = old["Volumes"].as_array().expect("a list");
    let sizes: Vec<_> = volumes
        .iter()
        .map(|one| (one["Name"].clone(), one["UsageData"].clone()))
        .collect();
    let told = |size: i64, users: i64| serde_json::json!({"RefCount": users, "Size": size});
    assert_eq!(
        sizes,
        [
            ("unused".into(), told(0, 0)),
            ("used".into(), told(3000, 1))
        ]
    );
    let shown = daemon.docker(["system", "df"]).ok().stdout;
    let row = |name: &str| {
        let row = shown.lines().find(|line| line.starts_with(name));
        row.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(
        row("Containers").starts_with("Containers 2 1 100kB 0B"),
        "{shown}"
    );
    assert!(row("Images").starts_with("Images 1 1 "), "{shown}");
    daemon.docker(["system", "df", "-v"]).ok().out_has("runs");
}

#[test]
fn running_out_of_memory_is_told() {
    let name = unique("oom");
    let limits = ["-m", "12m", "--memory-swap", "12m"];
    let run = shared().cli(["run", "--name", &name]).args(limits);
    run.args(["busybox", "tail", "/dev/zero"]).run().exits(137);
    let state = shared().format(&name, "{{.State.OOMKilled}} {{.State.ExitCode}}");
    assert_eq!(state, "true 137");
    eventually("the event", PATIENCE, || {
        told(shared(), "oom", "name").contains(&name).then_some(())
    });
    shared().remove(&[&name]);
}
