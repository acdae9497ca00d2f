//! What is kept of a container on disk: what it is to be, and what became of it.
//!
//! Two files in its folder: `config.json` is written when the container is made or changed and
//! must survive a power cut; `state.json` changes with each run and must only never be torn.

use std::path::PathBuf;

use berth_ctrd::Mount;
use berth_volumes::MountPoint;
use berth_wire as wire;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::health::Health;
use super::state::Generation;

/// The file of the [`Record`].
pub(crate) const CONFIG: &str = "config.json";
/// The file of the [`RunState`].
pub(crate) const STATE: &str = "state.json";

/// What a container is to be. Changes by rename, and when it joins or leaves a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Without the leading slash.
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The image's id.
    pub(crate) image: String,
    pub(crate) platform: String,
    /// As the client asked, with the image's configuration merged in.
    pub(crate) config: wire::ContainerConfig,
    /// As the client asked, with the daemon's defaults filled in.
    pub(crate) host: wire::HostConfig,
    pub(crate) networking: wire::NetworkingConfig,
    /// What is mounted in it, as the client asked and the volumes are called.
    pub(crate) mounts: Vec<MountPoint>,
    /// The snapshotter that it was made with, whichever the daemon makes others with by now.
    pub(crate) snapshotter: String,
    /// The key of the snapshot that its own was made on; empty: it was made of nothing.
    pub(crate) base: String,
    /// How to mount its root file system, as the snapshotter told when it was prepared.
    pub(crate) rootfs: Vec<Mount>,
}

impl Record {
    /// How Docker abbreviates ids.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// The host name inside.
    pub(crate) fn hostname(&self) -> &str {
        &self.config.hostname
    }

    /// What it runs: entrypoint and command in one.
    pub(crate) fn command(&self) -> Vec<&str> {
        let parts = [&self.config.entrypoint, &self.config.cmd];
        parts
            .into_iter()
            .flatten()
            .flatten()
            .map(String::as_str)
            .collect()
    }
}

/// The status that clients see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Created,
    Running,
    Paused,
    /// Its policy starts it again after a pause.
    Restarting,
    Exited,
    Removing,
    Dead,
}

impl Status {
    /// Docker's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        }
    }

    /// Its init runs, frozen or not.
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }

    /// What Docker calls running: until it has stopped for good.
    pub(crate) fn is_up(self) -> bool {
        self.is_running() || self == Status::Restarting
    }
}

/// What became of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunState {
    pub(crate) status: Status,
    pub(crate) generation: Generation,
    /// How often it has stopped: runs that its policy has another follow do not count.
    pub(crate) exits: u64,
    /// How often its policy has started it since a user did.
    pub(crate) restarts: u64,
    /// A user stopped it, and has not started it since.
    pub(crate) stopped: bool,
    /// It is frozen for a commit alone: a daemon that finds it so lets it go on.
    pub(crate) thaw: bool,
    /// The process id of its init on the host; 0 while it does not run.
    pub(crate) pid: u32,
    pub(crate) exit_code: i64,
    /// Why it could not be started.
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// What its health checks have shown; `None` where it never had any.
    pub(crate) health: Option<Health>,
    /// Something of a run may be left outside: in containerd, in the network, on disk.
    pub(crate) unsettled: bool,
    /// Its places in networks while it runs, in the order in which it joined them.
    pub(crate) endpoints: Vec<berth_net::Endpoint>,
    /// The OCI runtime that the run was started with, a binary or a wrapper script, for as long as
    /// something of the run may be left; empty where its shim has none.
    pub(crate) runtime: String,
}

/// The files of one container, beside its records.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new(folder: PathBuf) -> Files {
        Files { folder }
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.folder.join("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    pub(crate) fn log(&self, record: &Record) -> PathBuf {
        berth_logs::log_path(&record.host.log_config.kind, &self.folder, &record.id)
    }
}
