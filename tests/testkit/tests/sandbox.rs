//! The kit itself: namespaces that go away with everything in them.

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::{Compression, Image, Place, Sandbox, eventually, has_unified_cgroups, run_command};

#[test]
fn a_sandbox_takes_everything_with_it() {
    let sandbox = Sandbox::new();
    let (state, run) = (sandbox.state().to_owned(), sandbox.run_dir().to_owned());
    let mut command = sandbox.command("sleep");
    command.arg("1000").stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pid = sandbox.inner_pid(&child);
    assert!(state.is_dir() && run.is_dir());
    drop(sandbox);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!state.exists() && !run.exists());
    child.wait().unwrap();
}

/// A test that fails while its container is paused leaves it so.
#[test]
fn what_is_frozen_goes_with_its_sandbox() {
    let root = Path::new("/sys/fs/cgroup");
    let id = format!("{:064x}", std::process::id());
    let (cgroup, file, frozen, thawed) = match has_unified_cgroups() {
        true => (root.join(&id), "cgroup.freeze", "1", "0"),
        false => (
            root.join("freezer").join(&id),
            "freezer.state",
            "FROZEN",
            "THAWED",
        ),
    };
    let write = |file: &str, text: &str| std::fs::write(cgroup.join(file), text);
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("sleep");
    let mut child = command.arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let pid = sandbox.inner_pid(&child);
    std::fs::create_dir(&cgroup).unwrap();
    write("cgroup.procs", &pid.to_string()).unwrap();
    write(file, frozen).unwrap();
    let ending = std::thread::spawn(move || drop(sandbox));
    let gone = std::panic::catch_unwind(AssertUnwindSafe(|| {
        eventually("all is gone", Duration::from_secs(20), || {
            ending.is_finished().then_some(())
        });
    }));
    // Not for want of this test is it left behind.
    let _ = write(file, thawed);
    child.wait().unwrap();
    ending.join().unwrap();
    assert!(gone.is_ok() && !cgroup.exists());
}

#[test]
fn the_outside_reaches_the_inside() {
    let sandbox = Sandbox::new();
    let listener = sandbox
        .with_network(Place::Inside, || TcpListener::bind("0.0.0.0:80"))
        .unwrap();
    let to = format!("{}:80", Sandbox::INSIDE).parse().unwrap();
    sandbox.connect(Place::Outside, to).unwrap();
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), Sandbox::OUTSIDE);
}

#[test]
fn archives_hold_what_they_name() {
    let image = Image::busybox("x:1").layer(&[("etc/extra", 0o644, "hi")]);
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, wanted) in [
        (
            "docker.tar",
            image.docker_archive(Compression::None),
            "manifest.json",
        ),
        (
            "docker.tgz",
            image.docker_archive(Compression::Gzip),
            "manifest.json",
        ),
        (
            "docker.tzst",
            image.docker_archive(Compression::Zstd),
            "manifest.json",
        ),
        ("oci.tar", image.oci_layout(Compression::Zstd), "index.json"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut tar = std::process::Command::new("tar");
        tar.arg("-tf").arg(&path);
        let list = run_command(tar).ok();
        assert!(
            list.stdout.lines().any(|line| line == wanted),
            "{name}: {list}"
        );
    }
}
