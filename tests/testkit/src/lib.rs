//! What Berth's tests stand on: a private daemon, images made from busybox-static, a terminal, a
//! registry, and counters for leaks and for containerd RPCs.
//!
//! Everything a test starts lives in a [`Sandbox`]: its own network, mount and PID namespaces
//! held by a janitor process that ends them all, and removes the files, when the test process is
//! gone (however it went). Nothing of the host is touched and test binaries never collide.
//!
//! The kit panics where a test should fail; a panic prints the tail of the daemon's log.
//!
//! Environment:
//! - `BERTHD`: the daemon binary to test. Without it the kit builds `berthd` with cargo, in the
//!   profile that the tests were built in.
//! - `TESTKIT_DAEMON=dockerd`: run the tests against Debian's dockerd instead.
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
mod pty;
mod registry;
mod rpc;
mod sandbox;

pub use binary::{Flavour, flavour};
pub use cgroup::is_unified as has_unified_cgroups;
pub use command::{Cli, Output, Running, run_command};
pub use daemon::{Containerd, Daemon, Options, shared};
pub use http::{Exchange, Request, Response, demux};
pub use image::{Compression, Image, rootfs_tar};
pub use leaks::Leaks;
pub use pty::Pty;
pub use registry::{Registry, Tls};
pub use rpc::{Budget, RpcCounter};
pub use sandbox::{Place, Sandbox};

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
