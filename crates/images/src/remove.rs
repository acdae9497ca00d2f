//! Remove and prune: names go first, and the image with the last of them.

use std::sync::Arc;

use berth_reference::{DEFAULT_TAG, Digest, Reference};
use berth_wire as wire;

use crate::image::{DANGLING, Image};
use crate::table::id_prefix;
use crate::{Error, Filters, Images, Result, fault};

/// Who uses an image, as the engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The full ID of a running (or paused) container of the image.
    pub running: Option<String>,
    /// The full ID of a container of the image that does not run.
    pub stopped: Option<String>,
}

impl Usage {
    fn any(&self) -> Option<&str> {
        self.running.as_deref().or(self.stopped.as_deref())
    }
}

/// Tells who uses the image of an ID.
pub type InUse = Arc<dyn Fn(&Digest) -> Usage + Send + Sync>;

fn untagged(name: String) -> wire::ImageDeleteItem {
    wire::ImageDeleteItem {
        untagged: name,
        ..Default::default()
    }
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

impl Images {
    /// Removes a name or, by ID or with its last name, an image. 1 RPC for each record.
    ///
    /// Without `force`, an image that a container uses, or that has several names and is meant
    /// by its ID, stays; one that a running container uses stays in any case when meant by ID.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] in dockerd's words.
    pub async fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: InUse,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        let (images, name) = (self.clone(), name.to_owned());
        crate::whole(async move { images.remove_named(&name, force, &in_use).await }).await
    }

    async fn remove_named(
        &self,
        name: &str,
        force: bool,
        in_use: &InUse,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        let _writing = self.inner.writing.lock().await;
        let image = self.resolve(name)?;
        let usage = in_use(image.id());
        let Some(reference) = by_name(name, &image) else {
            return self.remove_image(&image, force, false, &usage).await;
        };
        let same = same_name(&reference, &image);
        if same.len() < image.records.len() {
            return self.untag(&image, &same).await;
        }
        if let Some(container) = usage.any() {
            if !force {
                return Err(Error::Conflict {
                    reference: reference.familiar(),
                    hard: false,
                    message: format!(
                        "container {} is using its referenced image {}",
                        short(container),
                        image.id().short()
                    ),
                });
            }
            return self.make_dangling(&image, &reference).await;
        }
        self.remove_image(&image, force, true, &usage).await
    }

    /// Removes dangling images or, with `all`, every image that no container uses, of those
    /// that `filters` let through. Without filters also what is kept for the next pull. Returns what
    /// went and the bytes that it alone took.
    ///
    /// # Errors
    /// When containerd fails for any of them; the others go all the same. An image in use is simply
    /// kept.
    pub async fn prune(
        &self,
        all: bool,
        filters: &Filters,
        in_use: InUse,
    ) -> Result<(Vec<wire::ImageDeleteItem>, i64)> {
        let candidates = self.select(filters)?;
        if filters.is_empty() {
            self.sweep_orphans().await;
        }
        let images = self.clone();
        crate::whole(async move { images.prune_all(candidates, all, &in_use).await }).await
    }

    async fn prune_all(
        &self,
        candidates: Vec<Arc<Image>>,
        all: bool,
        in_use: &InUse,
    ) -> Result<(Vec<wire::ImageDeleteItem>, i64)> {
        let _writing = self.inner.writing.lock().await;
        let before = self.disk_size(|_| true);
        let (mut removed, mut failed) = (Vec::new(), None);
        for candidate in candidates {
            // It may have got a name, or a container, since.
            let Some(image) = self.by_id(candidate.id()) else {
                continue;
            };
            let usage = in_use(image.id());
            if (!all && !image.is_dangling()) || usage.any().is_some() {
                continue;
            }
            match self.remove_image(&image, true, true, &usage).await {
                Ok(gone) => removed.extend(gone),
                Err(error) => {
                    tracing::warn!(image = %image.id(), %error, "not pruned");
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok((
                removed,
                before.saturating_sub(self.disk_size(|_| true)).max(0),
            )),
        }
    }

    /// Removes an image with all its names.
    async fn remove_image(
        &self,
        image: &Image,
        force: bool,
        named: bool,
        usage: &Usage,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        let conflict = |hard, message| Error::Conflict {
            reference: image.id().short().to_owned(),
            hard,
            message,
        };
        if let Some(container) = &usage.running {
            let message = format!(
                "image is being used by running container {}",
                short(container)
            );
            return Err(conflict(true, message));
        }
        if let Some(container) = usage.stopped.as_ref().filter(|_| !force) {
            let message = format!(
                "image is being used by stopped container {}",
                short(container)
            );
            return Err(conflict(false, message));
        }
        if !force && !named && image.names().count() > 1 {
            return Err(conflict(
                false,
                "image is referenced in multiple repositories".to_owned(),
            ));
        }
        let mut removed = Vec::new();
        for record in &image.records {
            self.delete_record(&self.inner.client, record, true).await?;
            fault::point("rmi:record");
            removed.extend(self.untagged(image, record));
        }
        let id = image.id().to_string();
        self.emit("delete", id.clone(), id.clone(), Some(image));
        removed.push(wire::ImageDeleteItem {
            deleted: id,
            ..Default::default()
        });
        Ok(removed)
    }

    async fn untag(&self, image: &Image, records: &[String]) -> Result<Vec<wire::ImageDeleteItem>> {
        let mut removed = Vec::new();
        for record in records {
            self.delete_record(&self.inner.client, record, false)
                .await?;
            fault::point("rmi:record");
            removed.extend(self.untagged(image, record));
        }
        Ok(removed)
    }

    /// Takes the last name off an image that containers still need.
    async fn make_dangling(
        &self,
        image: &Image,
        name: &Reference,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        self.dangle(image).await?;
        fault::point("rmi:kept");
        let names: Vec<String> = image.names().cloned().collect();
        let mut removed = self.untag(image, &names).await?;
        removed.truncate(1);
        if removed.is_empty() {
            removed.push(untagged(name.familiar()));
        }
        Ok(removed)
    }

    /// Emits that a record is gone; dangling ones are nobody's business.
    fn untagged(&self, image: &Image, record: &str) -> Option<wire::ImageDeleteItem> {
        if record.starts_with(DANGLING) {
            return None;
        }
        let shown = Reference::parse(record).map_or_else(|_| record.to_owned(), |r| r.familiar());
        self.emit("untag", image.id().to_string(), shown.clone(), Some(image));
        Some(untagged(shown))
    }
}

/// The name by which `name` means `image`; `None` when it is an ID or the beginning of one.
fn by_name(name: &str, image: &Arc<Image>) -> Option<Reference> {
    let is_id = image.id().as_str() == name
        || id_prefix(name).is_some_and(|prefix| image.id().encoded().starts_with(prefix));
    let reference = Reference::parse(name).ok()?;
    let shown = reference.clone().tagged();
    let known = image.records.iter().any(|r| *r == shown.to_string());
    if (is_id && !known) || name.starts_with(DANGLING) {
        return None;
    }
    Some(if reference.is_name_only() {
        shown
    } else {
        reference
    })
}

/// The records that go when `reference` goes: itself and, if no other tag of its repository is
/// left, the repository's digest records. With a digest, everything of the repository.
fn same_name(reference: &Reference, image: &Image) -> Vec<String> {
    let mut same = Vec::new();
    let mut digests = Vec::new();
    let mut other_tags = false;
    for record in &image.records {
        if record.starts_with(DANGLING) {
            same.push(record.clone());
            continue;
        }
        let Ok(named) = Reference::parse(record) else {
            continue;
        };
        if named.name() != reference.name() {
            continue;
        }
        let wanted = reference.tag().unwrap_or(DEFAULT_TAG);
        let whole = reference.digest().is_some() && reference.tag().is_none();
        if whole || named.tag().is_some_and(|tag| tag == wanted) {
            same.push(record.clone());
        } else if named.tag().is_some() {
            other_tags = true;
        } else {
            digests.push(record.clone());
        }
    }
    if !other_tags {
        same.extend(digests);
    }
    same
}
