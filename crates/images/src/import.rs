//! Import: one tar of a root file system becomes an image of one layer.

use std::io::{Read, Write};
use std::sync::Arc;

use berth_archive::{Compression, peek, plain};
use berth_ctrd::{Labels, Opened};
use berth_reference::{Digest, Reference};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::lease::{Lease, unique};
use crate::load::{put_json, snapshot_label};
use crate::manifest::{
    ConfigFile, Descriptor, Document, Manifest, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    OCI_MANIFEST,
};
use crate::metadata::Found;
use crate::names::Told;
use crate::progress::Progress;
use crate::stream::{Input, bridge};
use crate::unpack::Unpack;
use crate::{Error, Images, Platform, Result, changes, fault};

/// How many bytes are read, and sent to containerd, at a time.
const CHUNK: usize = 1 << 20;

/// What an imported image is to be.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Its name; dangling where not given. Without a tag, `latest` is meant.
    pub reference: Option<Reference>,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// The comment of its history entry; the CLI's default is `Imported from -`.
    pub message: String,
    /// What it is for; this host's platform where not given.
    pub platform: Option<Platform>,
}

impl Images {
    /// Makes an image of one layer from a tar. Gzip and zstd streams are kept as they are,
    /// others are compressed by gzip. Returns its ID.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad changes, [`Error::Archive`] for a bad stream.
    pub async fn import(&self, input: Input, import: Import) -> Result<Digest> {
        let mut config = Map::new();
        changes::apply(&mut config, &import.changes)?;
        let lease = self.lease().await?;
        let client = lease.client();
        let ((diff_id, media_type), (digest, size)) = bridge(
            input,
            |body, chunks| pack(body, &chunks),
            |chunks| store(&lease, chunks),
        )
        .await?;
        let labels = Labels::from([("containerd.io/uncompressed".to_owned(), diff_id.to_string())]);
        client
            .content()
            .update_labels(digest.as_str(), &labels)
            .await?;
        let layer = Descriptor::new(media_type, digest, size as usize);
        let unpack = Unpack {
            images: self,
            lease: &lease,
            layers: std::slice::from_ref(&layer),
            diff_ids: std::slice::from_ref(&diff_id),
            progress: &Progress::none(),
        };
        unpack.run(Vec::new()).await?;
        let config = self.config_file(&import, config, &diff_id);
        let labels = snapshot_label(self.snapshotter(), &diff_id);
        let config_descriptor = put_json(client, OCI_CONFIG, &config, &labels).await?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: config_descriptor,
            layers: vec![layer],
        };
        let labels = Document::Manifest(manifest.clone()).gc_labels();
        let target = put_json(client, OCI_MANIFEST, &manifest, &labels).await?;
        let data = serde_json::to_vec(&config).map_err(|e| Error::Invalid(e.to_string()))?;
        let config = ConfigFile::parse(&target.digest, &data)?;
        let found = Found {
            descriptor: target.clone(),
            manifest,
            config,
        };
        let metadata = self.complete_metadata(client, &target, Some(found)).await;
        let names: Vec<Reference> = import
            .reference
            .map(Reference::tagged)
            .into_iter()
            .collect();
        let id = target.digest.to_string();
        let told = Told {
            action: "import",
            id: id.clone(),
            name: id,
        };
        let image = self.name(&lease, &names, Arc::new(metadata), told).await?;
        Ok(image.id().clone())
    }

    /// Makes an image of one layer from what a URL names, and reports it. Its ID is told last.
    ///
    /// # Errors
    /// As [`Images::import`]; when the download breaks off.
    pub async fn import_download(
        &self,
        address: &str,
        download: berth_registry::Download,
        import: Import,
        progress: &Progress,
    ) -> Result<()> {
        let from = format!("Downloading from {address}");
        progress.message(None, from).await;
        let (told, size) = (progress.clone(), download.size.unwrap_or(0));
        let mut got = 0;
        let input = download.stream.map(move |part| {
            let part = part.map_err(std::io::Error::other)?;
            got += part.len() as u64;
            told.count("", "Importing", got, size);
            Ok(part)
        });
        let id = self.import(Box::pin(input), import).await?;
        progress.message(None, id.to_string()).await;
        Ok(())
    }

    fn config_file(&self, import: &Import, config: Map<String, Value>, diff_id: &Digest) -> Value {
        let platform = import.platform.clone().unwrap_or_else(Platform::host);
        let created = jiff::Timestamp::now().to_string();
        let mut file = json!({
            "created": created,
            "architecture": platform.architecture,
            "os": platform.os,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "comment": import.message}],
        });
        if !platform.variant.is_empty() {
            file["variant"] = platform.variant.into();
        }
        file
    }
}

/// Turns what comes into a compressed layer; returns its diff ID and media type.
pub(crate) fn pack(
    body: impl Read,
    chunks: &mpsc::Sender<Bytes>,
) -> Result<(Digest, &'static str)> {
    let (compression, reader) = peek(body).map_err(input)?;
    match compression {
        Compression::None => Ok((compress(reader, chunks)?, OCI_LAYER_GZIP)),
        Compression::Gzip => Ok((pass(reader, chunks)?, OCI_LAYER_GZIP)),
        Compression::Zstd => Ok((pass(reader, chunks)?, OCI_LAYER_ZSTD)),
        // Layers are not stored like this.
        Compression::Bzip2 | Compression::Xz => {
            let inside = plain(reader).map_err(input)?;
            Ok((compress(inside, chunks)?, OCI_LAYER_GZIP))
        }
    }
}

pub(crate) fn compress(mut reader: impl Read, chunks: &mpsc::Sender<Bytes>) -> Result<Digest> {
    let mut sum = sha2::Sha256::new();
    let output = ChunkWriter {
        chunks,
        chunk: Vec::new(),
    };
    // Fast rather than small: it is read back far more often than it is sent anywhere.
    let mut gzip = flate2::write::GzEncoder::new(output, flate2::Compression::fast());
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = reader.read(&mut buffer).map_err(input)?;
        if n == 0 {
            break;
        }
        sum.update(&buffer[..n]);
        gzip.write_all(&buffer[..n]).map_err(|_| Error::Cancelled)?;
    }
    let mut output = gzip.finish().map_err(|_| Error::Cancelled)?;
    output.flush().map_err(|_| Error::Cancelled)?;
    Ok(Digest::from_sha256(sum.finalize().into()))
}

/// Passes compressed bytes on while looking into them for the diff ID.
fn pass(reader: impl Read, chunks: &mpsc::Sender<Bytes>) -> Result<Digest> {
    let mut output = ChunkWriter {
        chunks,
        chunk: Vec::new(),
    };
    let mut sum = sha2::Sha256::new();
    {
        let mut tee = Tee {
            reader,
            output: &mut output,
        };
        let invalid = |e: std::io::Error| Error::Archive(format!("invalid archive: {e}"));
        let mut inside = plain(&mut tee).map_err(input)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = inside.read(&mut buffer).map_err(invalid)?;
            if n == 0 {
                break;
            }
            sum.update(&buffer[..n]);
        }
        drop(inside);
        // What follows the compressed data belongs to the blob as well.
        std::io::copy(&mut tee, &mut std::io::sink()).map_err(invalid)?;
    }
    output.flush().map_err(|_| Error::Cancelled)?;
    Ok(Digest::from_sha256(sum.finalize().into()))
}

fn input(e: std::io::Error) -> Error {
    Error::Input(e.to_string())
}

struct Tee<'a, 'b, R> {
    reader: R,
    output: &'a mut ChunkWriter<'b>,
}

impl<R: Read> Read for Tee<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.output.write_all(&buffer[..n])?;
        Ok(n)
    }
}

/// Collects what is written into chunks worth sending.
struct ChunkWriter<'a> {
    chunks: &'a mpsc::Sender<Bytes>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.chunk.extend_from_slice(data);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.chunks.blocking_send(chunk.into()).map_err(gone)
    }
}

/// Writes the layer into the content store; returns its digest and size.
pub(crate) async fn store(
    lease: &Lease,
    mut chunks: mpsc::Receiver<Bytes>,
) -> Result<(Digest, u64)> {
    let content = lease.client().content();
    let mut sum = sha2::Sha256::new();
    let Opened::Writer(mut writer) = content.writer(&unique("import"), 0, "").await? else {
        return Err(Error::Corrupt("a new blob is there already".to_owned()));
    };
    while let Some(chunk) = chunks.recv().await {
        sum.update(&chunk);
        writer.write(chunk).await?;
    }
    let digest = Digest::from_sha256(sum.finalize().into());
    let size = writer.offset();
    writer.expect(digest.as_str());
    // First, as it may be there already and about to be collected.
    lease.protect(&digest).await?;
    writer.commit(&Labels::new()).await?;
    fault::point("blob:stored");
    Ok((digest, size))
}
