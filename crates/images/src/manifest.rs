//! Manifests, indexes and image configurations as they lie in the content store.

use std::collections::BTreeMap;

use berth_reference::Digest;
use berth_wire as wire;
use serde::{Deserialize, Serialize};

use crate::{Error, Platform, Result};

/// The largest manifest, index or configuration taken, in bytes.
pub(crate) const MAX_JSON: usize = 8 << 20;

/// How many layers an image may have: twice what overlayfs stacks. Each of them costs memory and calls
/// before the first byte comes.
const MAX_LAYERS: usize = 1000;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Marks what is no image in an index: attestations and the like.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// A reference to a blob, as the OCI image specification writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: i64,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where else it can be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: usize) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: size as i64,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
            platform: None,
        }
    }

    /// True for what is no image but says something about one.
    pub(crate) fn is_attestation(&self) -> bool {
        self.annotations.contains_key(REFERENCE_TYPE)
    }

    /// True for a layer that registries may not distribute: it is had from where its descriptor
    /// says.
    pub(crate) fn is_foreign(&self) -> bool {
        self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.")
    }

    /// True for a layer that a snapshot can be made of.
    pub(crate) fn is_layer(&self) -> bool {
        let plain = self.media_type.split('+').next().unwrap_or_default();
        let plain = plain.trim_end_matches(".gzip").trim_end_matches(".zstd");
        matches!(
            plain,
            DOCKER_LAYER
                | "application/vnd.docker.image.rootfs.foreign.diff.tar"
                | "application/vnd.oci.image.layer.v1.tar"
                | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        )
    }

    /// An OCI layer that is not compressed. Docker's type without a suffix says nothing of that.
    pub(crate) fn is_said_to_be_plain(&self) -> bool {
        let oci = self
            .media_type
            .strip_prefix("application/vnd.oci.image.layer.");
        oci.is_some_and(|kind| kind.ends_with(".tar"))
    }

    pub(crate) fn to_containerd(&self) -> berth_ctrd::Descriptor {
        berth_ctrd::Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: self.size,
            annotations: self.annotations.clone(),
        }
    }

    /// As Docker's API shows it, in inspect and beside a container.
    pub fn to_wire(&self) -> wire::OciDescriptor {
        wire::OciDescriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: self.size,
            annotations: self.annotations.clone(),
            urls: self.urls.clone(),
            platform: self.platform.as_ref().map(Platform::to_wire),
            ..Default::default()
        }
    }

    pub(crate) fn from_containerd(d: &berth_ctrd::Descriptor) -> Result<Descriptor> {
        Ok(Descriptor {
            media_type: d.media_type.clone(),
            digest: Digest::parse(&d.digest)?,
            size: d.size,
            annotations: d.annotations.clone(),
            urls: Vec::new(),
            platform: None,
        })
    }
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) layers: Vec<Descriptor>,
}

/// Refuses more layers than any image can have.
pub(crate) fn check_depth(layers: usize) -> Result<()> {
    match layers > MAX_LAYERS {
        true => Err(Error::Invalid("max depth exceeded".to_owned())),
        false => Ok(()),
    }
}

/// An image index, or Docker's manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// Either of them.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a manifest or index. What it is stands in the document itself; a document that
    /// could be read as both is refused, as it would mean different things to different readers.
    pub(crate) fn parse(digest: &Digest, data: &[u8]) -> Result<Document> {
        #[derive(Deserialize)]
        struct Shape {
            #[serde(default, rename = "mediaType")]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            #[serde(rename = "fsLayers")]
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let bad = |what: String| Error::Corrupt(format!("invalid manifest {digest}: {what}"));
        let shape: Shape = serde_json::from_slice(data).map_err(|e| bad(e.to_string()))?;
        if shape.fs_layers.is_some() {
            return Err(Error::Invalid(
                "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed"
                    .to_owned(),
            ));
        }
        let index = shape.manifests.is_some();
        let manifest = shape.config.is_some() || shape.layers.is_some();
        let called = match shape.media_type.as_str() {
            OCI_INDEX | DOCKER_LIST => index,
            OCI_MANIFEST | DOCKER_MANIFEST => manifest,
            _ => true,
        };
        if index == manifest || !called {
            return Err(bad("neither an image manifest nor an index".to_owned()));
        }
        if index {
            return serde_json::from_slice(data)
                .map(Document::Index)
                .map_err(|e| bad(e.to_string()));
        }
        let manifest: Manifest = serde_json::from_slice(data).map_err(|e| bad(e.to_string()))?;
        check_depth(manifest.layers.len())?;
        Ok(Document::Manifest(manifest))
    }

    /// The media type of the document when it does not name one itself.
    pub(crate) fn media_type(&self) -> &str {
        let (named, default) = match self {
            Document::Manifest(m) => (&m.media_type, OCI_MANIFEST),
            Document::Index(i) => (&i.media_type, OCI_INDEX),
        };
        if named.is_empty() { default } else { named }
    }

    /// The labels that keep garbage collection off what the document refers to.
    pub(crate) fn gc_labels(&self) -> berth_ctrd::Labels {
        let mut labels = berth_ctrd::Labels::new();
        let mut add = |key: String, digest: &Digest| {
            labels.insert(
                format!("containerd.io/gc.ref.content.{key}"),
                digest.to_string(),
            );
        };
        match self {
            Document::Manifest(m) => {
                add("config".to_owned(), &m.config.digest);
                for (n, layer) in m.layers.iter().enumerate() {
                    add(format!("l.{n}"), &layer.digest);
                }
            }
            Document::Index(i) => {
                for (n, manifest) in i.manifests.iter().enumerate() {
                    add(format!("m.{n}"), &manifest.digest);
                }
            }
        }
        labels
    }
}

/// An image configuration: the whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) author: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) os_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) comment: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) config: wire::ImageConfig,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) history: Vec<HistoryEntry>,
}

/// The layers of a configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// How one layer, or one change of the configuration, came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By what command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// True when there is no layer to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ConfigFile {
    pub(crate) fn parse(digest: &Digest, data: &[u8]) -> Result<ConfigFile> {
        serde_json::from_slice(data)
            .map_err(|e| Error::Corrupt(format!("invalid image configuration {digest}: {e}")))
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
    }
}

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
