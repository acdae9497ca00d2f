//! Inspect: one image in full, from the table alone.

use berth_wire as wire;

use crate::image::Image;

impl Image {
    /// What `docker image inspect` shows, without its manifests.
    pub fn inspect(&self) -> wire::ImageInspect {
        let image = self;
        let metadata = &image.metadata;
        let layers = image.diff_ids().iter().map(ToString::to_string).collect();
        wire::ImageInspect {
            id: image.id().to_string(),
            repo_tags: image.tags().to_vec(),
            repo_digests: image.digests().to_vec(),
            comment: image.comment().to_owned(),
            created: image.created().map(wire::rfc3339_nano).unwrap_or_default(),
            author: image.author().to_owned(),
            // Of an image for which nothing is here to run, nothing more is known.
            config: metadata.manifest.is_some().then(|| image.config().clone()),
            architecture: image.architecture().to_owned(),
            variant: image.variant().to_owned(),
            os: image.os().to_owned(),
            os_version: metadata.config.os_version.clone(),
            // As dockerd: the blobs alone, whereas the list counts the unpacked layers too.
            size: image.content_size(),
            graph_driver: None,
            root_fs: wire::RootFs {
                kind: metadata.config.rootfs.kind.clone(),
                layers,
            },
            metadata: wire::ImageMetadata {
                last_tag_time: image
                    .last_tagged()
                    .map(wire::rfc3339_nano)
                    .unwrap_or_default(),
            },
            descriptor: Some(image.target().to_wire()),
            manifests: Vec::new(),
        }
    }
}
