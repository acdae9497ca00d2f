//! What a container is to run, apart from any host.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::object;

object! {
    /// What a container is to run: Docker's `Config`.
    pub struct ContainerConfig {
        /// The host name; empty for one made of the ID.
        hostname: String = "Hostname";
        /// The NIS domain name.
        domainname: String = "Domainname";
        /// `user`, `uid`, `user:group` …; empty for root.
        user: String = "User";
        /// The client that created it wants to write to it.
        attach_stdin: bool = "AttachStdin";
        /// The client that created it wants its output.
        attach_stdout: bool = "AttachStdout";
        /// The client that created it wants its error output.
        attach_stderr: bool = "AttachStderr";
        /// Ports that it listens on: `80/tcp`.
        exposed_ports: BTreeSet<String> = "ExposedPorts" omit;
        /// It has a terminal.
        tty: bool = "Tty";
        /// Its input stays open without a client.
        open_stdin: bool = "OpenStdin";
        /// Its input is closed when the first client that had it goes.
        stdin_once: bool = "StdinOnce";
        /// `NAME=value`; `NAME` alone takes the variable away.
        env: Vec<String> = "Env" null;
        /// The command, or the arguments of the entrypoint; `None` for the image's.
        cmd: Option<Vec<String>> = "Cmd" words;
        /// How its health is checked.
        healthcheck: Option<Healthcheck> = "Healthcheck" omit;
        /// The command is escaped already (Windows).
        args_escaped: bool = "ArgsEscaped" omit;
        /// The image, as the client named it.
        image: String = "Image";
        /// Paths that are anonymous volumes.
        volumes: BTreeSet<String> = "Volumes" null;
        /// Where it starts; empty for the image's or `/`.
        working_dir: String = "WorkingDir";
        /// What is run before the command; `None` for the image's.
        entrypoint: Option<Vec<String>> = "Entrypoint" words;
        /// It has no network.
        network_disabled: bool = "NetworkDisabled" omit;
        /// The MAC address, as clients below API 1.44 ask for it; newer ones do so per network.
        mac_address: String = "MacAddress" omit;
        /// Triggers of the image, for images built on it.
        on_build: Option<Vec<String>> = "OnBuild" omit;
        /// Labels.
        labels: BTreeMap<String, String> = "Labels";
        /// The signal that stops it, as the client wrote it; empty for `SIGTERM`.
        stop_signal: String = "StopSignal" omit;
        /// How long to wait after the stop signal, in seconds; `None` for the daemon's 10, -1 for
        /// ever.
        stop_timeout: Option<i64> = "StopTimeout" omit;
        /// The shell of the image's shell-form commands.
        shell: Option<Vec<String>> = "Shell" omit;
    }

    /// How a container's health is checked: Docker's `HealthConfig`. Durations are nanoseconds; 0
    /// takes the image's or the default.
    pub struct Healthcheck {
        /// `[]` for the image's, `["NONE"]`, `["CMD", args…]` or `["CMD-SHELL", command]`.
        test: Vec<String> = "Test" omit;
        /// The time between checks, in nanoseconds.
        interval: i64 = "Interval" omit;
        /// How long one check may take, in nanoseconds.
        timeout: i64 = "Timeout" omit;
        /// How long failures do not count after the start, in nanoseconds.
        start_period: i64 = "StartPeriod" omit;
        /// The time between checks in the start period, in nanoseconds.
        start_interval: i64 = "StartInterval" omit;
        /// How many failures in a row make it unhealthy.
        retries: i64 = "Retries" omit;
    }
}
