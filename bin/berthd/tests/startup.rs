//! The binary from outside, as far as it goes without an engine: what it prints and refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const BERTHD: &str = env!("CARGO_BIN_EXE_berthd");

/// A daemon with all its paths in `dir`, not started.
fn daemon(dir: &Path) -> Command {
    let mut command = Command::new(BERTHD);
    for (flag, name) in [
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "pid"),
    ] {
        command.arg(flag).arg(dir.join(name));
    }
    command.arg("--config-file").arg(dir.join("daemon.json"));
    command
        .arg("--bridge=none")
        .arg("-H")
        .arg(format!("unix://{}", dir.join("sock").display()));
    fs::write(dir.join("daemon.json"), "{}").unwrap();
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The one line that a command fails with.
#[track_caller]
fn failure(command: &mut Command) -> String {
    let (code, out, err) = run(command);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "not one line:\n{err}");
    err.trim_end().to_owned()
}

#[test]
fn version_and_validation() {
    let (code, out, err) = run(Command::new(BERTHD).arg("--version"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with(concat!(
            "berthd version ",
            env!("CARGO_PKG_VERSION"),
            ", build "
        )),
        "{out}"
    );
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = run(daemon(dir.path()).arg("--validate"));
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "", "configuration OK\n")
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "validation made something"
    );
}

#[test]
fn a_bad_configuration_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("daemon.json");
    let path = file.display();
    let mut command = daemon(dir.path());
    for (text, wrong) in [
        (
            r#"{"nope": 1}"#,
            "the following directives don't match any configuration option: nope",
        ),
        (
            r#"{"hosts": ["fd://"]}"#,
            &format!(
                "the following directives are specified both as a flag and in the configuration file: \
                 hosts: (from flag: [unix://{}], from file: [fd://])",
                dir.path().join("sock").display()
            ),
        ),
        (
            "{\n",
            "invalid JSON: EOF while parsing an object at line 2 column 0",
        ),
        (
            r#"{"userns-remap": "default", "labels": ["a=b"]}"#,
            "configuration validation from file failed (the option \"userns-remap\" is not supported: user namespaces are not there yet)",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let wanted = format!("unable to configure the Docker daemon with file {path}: {wrong}");
        assert_eq!(failure(&mut command), wanted);
    }
    fs::remove_file(&file).unwrap();
    let wanted = format!(
        "unable to configure the Docker daemon with file {path}: open {path}: no such file or directory"
    );
    assert_eq!(failure(&mut command), wanted);
}

#[test]
fn default_log_options_are_checked_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = "failed to set log opts: unknown log opt 'nope' for json-file log driver";
    let mut command = daemon(dir.path());
    command.args(["--log-opt", "nope=1"]);
    assert_eq!(
        failure(&mut command),
        format!("failed to start daemon: {wrong}")
    );
    assert_eq!(failure(command.arg("--validate")), wrong);
    assert_eq!(
        failure(daemon(dir.path()).args(["--log-opt", "max-size=x"])),
        "failed to start daemon: failed to set log opts: invalid size: 'x'"
    );
}

#[test]
fn options_of_runtimes_are_checked_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("daemon.json");
    for (kind, options, wrong) in [
        (
            "io.containerd.runc.v2",
            r#"{"NoPivotRoot": "yes"}"#,
            "invalid value for option NoPivotRoot: true or false expected",
        ),
        (
            "io.containerd.runsc.v1",
            r#"{"ConfigPath": 1}"#,
            "invalid value for option ConfigPath: a string expected",
        ),
    ] {
        let runtime = format!(r#"{{"runtimeType": "{kind}", "options": {options}}}"#);
        let mut command = daemon(dir.path());
        fs::write(&file, format!(r#"{{"runtimes": {{"k": {runtime}}}}}"#)).unwrap();
        assert_eq!(
            failure(command.arg("--validate")),
            format!("runtime k: {wrong}")
        );
    }
}

#[test]
fn keys_that_mean_nothing_inside_of_options_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{
        "default-ulimits": {"nofile": {"Name": "nofile", "HARD": 9, "soft": 9, "x\ny": 1}},
        "runtimes": {"k": {"runtimetype": "io.containerd.runc.v2", "options": {"Nope": 1}}}
    }"#;
    let mut command = daemon(dir.path());
    fs::write(dir.path().join("daemon.json"), text).unwrap();
    let (code, out, err) = run(command.arg("--validate"));
    let told = "warning: ignored, as it means nothing: default-ulimits.nofile.x\\ny\n\
                warning: ignored, as it means nothing: runtimes.k.options.Nope\n\
                configuration OK\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", told));
}

#[test]
fn only_root_may() {
    let dir = tempfile::tempdir().unwrap();
    // Where `nobody` can run it.
    let copy = dir.path().join("dockerd");
    fs::copy(BERTHD, &copy).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let line = failure(Command::new(copy).uid(65534).gid(65534));
    assert_eq!(
        line,
        "dockerd needs to be started with root privileges. To run dockerd in rootless mode as an \
         unprivileged user, see https://docs.docker.com/go/rootless/"
    );
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_held_pidfile_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let other = Ends(Command::new("sleep").arg("60").spawn().unwrap());
    let pidfile = dir.path().join("pid");
    fs::write(&pidfile, other.0.id().to_string()).unwrap();
    assert_eq!(
        failure(&mut daemon(dir.path())),
        format!(
            "failed to start daemon, ensure docker is not running or delete {}: process with PID {} is still running",
            pidfile.display(),
            other.0.id()
        )
    );
    assert!(pidfile.exists() && !dir.path().join("sock").exists());
}

#[test]
fn a_socket_in_use_is_one_line_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let _live = UnixListener::bind(&socket).unwrap();
    let line = failure(&mut daemon(dir.path()));
    assert_eq!(
        line,
        format!(
            "failed to load listeners: can't create unix socket {}: address already in use",
            socket.display()
        )
    );
    assert!(!dir.path().join("pid").exists());
    let line = failure(daemon(dir.path()).arg("-H").arg("fd://"));
    assert!(line.starts_with("failed to load listeners: "), "{line}");
}

#[test]
fn a_group_that_is_not_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let line = failure(daemon(dir.path()).args(["-G", "no-such-group"]));
    assert!(line.ends_with("group no-such-group not found"), "{line}");
}

#[test]
fn a_missing_containerd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = run(daemon(dir.path()).env("PATH", dir.path()));
    assert_eq!(code, Some(1));
    let last = err.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "failed to start containerd: exec: \"containerd\": executable file not found in $PATH"
    );
    for gone in ["pid", "sock"] {
        assert!(!dir.path().join(gone).exists(), "{gone}");
    }
}

#[test]
fn under_the_name_dockerd_it_has_dockerds_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("dockerd");
    symlink(BERTHD, &link).unwrap();
    let (code, out, _) = run(Command::new(link).arg("--help"));
    assert_eq!(code, Some(0));
    for text in [
        "/etc/docker/daemon.json",
        "/var/lib/docker",
        "/var/run/docker.pid",
    ] {
        assert!(out.contains(text), "{text}");
    }
}
