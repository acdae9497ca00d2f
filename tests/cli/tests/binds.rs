//! Bind mounts.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use testkit::{Output, shared, unique};

/// A directory of the test's own that the daemon sees under the same path.
fn dir() -> PathBuf {
    let dir = shared().sandbox().state().join(unique("bind"));
    std::fs::create_dir(&dir).expect("mkdir");
    dir
}

fn sh(options: &[&str], script: &str) -> Output {
    let cli = shared().cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

#[test]
fn both_sides_see_it() {
    let dir = dir();
    std::fs::write(dir.join("host"), "from the host").unwrap();
    let bind = format!("{}:/b", dir.display());
    let script = "cat /b/host; echo made >/b/inside; chmod 640 /b/inside";
    sh(&["-v", &bind], script).ok().out_is("from the host");
    let made = dir.join("inside");
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "made\n");
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let long = format!("type=bind,source={},target=/b", dir.display());
    sh(&["--mount", &long], "cat /b/inside").ok().out_is("made");
}

#[test]
fn read_only_is_read_only() {
    let dir = dir();
    let bind = format!("{}:/b:ro", dir.display());
    sh(&["-v", &bind], "touch /b/x")
        .exits(1)
        .err_has("Read-only file system");
    let long = format!("type=bind,source={},target=/b,readonly", dir.display());
    sh(&["--mount", &long], "touch /b/x")
        .exits(1)
        .err_has("Read-only file system");
    assert!(!dir.join("x").exists());
}

#[test]
fn one_file() {
    let dir = dir();
    let file = dir.join("file");
    std::fs::write(&file, "one").unwrap();
    let bind = format!("{}:/etc/zz", file.display());
    sh(&["-v", &bind], "cat /etc/zz; echo two >/etc/zz")
        .ok()
        .out_is("one");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");
}

#[test]
fn a_missing_source_is_made_by_v_and_refused_by_mount() {
    let dir = dir();
    let missing = dir.join("a/b");
    sh(&["-v", &format!("{}:/b", missing.display())], "touch /b/x").ok();
    assert!(missing.join("x").exists());
    let missing = dir.join("c");
    let long = format!("type=bind,source={},target=/b", missing.display());
    sh(&["--mount", &long], "true")
        .exits(125)
        .err_has("bind source path does not exist");
    assert!(!missing.exists());
}

#[test]
fn mounts_inside_mounts() {
    let (outer, inner) = (dir(), dir());
    std::fs::write(inner.join("f"), "inner").unwrap();
    std::fs::create_dir(outer.join("sub")).unwrap();
    let (outer, inner) = (
        format!("{}:/m", outer.display()),
        format!("{}:/m/sub", inner.display()),
    );
    // The order of the options does not count.
    for binds in [[&outer, &inner], [&inner, &outer]] {
        sh(&["-v", binds[0], "-v", binds[1]], "cat /m/sub/f")
            .ok()
            .out_is("inner");
    }
}

#[test]
fn refusals() {
    let (dir, other) = (dir(), format!("{}:/m", dir().display()));
    let at = |target: &str| format!("{}:{target}", dir.display());
    sh(&["-v", &at("/m"), "-v", &other], "true")
        .exits(125)
        .err_has("Duplicate mount point: /m");
    sh(&["-v", &at("relative")], "true")
        .exits(125)
        .err_has("invalid");
    sh(&["-v", &at("/")], "true")
        .exits(125)
        .err_has("destination can't be '/'");
    sh(&["-v", &at("/m:nonsense")], "true")
        .exits(125)
        .err_has("nonsense");
}

#[test]
fn inspect_lists_them() {
    let (dir, name) = (dir(), unique("mounts"));
    let bind = format!("{}:/b:ro", dir.display());
    shared()
        .docker(["create", "-v", &bind, "--name", &name, "busybox"])
        .ok();
    let mount = shared().inspect(&name)["Mounts"][0].clone();
    assert_eq!(mount["Type"], "bind");
    assert_eq!(mount["Source"], dir.to_str().unwrap());
    assert_eq!(mount["Destination"], "/b");
    assert_eq!(mount["Mode"], "ro");
    assert_eq!(mount["RW"], false);
    assert_eq!(mount["Propagation"], "rprivate");
    shared().remove(&[&name]);
}

#[test]
fn the_host_s_mounts_below_come_along() {
    let dir = dir();
    std::fs::create_dir(dir.join("sub")).unwrap();
    let mut mount = shared().sandbox().command("mount");
    mount.args(["-t", "tmpfs", "none"]).arg(dir.join("sub"));
    testkit::run_command(mount).ok();
    let bind = format!("{}:/b", dir.display());
    let script = "grep -c ' /b/sub tmpfs' /proc/mounts; touch /b/sub/x";
    sh(&["-v", &bind], script).ok().out_is("1");
    let mut unmount = shared().sandbox().command("umount");
    unmount.arg(dir.join("sub"));
    testkit::run_command(unmount).ok();
}
