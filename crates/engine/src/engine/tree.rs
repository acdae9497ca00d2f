//! What the engine does with the files of containers.

use std::sync::Arc;

use berth_images::InUse;
use berth_wire as wire;

use super::Engine;
use super::images::usage;
use crate::archive::{self, ByteStream, ExtractOptions};
use crate::commit::{self, CommitOptions};
use crate::{Error, Result};

impl Engine {
    /// What is at a path in a container. No RPC, nor has any of the others but commit.
    ///
    /// # Errors
    /// There is no such container, or nothing at the path.
    pub async fn path_stat(&self, id: &str, path: &str) -> Result<wire::ContainerPathStat> {
        let handle = self.shared.table.find(id)?;
        archive::stat(self.shared.clone(), handle, id, path).await
    }

    /// What is at a path in a container, and a tar of it. Dropping the stream ends it.
    ///
    /// # Errors
    /// As [`Engine::path_stat`].
    pub async fn path_archive(
        &self,
        id: &str,
        path: &str,
    ) -> Result<(wire::ContainerPathStat, ByteStream)> {
        let handle = self.shared.table.find(id)?;
        archive::get(self.shared.clone(), handle, id, path).await
    }

    /// Unpacks a tar into a directory of a container.
    ///
    /// # Errors
    /// There is no such container or directory, nothing may be written there, or the archive is
    /// a bad one; what was unpacked before stays.
    pub async fn path_extract(
        &self,
        id: &str,
        path: &str,
        options: ExtractOptions,
        input: ByteStream,
    ) -> Result<()> {
        let handle = self.shared.table.find(id)?;
        archive::put(self.shared.clone(), handle, (id, path), options, input).await
    }

    /// What a container has changed in its root file system.
    ///
    /// # Errors
    /// There is no such container, or its files cannot be read.
    pub async fn changes(&self, id: &str) -> Result<Vec<wire::FilesystemChange>> {
        let handle = self.shared.table.find(id)?;
        let changes = commit::changes(self.shared.clone(), handle).await?;
        let change = |change: berth_rootfs::Change| wire::FilesystemChange {
            path: change.path.to_string_lossy().into_owned(),
            kind: change.kind as i64,
        };
        Ok(changes.into_iter().map(change).collect())
    }

    /// A container's root file system as a tar, without what is mounted in it.
    ///
    /// # Errors
    /// There is no such container, or it is being removed.
    pub async fn export(&self, id: &str) -> Result<ByteStream> {
        let handle = self.shared.table.find(id)?;
        commit::export(self.shared.clone(), handle, id).await
    }

    /// Makes an image of a container; its id. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// There is no such container, it is being removed, or a change of the configuration is none.
    pub async fn commit(&self, id: &str, options: CommitOptions) -> Result<String> {
        let handle = self.shared.table.find(id)?;
        commit::commit(self.shared.clone(), handle, options).await
    }

    /// Removes images without a name or, with the filter `dangling=false`, all that no container
    /// uses.
    ///
    /// # Errors
    /// A filter that there is not.
    pub async fn images_prune(&self, filters: &wire::Filters) -> Result<wire::ImagesPruned> {
        const KNOWN: [&str; 4] = ["dangling", "label", "label!", "until"];
        let invalid = |error: wire::InvalidFilter| Error::invalid(error.to_string());
        filters.validate(&KNOWN).map_err(invalid)?;
        let dangling = filters.flag("dangling").map_err(invalid)?.unwrap_or(true);
        let mut rest = filters.lists();
        rest.remove("dangling");
        let shared = self.shared.clone();
        let in_use: InUse = Arc::new(move |image| usage(&shared, image));
        let pruned = self.shared.images.prune(!dangling, &rest, in_use).await;
        let (removed, reclaimed) = pruned.map_err(Error::from_lower)?;
        Ok(wire::ImagesPruned {
            images_deleted: removed,
            space_reclaimed: reclaimed,
        })
    }
}
