//! The fuzz targets' way to what reads manifests, indexes and configurations of other people's.

use berth_reference::Digest;

use crate::manifest::{ConfigFile, Document};
use crate::{Platform, Result};

/// A manifest or index, read and written again; and how many blobs it keeps alive.
///
/// # Errors
/// It is none.
pub fn document(data: &[u8]) -> Result<(Vec<u8>, usize)> {
    let document = Document::parse(&Digest::of(data), data)?;
    let labels = document.gc_labels().len();
    let written = match &document {
        Document::Manifest(manifest) => serde_json::to_vec(manifest),
        Document::Index(index) => {
            let best = Platform::host().choose(&index.manifests);
            assert!(best.len() <= index.manifests.len(), "{best:?}");
            serde_json::to_vec(index)
        }
    };
    Ok((written.expect("it was JSON"), labels))
}

/// An image's configuration, read and written again.
///
/// # Errors
/// It is none.
pub fn config(data: &[u8]) -> Result<Vec<u8>> {
    let config = ConfigFile::parse(&Digest::of(data), data)?;
    let platform = config.platform();
    assert_eq!(platform.distance(&platform), Some(0), "{platform}");
    let chain = berth_reference::chain_ids(&config.rootfs.diff_ids);
    assert_eq!(chain.len(), config.rootfs.diff_ids.len());
    Ok(serde_json::to_vec(&config).expect("it was JSON"))
}

/// A platform as users write it, read and written again.
///
/// # Errors
/// It is none.
pub fn platform(text: &str) -> Result<String> {
    Platform::parse(text).map(|platform| platform.to_string())
}
