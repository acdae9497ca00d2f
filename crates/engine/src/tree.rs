//! Containers' trees: where each one is, and what of the host's is part of it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_ctrd::Mount;
use berth_rootfs::{Base, Bind, Layer, View};
use berth_spec::modes::Mode;
use berth_spec::rootfs::{LayeredRoot, SnapshotMount};
use rustix::io::Errno;

use crate::container::handle::{self, Handle, Mounted};
use crate::container::record::{Record, Status};
use crate::shared::Shared;
use crate::volumes::Loan;
use crate::{Error, Result, mounts};

/// How long a start, or the end of a run, is waited for before files are copied into a container.
const SETTLED: Duration = Duration::from_secs(60);

/// What of a container's mounts a view of it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Volumes, bind mounts and the files that the daemon gives it: what `docker cp` sees.
    Mounts,
    /// Nothing but the root file system: what is exported and committed.
    RootOnly,
}

/// What a view is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only to read: what a container that does not run has written is mounted as one more layer
    /// of its image. So a start meanwhile has overlayfs's work directory for itself.
    Read,
    /// Also to write.
    Write,
}

/// What a view needs that takes its time: the volumes of a container that does not run. They stay in
/// the view when this is dropped.
///
/// # Errors
/// A volume cannot be had.
pub(crate) async fn lend(shared: &Arc<Shared>, handle: &Handle) -> Result<Option<Loan>> {
    let view = handle.view();
    match view.run.status.is_running() {
        true => Ok(None),
        false => Loan::take(shared, &view.record).await.map(Some),
    }
}

/// A container's tree, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Tree {
    // Dropped before the right to have it mounted.
    view: View,
    _mounted: Option<Mounted>,
}

impl Deref for Tree {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

/// The container's tree as it is now, running or not, with the volumes that are `lent` to it. To be
/// written to, that of one that does not run is waited for while it is being started or its last
/// run is being cleared away. No RPC; blocks.
///
/// # Errors
/// Its root file system is gone, or cannot be mounted.
pub(crate) fn open(
    shared: &Shared,
    handle: &Handle,
    shown: Shown,
    access: Access,
    lent: Option<Loan>,
) -> Result<Tree> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let mut changes = handle.changes();
        let view = handle.view();
        let binds = |holder: &str| match shown {
            Shown::Mounts => binds(shared, &view.record, holder),
            Shown::RootOnly => Vec::new(),
        };
        let ended = match of_process(shared, &view, binds(&view.record.id)) {
            // It has ended meanwhile, which its actor is about to learn.
            Some(Err(berth_rootfs::Error::Ended)) => true,
            Some(outcome) => return outcome.map(read).map_err(Error::from_lower),
            None => false,
        };
        let binds = binds(lent.as_ref().map_or(&view.record.id, Loan::holder));
        let open = |access: Access| {
            let mut snapshot = layers(&view.record);
            if access == Access::Read {
                snapshot.iter_mut().for_each(Layer::seal);
            }
            View::open(&Base::Snapshot(snapshot), &binds, &shared.io_root)
        };
        if access == Access::Read {
            match open(Access::Read) {
                // A mount point is missing, since the container has never run.
                Err(error) if error.errno() == Some(Errno::ROFS) => {}
                outcome => return outcome.map(read).map_err(Error::from_lower),
            }
        }
        let wait = async {
            tokio::select! {
                biased;
                mounted = handle.mounted() => Some(mounted),
                // It may run by now.
                _ = changes.changed(), if !ended => None,
            }
        };
        // The time limit is the runtime's as well.
        let wait = async { tokio::time::timeout_at(deadline.into(), wait).await };
        let Ok(mounted) = shared.runtime.block_on(wait) else {
            let name = &view.record.name;
            let message = format!("container /{name} is being started or cleared away");
            return Err(Error::conflict(message));
        };
        if let Some(mounted) = mounted {
            return Ok(Tree {
                view: open(Access::Write).map_err(Error::from_lower)?,
                _mounted: Some(mounted),
            });
        }
    }
}

impl Tree {
    /// The view alone, for one that is only read.
    pub(crate) fn into_view(self) -> View {
        self.view
    }
}

fn read(view: View) -> Tree {
    Tree {
        view,
        _mounted: None,
    }
}

/// The tree of what runs; `None` where nothing does.
fn of_process(
    shared: &Shared,
    view: &handle::View,
    binds: Vec<Bind>,
) -> Option<berth_rootfs::Result<View>> {
    let base = Base::Process(view.run.pid);
    let open = || View::open(&base, &binds, &shared.io_root);
    view.run.status.is_running().then(open)
}

/// The directory that holds what the container has written: by itself with an overlay, together
/// with what it was made of where its root file system is a plain directory; `None` where only the
/// kernel can look into it.
pub(crate) fn written(record: &Record) -> Option<PathBuf> {
    let of = |mount: &Mount| match mount.kind.as_str() {
        "overlay" => berth_rootfs::upper_dir(&mount.options),
        "bind" | "rbind" => Some(PathBuf::from(&mount.source)),
        _ => None,
    };
    record.rootfs.iter().find_map(of)
}

/// The root file system of a container, to look names up in.
#[derive(Debug)]
pub(crate) struct Root {
    layers: LayeredRoot,
    /// What `layers` look into, where they cannot do so by themselves.
    _view: Option<View>,
}

impl Root {
    /// Read from the layers' directories, without mounting; where only the kernel knows how they
    /// make one tree, it is mounted out of sight. No RPC; blocks.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn of(shared: &Shared, record: &Record) -> Result<Root> {
        let mounts: Vec<_> = record.rootfs.iter().map(snapshot_mount).collect();
        let view = match LayeredRoot::new(&mounts) {
            Err(berth_spec::Error::NeedsMount(_)) => mounted(shared, record)?,
            layers => {
                return Ok(Root {
                    layers: layers.map_err(Error::from_lower)?,
                    _view: None,
                });
            }
        };
        // The dot, since a link itself is not followed there.
        let path = view.path().join(".");
        let mount = SnapshotMount {
            kind: "bind",
            source: &path.to_string_lossy(),
            options: &[],
        };
        Ok(Root {
            layers: LayeredRoot::new(&[mount]).map_err(Error::from_lower)?,
            _view: Some(view),
        })
    }
}

impl Deref for Root {
    type Target = LayeredRoot;

    fn deref(&self) -> &LayeredRoot {
        &self.layers
    }
}

/// The root file system of a container, mounted from its snapshot out of sight. Not for an overlay
/// that may be mounted already. Blocks.
///
/// # Errors
/// It cannot be mounted.
pub(crate) fn mounted(shared: &Shared, record: &Record) -> Result<View> {
    View::open(&Base::Snapshot(layers(record)), &[], &shared.io_root).map_err(Error::from_lower)
}

fn snapshot_mount(mount: &Mount) -> SnapshotMount<'_> {
    SnapshotMount {
        kind: &mount.kind,
        source: &mount.source,
        options: &mount.options,
    }
}

/// Refuses to `act` on what is being removed, in Docker's words.
pub(crate) fn check_there(handle: &Handle, act: &str) -> Result<()> {
    let view = handle.view();
    let which = match view.run.status {
        Status::Dead => "which is Dead",
        Status::Removing => "which is being removed",
        _ => return Ok(()),
    };
    Err(Error::conflict(format!(
        "You cannot {act} container {} {which}",
        view.record.id
    )))
}

/// How a container's root file system is mounted.
pub(crate) fn layers(record: &Record) -> Vec<Layer> {
    record.rootfs.iter().map(layer).collect()
}

pub(crate) fn layer(mount: &Mount) -> Layer {
    Layer {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
    }
}

/// What of the host's is part of the tree. A source that is not there is left out: only a start
/// makes it.
fn binds(shared: &Shared, record: &Record, holder: &str) -> Vec<Bind> {
    let mut binds: Vec<Bind> = mounts::bound(shared, record, holder)
        .into_iter()
        .map(|bind| Bind {
            recursive: !bind.non_recursive,
            read_only: bind.readonly,
            source: bind.source,
            destination: bind.destination,
        })
        .collect();
    let files = match Mode::of(&record.host.network_mode) {
        Mode::Container(other) => shared.files(other),
        _ => shared.files(&record.id),
    };
    let files = files.into_iter().flat_map(|files| {
        [
            (files.resolv_conf(), "/etc/resolv.conf"),
            (files.hostname(), "/etc/hostname"),
            (files.hosts(), "/etc/hosts"),
        ]
    });
    for (source, destination) in files {
        let destination = Path::new(destination);
        if !binds.iter().any(|bind| bind.destination == destination) {
            binds.push(Bind {
                source,
                destination: destination.to_owned(),
                read_only: record.host.readonly_rootfs,
                recursive: false,
            });
        }
    }
    binds.retain(|bind| bind.source.exists());
    // One that lies in another comes after it.
    binds.sort_by_key(|bind| bind.destination.components().count());
    binds
}
