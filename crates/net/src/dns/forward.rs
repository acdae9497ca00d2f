//! Questions that go on to name servers outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::serve::Resolver;

/// How long one name server may take.
const LIMIT: Duration = Duration::from_secs(4);

/// How many name servers are asked, as in the C library.
const SERVERS: usize = 3;

const PORT: u16 = 53;

/// The answer of the first name server that has one, as it came; `None` when none has.
pub(super) async fn forward(resolver: &Resolver, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    for server in resolver.upstream.servers.iter().take(SERVERS) {
        let asked = ask(resolver, *server, question, tcp);
        let reason = match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(answer)) if is_usable(&answer) => return Some(answer),
            Ok(Ok(_)) => "it refused".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer".to_owned(),
        };
        tracing::debug!(%server, reason, "a name server has no answer");
    }
    None
}

/// A server that fails or refuses may be mended by the next one.
fn is_usable(answer: &[u8]) -> bool {
    let code = answer.get(3).map(|flags| flags & 0x0f);
    let refused = [ResponseCode::ServFail, ResponseCode::Refused].map(|code| code.low());
    code.is_some_and(|code| !refused.contains(&code))
}

async fn ask(
    resolver: &Resolver,
    server: IpAddr,
    question: &[u8],
    tcp: bool,
) -> io::Result<Vec<u8>> {
    // A name server on the host's loopback can only be reached from there.
    let from_host = resolver.upstream.of_host && server.is_loopback();
    let server = SocketAddr::new(server, PORT);
    if tcp {
        let socket = resolver.inside(from_host, move || match server {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        });
        return over_tcp(socket.await?, server, question).await;
    }
    let socket = resolver.inside(from_host, move || {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let socket = tokio::net::UdpSocket::from_std(socket.await?)?;
    socket.send(question).await?;
    loop {
        let mut answer = vec![0; usize::from(u16::MAX)];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        // Anybody can send to the port: only what answers this question counts.
        if answers(question, &answer) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(socket: TcpSocket, server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = socket.connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if !answers(question, &answer) {
        return Err(io::Error::other("the answer is to another question"));
    }
    Ok(answer)
}

/// Whether `answer` has the question's number and, where both can be read, repeats it.
fn answers(question: &[u8], answer: &[u8]) -> bool {
    if answer.len() < 12 || question.get(..2) != answer.get(..2) {
        return false;
    }
    match (Message::from_vec(question), Message::from_vec(answer)) {
        (Ok(question), Ok(answer)) => {
            let same = |(one, other): (&hickory_proto::op::Query, &hickory_proto::op::Query)| {
                one.query_type == other.query_type
                    && one.name.to_lowercase() == other.name.to_lowercase()
            };
            // Some servers leave the question out when they refuse.
            answer.queries.is_empty() || question.queries.iter().zip(&answer.queries).all(same)
        }
        // Records that we do not know are the container's affair.
        _ => true,
    }
}

impl Resolver {
    /// Makes a socket in the container's namespace, or in the host's.
    async fn inside<T: Send + 'static>(
        &self,
        from_host: bool,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if from_host {
            return self.on_host(make).await;
        }
        let gone = || io::Error::other("networking is shut down");
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        let namespace = std::sync::Arc::clone(&self.namespace);
        let (reply, answer) = oneshot::channel();
        shared.threads.run(move |desk| {
            let made = desk.home.visit(&namespace, || Ok(make()));
            let _ = reply.send(made.unwrap_or_else(|error| Err(io::Error::other(error))));
        });
        drop(shared);
        answer.await.map_err(|_| gone())?
    }

    /// Makes a socket in the host's namespace, where our threads are at home.
    async fn on_host<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("networking is shut down");
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        shared.threads.run(move |_| drop(reply.send(make())));
        drop(shared);
        answer.await.map_err(|_| gone())?
    }
}
