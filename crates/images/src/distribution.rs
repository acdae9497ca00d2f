//! An image as its registry has it, without fetching it.

use berth_reference::Reference;
use berth_registry::Credentials;
use berth_wire as wire;

use crate::manifest::{ConfigFile, Descriptor, Document, MAX_JSON};
use crate::{Images, Result};

impl Images {
    /// What a registry has by the name `reference`; `latest` is meant without tag and digest. No
    /// RPC.
    ///
    /// # Errors
    /// The registry's in dockerd's words.
    pub async fn distribution(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<wire::DistributionInspect> {
        let reference = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()),
            None => reference.clone().tagged(),
        };
        let repository = self.inner.registry.repository(&reference, credentials);
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or(berth_reference::DEFAULT_TAG),
        };
        let found = repository.manifest(what).await?;
        let document = Document::parse(&found.digest, &found.data)?;
        let target =
            Descriptor::new(document.media_type(), found.digest, found.data.len()).to_wire();
        let platforms = match document {
            Document::Index(index) => {
                let each = index.manifests.iter();
                each.filter_map(|d| d.to_wire().platform).collect()
            }
            Document::Manifest(manifest) => {
                let digest = &manifest.config.digest;
                let data = repository.small_blob(digest, MAX_JSON).await?;
                let data = data.unwrap_or_default();
                // What is no image's configuration says nothing of platforms.
                let config = ConfigFile::parse(digest, &data).ok();
                let platform = config.map(|config| config.platform());
                platform.iter().map(crate::Platform::to_wire).collect()
            }
        };
        Ok(wire::DistributionInspect {
            descriptor: target,
            platforms,
        })
    }
}
