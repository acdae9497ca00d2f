//! The first contents of a volume: what the image has in its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use berth_rootfs::{Base, Layer, View};
use berth_spec::rootfs::{LayeredRoot, SnapshotMount};
use berth_volumes::{Kind, MountPoint};

use super::{attach, detach, source};
use crate::container::record::Record;
use crate::shared::{Shared, blocking};
use crate::{Error, Result};

/// Where the first contents are put together, beside the data whose place they take.
const FILLING: &str = ".filling";

/// The volumes that are being filled: each by one create at a time.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    names: Mutex<BTreeSet<String>>,
    done: Condvar,
}

impl Filling {
    /// Waits until nobody fills the volume, and keeps others from it until the guard goes. Blocks.
    fn begin(&self, name: &str) -> Guard<'_> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |names: &mut BTreeSet<String>| names.contains(name);
        let names = self.done.wait_while(names, taken);
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned());
        Guard(self, name.to_owned())
    }
}

struct Guard<'a>(&'a Filling, String);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.remove(&self.1);
        self.0.done.notify_all();
    }
}

/// Fills the empty volumes of a container that was never started, where its mounts ask for it.
///
/// # Errors
/// A volume is to be where the image has a file, it cannot be mounted, or copying failed.
pub(crate) async fn fill(shared: &Arc<Shared>, record: &Record) -> Result<()> {
    let wanting = |point: &&MountPoint| point.kind == Kind::Volume && point.copy;
    let mounts: Vec<_> = record.mounts.iter().filter(wanting).cloned().collect();
    if mounts.is_empty() {
        return Ok(());
    }
    // As much of the record as concerns those.
    let mut part = Record {
        id: record.id.clone(),
        rootfs: record.rootfs.clone(),
        mounts,
        ..Record::default()
    };
    let part = blocking(move || {
        in_image(&mut part)?;
        Ok(Arc::new(part))
    });
    let part = part.await?;
    if part.mounts.is_empty() {
        return Ok(());
    }
    let mut outcome = attach(shared, &part).await;
    if outcome.is_ok() {
        let (shared, part) = (shared.clone(), part.clone());
        outcome = blocking(move || fill_all(&shared, &part)).await;
    }
    let (shared, part) = (shared.clone(), part.clone());
    let given_back = blocking(move || {
        for error in detach(&shared, &part) {
            tracing::warn!(id = part.id, error, "giving back a volume that was filled");
        }
        Ok(())
    });
    given_back.await?;
    outcome
}

/// Leaves only the mounts in whose places the image has directories.
fn in_image(part: &mut Record) -> Result<()> {
    let layers: Vec<_> = part
        .rootfs
        .iter()
        .map(|mount| SnapshotMount {
            kind: &mount.kind,
            source: &mount.source,
            options: &mount.options,
        })
        .collect();
    let Ok(root) = LayeredRoot::new(&layers) else {
        // A snapshot that only the kernel can look into: it will.
        return Ok(());
    };
    let mut there = Vec::new();
    for point in &part.mounts {
        let Some(found) = root
            .metadata(&point.destination)
            .map_err(Error::from_lower)?
        else {
            continue;
        };
        if found.kind != rustix::fs::FileType::Directory {
            return Err(Error::invalid(format!(
                "cannot mount volume over existing file, file exists {}",
                point.destination.display()
            )));
        }
        there.push(point.clone());
    }
    part.mounts = there;
    Ok(())
}

fn fill_all(shared: &Shared, part: &Record) -> Result<()> {
    let mut view = None;
    for (index, point) in part.mounts.iter().enumerate() {
        let _filling = shared.volumes.filling.begin(&point.name);
        let into = source(shared, &part.id, index, point);
        if !is_empty(&into)? {
            continue;
        }
        let view = match &view {
            Some(view) => view,
            None => view.insert(open(shared, part)?),
        };
        fill_one(shared, part, point, view, &into).map_err(|error| {
            let place = point.destination.display();
            error.context(format!("filling volume {} from {place}", point.name))
        })?;
    }
    Ok(())
}

fn open(shared: &Shared, part: &Record) -> Result<View> {
    let layers = part.rootfs.iter().map(|mount| Layer {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
    });
    let base = Base::Snapshot(layers.collect());
    View::open(&base, &[], &shared.subpath_root).map_err(Error::from_lower)
}

/// Copies into a directory beside, and puts that into place: a crash leaves the volume empty, not
/// half full. What others have mounted already cannot be exchanged under them.
fn fill_one(
    shared: &Shared,
    part: &Record,
    point: &MountPoint,
    view: &View,
    into: &Path,
) -> Result<()> {
    let copy = |into: &Path| {
        berth_rootfs::copy(view, &point.destination, into)
            .map(drop)
            .map_err(Error::from_lower)
    };
    let volume = shared.volumes.find(&point.name)?;
    let only_ours = volume.users.len() == 1 && volume.users.contains(&part.id);
    let plain = volume.mount.is_none() && point.subpath.as_os_str().is_empty();
    let beside = into.parent().map(|folder| folder.join(FILLING));
    let Some(beside) = beside.filter(|_| only_ours && plain) else {
        return copy(into);
    };
    discard(&beside)?;
    let filled = super::make_data(&beside)
        .map_err(failed("mkdir", &beside))
        .and_then(|()| copy(&beside))
        .and_then(|()| std::fs::rename(&beside, into).map_err(failed("rename", &beside)));
    if filled.is_err() {
        discard(&beside)?;
    }
    filled
}

fn is_empty(path: &Path) -> Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        // A path in a volume may be a file.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(failed("list", path)(error)),
    }
}

/// Removes what an earlier attempt left.
fn discard(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error + use<> {
    let path: PathBuf = path.to_owned();
    move |error| Error::internal(format!("{action} {}: {error}", path.display()))
}
