//! What every part of the engine works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_ctrd::{Client, Snapshots};
use berth_images::Images;
use berth_net::Net;
use berth_spec::HostFacts;
use berth_store::Records;
use tokio::sync::watch;

use crate::backlog::Spool;
use crate::container::record::Files;
use crate::events::Events;
use crate::exec::Execs;
use crate::networks::Networks;
use crate::table::Table;
use crate::volumes::Volumes;
use crate::{Error, Result};

/// The outside systems, and what the engine keeps of its own. Nothing here reaches the
/// configuration's store: who needs the configuration gets it handed down.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) snapshots: Snapshots,
    pub(crate) images: Images,
    pub(crate) net: Arc<Net>,
    pub(crate) networks: Networks,
    pub(crate) records: Records,
    pub(crate) table: Table,
    pub(crate) volumes: Volumes,
    pub(crate) execs: Execs,
    pub(crate) events: Events,
    pub(crate) facts: HostFacts,
    /// The control groups of what runs.
    pub(crate) cgroups: Arc<berth_cgroups::Host>,
    /// FIFOs of running containers: `<io_root>/<id>/`.
    pub(crate) io_root: PathBuf,
    /// Shared memory of running containers that share it: `<shm_root>/<id>`.
    pub(crate) shm_root: PathBuf,
    /// Paths in volumes that running containers show: `<subpath_root>/<id>/<n>`.
    pub(crate) subpath_root: PathBuf,
    /// What attached clients have yet to read.
    pub(crate) spool: Arc<Spool>,
    /// How many runs are being torn down.
    pub(crate) teardowns: watch::Sender<usize>,
    /// For what blocks on threads of its own, and has to wait for what does not.
    pub(crate) runtime: tokio::runtime::Handle,
    /// The daemon ends: nothing new is started.
    pub(crate) closing: AtomicBool,
}

impl Shared {
    /// The files of the container `id`.
    pub(crate) fn files(&self, id: &str) -> Result<Files> {
        Ok(Files::new(
            self.records.folder(id).map_err(Error::from_lower)?,
        ))
    }

    /// The directory of the FIFOs of the container `id`.
    pub(crate) fn io_dir(&self, id: &str) -> PathBuf {
        self.io_root.join(id)
    }

    /// Refuses while the daemon ends.
    pub(crate) fn open_for_change(&self) -> Result<()> {
        if self.closing.load(Ordering::Acquire) {
            let message = "the daemon is shutting down";
            return Err(Error::new(berth_errdefs::Kind::Unavailable, message));
        }
        Ok(())
    }
}

/// Runs what blocks on a thread where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::internal(format!(
            "a part of the daemon failed: {error}"
        ))),
    }
}
