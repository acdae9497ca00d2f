//! One client's connection: HTTP/1 until a handler takes the socket over.
//!
//! Attach and exec start leave HTTP behind, with `101` or, for clients that ask for no upgrade,
//! with a plain `200` after which both sides talk raw. hyper knows only the former, so neither
//! goes through it: the handler leaves a [`Takeover`] in its [`Session`] and never answers; the
//! connection is taken apart, what hyper had already read is kept for the new owner, and the
//! answer's head is written here.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::reply::Response;
use crate::stream::{Hangup, Held, Stream};

/// How long a client may take for a request's head, and how long a connection may idle: dockerd's
/// five minutes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// The most bytes of a request's head, and of what is read or written ahead on a connection.
/// A head that is longer is answered with `431`.
pub(crate) const MAX_HEAD: usize = 128 << 10;

/// How long to read on after the answer, so that closing does not reset the connection under an
/// answer that the client has not read yet: while the client goes on sending, and in all.
const LINGER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What goes on with the socket after a request left HTTP.
pub(crate) struct Takeover {
    /// The answer's head, as it goes over the wire.
    head: Bytes,
    run: Box<dyn FnOnce(Raw) -> BoxFuture<'static, ()> + Send>,
}

/// A request's hold on its connection.
#[derive(Clone, Default)]
pub(crate) struct Session {
    takeover: Arc<Mutex<Option<Takeover>>>,
    hold: Arc<AtomicBool>,
}

impl Session {
    /// From now on a half-close by the client does not end the request.
    pub(crate) fn expect_takeover(&self) {
        self.hold.store(true, Ordering::Relaxed);
    }

    /// The request stays HTTP after all.
    pub(crate) fn stay(&self) {
        self.hold.store(false, Ordering::Relaxed);
    }

    /// Leaves HTTP: `head` is written as it is, then `run` owns the socket. Never returns: the
    /// future that awaits this is dropped with the HTTP side of the connection.
    pub(crate) async fn take_over<F, Fut>(&self, head: Bytes, run: F) -> std::convert::Infallible
    where
        F: FnOnce(Raw) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let takeover = Takeover {
            head,
            run: Box::new(move |raw| Box::pin(run(raw))),
        };
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
        std::future::pending().await
    }

    fn taken(&self) -> Option<Takeover> {
        self.takeover
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A socket that was taken over: first gives what had already been read of it.
#[derive(Debug)]
pub(crate) struct Raw {
    ahead: Bytes,
    stream: Stream,
}

impl Raw {
    /// A socket of which `ahead` has been read already.
    pub(crate) fn new(ahead: Bytes, stream: Stream) -> Raw {
        Raw { ahead, stream }
    }

    /// What tells when the client has closed the whole connection.
    pub(crate) fn hangup(&self) -> io::Result<Hangup> {
        self.stream.hangup()
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..n]);
        this.ahead.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Serves one connection until the client closes it, a handler took it over and is done with
/// it, or, after `cancel`, the request under way has been answered.
///
/// `answer` must not panic for the connection to go on; if it does, the connection ends and the
/// panic is logged.
pub(crate) async fn drive<F, Fut>(stream: Stream, answer: F, cancel: CancellationToken)
where
    F: Fn(Request<Incoming>, Session) -> Fut + Send + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let work = AssertUnwindSafe(converse(stream, answer, cancel));
    if work.catch_unwind().await.is_err() {
        tracing::error!("a connection's task panicked; the connection is closed");
    }
}

async fn converse<F, Fut>(stream: Stream, answer: F, cancel: CancellationToken)
where
    F: Fn(Request<Incoming>, Session) -> Fut + Send + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let session = Session::default();
    let held = Held::new(stream, session.hold.clone());
    let handle = session.clone();
    // Boxed, so that the connection can be moved to be taken apart.
    let answer = Box::new(answer);
    let service = service_fn(move |request| {
        Box::pin(answer(request, handle.clone()).map(Ok::<_, std::convert::Infallible>))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(held), service);

    let mut cancelled = std::pin::pin!(cancel.cancelled());
    let mut ending = false;
    let outcome = poll_fn(|cx| {
        if !ending && cancelled.as_mut().poll(cx).is_ready() {
            ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let done = connection.poll_without_shutdown(cx);
        // The handler ran inside that poll, so there is nothing to be woken by.
        match (session.taken(), done) {
            (Some(takeover), _) => Poll::Ready(Ok(Some(takeover))),
            (None, Poll::Ready(Ok(()))) => Poll::Ready(Ok(None)),
            (None, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (None, Poll::Pending) => Poll::Pending,
        }
    })
    .await;

    let parts = connection.into_parts();
    let mut raw = Raw::new(parts.read_buf, parts.io.into_inner().into_inner());
    match outcome {
        Ok(Some(Takeover { head, run })) => {
            if raw.write_all(&head).await.is_ok() && raw.flush().await.is_ok() {
                run(raw).await;
            }
        }
        Ok(None) => close(raw).await,
        Err(error) => {
            tracing::debug!(%error, "connection ended");
            close(raw).await;
        }
    }
}

/// Ends our side of the socket and gives the client a moment to read what was sent to it.
pub(crate) async fn close(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = [0u8; 4096];
        let (each, _) = LINGER;
        while matches!(timeout(each, socket.read(&mut buffer)).await, Ok(Ok(n)) if n > 0) {}
    };
    let _ = timeout(LINGER.1, drain).await;
}
