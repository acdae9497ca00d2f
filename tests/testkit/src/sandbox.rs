//! Namespaces of a test's own, and the janitor that ends them.
//!
//! ```text
//! test process ── pipe ──> janitor (host) ── unshare ──> PID 1 of the sandbox
//!                                                          ├─ daemon, containerd, shims, …
//!   outside 192.0.2.2 ──── veth ──── inside 192.0.2.1      └─ holder of the outside netns
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{PATIENCE, eventually};

/// A network namespace of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The daemon's host: [`Sandbox::INSIDE`] and loopback.
    Inside,
    /// Another host on the same wire: [`Sandbox::OUTSIDE`].
    Outside,
}

/// Namespaces, directories and the process that ends them. Dropping it waits until all is gone.
#[derive(Debug)]
pub struct Sandbox {
    janitor: Child,
    pipe: Option<ChildStdin>,
    init: i32,
    outside: i32,
    state: PathBuf,
    run: PathBuf,
}

impl Sandbox {
    /// The daemon's host as other hosts see it.
    pub const INSIDE: &str = "192.0.2.1";
    /// The other host.
    pub const OUTSIDE: &str = "192.0.2.2";

    /// Makes the namespaces and the two directories.
    pub fn new() -> Sandbox {
        let name = tempfile::Builder::new()
            .prefix("berth-test-")
            .tempdir_in("/var/tmp");
        let state = name.expect("a directory in /var/tmp").keep();
        let run = Path::new("/run").join(state.file_name().expect("it has a name"));
        std::fs::create_dir(&run).expect("a directory in /run");
        let mut janitor = Command::new("setsid")
            .args(["bash", "-c", include_str!("janitor.sh"), "janitor", "outer"])
            .args([&state, &run])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setsid and bash run");
        let pipe = janitor.stdin.take();
        let mut ready = String::new();
        if let Some(stdout) = janitor.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut ready);
        }
        assert_eq!(
            ready, "ready\n",
            "the janitor made no namespaces (are you root?)"
        );
        let pid = janitor.id() as i32;
        let init = only_child(only_child(pid, "unshare"), "bash");
        let outside = only_child(init, "sleep");
        Sandbox {
            janitor,
            pipe,
            init,
            outside,
            state,
            run,
        }
    }

    /// Where bulky state goes: on a real file system, removed at the end.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Where sockets go, in `/run`; removed at the end.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// The PID, on the host, of the sandbox's PID 1.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// The PID, on the host, of what holds the outside network.
    pub(crate) fn outside_holder(&self) -> i32 {
        self.outside
    }

    /// The sandbox's own procfs, where PIDs are as in its PID namespace.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc", self.init))
    }

    fn holder(&self, place: Place) -> i32 {
        match place {
            Place::Inside => self.init,
            Place::Outside => self.outside,
        }
    }

    /// A command that runs with the network of `place` and everything else as the test has it.
    pub fn network_command(&self, place: Place, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder(place)))
            .arg("--")
            .arg(program);
        command
    }

    /// A command that runs in all of the sandbox's namespaces. The child is an `nsenter` that
    /// waits for it: see [`Sandbox::inner_pid`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--mount",
            "--pid",
            "--target",
            &self.init.to_string(),
            "--",
        ]);
        command.arg(program);
        command
    }

    /// The PID, on the host, of what an `nsenter` made by [`Sandbox::command`] runs.
    pub fn inner_pid(&self, nsenter: &Child) -> i32 {
        let pid = nsenter.id() as i32;
        eventually("nsenter runs its command", PATIENCE, || {
            children(pid).first().copied()
        })
    }

    /// Runs `work` on a thread in the network namespace of `place`; sockets made there stay there.
    pub fn with_network<T: Send>(&self, place: Place, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.holder(place));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(&path).expect("the sandbox is alive");
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    Some(LinkNameSpaceType::Network),
                )
                .expect("setns");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects from `place`; 10 seconds for the handshake.
    pub fn connect(&self, place: Place, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.with_network(place, || {
            TcpStream::connect_timeout(&to, Duration::from_secs(10))
        })
    }

    /// A UDP socket in `place`, connected to `to`, with a read time limit of 2 seconds.
    pub fn udp(&self, place: Place, to: SocketAddr) -> std::io::Result<UdpSocket> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.with_network(place, || UdpSocket::bind(any))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(socket)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.janitor.wait();
    }
}

/// The children of `pid`, as the host numbers them.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The child of `parent` that runs `name`.
fn only_child(parent: i32, name: &str) -> i32 {
    eventually(&format!("{parent} has a child {name}"), PATIENCE, || {
        children(parent).into_iter().find(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
    })
}
