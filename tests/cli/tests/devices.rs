//! Devices, and what else a container may and may not do.

use std::process::Command;

use testkit::{Output, has_unified_cgroups, shared, unique};

fn sh(options: &[&str], script: &str) -> Output {
    let cli = shared().cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

#[test]
fn folders_and_links_of_devices() {
    // The daemon's /dev is this machine's.
    let folder = tempfile::Builder::new()
        .prefix("berth-test-")
        .tempdir_in("/dev");
    let folder = folder.expect("a folder in /dev");
    std::fs::create_dir(folder.path().join("deep")).expect("mkdir");
    for (name, minor) in [("zero", "5"), ("deep/null", "3")] {
        let made = Command::new("mknod")
            .arg(folder.path().join(name))
            .args(["c", "1", minor])
            .status();
        assert!(made.expect("mknod runs").success());
    }
    std::os::unix::fs::symlink("zero", folder.path().join("link")).expect("symlink");
    let shown = folder.path().display();
    let all = format!("{shown}:/dev/all");
    let script = "cd /dev/all; find . -type c | sort; head -c 2 zero | wc -c";
    sh(&["--device", &all], script)
        .ok()
        .out_is("./deep/null\n./zero\n2");
    let link = format!("{shown}/link:/dev/linked");
    sh(&["--device", &link], "head -c 3 /dev/linked | wc -c")
        .ok()
        .out_is("3");
    sh(&["--device", "/etc/passwd"], "true")
        .exits(125)
        .err_has("error gathering device information while adding custom device \"/etc/passwd\": not a device node");
}

#[test]
fn rules_of_the_device_cgroup() {
    let script = "mknod /dev/km c 1 11; (: >/dev/km) 2>/dev/null && echo open || echo denied";
    sh(&[], script).ok().out_is("denied");
    for rule in ["c 1:11 w", "c 1:* rwm", "a *:* rwm"] {
        sh(&["--device-cgroup-rule", rule], script)
            .ok()
            .out_is("open");
    }
    sh(&["--device-cgroup-rule", "c 1:11 r"], script)
        .ok()
        .out_is("denied");
    sh(&["--device-cgroup-rule", "x 1:1 r"], "true")
        .exits(125)
        .err_has("invalid device cgroup format 'x 1:1 r'");
}

/// As dockerd on a host without a GPU. Devices that are described are in `cdi.rs`.
#[test]
fn nobody_gives_gpus() {
    let name = unique("gpu");
    let run = |options: &[&str]| {
        let cli = shared().cli(["run", "--name", &name]).args(options);
        cli.args(["busybox", "true"]).run().exits(125)
    };
    run(&["--gpus", "all"])
        .err_has("could not select device driver \"\" with capabilities: [[gpu]]");
    // It was made, and could be started elsewhere.
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "created");
    shared().remove(&[&name]);
    run(&["--device", "nvidia.com/gpu=all"])
        .err_has("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all");
    shared().remove(&[&name]);
}

#[test]
fn security_options() {
    let status = |options: &[&str], field: &str| {
        let script = format!("sed -n 's/^{field}:[^0-9]*//p' /proc/self/status");
        sh(options, &script).ok().out().to_owned()
    };
    for (option, value) in [
        ("no-new-privileges", "1"),
        ("no-new-privileges:true", "1"),
        ("no-new-privileges=false", "0"),
    ] {
        let told = status(&["--security-opt", option], "NoNewPrivs");
        assert_eq!(told, value, "{option}");
    }
    assert_eq!(
        status(&["--security-opt", "seccomp=builtin"], "Seccomp"),
        "2"
    );
    assert_eq!(
        status(&["--security-opt", "seccomp=unconfined"], "Seccomp"),
        "0"
    );
    assert_eq!(status(&["--privileged"], "Seccomp"), "0");
    // Where the kernel has no SELinux and no AppArmor they are taken, and mean nothing.
    for option in ["label=disable", "label=user:x", "apparmor=unconfined"] {
        sh(&["--security-opt", option], "true").ok();
    }
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !apparmor.is_ok_and(|enabled| enabled.starts_with('Y')) {
        let option = ["--security-opt", "apparmor=whatever"];
        sh(&option, "true").ok();
    }
    for (option, words) in [
        ("nonsense=1", "invalid --security-opt 2: \"nonsense=1\""),
        (
            "no-new-privileges=maybe",
            "invalid --security-opt 2: \"no-new-privileges=maybe\"",
        ),
        (
            "seccomp=/no/such/file",
            "opening seccomp profile (/no/such/file) failed",
        ),
    ] {
        sh(&["--security-opt", option], "true")
            .exits(125)
            .err_has(words);
    }
    let broken = shared().write("broken.json", "{\"defaultAction\":");
    let option = format!("seccomp={}", broken.display());
    sh(&["--security-opt", &option], "true").exits(125);
}

#[test]
fn paths_of_the_system_can_be_opened() {
    let masked = "mount | grep -c ' /proc/' ";
    let writable = "(echo 4096 >/proc/sys/kernel/shmmni) 2>/dev/null && echo yes || echo no";
    assert_ne!(sh(&[], masked).out(), "0");
    sh(&["--security-opt", "systempaths=unconfined"], masked)
        .exits(1)
        .out_is("0");
    sh(&[], writable).ok().out_is("no");
    sh(&["--security-opt", "systempaths=unconfined"], writable)
        .ok()
        .out_is("yes");
}

#[test]
fn cgroups_can_be_written_when_asked_for() {
    let script =
        "grep ' cgroup2\\? ' /proc/mounts | grep -v tmpfs | cut -d' ' -f4 | cut -d, -f1 | sort -u";
    sh(&["--cgroupns", "private"], script).ok().out_is("ro");
    let options = [
        "--cgroupns",
        "private",
        "--security-opt",
        "writable-cgroups=true",
    ];
    sh(&options, script).ok().out_is("rw");
}

#[test]
fn annotations_reach_the_runtime() {
    let name = unique("noted");
    let args = ["--annotation", "a.b/c=d e", "busybox", "sleep", "1000"];
    let id = shared().run_d(&name, args);
    assert_eq!(
        shared().format(&name, "{{index .HostConfig.Annotations \"a.b/c\"}}"),
        "d e"
    );
    let bundle = shared().exec_root().join("containerd");
    let found = Command::new("grep")
        .args(["-rl", "--include=config.json", "\"a.b/c\":\"d e\""])
        .arg(&bundle)
        .output()
        .expect("grep runs");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains(&id), "no bundle of {id} in [{found}]");
    sh(&["--annotation", "=x"], "true").exits(125);
    shared().remove(&[&name]);
}

#[test]
fn limits_that_only_some_kernels_have() {
    // Gone from the kernel: discarded with a warning.
    let name = unique("kernel");
    let body = serde_json::json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"KernelMemory": 8_000_000}});
    let target = format!("/v1.41/containers/create?name={name}");
    let made = shared().api("POST", &target, Some(&body)).is(201).json();
    assert!(
        made["Warnings"].to_string().contains("kernel memory"),
        "{made}"
    );
    shared().remove(&[&name]);
    for option in ["--cpu-rt-period", "--cpu-rt-runtime"] {
        let output = sh(&[option, "1000"], "true");
        let known = output.code == 0
            || output
                .stderr
                .contains("kernel does not support CPU real-time scheduler")
            || output.stderr.contains("cpu.rt_");
        assert!(known, "{output}");
    }
    sh(&["--isolation", "hyperv"], "true")
        .exits(125)
        .err_has("invalid isolation");
    sh(&["--runtime", "nosuch"], "true")
        .exits(125)
        .err_has("unknown or invalid runtime name: nosuch");
    sh(&["--storage-opt", "size=1G"], "true")
        .exits(125)
        .err_has("torage-opt is supported only for overlay over xfs with 'pquota' mount option");
}

#[test]
fn block_io_limits_stand_in_the_cgroup() {
    let Some(disk) = a_disk() else { return };
    let (path, numbers) = &disk;
    let name = unique("blkio");
    let bytes = format!("{path}:1mb");
    let operations = format!("{path}:100");
    let args = [
        "--device-read-bps",
        &bytes,
        "--device-write-iops",
        &operations,
        "busybox",
        "sleep",
        "1000",
    ];
    shared().run_d(&name, args);
    let file = |v1: &str| shared().cgroup(&name, "blkio", v1, "io.max");
    if has_unified_cgroups() {
        assert!(
            file("").contains(&format!("{numbers} rbps=1048576")),
            "{}",
            file("")
        );
    } else {
        assert_eq!(
            file("blkio.throttle.read_bps_device"),
            format!("{numbers} 1048576")
        );
        assert_eq!(
            file("blkio.throttle.write_iops_device"),
            format!("{numbers} 100")
        );
    }
    shared().remove(&[&name]);
    sh(&["--device-read-bps", "/dev/nosuch:1mb"], "true")
        .exits(127)
        .err_has("/dev/nosuch");
}

/// A whole disk of this machine: its node and numbers.
fn a_disk() -> Option<(String, String)> {
    let disks = std::fs::read_dir("/sys/block").ok()?;
    disks.flatten().find_map(|entry| {
        let path = format!("/dev/{}", entry.file_name().to_string_lossy());
        let numbers = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let usable =
            std::path::Path::new(&path).exists() && !path.contains("loop") && !path.contains("ram");
        usable.then(|| (path, numbers.trim().to_owned()))
    })
}

#[test]
fn the_kernels_killer_can_be_kept_off() {
    if has_unified_cgroups() {
        return;
    }
    let name = unique("nokill");
    shared().run_d(
        &name,
        [
            "-m",
            "32m",
            "--oom-kill-disable",
            "--oom-score-adj",
            "500",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    let control = shared().cgroup(&name, "memory", "memory.oom_control", "memory.max");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    let pid = shared().format(&name, "{{.State.Pid}}");
    let score = shared().sandbox().proc().join(pid).join("oom_score_adj");
    assert_eq!(
        std::fs::read_to_string(score).expect("it runs").trim(),
        "500"
    );
    shared().remove(&[&name]);
}
