//! From a client's body to a blocking reader, with bounded memory.

use std::io::{self, Read};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::{Error, Result};

/// A client's request body.
pub type Input = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How many chunks may lie between a stream and its reader.
const DEPTH: usize = 8;

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
