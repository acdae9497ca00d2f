//! docker-py as Debian has it: an older client, and the base of much tooling. What it is asked to do
//! stands in `docker_py.py`.

use std::path::Path;
use std::process::{Command, Stdio};

use testkit::{run_command, shared};

/// Debian's own Python, whatever else there is: its docker-py belongs to that.
const PYTHON: &str = "/usr/bin/python3";

#[track_caller]
fn check(name: &str) {
    let mut python = Command::new(PYTHON);
    python
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker_py.py"))
        .arg(name)
        .env(
            "DOCKER_HOST",
            format!("unix://{}", shared().socket().display()),
        )
        .stdin(Stdio::null());
    run_command(python).ok();
}

macro_rules! checks {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)) })*
    };
}

checks! {
    a_life failures exec attach changes_of_state limits_and_figures files restarts_and_health prune
    volumes_and_networks disk_usage
}
