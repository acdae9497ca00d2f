//! A host of the test's own: network and mount namespaces that vanish with their thread, an
//! outside machine behind a cable, and small servers in containers' namespaces.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use berth_net::{
    AddressPool, BridgeConfig, Config, Endpoint, EndpointRequest, Net, Proto, Publish,
};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The test host's address on its cable to the outside.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The machine at the other end.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// As [`HOST`] and [`OUTSIDE`], IPv6.
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// For what must happen, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// For what must not.
const BRIEFLY: Duration = Duration::from_secs(2);

pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// Runs a test on a host of its own.
pub(crate) fn alone<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: file descriptors stay shared; only this thread and its children move.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.expect("run as root");
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        run("ip link set lo up");
        let world = World {
            dir: tempfile::tempdir().unwrap(),
        };
        // Its worker is of these namespaces, too. Tests that wait keep their own thread, and what
        // serves proxied ports must go on.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(180), test(world))
                .await
                .expect("test took too long");
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The folder cannot be removed under pins.
        let pins = std::fs::read_dir(self.dir.path().join("exec/netns"));
        for pin in pins.into_iter().flatten().flatten() {
            let _ = unmount(pin.path(), UnmountFlags::DETACH);
        }
    }
}

impl World {
    pub(crate) fn config(&self) -> Config {
        Config {
            exec_root: self.dir.path().join("exec"),
            state_dir: self.dir.path().join("state"),
            bridge: BridgeConfig::default(),
            pools: AddressPool::defaults(),
            reserved: Vec::new(),
        }
    }

    pub(crate) async fn net(&self) -> Arc<Net> {
        self.net_with(|_| ()).await
    }

    /// A net whose default bridge is configured otherwise.
    pub(crate) async fn net_with(&self, change: impl FnOnce(&mut BridgeConfig)) -> Arc<Net> {
        let mut config = self.config();
        change(&mut config.bridge);
        Net::open(config).await.unwrap()
    }

    /// Puts a machine at the other end of a cable; its namespace.
    pub(crate) async fn outside(&self, net: &Net) -> PathBuf {
        let pin = net.create_netns("outside").await.unwrap();
        let path = pin.display();
        run(&format!(
            "ip link add ext0 type veth peer name eth0 netns {path}"
        ));
        run(&format!("ip addr add {HOST}/24 dev ext0"));
        run(&format!("ip addr add {HOST6}/64 dev ext0 nodad"));
        run("ip link set ext0 up");
        let enter = format!("nsenter --net={path}");
        run(&format!("{enter} ip addr add {OUTSIDE}/24 dev eth0"));
        run(&format!("{enter} ip addr add {OUTSIDE6}/64 dev eth0 nodad"));
        run(&format!("{enter} ip link set eth0 up"));
        run(&format!("{enter} ip route add default via {HOST}"));
        run(&format!("{enter} ip route add default via {HOST6}"));
        pin
    }

    /// Fails unless the inventory is as `before`. What nothing announces (an abandoned connect
    /// undone, a socket's copy in a child process gone) may take a moment.
    pub(crate) fn settles_at(&self, before: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        while self.inventory() != before {
            assert!(
                Instant::now() < deadline,
                "{:#?}\nis not\n{before:#?}",
                self.inventory()
            );
            std::thread::yield_now();
        }
    }

    /// What this host has of ours; equal before and after when nothing leaks.
    pub(crate) fn inventory(&self) -> Vec<String> {
        let mut all: Vec<String> = run("ip -o link").lines().map(link_name).collect();
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let root = self.dir.path().display().to_string();
        all.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&root))
                .map(str::to_owned),
        );
        if let Ok(pins) = std::fs::read_dir(self.config().exec_root.join("netns")) {
            all.extend(pins.map(|pin| pin.unwrap().path().display().to_string()));
        }
        all.extend(elements());
        all.extend(listeners());
        all.sort();
        all
    }
}

fn link_name(line: &str) -> String {
    line.split(": ").nth(1).unwrap_or_default().to_owned()
}

/// Our maps' elements, one per published port.
pub(crate) fn elements() -> Vec<String> {
    let rules = run("nft list ruleset");
    let words: Vec<&str> = rules
        .split([',', '{', '}', '\n', '='])
        .map(str::trim)
        .collect();
    words
        .iter()
        .filter(|w| w.contains(" : ") && w.contains(" . ") && !w.contains("type"))
        .map(|w| (*w).to_owned())
        .collect()
}

/// Sockets that listen or are bound in this namespace.
fn listeners() -> Vec<String> {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let tcp = read("tcp")
        .lines()
        .filter(|l| l.split_whitespace().nth(3) == Some("0A"))
        .filter_map(local)
        .collect::<Vec<_>>();
    tcp.into_iter()
        .chain(read("udp").lines().skip(1).filter_map(local))
        .collect()
}

/// Runs a command in this thread's namespaces; its output.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Switches whether bridged frames go through the IP rules; `false` where the kernel cannot.
pub(crate) fn filter_bridged(on: bool) -> bool {
    std::fs::write(
        "/proc/sys/net/bridge/bridge-nf-call-iptables",
        if on { "1" } else { "0" },
    )
    .is_ok()
        || !on
}

/// Runs something in a namespace, on a thread of its own.
pub(crate) fn inside<T: Send + 'static>(
    pin: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = File::open(pin).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// A port just given back may look taken while a child process of another test, between fork and
/// exec, holds a copy of its socket.
fn patiently<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// A server on all addresses that tells each client the address it sees.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    pin: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn tcp(pin: &Path, port: u16) -> Self {
        let listener = inside(pin, move || patiently(|| TcpListener::bind(("::", port))));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                let _ = stream.write_all(peer.to_string().as_bytes());
            }
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            stop,
            address,
            pin: pin.to_owned(),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let address = self.address;
        inside(&self.pin, move || drop(TcpStream::connect(address)));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Answers one datagram with the address it came from.
pub(crate) fn udp_once(pin: &Path, port: u16) -> JoinHandle<()> {
    let socket = inside(pin, move || patiently(|| UdpSocket::bind(("::", port))));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 16];
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let seen = text(peer.ip().to_canonical());
            socket.send_to(seen.as_bytes(), peer).unwrap();
        }
    })
}

/// What the server at `ip:port` says, from here.
pub(crate) fn ask(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    ask_within(PATIENCE, ip.into(), port)
}

/// Why nothing answers at `ip:port`.
#[track_caller]
pub(crate) fn unanswered(ip: impl Into<IpAddr>, port: u16) -> std::io::Error {
    ask_within(BRIEFLY, ip.into(), port).unwrap_err()
}

/// As [`unanswered`], from another namespace.
#[track_caller]
pub(crate) fn unanswered_from(pin: &Path, ip: impl Into<IpAddr>, port: u16) -> std::io::Error {
    let ip = ip.into();
    inside(pin, move || ask_within(BRIEFLY, ip, port)).unwrap_err()
}

fn ask_within(limit: Duration, ip: IpAddr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// As [`ask`], from another namespace.
pub(crate) fn ask_from(pin: &Path, ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let ip = ip.into();
    inside(pin, move || ask(ip, port))
}

/// As [`ask`] over UDP.
pub(crate) fn ask_udp(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let ip = ip.into();
    let socket = match ip {
        IpAddr::V4(_) => UdpSocket::bind("0.0.0.0:0")?,
        IpAddr::V6(_) => UdpSocket::bind("[::]:0")?,
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"who am I", (ip, port))?;
    let mut buffer = [0u8; 64];
    let (length, from) = socket.recv_from(&mut buffer)?;
    assert_eq!(
        from,
        SocketAddr::from((ip, port)),
        "the answer comes from whom we asked"
    );
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn publish(host: u16, container: u16, proto: Proto) -> Publish {
    Publish {
        host_ip: None,
        host_ports: Some(host..=host),
        container_port: container,
        proto,
    }
}

pub(crate) fn request(id: &str, netns: PathBuf, publish: Vec<Publish>) -> EndpointRequest {
    EndpointRequest {
        id: id.into(),
        netns,
        publish,
        names: vec![id.into()],
        ..EndpointRequest::default()
    }
}

/// A container: its namespace and its endpoint.
pub(crate) async fn container(net: &Net, id: &str, publish: Vec<Publish>) -> (PathBuf, Endpoint) {
    let pin = net.create_netns(id).await.unwrap();
    let endpoint = net
        .connect(request(id, pin.clone(), publish))
        .await
        .unwrap();
    (pin, endpoint)
}

/// Takes a container down as the engine does.
pub(crate) async fn remove(net: &Net, id: &str, endpoint: &Endpoint) {
    net.disconnect(endpoint).await.unwrap();
    net.remove_netns(id).await.unwrap();
}

pub(crate) fn text(ip: impl Into<IpAddr>) -> String {
    ip.into().to_string()
}
