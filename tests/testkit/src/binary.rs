//! Which daemon is tested, and where its binary is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The daemon under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Ours.
    Berthd,
    /// Debian's dockerd 20.10, to check the tests themselves.
    Dockerd,
}

/// What `TESTKIT_DAEMON` asks for.
pub fn flavour() -> Flavour {
    match std::env::var("TESTKIT_DAEMON").as_deref() {
        Ok("dockerd") => Flavour::Dockerd,
        Ok("berthd") | Err(_) => Flavour::Berthd,
        Ok(other) => panic!("TESTKIT_DAEMON={other}: not one of berthd, dockerd"),
    }
}

/// Debian's dockerd and podman, where `scripts/setup.sh` unpacks them.
const DOCKERD: &str = "/var/cache/berth/docker.io/usr/sbin/dockerd";
const PODMAN: &str = "/var/cache/berth/podman/usr/bin/podman";
/// The dockerd that tests know.
const KNOWN: &str = "20.10.";

#[track_caller]
fn unpacked(path: &str) -> PathBuf {
    let is_here = Path::new(path).exists();
    assert!(is_here, "no {path}: `scripts/setup.sh test` fetches it");
    path.into()
}

#[track_caller]
pub(crate) fn podman() -> PathBuf {
    unpacked(PODMAN)
}

/// What dockerd says of itself where it is not the one that tests are written for: another Debian
/// has another one.
#[track_caller]
pub fn unknown_dockerd() -> Option<String> {
    let output = Command::new(unpacked(DOCKERD)).arg("--version").output();
    let output = output.expect("dockerd runs");
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!version.contains(KNOWN)).then_some(version)
}

/// The daemon's binary; built first (once a process) where it is ours and `BERTHD` names none.
#[track_caller]
pub(crate) fn path(flavour: Flavour) -> PathBuf {
    static OURS: OnceLock<PathBuf> = OnceLock::new();
    if flavour == Flavour::Dockerd {
        return unpacked(DOCKERD);
    }
    OURS.get_or_init(|| std::env::var_os("BERTHD").map_or_else(build, PathBuf::from))
        .clone()
}

/// `target/<profile>` of the running test binary (`target/<profile>/deps/<test>`).
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the test binary has a path");
    let mut dir = exe
        .parent()
        .expect("a binary is in a directory")
        .to_path_buf();
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir.pop();
    }
    dir
}

fn build() -> PathBuf {
    let dir = profile_dir();
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    }
    .to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo test` sets for the test is not what `cargo build` on a shell sees; a build
    // script that looks at it would be run again and again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST") {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .args(["build", "--quiet", "-p", "berthd", "--profile", &profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo build -p berthd: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let binary = dir.join("berthd");
    assert!(binary.exists(), "cargo built no {}", binary.display());
    binary
}
