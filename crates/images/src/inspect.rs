//! Inspect: one image in full, from the table alone.

use berth_wire as wire;

use crate::{Images, Result};

impl Images {
    /// What `docker image inspect` shows. No RPC.
    ///
    /// # Errors
    /// As [`Images::resolve`].
    pub fn inspect(&self, name: &str) -> Result<wire::ImageInspect> {
        let image = self.resolve(name)?;
        let text = |time: Option<jiff::Timestamp>| time.map(|t| t.to_string()).unwrap_or_default();
        let mut out = wire::ImageInspect {
            id: image.id().to_string(),
            repo_tags: image.tags().to_vec(),
            repo_digests: image.digests().to_vec(),
            comment: image.comment().to_owned(),
            created: image.metadata.config.created.clone().unwrap_or_default(),
            author: image.author().to_owned(),
            architecture: image.architecture().to_owned(),
            variant: image.variant().to_owned(),
            os: image.os().to_owned(),
            os_version: image.metadata.config.os_version.clone(),
            size: image.size(),
            ..Default::default()
        };
        out.config = image.config().clone().into();
        out.root_fs.kind = "layers".to_owned();
        out.root_fs.layers = image.diff_ids().iter().map(|d| d.to_string()).collect();
        out.metadata.last_tag_time = text(image.last_tagged());
        Ok(out)
    }
}
