//! One client's socket: Unix, TCP, or TLS over TCP.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TCP, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// What tells when the client has closed the whole connection.
    ///
    /// # Errors
    /// The descriptor can't be duplicated or registered.
    pub(crate) fn hangup(&self) -> io::Result<Hangup> {
        // A registration of its own: waiting clears its readiness, which would stall a writer
        // that shares it.
        let copy = rustix::io::fcntl_dupfd_cloexec(self.as_fd(), 3)?;
        let stream = match self {
            Stream::Unix(_) => Stream::Unix(UnixStream::from_std(copy.into())?),
            Stream::Tcp(_) | Stream::Tls(_) => Stream::Tcp(TcpStream::from_std(copy.into())?),
        };
        Ok(Hangup { stream })
    }

    async fn writable(&self) -> io::Result<Ready> {
        match self {
            Stream::Unix(s) => s.ready(Interest::WRITABLE).await,
            Stream::Tcp(s) => s.ready(Interest::WRITABLE).await,
            Stream::Tls(s) => s.get_ref().0.ready(Interest::WRITABLE).await,
        }
    }

    /// Forgets that it can be written to, until the kernel says so anew.
    fn clear_writable(&self) {
        let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match self {
            Stream::Unix(s) => s.try_io(Interest::WRITABLE, blocked),
            Stream::Tcp(s) => s.try_io(Interest::WRITABLE, blocked),
            Stream::Tls(s) => s.get_ref().0.try_io(Interest::WRITABLE, blocked),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(s) => s.as_fd(),
            Stream::Tcp(s) => s.as_fd(),
            Stream::Tls(s) => s.get_ref().0.as_fd(),
        }
    }
}

/// Waits for the peer to close both directions. A half-close does not count. Over TCP the kernel
/// learns of it only when something is sent, so there it also waits for that.
#[derive(Debug)]
pub(crate) struct Hangup {
    stream: Stream,
}

impl Hangup {
    /// Returns when the peer is gone.
    pub(crate) async fn wait(&self) {
        loop {
            let Ok(ready) = self.stream.writable().await else {
                return;
            };
            if ready.is_write_closed() {
                return;
            }
            self.stream.clear_writable();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // The kernel has it already.
            Stream::Unix(_) | Stream::Tcp(_) => Poll::Ready(Ok(())),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}

/// The stream as the HTTP server sees it: while `hold` is set the client's half-close is not
/// reported. A client may send `attach`, its input and a half-close at one go; the server would
/// take that for a client that went away.
#[derive(Debug)]
pub(crate) struct Held {
    stream: Stream,
    hold: Arc<AtomicBool>,
}

impl Held {
    pub(crate) fn new(stream: Stream, hold: Arc<AtomicBool>) -> Held {
        Held { stream, hold }
    }

    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(()))
                if room > 0
                    && buf.filled().len() == before
                    && this.hold.load(Ordering::Relaxed) =>
            {
                // Not woken again: whoever takes the socket over reads the end once more.
                Poll::Pending
            }
            other => other,
        }
    }
}

impl AsyncWrite for Held {
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
