//! Leading connections to a container where rules cannot: from IPv6 addresses of the host to a
//! container that has IPv4 alone, and from `::1` and link-local addresses to any.
//!
//! What dockerd starts processes for are a few tasks here. They end with their [`Proxy`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::net::sockopt;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::Proto;

/// How many connections one port may have; who comes later waits in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How many clients one UDP port remembers; who comes then takes the place of the one that has been
/// silent for longest.
const CLIENTS: usize = 1024;
/// How long the container may take to accept.
const ACCEPT: Duration = Duration::from_secs(10);
/// How long the container may say nothing to a client of a UDP port, as in dockerd.
const SILENCE: Duration = Duration::from_secs(90);
/// The most that a datagram has.
const DATAGRAM: usize = 65_535;
/// The pause after an error of a socket's, lest it be repeated without end.
const PAUSE: Duration = Duration::from_millis(50);

/// When a side that says nothing is asked whether it is still there, how long apart, and how often
/// in vain until its connection is closed: without an end, those who vanish would fill
/// [`CONNECTIONS`].
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 9);

/// How long the end of a port is waited for; it needs microseconds.
const END: Duration = Duration::from_secs(2);
/// How many answers of UDP may wait to be sent.
const ANSWERS: usize = 64;

/// Where a proxy leads to.
type Target = Arc<ArcSwap<SocketAddr>>;

/// A host port that is led to a container, until this is dropped: then the port is free.
#[derive(Debug)]
pub(crate) struct Proxy {
    task: AbortHandle,
    to: Target,
    /// Cut off when the task is gone, and the socket with it.
    ended: Receiver<()>,
}

impl Proxy {
    /// Leads elsewhere from now on. Connections that there are stay with where they lead.
    pub(crate) fn redirect(&self, to: SocketAddr) {
        self.to.store(Arc::new(to));
    }

    /// Begins to end. Dropping it waits until it has.
    pub(crate) fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
        // Who gives a port back may take it again at once.
        let _ = self.ended.recv_timeout(END);
    }
}

/// Whether a proxy can lead a protocol.
pub(crate) fn can_lead(proto: Proto) -> bool {
    proto != Proto::Sctp
}

/// Leads what comes in at `socket` (bound, and listening for TCP) to `to`.
///
/// Errors: those of handing the socket over; a protocol that is neither TCP nor UDP.
pub(crate) fn serve(
    runtime: &Handle,
    proto: Proto,
    socket: OwnedFd,
    to: SocketAddr,
) -> io::Result<Proxy> {
    let _context = runtime.enter();
    let to = Target::new(ArcSwap::from_pointee(to));
    let (end, ended) = channel::<()>();
    let target = Arc::clone(&to);
    let task = match proto {
        Proto::Tcp => {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            runtime.spawn(async move {
                // Dropped after the socket.
                let _end = end;
                tcp(listener, target).await;
            })
        }
        Proto::Udp => {
            let socket = std::net::UdpSocket::from(socket);
            socket.set_nonblocking(true)?;
            let socket = UdpSocket::from_std(socket)?;
            runtime.spawn(async move {
                let _end = end;
                udp(socket, target).await;
            })
        }
        Proto::Sctp => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(Proxy {
        task: task.abort_handle(),
        to,
        ended,
    })
}

async fn tcp(listener: TcpListener, to: Target) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Its connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let to = **to.load();
        connections.spawn(async move {
            // Whichever side fails, both are closed, and that is all that they can be told.
            let _ = converse(client, to).await;
            drop(permit);
        });
    }
}

async fn converse(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut container = timeout(ACCEPT, TcpStream::connect(to)).await??;
    for side in [&client, &container] {
        side.set_nodelay(true)?;
        keep_alive(side)?;
    }
    copy_bidirectional(&mut client, &mut container).await?;
    Ok(())
}

fn keep_alive(side: &TcpStream) -> io::Result<()> {
    let (idle, pause, tries) = KEEPALIVE;
    sockopt::set_tcp_keepidle(side, idle)?;
    sockopt::set_tcp_keepintvl(side, pause)?;
    sockopt::set_tcp_keepcnt(side, tries)?;
    Ok(sockopt::set_socket_keepalive(side, true)?)
}

/// What the container has said to a client; `None`: nothing more will come.
type Answer = (SocketAddr, Option<Vec<u8>>);

/// A client of a UDP port.
struct Client {
    /// Towards the container.
    outward: Arc<UdpSocket>,
    /// Reads from it.
    listening: AbortHandle,
    /// When the client was heard last.
    heard: Instant,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Makes room for one more.
fn forget_the_most_silent(clients: &mut HashMap<SocketAddr, Client>) {
    if clients.len() < CLIENTS {
        return;
    }
    let silent = clients.iter().min_by_key(|(_, client)| client.heard);
    if let Some(address) = silent.map(|(address, _)| *address) {
        clients.remove(&address);
    }
}

/// Owns the socket alone, so that it is closed when the task ends; each client has a socket of its
/// own towards the container, and a task that reads from it.
async fn udp(socket: UdpSocket, to: Target) {
    let (said, mut answers) = mpsc::channel::<Answer>(ANSWERS);
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut sessions = JoinSet::new();
    let mut target = **to.load();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        while sessions.try_join_next().is_some() {}
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            Some((client, answer)) = answers.recv() => {
                match answer {
                    Some(bytes) => drop(timeout(PAUSE, socket.send_to(&bytes, client)).await),
                    None => drop(clients.remove(&client)),
                }
                continue;
            }
        };
        let now = **to.load();
        if now != target {
            target = now;
            clients.clear();
            sessions.shutdown().await;
        }
        let outward = match clients.get_mut(&from) {
            Some(client) => {
                client.heard = Instant::now();
                Arc::clone(&client.outward)
            }
            None => {
                let Ok(outward) = towards(target).await.map(Arc::new) else {
                    continue;
                };
                forget_the_most_silent(&mut clients);
                let session = listen(Arc::clone(&outward), from, said.clone());
                let client = Client {
                    outward: Arc::clone(&outward),
                    listening: sessions.spawn(session),
                    heard: Instant::now(),
                };
                clients.insert(from, client);
                outward
            }
        };
        // Nobody there, or no room: UDP promises nothing.
        let bytes = datagram.get(..length).unwrap_or_default();
        let _ = timeout(PAUSE, outward.send(bytes)).await;
    }
}

/// A socket that talks to the container alone.
async fn towards(container: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match container {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(container).await?;
    Ok(socket)
}

/// Hands on what the container says to a client, until nothing has come for long.
async fn listen(container: Arc<UdpSocket>, client: SocketAddr, said: mpsc::Sender<Answer>) {
    loop {
        // Room for a datagram only where there is one: most sessions are over after the first.
        let heard = timeout(SILENCE, container.readable()).await;
        let received = heard.map(|ready| ready.and_then(|()| receive(&container)));
        match received {
            Ok(Ok(bytes)) => {
                if said.send((client, Some(bytes))).await.is_err() {
                    return;
                }
            }
            // Nobody listens there, or not yet: told by the kernel once for each datagram.
            Ok(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
                ) => {}
            Ok(Err(_)) | Err(_) => {
                let _ = said.send((client, None)).await;
                return;
            }
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut datagram = vec![0; DATAGRAM];
    let length = socket.try_recv(&mut datagram)?;
    Ok(datagram.get(..length).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener as Listener, TcpStream as Stream, UdpSocket as Udp};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn proxied(runtime: &Handle, proto: Proto, to: SocketAddr) -> (Proxy, SocketAddr) {
        let (socket, address): (OwnedFd, _) = match proto {
            Proto::Udp => {
                let socket = Udp::bind("[::1]:0").unwrap();
                let address = socket.local_addr().unwrap();
                (socket.into(), address)
            }
            _ => {
                let socket = Listener::bind("[::1]:0").unwrap();
                let address = socket.local_addr().unwrap();
                (socket.into(), address)
            }
        };
        (serve(runtime, proto, socket, to).unwrap(), address)
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn both_directions_of_a_connection_end_by_themselves() {
        let runtime = runtime();
        let behind = Listener::bind("127.0.0.1:0").unwrap();
        let to = behind.local_addr().unwrap();
        let (proxy, address) = proxied(runtime.handle(), Proto::Tcp, to);
        let mut client = Stream::connect(address).unwrap();
        let (mut container, _) = behind.accept().unwrap();
        for stream in [&client, &container] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        container.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        container.write_all(b"answer").unwrap();
        // Held open: what ends it is the end of the proxy.
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        // New ones go elsewhere, this one stays.
        let elsewhere = Listener::bind("127.0.0.1:0").unwrap();
        proxy.redirect(elsewhere.local_addr().unwrap());
        let _new = Stream::connect(address).unwrap();
        elsewhere.accept().unwrap();
        container.write_all(b"more..").unwrap();
        client.read_exact(&mut answer).unwrap();
        drop(proxy);
        assert!(
            Stream::connect(address).is_err(),
            "the port is free at once"
        );
        assert_eq!(client.read(&mut answer).unwrap_or(0), 0, "closed");
    }

    #[test]
    fn clients_of_a_udp_port_are_told_apart_and_limited() {
        let runtime = runtime();
        let behind = Udp::bind("127.0.0.1:0").unwrap();
        behind.set_read_timeout(Some(PATIENCE)).unwrap();
        let to = behind.local_addr().unwrap();
        let (proxy, address) = proxied(runtime.handle(), Proto::Udp, to);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| Udp::bind("[::1]:0").unwrap())
            .collect();
        let mut datagram = [0; 16];
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
                .send_to(number.to_string().as_bytes(), address)
                .unwrap();
            let (length, from) = behind.recv_from(&mut datagram).unwrap();
            assert_eq!(datagram[..length], *number.to_string().as_bytes());
            behind.send_to(&datagram[..length], from).unwrap();
            let (length, from) = client.recv_from(&mut datagram).unwrap();
            assert_eq!(
                (&datagram[..length], from),
                (number.to_string().as_bytes(), address)
            );
        }
        // One more is heard, too, in place of the one that has been silent for longest; the others
        // are who they were.
        let ask = |client: &Udp| {
            client.send_to(b"who", address).unwrap();
            behind.recv_from(&mut [0; 16]).unwrap().1
        };
        let known = ask(&clients[0]);
        let second = ask(&clients[2]);
        let late = Udp::bind("[::1]:0").unwrap();
        ask(&late);
        assert_eq!((ask(&clients[0]), ask(&clients[2])), (known, second));
        let elsewhere = Udp::bind("127.0.0.1:0").unwrap();
        elsewhere.set_read_timeout(Some(PATIENCE)).unwrap();
        proxy.redirect(elsewhere.local_addr().unwrap());
        clients[0].send_to(b"moved", address).unwrap();
        let (length, _) = elsewhere.recv_from(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], b"moved");
        drop(proxy);
        Udp::bind(address).expect("the port is free at once");
    }
}
