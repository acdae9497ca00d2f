//! The end of a container: its snapshot, its files, its record.

use std::sync::Arc;

use super::record::Record;
use super::teardown;
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault};

/// Removes everything that a container which does not run has. Each part is tried whatever
/// became of the others; the record goes last and only when nothing else is left, so that a
/// failed removal can be tried again.
pub(crate) async fn remove(shared: Arc<Shared>, record: Arc<Record>, strays: bool) -> Result<()> {
    let mut errors = Vec::new();
    fault::point("remove");
    if strays {
        // A run whose end was not seen to its end may have left something.
        errors.extend(teardown::discard(&shared.client.container(record.id.as_str())).await);
        let netns = teardown::has_netns(&record);
        errors.extend(teardown::release(&shared, &record, None, netns, true).await);
    }
    fault::point("remove:run");
    // What runs on needs its root file system.
    if !record.rootfs.is_empty() && errors.is_empty() {
        let snapshots = shared.client.snapshots(&record.snapshotter);
        if let Err(error) = teardown::insist(|| snapshots.remove(&record.id)).await
            && !error.is_not_found()
        {
            errors.push(format!("removing the snapshot: {error}"));
        }
    }
    if !errors.is_empty() {
        let message = format!(
            "cannot remove container \"/{}\": {}",
            record.name,
            errors.join("; ")
        );
        return Err(Error::internal(message));
    }
    fault::point("remove:snapshot");
    let gone = shared.clone();
    blocking(move || gone.records.remove(&record.id).map_err(Error::from_lower)).await?;
    fault::point("remove:record");
    Ok(())
}
