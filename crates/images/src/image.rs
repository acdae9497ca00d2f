//! One image as readers see it: an immutable value.

use std::sync::Arc;

use berth_reference::{Digest, Reference};
use berth_wire as wire;

use crate::Platform;
use crate::manifest::{Descriptor, HistoryEntry};
use crate::metadata::Metadata;

/// The prefix of the record names of images without a name.
pub(crate) const DANGLING: &str = "moby-dangling@";

/// An image: everything that creating a container or showing the image needs.
#[derive(Clone, Debug)]
pub struct Image {
    /// The names of the records that point to it, dangling ones included.
    pub(crate) records: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
    /// When its oldest record was made or last changed.
    pub(crate) tagged: Option<jiff::Timestamp>,
    pub(crate) metadata: Arc<Metadata>,
}

impl Image {
    pub(crate) fn new(metadata: Arc<Metadata>) -> Image {
        Image {
            records: Vec::new(),
            tags: Vec::new(),
            digests: Vec::new(),
            tagged: None,
            metadata,
        }
    }

    /// Adds the record `name`, which points to this image.
    pub(crate) fn add(&mut self, name: &str, updated: Option<jiff::Timestamp>) {
        self.records.push(name.to_owned());
        self.tagged = self.tagged.max(updated);
        if name.starts_with(DANGLING) {
            return;
        }
        let Ok(reference) = Reference::parse(name) else {
            // Not ours; shown, so that it can be seen and removed.
            self.tags.push(name.to_owned());
            return;
        };
        // A name with a digest is found by that, whatever tag stands before it.
        if reference.digest().is_none() {
            let tag = reference.tag().unwrap_or(berth_reference::DEFAULT_TAG);
            self.tags
                .push(format!("{}:{tag}", reference.familiar_name()));
        }
        let digested = reference.with_digest(self.id().clone()).familiar();
        if !self.digests.contains(&digested) {
            self.digests.push(digested);
        }
    }

    /// The records that are names of it. A dangling one may stand beside them where a daemon was killed
    /// between the two.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let records = self.records.iter();
        records.filter(|record| !record.starts_with(DANGLING))
    }

    /// The image's ID: the digest of its manifest or index.
    pub fn id(&self) -> &Digest {
        &self.metadata.target.digest
    }

    /// The manifest or index that its names point to.
    pub fn target(&self) -> &Descriptor {
        &self.metadata.target
    }

    /// The manifest for this host's platform, or the best there is; `None` when no complete
    /// one is in the content store.
    pub fn manifest(&self) -> Option<&Descriptor> {
        self.metadata.manifest.as_ref()
    }

    /// What its containers run by default.
    pub fn config(&self) -> &wire::ImageConfig {
        &self.metadata.config.config
    }

    /// The key of its topmost snapshot; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<&Digest> {
        self.metadata.chain.last()
    }

    /// The digests of its uncompressed layers, from the base up.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.metadata.config.rootfs.diff_ids
    }

    /// Its names with tags, as Docker shows them. Empty for a dangling image.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Its names with its digest, as Docker shows them.
    pub fn digests(&self) -> &[String] {
        &self.digests
    }

    /// What it takes on disk, in bytes: its blobs and its unpacked layers.
    pub fn size(&self) -> i64 {
        self.metadata
            .content_size
            .saturating_add(self.metadata.unpacked_size)
    }

    /// What its blobs take, in bytes: what was downloaded.
    pub fn content_size(&self) -> i64 {
        self.metadata.content_size
    }

    /// When it was built.
    pub fn created(&self) -> Option<jiff::Timestamp> {
        self.metadata.created
    }

    /// When its names were last changed.
    pub fn last_tagged(&self) -> Option<jiff::Timestamp> {
        self.tagged
    }

    /// What it is for.
    pub fn platform(&self) -> Platform {
        self.metadata.config.platform()
    }

    /// The architecture it is for, e.g. `amd64`.
    pub fn architecture(&self) -> &str {
        &self.metadata.config.architecture
    }

    /// The variant of the architecture; empty for most.
    pub fn variant(&self) -> &str {
        &self.metadata.config.variant
    }

    /// The operating system it is for.
    pub fn os(&self) -> &str {
        &self.metadata.config.os
    }

    /// Who made it.
    pub fn author(&self) -> &str {
        &self.metadata.config.author
    }

    /// The comment of its last history entry.
    pub fn comment(&self) -> &str {
        let last = self
            .metadata
            .config
            .history
            .last()
            .map(|h| h.comment.as_str());
        match last {
            Some(comment) if !comment.is_empty() => comment,
            _ => &self.metadata.config.comment,
        }
    }

    /// How it came about, from the base up.
    pub fn history(&self) -> &[HistoryEntry] {
        &self.metadata.config.history
    }

    /// True when no name points to it.
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}

/// The record name of an image without a name.
pub(crate) fn dangling_name(target: &Digest) -> String {
    format!("{DANGLING}{target}")
}
