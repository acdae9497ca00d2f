//! What Berth's tests stand on: a private daemon, images made from busybox-static, a terminal, a
//! registry, and counters for leaks and for containerd RPCs.
//!
//! Everything a test starts lives in a [`Sandbox`]: its own network, mount and PID namespaces
//! held by a janitor process that ends them all, and removes the files, when the test process is
//! gone (however it went). Nothing of the host is touched and test binaries never collide.
//!
//! The kit panics where a test should fail; a panic prints the tail of the daemon's log.
//!
//! # How to write a test
//!
//! ```no_run
//! use testkit::{shared, unique};
//!
//! #[test]
//! fn a_label_comes_back() {
//!     let name = unique("label");
//!     shared().run_d(&name, ["-l", "k=v", "busybox", "sleep", "1000"]);
//!     assert_eq!(shared().format(&name, "{{.Config.Labels.k}}"), "v");
//!     shared().remove(&[&name]);
//! }
//! ```
//!
//! - [`shared()`] is the daemon that all tests of a binary use; `busybox:latest` is loaded. Names
//!   come from [`unique`], host ports and image names are a test's own, and what it makes it
//!   removes. A test that changes the daemon, kills it or counts what is there starts its own:
//!   `Daemon::start(Options::default())`; it costs less than a second.
//! - The docker CLI: [`Daemon::docker`] runs it to its end, [`Daemon::cli`] adds input or a time
//!   limit, [`Cli::spawn`] leaves it running ([`Running::wait_for`] waits for a word of it), and
//!   [`Daemon::pty`] gives it a terminal. [`Output::ok`], [`Output::exits`], [`Output::out_is`] and
//!   the like fail with the command line and all that it wrote.
//! - The API: [`Daemon::api`] for a whole call, [`Daemon::request`] for what clients hide: headers,
//!   hijacked connections, half-closes, streams ([`Exchange`]), frames ([`demux`]).
//! - The network: the daemon's host is [`Sandbox::INSIDE`], another host on its wire is
//!   [`Sandbox::OUTSIDE`]; [`Daemon::fetch`], [`Sandbox::connect`] and [`Sandbox::udp`] talk from
//!   either [`Place`].
//! - Images: [`Image`] packs them, [`Registry`] serves them, behind a [`Guard`] if wanted; a [`Stub`]
//!   misbehaves as the test says. Other tools for images: [`Daemon::skopeo`], [`Daemon::podman`].
//! - What the kernel was told: [`Daemon::cgroup`], [`Sandbox::proc`].
//! - Leaks: `let before = Leaks::count(&daemon)`, the work, `before.settle(&daemon, PATIENCE)`.
//!   Run one container first, where what the first one makes for all is no leak. [`Stored`] is the
//!   same for images.
//! - RPCs: [`RpcCounter`], with [`Containerd::Metered`].
//! - Wait for what will happen ([`eventually`], [`Daemon::wait_status`], [`Daemon::wait_log`],
//!   [`Daemon::events`]); never sleep instead. A client that was spawned is not attached yet.
//!   Everything has a time limit of its own ([`PATIENCE`]).
//! - Expect what Docker 28 and 29 do. Where Debian's 20.10 differs ask
//!   [`Daemon::is_old_dockerd`], and say in what, so that the test itself can be tried on a real
//!   dockerd. See each new test fail once.
//!
//! Environment:
//! - `BERTHD`: the daemon binary to test. Without it the kit builds `berthd` with cargo, in the
//!   profile that the tests were built in.
//! - `TESTKIT_DAEMON=dockerd`: run the tests against Debian's dockerd instead.
//!   It shows that a test asks for what Docker does; `scripts/setup.sh test` fetches it.
//! - `TESTKIT_LOG=1`: `--debug` for the daemon, and its whole log on a failure.

mod binary;
mod cgroup;
mod command;
mod daemon;
mod driving;
mod feed;
mod http;
mod image;
mod leaks;
mod memory;
mod mortal;
mod others;
mod pty;
mod registry;
mod rpc;
mod sandbox;
mod stored;
mod stub;
mod tokens;

pub use binary::{Flavour, flavour, unknown_dockerd};
pub use cgroup::is_unified as has_unified_cgroups;
pub use command::{Cli, Output, Running, run_command};
pub use daemon::{Containerd, Daemon, Options, shared};
pub use http::{Exchange, Request, Response, demux};
pub use image::{Compression, Image, rootfs_tar, sha256};
pub use leaks::Leaks;
pub use mortal::Mortal;
pub use pty::Pty;
pub use registry::{Guard, Registry, Tls};
pub use rpc::{Budget, RpcCounter};
pub use sandbox::{Place, Sandbox};
pub use stored::Stored;
pub use stub::{Asked, Stub, Wire};
pub use tokens::{IDENTITY, PASSWORD, Tokens, USER};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The time that a command or a wait gets unless the test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A container name that no other test of this process uses: `<stem>-<n>`.
pub fn unique(stem: &str) -> String {
    format!("{stem}-{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// Asks `check` every few milliseconds until it answers `Some`; panics with `what` after
/// `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
