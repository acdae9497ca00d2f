//! A private daemon.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::{run_command, wait_limited};
use crate::{Compression, Flavour, Image, Output, PATIENCE, Sandbox, binary, eventually, flavour};

/// Where the daemon's containerd comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containerd {
    /// The daemon starts one of its own.
    #[default]
    Managed,
    /// The daemon starts one of its own, which serves its metrics at [`Daemon::METRICS`]. dockerd
    /// cannot do that; it gets a foreign one.
    Metered,
    /// The kit starts one, with metrics too, and hands it over by `--containerd`.
    Foreign,
}

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Flags after the kit's own.
    pub args: Vec<String>,
    /// The content of `daemon.json`; null means `{}`.
    pub config: Value,
    /// Environment variables of the daemon.
    pub env: Vec<(String, String)>,
    /// Where containerd comes from.
    pub containerd: Containerd,
    /// What the configuration of a [`Containerd::Foreign`] has besides the kit's own; TOML.
    pub containerd_config: String,
    /// Leaves out the loading of `busybox:latest`.
    pub without_image: bool,
    /// Which daemon, for a test that compares two; what `TESTKIT_DAEMON` says where there is none.
    pub flavour: Option<Flavour>,
}

impl Options {
    /// Adds flags.
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Options {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn flavour(&self) -> Flavour {
        self.flavour.unwrap_or_else(flavour)
    }
}

/// A daemon with its own sandbox. Dropping it ends all of it.
#[derive(Debug)]
pub struct Daemon {
    sandbox: Sandbox,
    options: Options,
    process: Mutex<Option<Child>>,
    containerd: Option<Child>,
}

/// The one daemon that the tests of a binary share, where its state allows. It ends with the
/// test process: the sandbox's janitor sees to it.
#[track_caller]
pub fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    static STARTING: Once = Once::new();
    // A start that failed must fail every test, not be tried again by each.
    STARTING.call_once(|| {
        let _ = SHARED.set(Daemon::start(Options::default()));
    });
    SHARED.get().expect("the shared daemon did not start")
}

/// Logs of daemons that a panic message should quote.
static LOGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn logs() -> MutexGuard<'static, Vec<PathBuf>> {
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a panic print the end of every live daemon's log after its own message.
fn quote_logs_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            let most = if std::env::var_os("TESTKIT_LOG").is_some() {
                usize::MAX
            } else {
                25
            };
            for path in logs().iter() {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                eprintln!("-- the end of {}:", path.display());
                for line in &lines[lines.len().saturating_sub(most)..] {
                    eprintln!("   {line}");
                }
            }
        }));
    });
}

impl Daemon {
    /// Where [`Containerd::Metered`] and [`Containerd::Foreign`] serve their metrics, in the daemon's network.
    pub const METRICS: &str = "127.0.0.1:1338";

    /// Starts a daemon, waits until it answers, and loads `busybox:latest`.
    #[track_caller]
    pub fn start(options: Options) -> Daemon {
        let daemon = Daemon::prepare(options);
        daemon.boot();
        if !daemon.options.without_image {
            daemon.load_busybox();
        }
        daemon
    }

    /// Loads `busybox:latest`.
    #[track_caller]
    pub fn load_busybox(&self) {
        let image = Image::busybox("busybox:latest").docker_archive(Compression::None);
        self.cli(["load"]).stdin(image).run().ok();
    }

    /// Makes the sandbox and the configuration, and starts nothing but a metered containerd.
    #[track_caller]
    pub fn prepare(options: Options) -> Daemon {
        binary::path(options.flavour());
        quote_logs_on_panic();
        let sandbox = Sandbox::new();
        std::fs::create_dir_all(sandbox.state().join("home")).expect("mkdir");
        let config = if options.config.is_null() {
            "{}".into()
        } else {
            options.config.to_string()
        };
        std::fs::write(sandbox.state().join("daemon.json"), config).expect("write");
        let mut daemon = Daemon {
            sandbox,
            options,
            process: Mutex::new(None),
            containerd: None,
        };
        logs().push(daemon.log_path());
        if daemon.is_given_containerd() {
            daemon.containerd = Some(daemon.foreign_containerd());
        }
        daemon
    }

    fn is_given_containerd(&self) -> bool {
        match self.options.containerd {
            Containerd::Managed => false,
            Containerd::Metered => self.is_old_dockerd(),
            Containerd::Foreign => true,
        }
    }

    fn foreign_containerd(&self) -> Child {
        let (state, run) = (self.sandbox.state(), self.sandbox.run_dir());
        let text = format!(
            "version = 2\nroot = \"{state}/containerd\"\nstate = \"{run}/containerd\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{run}/containerd.sock\"\n\
             [metrics]\n  address = \"{metrics}\"\n  grpc_histogram = true\n{more}",
            state = state.display(),
            run = run.display(),
            metrics = Daemon::METRICS,
            more = self.options.containerd_config,
        );
        let config = state.join("containerd.toml");
        std::fs::write(&config, text).expect("write");
        let mut command = self.sandbox.command("containerd");
        command.arg("--config").arg(config);
        let child = self.logged(command).spawn().expect("nsenter runs");
        eventually("containerd answers", PATIENCE, || {
            UnixStream::connect(run.join("containerd.sock")).ok()
        });
        child
    }

    fn logged(&self, mut command: Command) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the log can be written");
        let copy = log.try_clone().expect("dup");
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        command
    }

    /// The namespaces and directories that the daemon lives in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The daemon's `--data-root`.
    pub fn data_root(&self) -> PathBuf {
        self.sandbox.state().join("data")
    }

    /// The daemon's `--exec-root`.
    pub fn exec_root(&self) -> PathBuf {
        self.sandbox.run_dir().join("exec")
    }

    /// The daemon's API socket.
    pub fn socket(&self) -> PathBuf {
        self.sandbox.run_dir().join("docker.sock")
    }

    /// The daemon's pidfile.
    pub fn pidfile(&self) -> PathBuf {
        self.sandbox.run_dir().join("docker.pid")
    }

    /// The daemon's `daemon.json`.
    pub fn config_file(&self) -> PathBuf {
        self.sandbox.state().join("daemon.json")
    }

    fn log_path(&self) -> PathBuf {
        self.sandbox.state().join("daemon.log")
    }

    /// What the daemon (and its containerd) has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The socket of the containerd that the daemon uses.
    #[track_caller]
    pub fn containerd_socket(&self) -> PathBuf {
        if self.is_given_containerd() {
            return self.sandbox.run_dir().join("containerd.sock");
        }
        let mut todo = vec![self.exec_root()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with("containerd.sock") {
                    return entry.path();
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(entry.path());
                }
            }
        }
        panic!("no containerd.sock under {}", self.exec_root().display());
    }

    /// Runs a second daemon with this one's flags and `args`: it must refuse, with one line that has
    /// `text`.
    #[track_caller]
    pub fn refuses(&self, args: &[&str], text: &str) {
        let mut command = self.command();
        command.args(args);
        let output = run_command(command);
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stderr.contains(text), "no [{text}] in {output}");
        if !self.is_old_dockerd() {
            let lines = output
                .stderr
                .lines()
                .filter(|line| line.contains(text))
                .count();
            assert_eq!(lines, 1, "said once: {output}");
            assert!(
                !output.stderr.contains("panicked") && !output.stderr.contains("RUST_BACKTRACE"),
                "{output}"
            );
        }
    }

    /// The daemon's command line with the kit's flags, in the sandbox, not started.
    pub fn command(&self) -> Command {
        let binary = binary::path(self.options.flavour());
        let mut command = self.sandbox.command(&binary);
        command.arg("--data-root").arg(self.data_root());
        command.arg("--exec-root").arg(self.exec_root());
        command.arg("--pidfile").arg(self.pidfile());
        command.arg("--config-file").arg(self.config_file());
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()));
        if self.is_given_containerd() {
            command.arg("--containerd").arg(self.containerd_socket());
        } else if self.options.containerd == Containerd::Metered {
            command
                .arg("--containerd-metrics-address")
                .arg(Daemon::METRICS);
        }
        if self.is_old_dockerd() {
            // It would look for them on PATH.
            let proxy = binary.with_file_name("docker-proxy");
            command.arg("--userland-proxy-path").arg(proxy);
            command.args(["--init-path", "/usr/bin/tini-static"]);
        }
        if std::env::var_os("TESTKIT_LOG").is_some() {
            command.arg("--debug");
        }
        command.args(&self.options.args);
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The daemon's binary, in the sandbox, without any flags.
    pub fn bare_command(&self) -> Command {
        self.sandbox.command(binary::path(self.options.flavour()))
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the daemon's process and waits until it answers `/_ping`.
    #[track_caller]
    pub fn boot(&self) {
        let mut child = self.logged(self.command()).spawn().expect("nsenter runs");
        let ready = eventually("the daemon answers /_ping", PATIENCE, || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(status));
            }
            let answer = self
                .request("GET", "/_ping")
                .header("Connection", "close")
                .try_open();
            (answer.ok()?.status == 200).then_some(Ok(()))
        });
        if let Err(status) = ready {
            panic!("the daemon ended at once: {status}\n{}", self.log());
        }
        *self.process() = Some(child);
    }

    /// The daemon's PID on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let process = self.process();
        self.sandbox
            .inner_pid(process.as_ref().expect("the daemon runs"))
    }

    /// The PID, on the host, of the containerd that the daemon uses.
    #[track_caller]
    pub fn containerd_pid(&self) -> i32 {
        eventually("containerd runs", PATIENCE, || self.find_containerd())
    }

    fn find_containerd(&self) -> Option<i32> {
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(self.sandbox.init())?;
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .find_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
                (comm.trim_end() == "containerd" && namespace(pid)? == ours).then_some(pid)
            })
    }

    /// The PIDs, in the sandbox, of what is not a container's: its PID 1, the holder of the
    /// outside network, the daemon and its containerd.
    pub(crate) fn own_processes(&self) -> BTreeSet<String> {
        let mut pids = vec![self.sandbox.init(), self.sandbox.outside_holder()];
        if let Some(child) = self.process().as_ref() {
            pids.extend(crate::sandbox::children(child.id() as i32));
        }
        pids.extend(self.find_containerd());
        pids.into_iter().filter_map(inner_number).collect()
    }

    /// Stops the daemon with SIGTERM and waits for its end. Panics unless it exits with 0.
    #[track_caller]
    pub fn stop(&self) {
        self.end(Signal::TERM, Duration::from_secs(90));
    }

    /// Kills the daemon with SIGKILL and waits until it is gone. All else goes on.
    #[track_caller]
    pub fn kill9(&self) {
        self.end(Signal::KILL, PATIENCE);
    }

    #[track_caller]
    fn end(&self, signal: Signal, patience: Duration) {
        kill(self.pid(), signal);
        let status = self.ended(patience);
        assert!(
            signal == Signal::KILL || status.success(),
            "the daemon ended with {status}"
        );
    }

    /// Waits for the daemon's end, which the test has brought about otherwise.
    #[track_caller]
    pub fn ended(&self, patience: Duration) -> ExitStatus {
        let mut child = self.process().take().expect("the daemon runs");
        wait_limited(&mut child, patience)
            .unwrap_or_else(|| panic!("the daemon did not end within {patience:?}"))
    }

    /// Replaces `daemon.json` and has the daemon read it; what it told about that.
    #[track_caller]
    pub fn reload(&self, config: &Value) -> Output {
        std::fs::write(self.config_file(), config.to_string()).expect("written");
        let mut command = self.bare_command();
        command.args(["config", "reload", "--exec-root"]);
        command.arg(self.exec_root());
        run_command(command).ok()
    }

    /// Stops the daemon and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.boot();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let log = self.log_path();
        logs().retain(|path| *path != log);
        let daemon = self.process().take();
        for mut child in daemon.into_iter().chain(self.containerd.take()) {
            for pid in crate::sandbox::children(child.id() as i32) {
                kill(pid, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process by its number on the host.
pub(crate) fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A host PID's number in the innermost PID namespace that it is in.
fn inner_number(pid: i32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
    line.split_ascii_whitespace().last().map(str::to_owned)
}

impl Daemon {
    /// Whether it is Debian's dockerd 20.10, whose old ways some must allow for.
    pub fn is_old_dockerd(&self) -> bool {
        self.options.flavour() == Flavour::Dockerd
    }

    /// Kills the containerd that the daemon uses with SIGKILL, and returns the PID it had.
    #[track_caller]
    pub fn kill9_containerd(&self) -> i32 {
        let pid = self.containerd_pid();
        kill(pid, Signal::KILL);
        eventually("containerd is gone", PATIENCE, || {
            (self.find_containerd() != Some(pid)).then_some(())
        });
        pid
    }
}
