//! What an image's containers run by default.

use std::collections::{BTreeMap, BTreeSet};

use crate::container::Healthcheck;
use crate::object::object;

object! {
    /// What an image's containers run by default: the OCI's `config` with Docker's additions.
    pub struct ImageConfig {
        /// `user`, `uid`, `user:group` …; empty for root.
        user: String = "User" omit;
        /// Ports that it listens on: `80/tcp`.
        exposed_ports: BTreeSet<String> = "ExposedPorts" omit;
        /// `NAME=value`.
        env: Vec<String> = "Env" omit;
        /// What is run before the command.
        entrypoint: Option<Vec<String>> = "Entrypoint" omit;
        /// The command, or the arguments of the entrypoint.
        cmd: Option<Vec<String>> = "Cmd" omit;
        /// Paths that are anonymous volumes.
        volumes: BTreeSet<String> = "Volumes" omit;
        /// Where it starts.
        working_dir: String = "WorkingDir" omit;
        /// Labels.
        labels: BTreeMap<String, String> = "Labels" omit;
        /// The signal that stops it.
        stop_signal: String = "StopSignal" omit;
        /// The command is escaped already (Windows).
        args_escaped: bool = "ArgsEscaped" omit;
        /// How its health is checked.
        healthcheck: Option<Healthcheck> = "Healthcheck" omit;
        /// Triggers for images built on it.
        on_build: Option<Vec<String>> = "OnBuild" omit;
        /// The shell of shell-form commands.
        shell: Option<Vec<String>> = "Shell" omit;
    }
}
