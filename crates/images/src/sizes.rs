//! What images take on disk, and what of it they share: unpacked layers, and the blobs of layers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berth_reference::Digest;

use crate::Images;
use crate::image::Image;
use crate::metadata::Metadata;

impl Images {
    /// What the images that `counts` take on disk, in bytes: what they share is counted once. No RPC.
    pub fn disk_size(&self, counts: impl Fn(&Image) -> bool) -> i64 {
        let all = self.all();
        let (mut layers, mut blobs) = (HashMap::new(), BTreeMap::new());
        let mut documents: i64 = 0;
        for image in all.iter().filter(|image| counts(image)) {
            layers.extend(unpacked(&image.metadata));
            let own = layer_blobs(&image.metadata);
            let size = sum(own.values().copied());
            documents = documents.saturating_add(image.content_size().saturating_sub(size));
            blobs.extend(own);
        }
        sum(layers.into_values().chain(blobs.into_values())).saturating_add(documents)
    }
}

/// How many images use each unpacked layer, and each layer's blob.
#[derive(Debug, Default)]
pub(crate) struct Users<'a> {
    layers: HashMap<&'a Digest, usize>,
    blobs: HashMap<&'a Digest, usize>,
}

impl<'a> Users<'a> {
    pub(crate) fn of(all: &'a [Arc<Image>]) -> Users<'a> {
        let mut users = Users::default();
        for image in all {
            for (layer, _) in unpacked(&image.metadata) {
                *users.layers.entry(layer).or_default() += 1;
            }
            for blob in layer_blobs(&image.metadata).into_keys() {
                *users.blobs.entry(blob).or_default() += 1;
            }
        }
        users
    }

    /// What of an image others have as well, in bytes.
    pub(crate) fn shared(&self, image: &Image) -> i64 {
        let several = |users: Option<&usize>| users.is_some_and(|many| *many > 1);
        let layers = unpacked(&image.metadata);
        let layers = layers.filter(|(layer, _)| several(self.layers.get(layer)));
        let blobs = layer_blobs(&image.metadata).into_iter();
        let blobs = blobs.filter(|(blob, _)| several(self.blobs.get(blob)));
        sum(layers
            .map(|(_, size)| size)
            .chain(blobs.map(|(_, size)| size)))
    }
}

/// The layers that are unpacked, and what each takes.
fn unpacked(metadata: &Metadata) -> impl Iterator<Item = (&Digest, i64)> {
    let sizes = metadata.layer_sizes.iter().copied();
    metadata.chain.iter().zip(sizes)
}

/// The blobs of the layers, each once, and what each takes.
fn layer_blobs(metadata: &Metadata) -> BTreeMap<&Digest, i64> {
    let layers = metadata.layers.iter();
    layers
        .map(|blob| (&blob.digest, blob.size.max(0)))
        .collect()
}

/// The sizes are whatever a manifest says.
fn sum(sizes: impl Iterator<Item = i64>) -> i64 {
    sizes.fold(0, i64::saturating_add)
}
