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

/// Where the subpaths are pinned that a holder of volumes shows: a container's run, or a loan.
fn pin_root(shared: &Shared, holder: &str) -> PathBuf {
    shared.subpath_root.join(holder)
}

/// What is bound for a mount: of a subpath, its pin.
pub(crate) fn source(shared: &Shared, holder: &str, index: usize, point: &MountPoint) -> PathBuf {
    match point.subpath.as_os_str().is_empty() {
        true => point.source.clone(),
        false => pin_root(shared, holder).join(index.to_string()),
    }
}

/// Mounts what a container's volumes are made of, and pins the subpaths in them. What was begun is
/// given back by [`detach`], also after an error.
///
/// # Errors
/// A volume is gone or damaged, the kernel does not mount it, not within the time limit, or a
/// subpath is not there or leads out of its volume.
pub(crate) async fn attach(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    attach_for(shared, record, record.id.as_str().into()).await
}

/// The volumes of a container that does not run, for who looks into it; given back when dropped,
/// which blocks. Under a name of its own: a start meanwhile has them for itself.
#[derive(Debug)]
pub(crate) struct Loan {
    shared: Arc<Shared>,
    record: Arc<Record>,
    holder: Arc<str>,
}

impl Loan {
    /// As [`attach`].
    ///
    /// # Errors
    /// As [`attach`]'s.
    pub(crate) async fn take(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<Loan> {
        let loan = Loan {
            shared: shared.clone(),
            record: record.clone(),
            holder: format!("loan-{}", crate::create::random_id()).into(),
        };
        let taken = attach_for(shared, record, loan.holder.clone()).await;
        if let Err(error) = taken {
            blocking(move || {
                drop(loan);
                Ok(())
            })
            .await?;
            return Err(error);
        }
        Ok(loan)
    }

    /// Who has the volumes, to [`source`].
    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        for error in detach_from(&self.shared, &self.record, &self.holder) {
            tracing::warn!(id = %self.record.id, error, "giving back a volume that was looked into");
        }
    }
}

async fn attach_for(shared: &Arc<Shared>, record: &Arc<Record>, holder: Arc<str>) -> Result<()> {
    if volumes(record).next().is_none() {
        return Ok(());
    }
    // Taken by the first of the two: the one who waits and gives up, or the work that is done.
    let over = Arc::new(AtomicBool::new(false));
    let work = blocking({
        let (shared, record, over) = (shared.clone(), record.clone(), over.clone());
        move || {
            let done = attach_all(&shared, &record, &holder);
            if over.swap(true, Ordering::AcqRel) {
                for error in detach_from(&shared, &record, &holder) {
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

fn attach_all(shared: &Shared, record: &Record, holder: &str) -> Result<()> {
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
                .begin(name, options, &all.data(name), holder)
                .map_err(failed)?;
        }
        if !point.subpath.as_os_str().is_empty() {
            let place = source(shared, holder, index, point);
            berth_volumes::pin(&point.source, &point.subpath, &place).map_err(Error::from_lower)?;
        }
    }
    Ok(())
}

/// Gives back what [`attach`] took. Blocks. Goes on after an error and returns all of them.
pub(crate) fn detach(shared: &Shared, record: &Record) -> Vec<String> {
    detach_from(shared, record, &record.id)
}

fn detach_from(shared: &Shared, record: &Record, holder: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if volumes(record).any(|(_, point)| !point.subpath.as_os_str().is_empty()) {
        let unpinned = berth_volumes::unpin(&pin_root(shared, holder));
        errors.extend(unpinned.err().map(|error| error.to_string()));
    }
    let all = &shared.volumes;
    for (_, point) in volumes(record) {
        let ended = all
            .active()
            .end(&point.name, &all.data(&point.name), holder);
        errors.extend(ended.err().map(|error| error.to_string()));
    }
    errors
}
