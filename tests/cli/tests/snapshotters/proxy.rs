//! A proxy snapshotter: a process of its own that speaks containerd's Snapshots service. This one
//! has a second containerd's `native` do the work and only changes what that is asked.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::{Daemon, PATIENCE, eventually};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// `snapshotter`, the first field of every request of the service: of two the last one counts.
const NATIVE: &[u8] = b"\x0a\x06native";
/// An entry of `labels`, the fourth field of those that make a snapshot: the second containerd
/// knows of no image that it is for.
const KEEP: &[u8] = b"\x22\x1a\x0a\x15containerd.io/gc.root\x12\x011";
/// What a message begins with: one byte and its length.
const PREFIX: usize = 5;

/// A proxy snapshotter that runs until it is dropped.
pub(crate) struct Proxy {
    socket: PathBuf,
    asked: Arc<AtomicUsize>,
    backend: Option<Child>,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Listens; until [`Proxy::serve`] nobody does what it asks.
    pub(crate) fn listen() -> Proxy {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
        let socket = folder.path().join("proxy.sock");
        let backend = folder.path().join("backend.sock");
        let asked = Arc::new(AtomicUsize::new(0));
        let runtime = Runtime::new().expect("a runtime");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let counted = asked.clone();
        runtime.spawn(async move {
            let listener = UnixListener::from_std(listener).expect("a listener");
            while let Ok((client, _)) = listener.accept().await {
                let (backend, counted) = (backend.clone(), counted.clone());
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    forward(backend.clone(), request)
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(client), service));
            }
        });
        Proxy {
            socket,
            asked,
            backend: None,
            _runtime: runtime,
            _folder: folder,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How often it was asked for anything.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Starts the containerd that does the work, where the daemon lives.
    pub(crate) fn serve(&mut self, daemon: &Daemon) {
        let folder = daemon.sandbox().state().join("backend");
        std::fs::create_dir(&folder).expect("mkdir");
        let backend = self.socket.with_file_name("backend.sock");
        let text = format!(
            "version = 2\nroot = \"{folder}/root\"\nstate = \"{folder}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = \"{backend}\"\n",
            folder = folder.display(),
            backend = backend.display(),
        );
        let config = folder.join("config.toml");
        std::fs::write(&config, text).expect("write");
        let mut command = daemon.sandbox().command("containerd");
        command.arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().expect("containerd");
        self.backend = Some(child);
        eventually("the second containerd answers", PATIENCE, || {
            std::os::unix::net::UnixStream::connect(&backend).ok()
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The sandbox's end is its end: this is what entered the sandbox for it.
        if let Some(child) = &mut self.backend {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn forward(
    backend: PathBuf,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    let method = parts.uri.path().rsplit('/').next().unwrap_or_default();
    let mut message = body.collect().await?.to_bytes()[PREFIX..].to_vec();
    message.extend_from_slice(NATIVE);
    if ["Prepare", "View", "Commit"].contains(&method) {
        message.extend_from_slice(KEEP);
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    framed.extend_from_slice(&message);
    let namespace = HeaderValue::from_static("proxied");
    parts.headers.insert("containerd-namespace", namespace);
    parts.headers.remove("content-length");
    parts.headers.remove("containerd-lease");
    let stream = TokioIo::new(UnixStream::connect(backend).await?);
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = client.await?;
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(framed));
    Ok(client
        .send_request(Request::from_parts(parts, body))
        .await?)
}
