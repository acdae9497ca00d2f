//! Volumes that are mounted: tmpfs, directories, file servers.

use testkit::{Daemon, Options, PATIENCE, eventually, shared, unique};

use super::sh;

/// Where a volume of `daemon` is mounted, as many times as it is.
fn mounted(daemon: &Daemon, name: &str) -> usize {
    let path = daemon.data_root().join("volumes").join(name).join("_data");
    let table = format!("/proc/{}/mountinfo", daemon.sandbox().init());
    let table = std::fs::read_to_string(table).expect("the sandbox is alive");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| *point == path.to_str().expect("utf-8"))
        .count()
}

fn tmpfs(daemon: &Daemon, name: &str) {
    let create = ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs"];
    daemon
        .cli(create)
        .args(["-o", "o=size=1m,uid=5", name])
        .run()
        .ok();
}

#[test]
fn memory_is_mounted_once_and_for_as_long_as_it_is_used() {
    let daemon = Daemon::start(Options::default());
    tmpfs(&daemon, "fast");
    assert_eq!(mounted(&daemon, "fast"), 0);
    sh(
        &daemon,
        &["-v", "fast:/t"],
        "grep ' /t ' /proc/mounts; stat -c %u /t",
    )
    .ok()
    .out_has("size=1024k")
    .out_has("5");
    eventually("it is unmounted", PATIENCE, || {
        (mounted(&daemon, "fast") == 0).then_some(())
    });
    for name in ["c1", "c2"] {
        let args = ["-v", "fast:/t", "busybox", "sleep", "1000"];
        daemon.run_d(name, args);
    }
    assert_eq!(mounted(&daemon, "fast"), 1);
    daemon
        .docker(["exec", "c1", "sh", "-c", "echo both >/t/f"])
        .ok();
    daemon
        .docker(["exec", "c2", "cat", "/t/f"])
        .ok()
        .out_is("both");
    daemon.docker(["stop", "-t", "0", "c1"]).ok();
    daemon
        .docker(["exec", "c2", "cat", "/t/f"])
        .ok()
        .out_is("both");
    assert_eq!(mounted(&daemon, "fast"), 1, "c2 has it still");
    // The next daemon knows who has it.
    daemon.kill9();
    daemon.boot();
    daemon.docker(["start", "c1"]).ok();
    assert_eq!(mounted(&daemon, "fast"), 1);
    daemon
        .docker(["exec", "c1", "cat", "/t/f"])
        .ok()
        .out_is("both");
    daemon.docker(["stop", "-t", "0", "c2"]).ok();
    daemon
        .docker(["exec", "c1", "cat", "/t/f"])
        .ok()
        .out_is("both");
    daemon.docker(["stop", "-t", "0", "c1"]).ok();
    assert_eq!(mounted(&daemon, "fast"), 0, "nobody has it");
    daemon.remove(&["c1", "c2"]);
    daemon.docker(["volume", "rm", "fast"]).ok();
}

#[test]
fn what_ended_while_the_daemon_was_away_holds_no_mount() {
    let daemon = Daemon::start(Options::default());
    tmpfs(&daemon, "fast");
    let args = ["-v", "fast:/t", "busybox", "sh", "-c"];
    let wait = "until [ -e /go ]; do usleep 20000; done";
    daemon.run_d("ends", args.iter().copied().chain([wait]));
    let pid: u32 = daemon
        .format("ends", "{{.State.Pid}}")
        .parse()
        .expect("a pid");
    let process = daemon.sandbox().proc().join(pid.to_string());
    daemon.kill9();
    std::fs::write(process.join("root/go"), "").expect("it runs");
    eventually("it has ended", PATIENCE, || {
        let line = std::fs::read(process.join("cmdline"));
        line.unwrap_or_default().is_empty().then_some(())
    });
    daemon.boot();
    daemon.wait_status("ends", "exited");
    // What is left of the run is cleared away beside all else.
    eventually("it is unmounted", PATIENCE, || {
        (mounted(&daemon, "fast") == 0).then_some(())
    });
}

#[test]
fn a_directory_of_the_host_is_never_removed() {
    let (daemon, name) = (shared(), unique("dir"));
    let dir = daemon.sandbox().state().join(&name);
    std::fs::create_dir(&dir).expect("mkdir");
    std::fs::write(dir.join("f"), "of the host").expect("write");
    let device = format!("device={}", dir.display());
    let create = [
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        "o=bind,ro",
        "-o",
        &device,
    ];
    daemon.cli(create).args([&name]).run().ok();
    let bind = format!("{name}:/d");
    sh(daemon, &["-v", &bind], "cat /d/f; touch /d/x")
        .exits(1)
        .out_is("of the host")
        .err_has("Read-only file system");
    daemon.docker(["volume", "rm", &name]).ok();
    assert_eq!(
        std::fs::read_to_string(dir.join("f")).expect("there"),
        "of the host"
    );
}

#[test]
fn what_cannot_be_mounted_is_told_without_passwords() {
    let (daemon, name, container) = (shared(), unique("odd"), unique("odd"));
    let create = [
        "volume",
        "create",
        "-o",
        "type=nosuchfs",
        "-o",
        "device=/dev/null",
    ];
    daemon
        .cli(create)
        .args(["-o", "o=password=s3cret,x=y", &name])
        .run()
        .ok();
    let bind = format!("{name}:/d");
    let create = ["create", "--name", &container, "-v", &bind, "busybox"];
    daemon.docker(create).ok();
    let output = daemon.docker(["start", &container]).exits(1);
    let output = output
        .err_has("error while mounting volume")
        .err_has("failed to mount local volume");
    assert!(!output.stderr.contains("s3cret"), "{output}");
    assert_eq!(daemon.format(&container, "{{.State.Status}}"), "created");
    daemon.docker(["rm", &container]).ok();
    daemon.docker(["volume", "rm", &name]).ok();
}
