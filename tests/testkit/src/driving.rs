//! What tests do with a daemon: the docker CLI, raw requests, and the things asked most.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::http::Connection;
use crate::{Cli, Daemon, Exchange, Output, PATIENCE, Place, Pty, Request, Response, eventually};

impl Daemon {
    /// The docker CLI against this daemon, in its network, with a home of its own.
    pub fn cli<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Cli {
        let command = self.sandbox().network_command(Place::Inside, docker());
        Cli::new(self.client(command)).args(args)
    }

    /// A shell script in the daemon's network and mount namespace that may use docker.
    pub fn shell(&self, script: &str) -> Cli {
        let mut command = self.sandbox().network_command(Place::Inside, "bash");
        command.args(["-c", script, "bash"]);
        Cli::new(self.client(command))
    }

    /// Runs the docker CLI to its end.
    #[track_caller]
    pub fn docker<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.cli(args).run()
    }

    /// Runs the docker CLI on a terminal.
    #[track_caller]
    pub fn pty<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Pty {
        let mut command = self.sandbox().network_command(Place::Inside, "setsid");
        command.arg("-c").arg(docker()).args(args);
        Pty::spawn(self.client(command))
    }

    fn client(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DOCKER_") {
                command.env_remove(name);
            }
        }
        let home = self.sandbox().state().join("home");
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
            .env("DOCKER_CONFIG", home.join(".docker"))
            .env("HOME", home);
        command
            .env("DOCKER_CLI_HINTS", "false")
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm");
        command
    }

    /// A request to the API socket. The target is sent as given: with or without `/v1.NN`.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let connection = UnixStream::connect(self.socket()).map(Connection::Unix);
        Request::new(connection, method, target)
    }

    /// A whole call: request (with a JSON body where there is one) and answer.
    #[track_caller]
    pub fn api(&self, method: &str, target: &str, body: Option<&Value>) -> Response {
        let request = self.request(method, target);
        match body {
            Some(body) => request.json(body).send(),
            None => request.send(),
        }
    }

    /// `docker inspect` of a container, as JSON.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        self.api("GET", &format!("/containers/{container}/json"), None)
            .is(200)
            .json()
    }

    /// `docker inspect -f TEMPLATE NAME`.
    #[track_caller]
    pub fn format(&self, name: &str, template: &str) -> String {
        self.docker(["inspect", "-f", template, name])
            .ok()
            .out()
            .to_owned()
    }

    /// Starts `docker run -d --name NAME ARGS…` and returns the full ID.
    #[track_caller]
    pub fn run_d<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> String {
        let cli = self.cli(["run", "-d", "--name", name]).args(args);
        cli.run().ok().out().to_owned()
    }

    /// Waits until a container's state is `status`.
    #[track_caller]
    pub fn wait_status(&self, container: &str, status: &str) {
        eventually(&format!("{container} is {status}"), PATIENCE, || {
            let state = self.inspect(container)["State"]["Status"].clone();
            (state == status).then_some(())
        });
    }

    /// Waits until a container's log holds `text`.
    #[track_caller]
    pub fn wait_log(&self, container: &str, text: &str) {
        let mut logs = self.cli(["logs", "-f", container]).spawn();
        logs.wait_for(text);
    }

    /// Follows the events that `filters` (`{"event": ["attach"]}`) let through. The answer comes
    /// with the subscription, so nothing that happens after this call is missed.
    #[track_caller]
    pub fn events(&self, filters: &Value) -> Exchange {
        let filters = filters.to_string().replace('"', "%22");
        let target = format!("/events?filters={filters}");
        let events = self.request("GET", &target).open();
        assert_eq!(events.status, 200, "{target}");
        events
    }

    /// Removes containers by force; a missing one is no error.
    pub fn remove(&self, containers: &[&str]) {
        self.cli(["rm", "-f", "-v"]).args(containers).run();
    }

    /// One HTTP GET of `path` at `to` as seen from `place`; `None` when nothing answers with 200.
    pub fn fetch(&self, place: Place, to: &str, path: &str) -> Option<String> {
        let to: SocketAddr = to.parse().expect("address:port");
        let stream = self.sandbox().connect(place, to).ok()?;
        let request = Request::over(stream, "GET", path).header("Connection", "close");
        let mut exchange = request.try_open().ok()?;
        let body = exchange.rest(Duration::from_secs(10)).ok()?;
        (exchange.status == 200).then(|| String::from_utf8_lossy(&body).into_owned())
    }

    /// Writes a file into the sandbox's own directory and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.sandbox().state().join(name);
        let mut file = File::create(&path).expect("a file of the test");
        file.write_all(content.as_ref()).expect("write");
        path
    }
}

/// The docker CLI 28; Debian's own `docker` is of dockerd's age.
fn docker() -> &'static Path {
    let ours = Path::new("/usr/local/bin/docker");
    if ours.exists() {
        ours
    } else {
        Path::new("docker")
    }
}
