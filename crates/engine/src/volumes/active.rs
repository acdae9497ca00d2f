//! Which volumes are mounted, and for which containers: once for all of them, from the first one's
//! start to the last one's end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_volumes::{MountOptions, mount, mounted_below, unmount};

use super::Index;
use crate::{Error, Result};

/// One volume's mount. Locked while it is being mounted, which a file server may draw out.
#[derive(Debug, Default)]
struct Mounted {
    there: bool,
    by: BTreeSet<String>,
}

/// The mounts of volumes that have options. Volumes that are directories are none of its business.
#[derive(Debug, Default)]
pub(crate) struct Active {
    volumes: Mutex<BTreeMap<String, Arc<Mutex<Mounted>>>>,
    /// Container and volume. Who is not in here never waits for a mount.
    holders: Mutex<BTreeSet<(String, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever became of an earlier holder: what is guarded is sound at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Active {
    /// Finds what an earlier daemon mounted.
    pub(super) fn look(root: &Path, index: &Index) -> Result<Active> {
        let active = Active::default();
        if index.values().all(|volume| volume.mount.is_none()) {
            return Ok(active);
        }
        let mounted = mounted_below(root).map_err(Error::from_lower)?;
        for (name, volume) in index {
            let data = root.join(name).join(berth_volumes::DATA);
            if volume.mount.is_some() && mounted.contains(&data) {
                lock(&active.of(name)).there = true;
            }
        }
        Ok(active)
    }

    fn of(&self, name: &str) -> Arc<Mutex<Mounted>> {
        lock(&self.volumes)
            .entry(name.to_owned())
            .or_default()
            .clone()
    }

    /// Mounts a volume for a container, if it is not mounted yet. Blocks, for as long as the file
    /// system takes.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn begin(
        &self,
        name: &str,
        options: &MountOptions,
        data: &Path,
        container: &str,
    ) -> Result<()> {
        let volume = self.of(name);
        let mut mounted = lock(&volume);
        if !mounted.there {
            mount(options, data).map_err(Error::from_lower)?;
            mounted.there = true;
        }
        mounted.by.insert(container.to_owned());
        lock(&self.holders).insert((container.to_owned(), name.to_owned()));
        Ok(())
    }

    /// Takes over a container that runs with the volume since before this daemon.
    pub(crate) fn adopt(&self, name: &str, container: &str) {
        lock(&self.of(name)).by.insert(container.to_owned());
        lock(&self.holders).insert((container.to_owned(), name.to_owned()));
    }

    /// Ends a container's use; the last one's unmounts. Nothing when it has none. Blocks.
    ///
    /// # Errors
    /// The kernel's; it is then tried again with the next use or at the daemon's start.
    pub(crate) fn end(&self, name: &str, data: &Path, container: &str) -> Result<()> {
        let held = (container.to_owned(), name.to_owned());
        if !lock(&self.holders).remove(&held) {
            return Ok(());
        }
        let volume = self.of(name);
        let mut mounted = lock(&volume);
        mounted.by.remove(container);
        settle(&mut mounted, data)
    }

    /// Unmounts what nobody uses: to be called when all containers that run were taken over.
    pub(crate) fn sweep(&self, data: impl Fn(&str) -> std::path::PathBuf) {
        let all: Vec<_> = lock(&self.volumes)
            .iter()
            .map(|(name, volume)| (name.clone(), volume.clone()))
            .collect();
        for (name, volume) in all {
            if let Err(error) = settle(&mut lock(&volume), &data(&name)) {
                tracing::warn!(volume = name, %error, "unmounting a volume that nobody uses");
            }
        }
    }

    /// Makes sure that nothing is mounted, before the volume is removed: its data may be another
    /// file system's, which must stay.
    ///
    /// # Errors
    /// The kernel's; a start that was given up still tries to mount it.
    pub(super) fn clear(&self, name: &str, data: &Path) -> Result<()> {
        let mut volumes = lock(&self.volumes);
        if let Some(volume) = volumes.get(name) {
            // Whoever wants to remove it must not wait for a file server.
            let Ok(mut mounted) = volume.try_lock() else {
                return Err(Error::conflict("volume is being mounted"));
            };
            settle(&mut mounted, data)?;
        }
        volumes.remove(name);
        Ok(())
    }
}

fn settle(mounted: &mut Mounted, data: &Path) -> Result<()> {
    if mounted.there && mounted.by.is_empty() {
        unmount(data).map_err(Error::from_lower)?;
        mounted.there = false;
    }
    Ok(())
}
