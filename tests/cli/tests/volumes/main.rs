//! Volumes: made, used, taken away; over restarts and crashes.

mod cut_off;
mod fill;
mod leaks;
mod mounts;
mod options;
mod table;

use testkit::{Daemon, Output};

/// A container that runs to its end and is removed.
fn sh(daemon: &Daemon, options: &[&str], script: &str) -> Output {
    let cli = daemon.cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

/// The names of all volumes that `docker volume ls` lets through.
fn names(daemon: &Daemon, filters: &[&str]) -> Vec<String> {
    let mut cli = daemon.cli(["volume", "ls", "-q"]);
    for filter in filters {
        cli = cli.args(["-f", filter]);
    }
    let output = cli.run().ok();
    output.stdout.lines().map(str::to_owned).collect()
}
