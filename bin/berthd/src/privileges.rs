//! What the process may and must do before it becomes the daemon.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit of open files that we were started with; children get it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles(pub(crate) Option<u64>);

/// Refuses to go on unless root.
pub(crate) fn require_root(program: &str) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(format!(
        "{program} needs to be started with root privileges. To run dockerd in rootless mode as an \
         unprivileged user, see https://docs.docker.com/go/rootless/"
    ))
}

/// Raises the limit of open files as far as it goes: each running container takes a few.
pub(crate) fn raise_open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    // Not to be raised is no reason not to start.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    OpenFiles(limit.current)
}

/// Sets the daemon's own `oom_score_adj`; 0 leaves it as it is.
pub(crate) fn set_oom_score(score: i64) -> Result<(), String> {
    if score == 0 {
        return Ok(());
    }
    let wrong = |error: io::Error| format!("failed to set oom_score_adj to {score}: {error}");
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(wrong)
}

/// Whether processes of ours may be protected from the kernel's out-of-memory killer: in a
/// container even root may not.
pub(crate) fn may_lower_oom_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << CAP_SYS_RESOURCE) != 0)
}

/// Its number, as in `linux/capability.h`.
const CAP_SYS_RESOURCE: u32 = 24;
