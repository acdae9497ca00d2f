//! Commit: a container's layer on top of its image becomes an image.

use std::sync::Arc;

use berth_ctrd::Labels;
use berth_reference::{Digest, Reference, chain_id};
use berth_wire as wire;
use serde_json::Value;

use crate::image::Image;
use crate::import::{compress, store};
use crate::lease::Lease;
use crate::load::{put_json, snapshot_label};
use crate::manifest::{
    ConfigFile, Descriptor, Document, HistoryEntry, Manifest, OCI_CONFIG, OCI_LAYER_GZIP,
    OCI_MANIFEST, RootFs,
};
use crate::metadata::Found;
use crate::names::Told;
use crate::progress::Progress;
use crate::stream::{Input, bridge};
use crate::unpack::Unpack;
use crate::{Error, Images, Result, changes};

/// What a committed image is to be.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The id of the image that it is built on.
    pub parent: String,
    /// What its containers run by default.
    pub config: wire::ImageConfig,
    /// Dockerfile instructions for that.
    pub changes: Vec<String>,
    /// Who made it; as the parent says where empty.
    pub author: String,
    /// The comment of its history entry.
    pub comment: String,
    /// The command of its history entry.
    pub created_by: String,
    /// Its name; dangling where not given. Without a tag, `latest` is meant.
    pub reference: Option<Reference>,
}

impl Commit {
    /// Applies the changes to the configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is none.
    pub fn apply_changes(&mut self) -> Result<()> {
        let invalid = |e: serde_json::Error| Error::Invalid(e.to_string());
        let Value::Object(mut config) = serde_json::to_value(&self.config).map_err(invalid)? else {
            return Err(Error::Invalid("the configuration is no object".to_owned()));
        };
        changes::apply(&mut config, &std::mem::take(&mut self.changes))?;
        self.config = serde_json::from_value(Value::Object(config)).map_err(invalid)?;
        Ok(())
    }
}

/// A layer that lies in the content store.
struct Layer {
    descriptor: Descriptor,
    diff_id: Digest,
}

impl Images {
    /// Makes an image of a parent and a layer, a plain tar; without one only the configuration is
    /// another. Returns its ID. All is done under a lease: dropping the future leaves nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the parent is gone, [`Error::Invalid`] for bad changes,
    /// [`Error::Input`] when the layer breaks off.
    pub async fn commit(&self, mut commit: Commit, layer: Option<Input>) -> Result<Digest> {
        commit.apply_changes()?;
        let parent = Digest::parse(&commit.parent)?;
        let parent = self
            .by_id(&parent)
            .ok_or_else(|| Error::NotFound(commit.parent.clone()))?;
        let lease = self.lease().await?;
        // What it shares with its parent stays even when that goes meanwhile.
        if let Some(manifest) = parent.manifest() {
            lease.protect(&manifest.digest).await?;
        }
        let layer = match layer {
            Some(input) => Some(self.add_layer(&lease, &parent, input).await?),
            None => None,
        };
        let config = config_file(&commit, &parent, layer.as_ref());
        let found = self.put_image(&lease, &parent, layer, config).await?;
        let target = found.descriptor.clone();
        let metadata = self
            .complete_metadata(lease.client(), &target, Some(found))
            .await;
        let name = commit.reference.map(Reference::tagged);
        let id = target.digest.to_string();
        let told = match &name {
            Some(name) => Told {
                action: "tag",
                id,
                name: name.familiar(),
            },
            None => Told {
                action: "create",
                name: id.clone(),
                id,
            },
        };
        let names: Vec<Reference> = name.into_iter().collect();
        let image = self.name(&lease, &names, Arc::new(metadata), told).await?;
        Ok(image.id().clone())
    }

    /// Stores the layer, and unpacks it on top of the parent's.
    async fn add_layer(&self, lease: &Lease, parent: &Image, input: Input) -> Result<Layer> {
        let (diff_id, (digest, size)) = bridge(
            input,
            |body, chunks| compress(body, &chunks),
            |chunks| store(lease, chunks),
        )
        .await?;
        let labels = Labels::from([("containerd.io/uncompressed".to_owned(), diff_id.to_string())]);
        let content = lease.client().content();
        content.update_labels(digest.as_str(), &labels).await?;
        let descriptor = Descriptor::new(OCI_LAYER_GZIP, digest, size as usize);
        let mut layers = parent.metadata.layers.clone();
        layers.push(descriptor.clone());
        let mut diff_ids = parent.diff_ids().to_vec();
        diff_ids.push(diff_id.clone());
        let unpack = Unpack {
            images: self,
            lease,
            layers: &layers,
            diff_ids: &diff_ids,
            progress: &Progress::none(),
        };
        unpack.run(Vec::new()).await?;
        Ok(Layer {
            descriptor,
            diff_id,
        })
    }

    /// Stores configuration and manifest.
    async fn put_image(
        &self,
        lease: &Lease,
        parent: &Image,
        layer: Option<Layer>,
        config: ConfigFile,
    ) -> Result<Found> {
        let labels = match chain_id(&config.rootfs.diff_ids) {
            Some(chain) => snapshot_label(self.snapshotter(), &chain),
            None => Labels::new(),
        };
        let client = lease.client();
        let mut layers = parent.metadata.layers.clone();
        layers.extend(layer.map(|layer| layer.descriptor));
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: put_json(client, OCI_CONFIG, &config, &labels).await?,
            layers,
        };
        let labels = Document::Manifest(manifest.clone()).gc_labels();
        Ok(Found {
            descriptor: put_json(client, OCI_MANIFEST, &manifest, &labels).await?,
            manifest,
            config,
        })
    }
}

fn config_file(commit: &Commit, parent: &Image, layer: Option<&Layer>) -> ConfigFile {
    let base = &parent.metadata.config;
    let created = Some(jiff::Timestamp::now().to_string());
    let author = match commit.author.as_str() {
        "" => base.author.clone(),
        given => given.to_owned(),
    };
    let mut history = base.history.clone();
    history.push(HistoryEntry {
        created: created.clone(),
        created_by: commit.created_by.clone(),
        author: author.clone(),
        comment: commit.comment.clone(),
        empty_layer: layer.is_none(),
    });
    let mut diff_ids = parent.diff_ids().to_vec();
    diff_ids.extend(layer.map(|layer| layer.diff_id.clone()));
    ConfigFile {
        created,
        author,
        architecture: base.architecture.clone(),
        variant: base.variant.clone(),
        os: base.os.clone(),
        os_version: base.os_version.clone(),
        comment: String::new(),
        config: commit.config.clone(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids,
        },
        history,
    }
}
