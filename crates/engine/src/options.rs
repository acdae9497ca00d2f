//! What callers can ask for, already parsed.

use berth_wire as wire;
use jiff::Timestamp;

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// Only the newest so many, whatever their state; not positive: no limit.
    pub limit: Option<i64>,
    /// With their sizes.
    pub size: bool,
    /// Only those that these let through.
    pub filters: wire::Filters,
}

/// How to make a container, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Its name; `None` for a generated one.
    pub name: Option<String>,
    /// The platform that its image must be of, e.g. `linux/amd64`.
    pub platform: Option<String>,
}

/// How to stop a container.
#[derive(Clone, Debug, Default)]
pub struct StopOptions {
    /// The first signal, by name or number; `None` for the container's own.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; negative: never; `None`: the container's own.
    pub timeout: Option<i64>,
}

/// How to remove a container.
#[derive(Clone, Debug, Default)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
    /// Only a link of that name.
    pub link: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run (perhaps it never did).
    NotRunning,
    /// It exits the next time.
    NextExit,
    /// It is removed.
    Removed,
}

/// What to attach to.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What is written from now on.
    pub stream: bool,
    /// What was written before.
    pub logs: bool,
    /// The keys that detach, e.g. `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

/// Which lines of a log to read.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on until the container stops.
    pub follow: bool,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// Only lines of this time or earlier.
    pub until: Option<Timestamp>,
    /// Only the last so many; `None` for all.
    pub tail: Option<u64>,
}

/// How to tell what a container uses.
#[derive(Clone, Copy, Debug)]
pub struct StatsOptions {
    /// Each second, until the container is removed.
    pub stream: bool,
    /// At once, with nothing to compare with.
    pub one_shot: bool,
}

/// What of the disk's usage to tell.
#[derive(Clone, Copy, Debug)]
pub struct DiskUsageOptions {
    /// Containers.
    pub containers: bool,
    /// Images.
    pub images: bool,
    /// Volumes.
    pub volumes: bool,
    /// The build cache.
    pub build_cache: bool,
}

/// Whether an idempotent change did something or found it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It did something.
    Yes,
    /// There was nothing to do.
    No,
}
