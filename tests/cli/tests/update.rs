//! `docker update`: limits and the restart policy of containers that run, and of those that do not.

use serde_json::{Value, json};
use testkit::{
    Daemon, Options, PATIENCE, eventually, has_unified_cgroups, run_command, shared, unique,
};

const MIB: u64 = 1 << 20;

/// The memory limit that the kernel knows, in bytes.
fn memory(daemon: &Daemon, name: &str) -> String {
    daemon.cgroup(name, "memory", "memory.limit_in_bytes", "memory.max")
}

fn pids(daemon: &Daemon, name: &str) -> String {
    daemon.cgroup(name, "pids", "pids.max", "pids.max")
}

/// Quota and period.
fn quota(daemon: &Daemon, name: &str) -> String {
    let quota = daemon.cgroup(name, "cpu", "cpu.cfs_quota_us", "cpu.max");
    if has_unified_cgroups() {
        return quota;
    }
    let period = daemon.cgroup(name, "cpu", "cpu.cfs_period_us", "");
    format!("{quota} {period}")
}

fn update(daemon: &Daemon, name: &str, body: Value) -> testkit::Response {
    let target = format!("/containers/{name}/update");
    daemon.api("POST", &target, Some(&body))
}

#[test]
fn what_runs_has_the_new_limits_at_once() {
    let name = unique("runs");
    let limits = [
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "busybox",
        "sleep",
        "1000",
    ];
    shared().run_d(&name, limits);
    assert_eq!(memory(shared(), &name), (64 * MIB).to_string());
    let args = ["update", "-m", "96m", "--memory-swap", "128m", &name];
    shared().docker(args).ok().out_is(&name);
    assert_eq!(memory(shared(), &name), (96 * MIB).to_string());
    shared().docker(["update", "--cpus", "0.5", &name]).ok();
    assert_eq!(quota(shared(), &name), "50000 100000");
    let args = ["update", "--pids-limit", "7", "--cpu-shares", "300", &name];
    shared().docker(args).ok();
    assert_eq!(pids(shared(), &name), "7");
    shared()
        .docker(["update", "--pids-limit", "-1", &name])
        .ok();
    assert_eq!(pids(shared(), &name), "max");
    let args = [
        "update",
        "--memory-reservation",
        "32m",
        "--cpuset-cpus",
        "0",
        &name,
    ];
    shared().docker(args).ok();
    let cpus = shared().cgroup(&name, "cpuset", "cpuset.cpus", "cpuset.cpus");
    assert_eq!(cpus, "0");
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}} \
        {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}";
    let wanted = format!("{} {} {} 500000000 300 0", 96 * MIB, 128 * MIB, 32 * MIB);
    assert_eq!(shared().format(&name, shown), wanted);
    // They hold in the next run, too.
    shared().docker(["restart", "-t", "0", &name]).ok();
    assert_eq!(memory(shared(), &name), (96 * MIB).to_string());
    assert_eq!(quota(shared(), &name), "50000 100000");
    shared().remove(&[&name]);
}

/// A field of the request, its value, and where the kernel has it: controller, file and text.
type Limit = (&'static str, Value, [&'static str; 3], &'static str);

/// What can be changed, as version 1 of the cgroups shows it.
fn limits() -> Vec<Limit> {
    vec![
        (
            "Memory",
            json!(96 * MIB),
            ["memory", "memory.limit_in_bytes", "memory.max"],
            "100663296",
        ),
        (
            "MemoryReservation",
            json!(48 * MIB),
            ["memory", "memory.soft_limit_in_bytes", "memory.low"],
            "50331648",
        ),
        ("CpuShares", json!(512), ["cpu", "cpu.shares", ""], "512"),
        (
            "CpuPeriod",
            json!(50_000),
            ["cpu", "cpu.cfs_period_us", ""],
            "50000",
        ),
        (
            "CpuQuota",
            json!(30_000),
            ["cpu", "cpu.cfs_quota_us", ""],
            "30000",
        ),
        (
            "CpusetCpus",
            json!("0"),
            ["cpuset", "cpuset.cpus", "cpuset.cpus"],
            "0",
        ),
        (
            "CpusetMems",
            json!("0"),
            ["cpuset", "cpuset.mems", "cpuset.mems"],
            "0",
        ),
        (
            "PidsLimit",
            json!(33),
            ["pids", "pids.max", "pids.max"],
            "33",
        ),
    ]
}

#[test]
fn each_limit_changes_on_what_runs_and_on_what_does_not() {
    let (runs, made) = (unique("each"), unique("each"));
    shared().run_d(&runs, ["-m", "64m", "busybox", "sleep", "1000"]);
    let create = [
        "create", "-m", "64m", "--name", &made, "busybox", "sleep", "1000",
    ];
    shared().docker(create).ok();
    let mut body = json!({"MemorySwap": 128 * MIB, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}});
    for (field, value, ..) in limits() {
        body[field] = value;
    }
    for name in [&runs, &made] {
        update(shared(), name, body.clone()).is(200);
    }
    shared().docker(["start", &made]).ok();
    for name in [&runs, &made] {
        let host = shared().inspect(name)["HostConfig"].clone();
        for (field, value) in body.as_object().expect("fields") {
            assert_eq!(&host[field], value, "{name}: {field}");
        }
        for (field, _, [controller, v1, v2], wanted) in limits() {
            if !has_unified_cgroups() || !v2.is_empty() {
                assert_eq!(
                    shared().cgroup(name, controller, v1, v2),
                    wanted,
                    "{name}: {field}"
                );
            }
        }
    }
    shared().remove(&[&runs, &made]);
}

/// The limits of single devices: those that are not named stay.
#[test]
fn block_io_of_devices_changes() {
    if shared().is_old_dockerd() {
        return;
    }
    let Some((path, numbers)) = a_disk() else {
        return;
    };
    let (runs, made) = (unique("disk"), unique("disk"));
    let read = format!("{path}:2mb");
    shared().run_d(
        &runs,
        ["--device-read-bps", &read, "busybox", "sleep", "1000"],
    );
    let create = ["create", "--device-read-bps", &read, "--name", &made];
    let create = shared().cli(create).args(["busybox", "sleep", "1000"]);
    create.run().ok();
    let body = json!({"BlkioDeviceWriteBps": [{"Path": path, "Rate": MIB}]});
    for name in [&runs, &made] {
        update(shared(), name, body.clone()).is(200);
    }
    shared().docker(["start", &made]).ok();
    for name in [&runs, &made] {
        let file = |v1: &str| shared().cgroup(name, "blkio", v1, "io.max");
        if has_unified_cgroups() {
            let all = file("");
            assert!(
                all.contains(&format!("{numbers} rbps=2097152 wbps=1048576")),
                "{all}"
            );
        } else {
            assert_eq!(
                file("blkio.throttle.read_bps_device"),
                format!("{numbers} 2097152")
            );
            assert_eq!(
                file("blkio.throttle.write_bps_device"),
                format!("{numbers} 1048576")
            );
        }
    }
    shared().remove(&[&runs, &made]);
}

#[test]
fn limits_of_a_device_that_cannot_be_had_change_nothing() {
    if shared().is_old_dockerd() {
        return;
    }
    // There are nodes for devices that nobody has.
    let node = shared().sandbox().state().join("no-disk");
    let mut mknod = std::process::Command::new("mknod");
    mknod.arg(&node).args(["b", "250", "250"]);
    run_command(mknod).ok();
    let name = unique("nodisk");
    shared().run_d(&name, ["-m", "64m", "busybox", "sleep", "1000"]);
    let limit = || shared().cgroup(&name, "memory", "memory.limit_in_bytes", "memory.max");
    let before = (limit(), shared().inspect(&name)["HostConfig"].clone());
    let read = json!([{"Path": node, "Rate": MIB}]);
    let body = json!({"Memory": 32 * MIB, "BlkioDeviceReadBps": read});
    update(shared(), &name, body).is(500);
    let after = (limit(), shared().inspect(&name)["HostConfig"].clone());
    assert_eq!(after, before);
    shared().remove(&[&name]);
}

/// A whole disk of this machine: its node and numbers.
fn a_disk() -> Option<(String, String)> {
    let disks = std::fs::read_dir("/sys/block").ok()?;
    disks.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let numbers = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let path = format!("/dev/{name}");
        let usable = !name.starts_with("loop") && !name.starts_with("ram");
        (usable && std::path::Path::new(&path).exists()).then(|| (path, numbers.trim().to_owned()))
    })
}

#[test]
fn it_is_told_and_outlives_the_daemon() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d("runs", ["-m", "64m", "busybox", "sleep", "1000"]);
    let create = ["create", "--name", "made", "busybox", "sleep", "1000"];
    daemon.docker(create).ok();
    let args = ["update", "-m", "80m", "--memory-swap", "-1", "runs", "made"];
    daemon.docker(args).ok().out_is("runs\nmade");
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let until = until.expect("after 1970").as_secs() + 1;
    let path =
        format!("/events?since=0&until={until}&filters=%7B%22event%22%3A%5B%22update%22%5D%7D");
    let events = daemon.api("GET", &path, None).is(200).text();
    assert_eq!(
        events.matches("\"Action\":\"update\"").count(),
        2,
        "{events}"
    );
    daemon.kill9();
    daemon.boot();
    for name in ["runs", "made"] {
        let shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}";
        assert_eq!(daemon.format(name, shown), format!("{} -1", 80 * MIB));
    }
    daemon.docker(["start", "made"]).ok();
    for name in ["runs", "made"] {
        assert_eq!(memory(&daemon, name), (80 * MIB).to_string(), "{name}");
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let name = unique("refused");
    let id = shared().run_d(&name, ["-m", "64m", "busybox", "sleep", "1000"]);
    let before = shared().inspect(&name)["HostConfig"].clone();
    let prefix = format!("Cannot update container {id}: ");
    for (body, status, words) in [
        (json!({"Memory": MIB}), 400, "Minimum memory limit allowed is 6MB".to_owned()),
        (
            json!({"Memory": 256 * MIB}),
            409,
            format!("{prefix}Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"),
        ),
        (
            json!({"Memory": 64 * MIB, "MemorySwap": 32 * MIB}),
            400,
            "Minimum memoryswap limit should be larger than memory limit, see usage".to_owned(),
        ),
        (
            json!({"RestartPolicy": {"Name": "sometimes"}}),
            400,
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'".to_owned(),
        ),
        (
            json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}),
            400,
            "invalid restart policy: maximum retry count cannot be negative".to_owned(),
        ),
    ] {
        let answer = update(shared(), &name, body.clone()).is(status);
        assert_eq!(answer.message(), words, "{body}");
    }
    update(shared(), "nosuch", json!({})).is(404);
    assert_eq!(shared().inspect(&name)["HostConfig"], before);
    assert_eq!(memory(shared(), &name), (64 * MIB).to_string());
    let auto = unique("auto");
    shared().run_d(&auto, ["--rm", "busybox", "sleep", "1000"]);
    let answer = shared()
        .docker(["update", "--restart", "always", &auto])
        .exits(1);
    answer.err_has(
        "Restart policy cannot be updated because AutoRemove is enabled for the container",
    );
    shared().remove(&[&name, &auto]);
}

#[test]
fn a_runtime_that_fails_changes_nothing() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return;
    }
    let daemon = Daemon::prepare(Options::default());
    let script = "#!/bin/sh\ncase \" $* \" in *' update '*) echo broken >&2; exit 1;; esac\nexec runc \"$@\"\n";
    let path = daemon.write("fails", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("chmod");
    let config = json!({"runtimes": {"fails": {"path": path}}});
    daemon.write("daemon.json", config.to_string());
    daemon.boot();
    daemon.load_busybox();
    let args = [
        "--runtime",
        "fails",
        "-m",
        "64m",
        "busybox",
        "sleep",
        "1000",
    ];
    let id = daemon.run_d("fails", args);
    let before = daemon.inspect("fails")["HostConfig"].clone();
    let answer = update(&daemon, "fails", json!({"Memory": 32 * MIB}));
    let message = answer.is(500).message();
    assert!(
        message.starts_with(&format!("Cannot update container {id}: ")),
        "{message}"
    );
    assert!(message.contains("broken"), "{message}");
    assert_eq!(daemon.inspect("fails")["HostConfig"], before);
    // What the runtime need not know of is changed all the same.
    daemon
        .docker(["update", "--restart", "always", "fails"])
        .ok();
}

#[test]
fn the_restart_policy_holds_from_then_on() {
    let name = unique("policy");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let args = ["update", "--restart", "on-failure:1", &name];
    shared().docker(args).ok();
    let end = || {
        let pid = shared().format(&name, "{{.State.Pid}}");
        let mut kill = shared().sandbox().command("kill");
        kill.args(["-9", &pid]);
        testkit::run_command(kill).ok();
    };
    end();
    eventually("it is started again", PATIENCE, || {
        let is = shared().format(&name, "{{.State.Status}} {{.RestartCount}}");
        (is == "running 1").then_some(())
    });
    shared().docker(["update", "--restart", "no", &name]).ok();
    end();
    shared().docker(["wait", &name]).ok().out_is("137");
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "exited");
    // While it waits for the next run, too: that one is the last.
    shared().docker(["rm", &name]).ok();
    shared().run_d(&name, ["--restart", "always", "busybox", "false"]);
    shared().wait_status(&name, "restarting");
    shared().docker(["update", "--restart", "no", &name]).ok();
    shared().docker(["wait", &name]).ok().out_is("1");
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "exited");
    shared().remove(&[&name]);
}

#[test]
fn many_at_once_lose_nothing() {
    let name = unique("many");
    shared().run_d(&name, ["-m", "64m", "busybox", "sleep", "1000"]);
    let updates = [
        ["--cpu-shares", "200"],
        ["--pids-limit", "33"],
        ["--memory-reservation", "20m"],
        ["--cpuset-cpus", "0"],
        ["--restart", "always"],
        ["--cpu-quota", "70000"],
    ];
    let running: Vec<_> = updates
        .iter()
        .map(|args| shared().cli(["update"]).args(args).arg(&name).spawn())
        .collect();
    for update in running {
        update.wait().ok();
    }
    let shown = "{{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}} {{.HostConfig.MemoryReservation}} \
        {{.HostConfig.CpusetCpus}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.CpuQuota}}";
    let wanted = format!("200 33 {} 0 always 70000", 20 * MIB);
    assert_eq!(shared().format(&name, shown), wanted);
    assert_eq!(pids(shared(), &name), "33");
    shared().remove(&[&name]);
}
