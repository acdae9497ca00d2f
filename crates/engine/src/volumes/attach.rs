//! A run's volumes: mounted before it, given back after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_errdefs::Kind;
use berth_volumes::{Kind as MountKind, MountPoint};

use crate::container::record::Record;
use crate::shared::{Shared, blocking};
use crate::{Error, Result};

/// How long a file system may take to be mounted.
const LIMIT: Duration = Duration::from_secs(90);

/// Where the subpaths that a container's run shows are pinned.
fn pin_root(shared: &Shared, id: &str) -> PathBuf {
    shared.subpath_root.join(id)
}

/// What is bound for a mount: of a subpath, its pin.
pub(crate) fn source(shared: &Shared, id: &str, index: usize, point: &MountPoint) -> PathBuf {
    match point.subpath.as_os_str().is_empty() {
        true => point.source.clone(),
        false => pin_root(shared, id).join(index.to_string()),
    }
}

/// Mounts what a container's volumes are made of, and pins the subpaths in them. What was begun is
/// given back by [`detach`], also after an error.
///
/// # Errors
/// A volume is gone or damaged, the kernel does not mount it, not within the time limit, or a
/// subpath is not there or leads out of its volume.
pub(crate) async fn attach(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    if volumes(record).next().is_none() {
        return Ok(());
    }
    // Taken by the first of the two: the one who waits and gives up, or the work that is done.
    let over = Arc::new(AtomicBool::new(false));
    let work = blocking({
        let (shared, record, over) = (shared.clone(), record.clone(), over.clone());
        move || {
            let done = attach_all(&shared, &record);
            if over.swap(true, Ordering::AcqRel) {
                for error in detach(&shared, &record) {
                    tracing::warn!(id = %record.id, error, "giving back a volume that came too late");
                }
            }
            done
        }
    });
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => {
            over.store(true, Ordering::Release);
            let message = "timed out mounting the container's volumes";
            Err(Error::new(Kind::DeadlineExceeded, message))
        }
    }
}

/// A container's volumes, with their places in its list of mounts.
fn volumes(record: &Record) -> impl Iterator<Item = (usize, &MountPoint)> {
    let points = record.mounts.iter().enumerate();
    points.filter(|(_, point)| point.kind == MountKind::Volume)
}

fn attach_all(shared: &Shared, record: &Record) -> Result<()> {
    let all = &shared.volumes;
    for (index, point) in volumes(record) {
        let name = &point.name;
        let failed = |error: Error| {
            let shown = point.source.display();
            error.context(format!("error while mounting volume '{shown}'"))
        };
        let volume = all.find(name).map_err(failed)?;
        if let Some(reason) = &volume.damaged {
            return Err(failed(Error::internal(reason)));
        }
        if let Some(options) = &volume.mount {
            all.active()
                .begin(name, options, &all.data(name), &record.id)
                .map_err(failed)?;
        }
        if !point.subpath.as_os_str().is_empty() {
            let place = source(shared, &record.id, index, point);
            berth_volumes::pin(&point.source, &point.subpath, &place).map_err(Error::from_lower)?;
        }
    }
    Ok(())
}

/// Gives back what [`attach`] took. Blocks. Goes on after an error and returns all of them.
pub(crate) fn detach(shared: &Shared, record: &Record) -> Vec<String> {
    let mut errors = Vec::new();
    if volumes(record).any(|(_, point)| !point.subpath.as_os_str().is_empty()) {
        let unpinned = berth_volumes::unpin(&pin_root(shared, &record.id));
        errors.extend(unpinned.err().map(|error| error.to_string()));
    }
    let all = &shared.volumes;
    for (_, point) in volumes(record) {
        let ended = all
            .active()
            .end(&point.name, &all.data(&point.name), &record.id);
        errors.extend(ended.err().map(|error| error.to_string()));
    }
    errors
}
