//! The end of a container: its snapshot, its files, its record.

use std::sync::Arc;

use super::record::Record;
use super::teardown;
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault, mounts};

/// How a container is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// A run whose end was not seen to its end may have left something.
    pub(crate) strays: bool,
    /// Its anonymous volumes go with it.
    pub(crate) volumes: bool,
    /// A snapshot that nobody can reach any more is left behind.
    pub(crate) force: bool,
}

/// Removes everything that a container which does not run has. Each part is tried whatever
/// became of the others; the record goes last and only when nothing else is left, so that a
/// failed removal can be tried again.
pub(crate) async fn remove(shared: Arc<Shared>, record: Arc<Record>, how: How) -> Result<()> {
    let mut errors = Vec::new();
    fault::point("remove");
    if how.strays {
        errors.extend(teardown::discard(&shared.client.container(record.id.as_str())).await);
        let netns = teardown::has_netns(&record);
        errors.extend(teardown::release(&shared, &record, Vec::new(), netns, true).await);
    }
    fault::point("remove:run");
    // What runs on needs its root file system.
    if !record.rootfs.is_empty() && errors.is_empty() {
        errors.extend(remove_snapshot(&shared, &record, how.force).await.err());
        fault::point("remove:snapshot");
    }
    if errors.is_empty() {
        // While the record still tells of them.
        errors.extend(release_volumes(&shared, &record, how.volumes).await);
    }
    if !errors.is_empty() {
        let message = format!(
            "cannot remove container \"{}\": {}",
            record.name,
            errors.join("; ")
        );
        return Err(Error::internal(message));
    }
    fault::point("remove:volumes");
    let gone = shared.clone();
    blocking(move || gone.records.remove(&record.id).map_err(Error::from_lower)).await?;
    fault::point("remove:record");
    Ok(())
}

/// Removes the container's snapshot. One of a snapshotter that containerd has no more is left with
/// `force`: it carries our label, so that the start of a daemon that finds the snapshotter again
/// removes it.
async fn remove_snapshot(shared: &Shared, record: &Record, force: bool) -> Result<(), String> {
    let snapshots = shared.client.snapshots(&record.snapshotter);
    match teardown::insist(|| snapshots.remove(&record.id)).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) if error.is_snapshotter_missing() && force => {
            let (id, snapshotter) = (&record.id, &record.snapshotter);
            tracing::warn!(%id, snapshotter, %error, "a container is removed without its snapshot");
            Ok(())
        }
        Err(error) if error.is_snapshotter_missing() => Err(format!(
            "removing the snapshot: {error}: have containerd load it again, or force remove, which \
             leaves the snapshot behind"
        )),
        Err(error) => Err(format!("removing the snapshot: {error}")),
    }
}

/// Ends the container's use of its volumes; with `remove` those go that nobody named.
async fn release_volumes(shared: &Arc<Shared>, record: &Arc<Record>, remove: bool) -> Vec<String> {
    if record.mounts.is_empty() {
        return Vec::new();
    }
    let (shared, record) = (shared.clone(), record.clone());
    let released =
        blocking(move || Ok(mounts::release(&shared, &record.id, &record.mounts, remove)));
    released
        .await
        .unwrap_or_else(|error| vec![error.to_string()])
}
