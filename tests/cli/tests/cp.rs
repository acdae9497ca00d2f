//! `docker cp`, both ways.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use testkit::{Daemon, Leaks, Options, PATIENCE, eventually, shared, unique};

/// A directory of the test's own on the daemon's host.
fn dir(daemon: &Daemon) -> PathBuf {
    let dir = daemon.sandbox().state().join(unique("cp"));
    fs::create_dir(&dir).expect("mkdir");
    dir
}

fn created(stem: &str, options: &[&str], command: &[&str]) -> String {
    let name = unique(stem);
    let create = shared().cli(["create", "--name", &name]).args(options);
    create.arg("busybox").args(command).run().ok();
    name
}

#[test]
fn a_stopped_and_a_running_container_take_and_give_files() {
    let dir = dir(shared());
    let name = created("cp", &[], &["sleep", "1000"]);
    let file = dir.join("file");
    fs::write(&file, "one").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let from = file.display().to_string();
    shared()
        .docker(["cp", &from, &format!("{name}:/tmp/a")])
        .ok();
    shared().docker(["start", &name]).ok();
    shared()
        .docker(["exec", &name, "cat", "/tmp/a"])
        .ok()
        .out_is("one");
    shared()
        .docker(["cp", &from, &format!("{name}:/tmp/b")])
        .ok();
    let script = "stat -c %a /tmp/b; echo two >/tmp/c; chmod 4751 /tmp/c; ln -s /tmp/c /l";
    shared()
        .docker(["exec", &name, "sh", "-c", script])
        .ok()
        .out_is("640");
    let into = dir.join("c");
    let to = into.display().to_string();
    shared().docker(["cp", &format!("{name}:/tmp/c"), &to]).ok();
    assert_eq!(fs::read_to_string(&into).unwrap(), "two\n");
    assert_eq!(into.metadata().unwrap().mode() & 0o7777, 0o4751);
    let (link, followed) = (dir.join("link"), dir.join("followed"));
    let source = format!("{name}:/l");
    shared()
        .docker(["cp", &source, link.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_link(&link).unwrap(), PathBuf::from("/tmp/c"));
    shared()
        .docker(["cp", "-L", &source, followed.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(&followed).unwrap(), "two\n");
    shared().docker(["kill", &name]).ok();
    shared()
        .docker([
            "cp",
            &format!("{name}:/tmp"),
            dir.join("d").to_str().unwrap(),
        ])
        .ok();
    assert_eq!(fs::read_to_string(dir.join("d/c")).unwrap(), "two\n");
    shared().remove(&[&name]);
}

#[test]
fn tars_come_and_go_by_the_standard_streams() {
    let name = created("cp-tar", &[], &["true"]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o600);
    header.set_uid(77);
    header.set_gid(88);
    tar.append_data(&mut header, "sub/file", &b"hello"[..])
        .unwrap();
    let archive = tar.into_inner().unwrap();
    let cli = shared().cli(["cp", "-", &format!("{name}:/tmp")]);
    cli.stdin(archive).run().ok();
    let target = format!("/containers/{name}/archive?path=/tmp/sub");
    let answer = shared().api("GET", &target, None).is(200);
    assert_eq!(answer.header("content-type"), Some("application/x-tar"));
    let mut back = tar::Archive::new(&answer.body[..]);
    let told: Vec<_> = back
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            (
                name,
                entry.header().uid().unwrap(),
                entry.header().gid().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("sub/".into(), 0, 0), ("sub/file".into(), 77, 88)]);
    shared().remove(&[&name]);
}

#[test]
fn what_is_at_a_path_is_told_in_a_header() {
    let name = created("cp-stat", &[], &["true"]);
    let stat = |path: &str| -> Value {
        let target = format!("/containers/{name}/archive?path={path}");
        let answer = shared().api("HEAD", &target, None).is(200);
        let header = answer
            .header("x-docker-container-path-stat")
            .expect("the header");
        let json = STANDARD.decode(header).expect("base64");
        serde_json::from_slice(&json).expect("JSON")
    };
    let passwd = stat("/etc/passwd");
    assert_eq!(passwd["name"], "passwd");
    assert_eq!(passwd["mode"], 0o644);
    assert_eq!(passwd["linkTarget"], "");
    assert_eq!(stat("/etc")["mode"], (1u32 << 31) | 0o755);
    assert_eq!(stat("/../..")["mode"].as_u64().unwrap() >> 31, 1);
    shared().remove(&[&name]);
}

#[test]
fn what_cannot_be_copied_is_told_in_dockers_words() {
    let daemon = shared();
    let dir = dir(daemon);
    let file = dir.join("f");
    fs::write(&file, "x").unwrap();
    let file = file.display().to_string();
    let bind = format!("{}:/ro:ro", dir.display());
    let name = created("cp-no", &["--read-only", "-v", &bind], &["true"]);
    daemon
        .docker(["cp", &format!("{name}:/nosuch"), "-"])
        .exits(1)
        .err_has(&format!(
            "Could not find the file /nosuch in container {name}"
        ));
    daemon
        .docker(["cp", &file, &format!("{name}:/nosuch/x")])
        .exits(1)
        .err_has(&format!(
            "Could not find the file /nosuch in container {name}"
        ));
    daemon
        .docker(["cp", &file, &format!("{name}:/tmp")])
        .exits(1)
        .err_has("container rootfs is marked read-only");
    daemon
        .docker(["cp", &file, &format!("{name}:/ro/g")])
        .exits(1)
        .err_has("mounted volume is marked read-only");
    daemon
        .docker(["cp", &file, "nosuch:/x"])
        .exits(1)
        .err_has("No such container: nosuch");
    let put = |target: &str, status| {
        let target = format!("/containers/{name}/archive{target}");
        daemon
            .request("PUT", &target)
            .body(&b"garbage"[..])
            .send()
            .is(status)
    };
    assert_eq!(
        put("?path=/etc/passwd", 400).message(),
        "extraction point is not a directory"
    );
    put("", 400);
    daemon.remove(&[&name]);
    let name = created("cp-bad", &[], &["true"]);
    let bad = format!("/containers/{name}/archive?path=/tmp");
    let answer = daemon.request("PUT", &bad).body(vec![b'x'; 2000]).send();
    assert!(
        answer
            .is(500)
            .message()
            .starts_with("archive/tar: invalid tar header")
    );
    daemon.remove(&[&name]);
}

#[test]
fn binds_and_the_daemons_files_are_part_of_the_tree_but_the_hosts_are_not() {
    let daemon = shared();
    let dir = dir(daemon);
    fs::write(dir.join("f"), "of the host").unwrap();
    let bind = format!("{}:/data", dir.display());
    let volume = unique("cp-volume");
    let mount = format!("{volume}:/volume");
    let name = created("cp-bind", &["-v", &bind, "-v", &mount], &["sleep", "1000"]);
    let into = format!("{name}:/volume/v");
    daemon
        .docker(["cp", dir.join("f").to_str().unwrap(), &into])
        .ok();
    let out = |path: &str| daemon.docker(["cp", &format!("{name}:{path}"), "-"]);
    out("/data/f").ok().out_has("of the host");
    daemon.docker(["start", &name]).ok();
    out("/data/f").ok().out_has("of the host");
    let script = "cat /volume/v; echo x >/volume/w";
    daemon
        .docker(["exec", &name, "sh", "-c", script])
        .ok()
        .out_is("of the host");
    out("/volume/w").ok().out_has("x");
    out("/etc/hosts").ok().out_has("localhost");
    let script = format!(
        "ln -s / /root/up; ln -s ../../../../..{} /away",
        dir.display()
    );
    daemon.docker(["exec", &name, "sh", "-c", &script]).ok();
    // The container's own root, whatever its links say.
    out("/root/up/etc/hostname").ok();
    out("/away/f").exits(1).err_has("Could not find the file");
    out("/proc/1/cmdline")
        .exits(1)
        .err_has("Could not find the file");
    daemon.remove(&[&name]);
    daemon.docker(["volume", "rm", &volume]).ok();
}

/// A container that swaps a directory for a link to what it wants of the host.
/// A volume that is a mount of its own, and a part of one, are there without a run as in one.
#[test]
fn volumes_of_a_stopped_container_are_part_of_its_tree() {
    let daemon = &Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return; // It has no subpaths.
    }
    let before = Leaks::count(daemon);
    let dir = dir(daemon);
    fs::create_dir(dir.join("part")).unwrap();
    let (volume, device) = (unique("cpv"), format!("device={}", dir.display()));
    let options = ["-o", "type=none", "-o", "o=bind", "-o", &device];
    let create = daemon.cli(["volume", "create"]).args(options);
    create.arg(&volume).run().ok();
    let whole = format!("type=volume,source={volume},target=/whole");
    let part = format!("type=volume,source={volume},target=/part,volume-subpath=part");
    let name = "stopped";
    daemon
        .docker([
            "create", "--name", name, "--mount", &whole, "--mount", &part, "busybox",
        ])
        .ok();
    let from = dir.join("file").display().to_string();
    fs::write(&from, "copied").unwrap();
    for place in ["whole/a", "part/b"] {
        let to = format!("{name}:/{place}");
        daemon.docker(["cp", &from, &to]).ok();
    }
    // Each is where a run would have put it.
    for place in ["a", "part/b"] {
        let text = fs::read_to_string(dir.join(place));
        assert_eq!(text.expect(place), "copied");
    }
    let back = dir.join("back");
    let from = format!("{name}:/whole/part/b");
    daemon.docker(["cp", &from, back.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&back).unwrap(), "copied");
    daemon.docker(["rm", name]).ok();
    daemon.docker(["volume", "rm", &volume]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn a_container_that_swaps_directories_for_links_gets_nothing_of_the_host() {
    let daemon = shared();
    let dir = dir(daemon);
    fs::write(dir.join("secret"), "of the host").unwrap();
    let name = unique("cp-swap");
    let script = format!(
        "mkdir -p /d/x /n{0} && echo mine >/d/x/secret && ln -s {0} /d/l && echo ready && \
         while :; do mv /d/x /d/t; mv /d/l /d/x; mv /d/x /d/l; mv /d/t /d/x; done",
        dir.display()
    );
    daemon.run_d(&name, ["busybox", "sh", "-c", &script]);
    daemon.wait_log(&name, "ready");
    let file = dir.join("put");
    fs::write(&file, "x").unwrap();
    for _ in 0..10 {
        let read = daemon.docker(["cp", &format!("{name}:/d"), "-"]);
        assert!(!read.out().contains("of the host"), "{}", read.out());
        let read = daemon.docker(["cp", &format!("{name}:/d/x/secret"), "-"]);
        assert!(!read.out().contains("of the host"), "{}", read.out());
        daemon.docker(["cp", file.to_str().unwrap(), &format!("{name}:/d/x/put2")]);
    }
    assert!(!dir.join("put2").exists());
    daemon.remove(&[&name]);
}

#[test]
fn a_container_starts_runs_and_goes_while_its_files_are_copied() {
    let daemon = shared();
    let script =
        "rm -rf /tmp && mkdir /tmp && echo x >/tmp/new && rm /big && echo done; sleep 1000";
    let name = created("cp-start", &[], &["sh", "-c", script]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(32 << 20);
    let zeros = std::io::Read::take(std::io::repeat(0), 32 << 20);
    tar.append_data(&mut header, "big", zeros).unwrap();
    let put = daemon.cli(["cp", "-", &format!("{name}:/")]);
    put.stdin(tar.into_inner().unwrap()).run().ok();
    let mut half = daemon
        .request("GET", &format!("/containers/{name}/archive?path=/big"))
        .open();
    half.next(PATIENCE).expect("a piece");
    daemon.docker(["start", &name]).ok();
    daemon.wait_log(&name, "done");
    let rest = half.rest(PATIENCE).expect("the rest");
    assert!(rest.len() > 16 << 20, "{}", rest.len());
    daemon
        .docker(["exec", &name, "cat", "/tmp/new"])
        .ok()
        .out_is("x");
    daemon
        .docker(["cp", &format!("{name}:/tmp/new"), "-"])
        .ok()
        .out_has("x");
    daemon.remove(&[&name]);
}

/// Neither copies that end, nor clients that go in the middle, nor a daemon that is killed there
/// leave a mount.
#[test]
fn copies_leave_nothing_behind() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    daemon
        .docker(["create", "--name", "cc", "busybox", "true"])
        .ok();
    let before = Leaks::count(&daemon);
    let mounts = || {
        let pid = daemon.pid();
        fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo")
    };
    let seen = mounts();
    let mut body = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    header.set_path("big").unwrap();
    header.set_cksum();
    let zeros = std::io::Read::take(std::io::repeat(0), 64 << 20);
    body.append(&header, zeros).unwrap();
    let big = body.into_inner().unwrap();
    daemon
        .cli(["cp", "-", "cc:/tmp"])
        .stdin(big.clone())
        .run()
        .ok();
    // A client that takes a little of what it asked for, and goes.
    let mut half = daemon
        .request("GET", "/containers/cc/archive?path=/tmp")
        .open();
    assert_eq!(half.status, 200);
    half.next(PATIENCE).expect("a piece");
    assert_eq!(mounts(), seen);
    drop(half);
    eventually("the archive's thread has ended", PATIENCE, || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?;
        let names = tasks.filter_map(|t| fs::read_to_string(t.ok()?.path().join("comm")).ok());
        (!names.into_iter().any(|name| name.trim() == "archive")).then_some(())
    });
    before.settle(&daemon, PATIENCE);
    let mut half = daemon
        .request("GET", "/containers/cc/archive?path=/tmp")
        .open();
    half.next(PATIENCE).expect("a piece");
    daemon.kill9();
    daemon.boot();
    before.settle(&daemon, PATIENCE);
}

/// This moment as the daemon writes times.
fn now() -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("a clock");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[test]
fn copies_are_told_as_events() {
    let name = created("cp-events", &[], &["true"]);
    shared()
        .docker(["cp", &format!("{name}:/etc/passwd"), "-"])
        .ok();
    let put = shared().cli(["cp", "-", &format!("{name}:/tmp")]);
    put.stdin(tar::Builder::new(Vec::new()).into_inner().unwrap())
        .run()
        .ok();
    let events = shared().docker([
        "events",
        "--since",
        "0",
        "--until",
        &now(),
        "--filter",
        &format!("container={name}"),
        "--format",
        "{{.Action}}",
    ]);
    let events = events.ok();
    let told: Vec<_> = events.out().lines().collect();
    assert!(
        told.contains(&"archive-path") && told.contains(&"extract-to-dir"),
        "{told:?}"
    );
    shared().remove(&[&name]);
}
