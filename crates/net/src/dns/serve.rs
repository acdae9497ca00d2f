//! The tasks that take a container's questions.

use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::answer::{Outcome, answer, refusal};
use super::forward::forward;
use crate::Upstream;
use crate::shared::Shared;

/// How many questions of one container may be under way; who has more waits.
const UNDER_WAY: usize = 256;

/// How many connections a container may hold.
const CONNECTIONS: usize = 64;

/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// The most that a question over UDP has.
const QUESTION: usize = 4096;

/// What UDP answers may have where the question does not say (RFC 1035).
const SMALL: usize = 512;

/// The pause after an error of a socket's, lest it be repeated without end.
const PAUSE: Duration = Duration::from_millis(50);

/// One container's resolver.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Weak: its tasks must not keep the network part alive.
    pub(super) shared: Weak<Shared>,
    pub(super) namespace: Arc<File>,
    pub(super) upstream: Upstream,
    container: String,
    under_way: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(
        shared: Weak<Shared>,
        container: String,
        namespace: File,
        upstream: Upstream,
    ) -> Self {
        Self {
            shared,
            namespace: Arc::new(namespace),
            upstream,
            container,
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// The answer to a question as bytes; `None` for what deserves none.
    async fn reply(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let endpoints = self.shared.upgrade()?.endpoints.load_full();
        let ndots = self.upstream.ndots;
        match answer(question, &self.container, endpoints.values(), ndots) {
            Outcome::Ignore => None,
            Outcome::Answer(message) => encode(&message, tcp),
            Outcome::Forward(message) => match forward(self, question, tcp).await {
                Some(bytes) => Some(bytes),
                None => encode(&refusal(&message, ResponseCode::ServFail), tcp),
            },
        }
    }
}

/// The bytes of an answer of ours; too long for UDP it is cut, and the container asks over TCP.
fn encode(message: &Message, tcp: bool) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    let room = match &message.edns {
        _ if tcp => usize::from(u16::MAX),
        Some(edns) => usize::from(edns.max_payload()).max(SMALL),
        None => SMALL,
    };
    if bytes.len() <= room {
        return Some(bytes);
    }
    message.truncate().to_vec().ok()
}

/// Answers over UDP until the task is ended.
pub(super) async fn udp(resolver: Arc<Resolver>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    loop {
        // No buffer while nobody asks.
        if socket.readable().await.is_err() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let mut question = vec![0; QUESTION];
        let (length, from) = match socket.try_recv_from(&mut question) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        question.truncate(length);
        let Ok(permit) = Arc::clone(&resolver.under_way).acquire_owned().await else {
            return;
        };
        let (resolver, socket) = (Arc::clone(&resolver), Arc::clone(&socket));
        tokio::spawn(async move {
            if let Some(answer) = resolver.reply(&question, false).await {
                let _ = socket.send_to(&answer, from).await;
            }
            drop(permit);
        });
    }
}

/// Answers over TCP until the task is ended.
pub(super) async fn tcp(resolver: Arc<Resolver>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move {
            // Whoever hangs up in the middle wants no answer.
            let _ = converse(&resolver, stream).await;
            drop(permit);
        });
    }
}

async fn converse(resolver: &Resolver, mut stream: TcpStream) -> io::Result<()> {
    let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await?;
            io::Result::Ok(question)
        };
        let question = tokio::time::timeout(SILENCE, read)
            .await
            .map_err(silent)??;
        let Some(answer) = resolver.reply(&question, true).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend(answer);
        let write = stream.write_all(&whole);
        tokio::time::timeout(SILENCE, write)
            .await
            .map_err(silent)??;
    }
}
