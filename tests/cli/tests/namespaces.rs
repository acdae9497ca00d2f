//! Namespaces: of the container's own, the host's, and other containers'.

use testkit::{Output, PATIENCE, eventually, has_unified_cgroups, shared, unique};

fn sh(options: &[&str], script: &str) -> Output {
    let cli = shared().cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

/// The namespace that a process of the container is in: `pid:[4026531836]`.
fn inside(options: &[&str], kind: &str) -> String {
    let script = format!("readlink /proc/self/ns/{kind}");
    sh(options, &script).ok().out().to_owned()
}

/// The daemon's own namespace.
fn host(kind: &str) -> String {
    let path = shared().sandbox().proc().join(format!("self/ns/{kind}"));
    let link = std::fs::read_link(&path)
        .or_else(|_| std::fs::read_link(format!("/proc/{}/ns/{kind}", shared().pid())));
    link.expect("the daemon runs").display().to_string()
}

/// The namespace of a container's init, seen from the daemon's host.
fn of(name: &str, kind: &str) -> String {
    let pid = shared().format(name, "{{.State.Pid}}");
    let path = shared().sandbox().proc().join(pid).join("ns").join(kind);
    std::fs::read_link(path)
        .expect("it runs")
        .display()
        .to_string()
}

#[test]
fn by_default_all_are_the_containers_own() {
    let kinds = ["mnt", "pid", "net", "ipc", "uts"];
    for kind in kinds {
        assert_ne!(inside(&[], kind), host(kind), "{kind}");
    }
    assert_eq!(inside(&[], "user"), host("user"));
    // On v1 a container sees the host's hierarchies, as dockerd has it.
    assert_eq!(
        inside(&[], "cgroup") == host("cgroup"),
        !has_unified_cgroups()
    );
}

#[test]
fn the_hosts_are_shared_when_asked_for() {
    for (option, kind) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--userns", "user"),
        ("--cgroupns", "cgroup"),
    ] {
        assert_eq!(inside(&[option, "host"], kind), host(kind), "{option}");
    }
    assert_ne!(inside(&["--cgroupns", "private"], "cgroup"), host("cgroup"));
    for (option, value, words) in [
        ("--pid", "odd", "--pid: invalid PID mode"),
        ("--uts", "odd", "--uts: invalid UTS mode"),
        ("--userns", "odd", "--userns: invalid USER mode"),
        ("--cgroupns", "odd", "--cgroupns: invalid CGROUP mode"),
        ("--ipc", "odd", "invalid IPC mode: odd"),
    ] {
        sh(&[option, value], "true").exits(125).err_has(words);
    }
}

#[test]
fn a_pid_namespace_is_joined() {
    let name = unique("pids");
    shared().run_d(&name, ["busybox", "sleep", "4242"]);
    let mode = format!("container:{name}");
    assert_eq!(inside(&["--pid", &mode], "pid"), of(&name, "pid"));
    sh(&["--pid", &mode], "ps -o args")
        .ok()
        .out_has("sleep 4242");
    let id = shared().format(&name, "{{.Id}}");
    let joined = unique("joined");
    shared()
        .docker([
            "create", "--name", &joined, "--pid", &mode, "busybox", "true",
        ])
        .ok();
    let stored = shared().format(&joined, "{{.HostConfig.PidMode}}");
    assert_eq!(stored, format!("container:{id}"));
    shared().docker(["kill", &name]).ok();
    shared().wait_status(&name, "exited");
    shared()
        .docker(["start", &joined])
        .exits(1)
        .err_has("not running");
    sh(&["--pid", "container:nosuch"], "true")
        .exits(125)
        .err_has("No such container: nosuch");
    shared().remove(&[&joined, &name]);
}

#[test]
fn shared_memory_follows_the_ipc_mode() {
    let (donor, private) = (unique("donor"), unique("private"));
    let script = "echo word >/dev/shm/f; sleep 1000";
    shared().run_d(
        &donor,
        ["--ipc", "shareable", "busybox", "sh", "-c", script],
    );
    shared().run_d(
        &private,
        ["--ipc", "private", "busybox", "sh", "-c", script],
    );
    let mode = format!("container:{donor}");
    eventually("the word is shared", PATIENCE, || {
        let output = sh(&["--ipc", &mode], "cat /dev/shm/f");
        (output.out() == "word").then_some(())
    });
    assert_eq!(inside(&["--ipc", &mode], "ipc"), of(&donor, "ipc"));
    let id = shared().format(&private, "{{.Id}}");
    sh(&["--ipc", &format!("container:{private}")], "true")
        .exits(125)
        .err_has(&format!(
            "container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        ));
    sh(&["--ipc", "none"], "grep -c ' /dev/shm ' /proc/mounts")
        .exits(1)
        .out_is("0");
    assert_ne!(inside(&["--ipc", "none"], "ipc"), host("ipc"));
    shared().remove(&[&donor, &private]);
}

#[test]
fn the_hosts_name_is_shared_with_its_uts_namespace() {
    let own = shared()
        .sandbox()
        .command("hostname")
        .output()
        .expect("it runs")
        .stdout;
    let own = String::from_utf8_lossy(&own).trim().to_owned();
    sh(&["--uts", "host"], "hostname").ok().out_is(&own);
    sh(&["--uts", "host", "-h", "x"], "true")
        .exits(125)
        .err_has("conflicting options: hostname and the UTS mode");
}

#[test]
fn a_cgroup_is_made_where_the_parent_says() {
    let name = unique("parent");
    shared().run_d(
        &name,
        [
            "--cgroup-parent",
            "/berth-test/../own-parent",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    let id = shared().format(&name, "{{.Id}}");
    let pid = shared().format(&name, "{{.State.Pid}}");
    let path = shared().sandbox().proc().join(pid).join("cgroup");
    let groups = std::fs::read_to_string(path).expect("it runs");
    assert!(groups.contains(&format!("/own-parent/{id}\n")), "{groups}");
    // Statistics and top find it there.
    shared().docker(["top", &name]).ok().out_has("sleep 1000");
    shared().remove(&[&name]);
    remove_parent("own-parent");
}

/// As with dockerd a parent that was made for a container stays.
fn remove_parent(name: &str) {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    for folder in hierarchies
        .map(|entry| entry.path())
        .chain([root.to_owned()])
    {
        let _ = std::fs::remove_dir(folder.join(name));
    }
}
