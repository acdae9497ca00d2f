//! The in-memory table that every read is answered from, and how it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berth_ctrd::ImageRecord;
use berth_reference::{Digest, Reference, is_identifier};
use futures::{StreamExt, TryStreamExt};

use crate::image::Image;
use crate::manifest::Descriptor;
use crate::metadata::Metadata;
use crate::{Error, Images, Result};

/// How many images' metadata is read at a time.
const READERS: usize = 16;
/// The shortest prefix of an ID that is taken for one.
const MIN_PREFIX: usize = 4;

/// All images at one moment. Immutable; changes make a new one.
#[derive(Debug, Default)]
pub(crate) struct Table {
    records: BTreeMap<String, ImageRecord>,
    metadata: HashMap<Digest, Arc<Metadata>>,
    images: BTreeMap<Digest, Arc<Image>>,
}

impl Table {
    /// The table of `records`, with what is known of their targets.
    pub(crate) fn new(
        records: BTreeMap<String, ImageRecord>,
        mut metadata: HashMap<Digest, Arc<Metadata>>,
    ) -> Table {
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for (name, record) in &records {
            let Ok(id) = Digest::parse(&record.target.digest) else {
                continue;
            };
            let Some(known) = metadata.get(&id) else {
                continue;
            };
            images
                .entry(id)
                .or_insert_with(|| Image::new(known.clone()))
                .add(name, record.updated.or(record.created));
        }
        metadata.retain(|id, _| images.contains_key(id));
        let images = images
            .into_iter()
            .map(|(id, image)| (id, Arc::new(image)))
            .collect();
        Table {
            records,
            metadata,
            images,
        }
    }

    pub(crate) fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    pub(crate) fn image(&self, id: &Digest) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    pub(crate) fn record(&self, name: &str) -> Option<&ImageRecord> {
        self.records.get(name)
    }

    /// This table after one record was set or, with `None`, removed.
    fn with(&self, name: &str, change: Option<(ImageRecord, Arc<Metadata>)>) -> Table {
        let mut records = self.records.clone();
        let mut metadata = self.metadata.clone();
        match change {
            Some((record, known)) => {
                records.insert(name.to_owned(), record);
                metadata.insert(known.target.digest.clone(), known);
            }
            None => {
                records.remove(name);
            }
        }
        Table::new(records, metadata)
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Image>> {
        if let Ok(id) = Digest::parse(name) {
            return self
                .image(&id)
                .cloned()
                .ok_or_else(|| Error::NotFound(name.to_owned()));
        }
        if is_identifier(name) {
            let id = format!("sha256:{name}");
            return self.by_prefix(name)?.ok_or(Error::NotFound(id));
        }
        if let Some(record) = self.records.get(name) {
            // A dangling record by its own name.
            if let Some(image) = self.of_record(record) {
                return Ok(image);
            }
        }
        if let Some(prefix) = id_prefix(name) {
            let named = Reference::parse(name)
                .ok()
                .and_then(|r| self.by_name(&r.tagged()));
            let found = match named {
                Some(image) => Some(image),
                None => self.by_prefix(prefix)?,
            };
            let shown = Reference::parse(name).map(|r| r.tagged().familiar());
            return found.ok_or_else(|| Error::NotFound(shown.unwrap_or(name.to_owned())));
        }
        let reference = Reference::parse(name)?.tagged();
        self.by_name(&reference)
            .ok_or_else(|| Error::NotFound(reference.familiar()))
    }

    fn of_record(&self, record: &ImageRecord) -> Option<Arc<Image>> {
        self.image(&Digest::parse(&record.target.digest).ok()?)
            .cloned()
    }

    fn by_name(&self, reference: &Reference) -> Option<Arc<Image>> {
        if let Some(record) = self.records.get(&reference.to_string()) {
            return self.of_record(record);
        }
        // `name@digest` means the image of that digest if any tag of `name` points to it.
        let digest = reference.digest()?;
        let image = self.image(digest)?;
        let digested = reference.with_digest(digest.clone()).familiar();
        image.digests().contains(&digested).then(|| image.clone())
    }

    fn by_prefix(&self, prefix: &str) -> Result<Option<Arc<Image>>> {
        let mut found = self
            .images
            .iter()
            .filter(|(id, _)| id.encoded().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Error::Ambiguous),
            (Some((_, image)), None) => Ok(Some(image.clone())),
            (None, _) => Ok(None),
        }
    }
}

/// The digits of what may be the beginning of an ID.
pub(crate) fn id_prefix(name: &str) -> Option<&str> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let fits = (MIN_PREFIX..=64).contains(&digits.len()) && digits.bytes().all(hex);
    fits.then_some(digits)
}

impl Images {
    /// Reads the image records anew, for changes that others made and after containerd was
    /// away. 1 RPC, and a few for each image not yet known.
    ///
    /// # Errors
    /// When containerd does not answer. An image whose blobs are gone is left out.
    pub async fn refresh(&self) -> Result<()> {
        let _writing = self.inner.writing.lock().await;
        let listed = self.inner.client.images().list().await?;
        let old = self.inner.table.load_full();
        let mut wanted: BTreeMap<Digest, Descriptor> = BTreeMap::new();
        for record in &listed {
            let Ok(target) = Descriptor::from_containerd(&record.target) else {
                continue;
            };
            wanted.insert(target.digest.clone(), target);
        }
        let metadata = futures::stream::iter(wanted.into_values().map(|target| {
            let known = old
                .metadata
                .get(&target.digest)
                .filter(|m| m.is_complete())
                .cloned();
            async move {
                let metadata = match known {
                    Some(known) => known,
                    None => Arc::new(self.read_metadata(&self.inner.client, &target).await?),
                };
                Ok::<_, Error>((target.digest, metadata))
            }
        }))
        .buffer_unordered(READERS)
        .try_collect()
        .await?;
        let records = listed.into_iter().map(|r| (r.name.clone(), r)).collect();
        self.inner
            .table
            .store(Arc::new(Table::new(records, metadata)));
        Ok(())
    }

    /// Publishes that `record` is there now. Call with `writing` held, after persisting it.
    pub(crate) fn publish_record(&self, record: ImageRecord, metadata: Arc<Metadata>) {
        let name = record.name.clone();
        let table = self
            .inner
            .table
            .load()
            .with(&name, Some((record, metadata)));
        self.inner.table.store(Arc::new(table));
    }

    /// Publishes what more is known of an image by now, if there still is one.
    pub(crate) async fn publish_metadata(&self, known: Metadata) {
        let _writing = self.inner.writing.lock().await;
        self.replace_metadata(vec![known]);
    }

    /// Publishes what is known of images by now. Call with `writing` held.
    pub(crate) fn replace_metadata(&self, known: Vec<Metadata>) {
        let old = self.inner.table.load_full();
        let mut metadata = old.metadata.clone();
        let known = known.into_iter();
        metadata.extend(known.map(|now| (now.target.digest.clone(), Arc::new(now))));
        self.inner
            .table
            .store(Arc::new(Table::new(old.records.clone(), metadata)));
    }

    /// Publishes that the record `name` is gone. Call with `writing` held, after removing it.
    pub(crate) fn publish_removal(&self, name: &str) {
        let table = self.inner.table.load().with(name, None);
        self.inner.table.store(Arc::new(table));
    }
}
