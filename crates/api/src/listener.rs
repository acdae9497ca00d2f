//! Sockets to serve on, and how a connection comes in.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::connection;
use crate::stream::Stream;

/// How long a TCP peer may be silent before it is probed, and between probes.
const PROBE_PAUSE: Duration = Duration::from_secs(15);

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What Go's server says to a client that speaks no TLS; the docker CLI looks for it.
const NO_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A socket to serve on.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
    /// A TCP socket whose clients speak TLS.
    Tls(TcpListener, Secure),
}

/// Where the certificates for a handshake come from: asked anew for each, so that new ones are
/// used at once.
#[derive(Clone)]
pub struct Secure(Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>);

impl Secure {
    /// Asks `source`; `None` refuses the client.
    pub fn new(source: impl Fn() -> Option<Arc<ServerConfig>> + Send + Sync + 'static) -> Secure {
        Secure(Arc::new(source))
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure")
    }
}

/// Where connections come from.
pub(crate) trait Accept: Send + Sync + 'static {
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Arrival>> + Send;
}

/// A connection that came in.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// There is nothing to be done before it can be used.
    Ready(Stream),
    /// The TLS handshake is to come.
    Handshake(TcpStream, Secure),
}

impl Accept for Listener {
    async fn accept(&self) -> io::Result<Arrival> {
        Ok(match self {
            Listener::Unix(listener) => Arrival::Ready(Stream::Unix(listener.accept().await?.0)),
            Listener::Tcp(listener) => Arrival::Ready(Stream::Tcp(tcp(listener).await?)),
            Listener::Tls(listener, secure) => {
                Arrival::Handshake(tcp(listener).await?, secure.clone())
            }
        })
    }
}

async fn tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    let stream = listener.accept().await?.0;
    // Interactive bytes must not wait, and a client whose host vanished must not stay for ever.
    // Neither failing is a reason to refuse it.
    let _ = stream.set_nodelay(true);
    let _ = keep_alive(&stream);
    Ok(stream)
}

/// Probes a silent peer: after a minute or so without an answer the connection breaks.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_PAUSE)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_PAUSE)?;
    sockopt::set_tcp_keepcnt(stream, 4)
}

impl Arrival {
    /// The connection, ready to be used. `None` when it came to nothing.
    pub(crate) async fn stream(self) -> Option<Stream> {
        let (stream, secure) = match self {
            Arrival::Ready(stream) => return Some(stream),
            Arrival::Handshake(stream, secure) => (stream, secure),
        };
        match timeout(HANDSHAKE, handshake(stream, &secure)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a client took too long for its TLS handshake");
                None
            }
        }
    }
}

async fn handshake(mut stream: TcpStream, secure: &Secure) -> io::Result<Option<Stream>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A handshake begins with a byte of 22; a method's name is a capital letter.
    if first[0].is_ascii_uppercase() {
        stream.write_all(NO_TLS).await?;
        connection::close(stream).await;
        return Ok(None);
    }
    let Some(config) = (secure.0)() else {
        return Ok(None);
    };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    Ok(Some(Stream::Tls(Box::new(stream))))
}
