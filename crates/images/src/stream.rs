//! From a client's body to a blocking reader, with bounded memory, and decompression.

use std::io::{self, Cursor, Read};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::{Error, Result};

/// A client's request body.
pub type Input = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How many chunks may lie between a stream and its reader.
const DEPTH: usize = 8;
/// Enough bytes to tell compressions apart.
const MAGIC: usize = 6;

/// The blocking end of a client's body.
#[derive(Debug)]
pub(crate) struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.now = chunk?,
                None => return Ok(0),
            }
        }
        let n = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// Runs `read` on a blocking thread over what `input` brings, while `consume` takes what `read`
/// sends it. Dropping the future stops all three.
pub(crate) async fn bridge<T, R, C, F>(
    mut input: Input,
    read: impl FnOnce(BodyReader, mpsc::Sender<T>) -> Result<R> + Send + 'static,
    consume: impl FnOnce(mpsc::Receiver<T>) -> F,
) -> Result<(R, C)>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<C>>,
{
    let (chunks_tx, chunks) = mpsc::channel(DEPTH);
    let (tx, rx) = mpsc::channel(DEPTH);
    let pump = async move {
        while let Some(chunk) = input.next().await {
            let failed = chunk.is_err();
            // The reader may have seen enough.
            if chunks_tx.send(chunk).await.is_err() || failed {
                break;
            }
        }
        drop(chunks_tx);
        std::future::pending::<std::convert::Infallible>().await
    };
    let body = BodyReader {
        chunks,
        now: Bytes::new(),
    };
    let reader = tokio::task::spawn_blocking(move || read(body, tx));
    let reader = async move { reader.await.map_err(|e| Error::Input(e.to_string()))? };
    let work = async { tokio::join!(reader, consume(rx)) };
    tokio::select! {
        never = pump => match never {},
        (read, consumed) = work => match (read, consumed) {
            (Ok(read), Ok(consumed)) => Ok((read, consumed)),
            // The reader was only stopped because its consumer had failed.
            (Err(Error::Cancelled), Err(e)) | (Ok(_), Err(e)) => Err(e),
            (Err(e), _) => Err(e),
        },
    }
}

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    /// One that we cannot undo, by name.
    Other(&'static str),
}

impl Compression {
    /// Tells by the first bytes.
    pub(crate) fn detect(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Compression::Other("xz"),
            [b'B', b'Z', b'h', ..] => Compression::Other("bzip2"),
            _ => Compression::None,
        }
    }
}

/// Looks at the first bytes of `reader` and gives them back to it.
pub(crate) fn peek<R: Read>(mut reader: R) -> io::Result<(Compression, impl Read)> {
    let mut head = [0; MAGIC];
    let mut length = 0;
    while length < MAGIC {
        match reader.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let found = Compression::detect(&head[..length]);
    let head = Read::take(Cursor::new(head), length as u64);
    Ok((found, head.chain(reader)))
}

/// The plain bytes of `reader`, whatever it is compressed with.
///
/// # Errors
/// It cannot be read, or is compressed with what we cannot undo.
pub fn plain<'a>(reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let input = |e: io::Error| Error::Input(e.to_string());
    let (compression, reader) = peek(reader).map_err(input)?;
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(input)?),
        Compression::Other(name) => {
            return Err(Error::Archive(format!(
                "unsupported archive compression: {name}"
            )));
        }
    })
}
