//! The files of an image archive on their way into the content store.

use std::collections::HashMap;

use berth_archive::Compression;
use berth_ctrd::{Labels, Opened};
use berth_reference::Digest;
use bytes::{Bytes, BytesMut};
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::ahead::{Ahead, Arrival, feed};
use crate::archive::Part;
use crate::lease::{Lease, unique};
use crate::load::missing;
use crate::manifest::MAX_JSON;
use crate::{Error, Result, fault};

/// Where the headers of a tar say that they are, and how.
const MAGIC: (usize, &[u8]) = (257, b"ustar");

/// What became of one path of the archive.
#[derive(Debug)]
pub(crate) enum Node {
    /// It lies in the content store.
    Blob {
        digest: Digest,
        size: u64,
        compression: Compression,
    },
    /// It is small and says what is what.
    Memory(Bytes),
    /// It is another path's other name.
    Link(String),
}

/// The archive's files on their way into the content store.
#[derive(Debug)]
pub(crate) struct Spool<'a> {
    pub(crate) lease: &'a Lease,
    pub(crate) ahead: &'a Ahead<'a>,
    pub(crate) stored: Stored,
}

/// What an archive had.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) nodes: HashMap<String, Node>,
    /// What may be layers, on their way to be unpacked.
    pub(crate) arrivals: HashMap<Digest, Arrival>,
}

impl Spool<'_> {
    pub(crate) async fn run(mut self, mut parts: mpsc::Receiver<Part>) -> Result<Stored> {
        while let Some(part) = parts.recv().await {
            let (path, node) = match part {
                Part::Link { path, target } => (path, Node::Link(target)),
                Part::File { path, size } => {
                    let node = self.file(&path, size, &mut parts).await?;
                    (path, node)
                }
                // The reader sends data only behind a file.
                Part::Data(_) | Part::End => continue,
            };
            self.stored.nodes.insert(path, node);
        }
        Ok(self.stored)
    }

    async fn file(
        &mut self,
        path: &str,
        size: u64,
        parts: &mut mpsc::Receiver<Part>,
    ) -> Result<Node> {
        if matches!(
            path,
            "manifest.json" | "index.json" | "oci-layout" | "repositories"
        ) {
            return self.memory(path, size, parts).await;
        }
        let expected = path
            .strip_prefix("blobs/")
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(algorithm, hex)| Digest::parse(&format!("{algorithm}:{hex}")).ok())
            .filter(|digest| digest.algorithm() == "sha256");
        let reference = unique("load");
        let wanted = expected.as_ref().map_or("", Digest::as_str);
        let content = self.lease.client().content();
        let mut writer = match content.writer(&reference, size, wanted).await? {
            Opened::Writer(mut writer) => {
                // It stands at its end where another namespace has the blob, or ours had until now.
                writer.restart();
                Some(writer)
            }
            Opened::Existing => None,
        };
        let mut sum = sha2::Sha256::new();
        let mut head = Vec::new();
        let mut overtaken = false;
        let (mut tap, mut passed) = (None, 0);
        while let Some(data) = data(parts).await? {
            sum.update(&data);
            // What is there already is unpacked already, too.
            if passed == 0 && writer.is_some() && may_be_layer(&data) {
                tap = self.ahead.tap(path, size).await;
            }
            feed(&mut tap, passed, &data).await;
            passed += data.len() as u64;
            if head.len() < 6 {
                head.extend_from_slice(&data[..data.len().min(6 - head.len())]);
            }
            if let Some(open) = &mut writer {
                match open.write(data).await {
                    // Somebody else has written it meanwhile.
                    Err(e) if e.is_already_exists() => {
                        writer = None;
                        overtaken = true;
                    }
                    other => other?,
                }
            }
        }
        let digest = Digest::from_sha256(sum.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Error::Archive(format!(
                "invalid archive: {path} has the digest {digest}, not {expected}"
            )));
        }
        if overtaken {
            // First, as whoever has written it may let it go.
            self.lease.protect(&digest).await?;
            let found = content.info(digest.as_str()).await;
            found.map_err(|e| missing(e.into(), &digest))?;
        }
        if let Some(mut writer) = writer {
            writer.expect(digest.as_str());
            // First, as it may be there already: of a load that was broken off, whose blobs are
            // about to be collected.
            self.lease.protect(&digest).await?;
            writer.commit(&Labels::new()).await?;
            fault::point("blob:stored");
        }
        if let Some(tap) = tap {
            self.stored.arrivals.insert(digest.clone(), tap.end());
        }
        Ok(Node::Blob {
            digest,
            size,
            compression: Compression::detect(&head),
        })
    }

    async fn memory(
        &self,
        path: &str,
        size: u64,
        parts: &mut mpsc::Receiver<Part>,
    ) -> Result<Node> {
        if size > MAX_JSON as u64 {
            return Err(Error::Archive(format!(
                "invalid archive: {path} is larger than {MAX_JSON} bytes"
            )));
        }
        let mut all = BytesMut::new();
        while let Some(data) = data(parts).await? {
            all.extend_from_slice(&data);
        }
        Ok(Node::Memory(all.freeze()))
    }
}

/// The next piece of a file; `None` at its end. A client that hung up leaves half a file.
async fn data(parts: &mut mpsc::Receiver<Part>) -> Result<Option<Bytes>> {
    match parts.recv().await {
        Some(Part::Data(data)) => Ok(Some(data)),
        Some(Part::End) => Ok(None),
        // Why shows in the reader's error.
        _ => Err(Error::Cancelled),
    }
}

/// Whether a file that begins so may be a layer: which ones are is told behind them.
fn may_be_layer(head: &[u8]) -> bool {
    match Compression::detect(head) {
        Compression::None => head
            .get(MAGIC.0..)
            .is_some_and(|at| at.starts_with(MAGIC.1)),
        Compression::Gzip | Compression::Zstd => true,
        Compression::Bzip2 | Compression::Xz => false,
    }
}
