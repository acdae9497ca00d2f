//! Attestations: what an index says about one of its manifests, in in-toto's statements.

use berth_wire as wire;

use crate::manifest::{Document, MAX_JSON};
use crate::{Error, Images, Platform, Result};

/// Says in an index which manifest an attestation is about.
pub(crate) const ABOUT: &str = "vnd.docker.reference.digest";
/// Says of a layer what kind of statement it is.
const PREDICATE: &str = "in-toto.io/predicate-type";

impl Images {
    /// The statements about the manifest of an image for `platform`, this host's where not given:
    /// those of the predicate `types`, all where there are none; with `whole`, with their text.
    /// RPCs: 2 for the image, 1 for each attestation, and 1 for each text.
    ///
    /// # Errors
    /// As [`Images::for_platform`].
    pub async fn attestations(
        &self,
        name: &str,
        platform: Option<&Platform>,
        types: &[String],
        whole: bool,
    ) -> Result<Vec<wire::AttestationStatement>> {
        let host = Platform::host();
        let image = self.for_platform(name, platform.unwrap_or(&host)).await?;
        let client = &self.inner.client;
        let about = image.manifest().map(|m| m.digest.to_string());
        let Document::Index(index) = self.read_document(client, image.id()).await? else {
            return Ok(Vec::new());
        };
        let mut statements = Vec::new();
        let all = index.manifests.iter();
        for descriptor in all.filter(|d| d.annotations.get(ABOUT) == about.as_ref()) {
            let manifest = match self.read_document(client, &descriptor.digest).await {
                Ok(Document::Manifest(manifest)) => manifest,
                Ok(Document::Index(_)) => continue,
                // It was not pulled along.
                Err(Error::Containerd(e)) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            for layer in &manifest.layers {
                let Some(kind) = layer.annotations.get(PREDICATE) else {
                    continue;
                };
                if !types.is_empty() && !types.contains(kind) {
                    continue;
                }
                let mut statement = wire::AttestationStatement {
                    descriptor: layer.to_wire(),
                    predicate_type: kind.clone(),
                    statement: None,
                };
                if whole {
                    let content = client.content();
                    let text = content.read_all(layer.digest.as_str(), MAX_JSON).await?;
                    let text = serde_json::from_slice(&text).map_err(|e| {
                        Error::Corrupt(format!("invalid statement {}: {e}", layer.digest))
                    })?;
                    statement.statement = Some(text);
                }
                statements.push(statement);
            }
        }
        Ok(statements)
    }
}
