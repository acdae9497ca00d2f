//! A containerd, a registry and a misbehaving proxy of the test's own.

mod registry;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_ctrd::{Client, Endpoint};
use berth_images::{ImageEvent, Images, Input, JsonMessage, Options, Progress};
use berth_reference::Digest;
use bytes::Bytes;
use serde_json::json;

pub(crate) use registry::{Proxy, TestRegistry, http};

/// How long a service may take to come up, or something to settle.
const LIMIT: Duration = Duration::from_secs(60);

/// A child that is killed, by its pid, when the test is over.
pub(crate) struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(directory: &Path, program: &str, arguments: &[&str]) -> Service {
    let log = std::fs::File::create(directory.join(format!("{program}.log"))).unwrap();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    Service(child)
}

/// Where nobody listens, nor will before the one that it is for: a loopback address is nobody else's.
fn free_address() -> SocketAddr {
    static SERIAL: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) | 1 << 7;
    let listener = TcpListener::bind(SocketAddr::from(([127, serial, high, low], 0))).unwrap();
    listener.local_addr().unwrap()
}

pub(crate) struct Host {
    _containerd: Service,
    metrics: SocketAddr,
    pub(crate) client: Client,
    pub(crate) images: Images,
    pub(crate) events: Arc<Mutex<Vec<ImageEvent>>>,
    pub(crate) directory: tempfile::TempDir,
}

impl Host {
    pub(crate) async fn start() -> Host {
        // Overlay needs a real file system below it.
        let directory = tempfile::Builder::new()
            .prefix("berth-images-")
            .tempdir_in("/var/tmp");
        let directory = directory.unwrap();
        let at = directory.path();
        let socket = at.join("containerd.sock");
        let metrics = free_address();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{1}\"\n[ttrpc]\naddress = \"{1}.ttrpc\"\n\
             [metrics]\naddress = \"{metrics}\"\ngrpc_histogram = true\n",
            at.display(),
            socket.display(),
        );
        let file = at.join("containerd.toml");
        std::fs::write(&file, config).unwrap();
        let containerd = spawn(at, "containerd", &["--config", file.to_str().unwrap()]);
        let client = Client::new(Endpoint {
            socket,
            namespace: "moby".to_owned(),
        })
        .unwrap();
        let start = Instant::now();
        while client.version().await.is_err() {
            assert!(start.elapsed() < LIMIT, "containerd did not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let events: Arc<Mutex<Vec<ImageEvent>>> = Arc::default();
        let images = images(&client, &events);
        images.refresh().await.unwrap();
        Host {
            _containerd: containerd,
            metrics,
            client,
            images,
            events,
            directory,
        }
    }

    /// What another daemon, or this one after a restart, sees.
    pub(crate) async fn reopened(&self) -> Images {
        let images = images(&self.client, &Arc::default());
        images.refresh().await.unwrap();
        images
    }

    /// How many calls containerd has taken so far, by method.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        let (_, body) = http(self.metrics, "GET", "/v1/metrics", "", b"");
        let body = String::from_utf8(body).unwrap();
        let started = body
            .lines()
            .filter(|l| l.starts_with("grpc_server_started_total"));
        let mut calls = BTreeMap::new();
        for line in started {
            let method = line
                .split("grpc_method=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            if count > 0.0 && method != "Version" {
                *calls.entry(method.to_owned()).or_insert(0) += count as u64;
            }
        }
        calls
    }

    /// The calls since `before`.
    pub(crate) fn calls_since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let mut now = self.calls();
        for (method, count) in before {
            *now.get_mut(method).unwrap() -= count;
        }
        now.retain(|_, count| *count > 0);
        now
    }

    /// Waits until no lease, and without images also no snapshot and no blob, is left.
    pub(crate) async fn assert_settled(&self) {
        let start = Instant::now();
        loop {
            let leases = self.client.leases().list().await.unwrap();
            let snapshots = self.client.snapshots("overlayfs").list(None).await.unwrap();
            let blobs = self.client.content().list(None).await.unwrap();
            let empty = self.images.count() > 0 || (snapshots.is_empty() && blobs.is_empty());
            let extracting = snapshots.iter().any(|s| s.key.starts_with("extract-"));
            if leases.is_empty() && empty && !extracting {
                return;
            }
            assert!(
                start.elapsed() < LIMIT,
                "left: {leases:?} {snapshots:?} {blobs:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn actions(&self) -> Vec<&'static str> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|e| e.action)
            .collect()
    }
}

fn images(client: &Client, events: &Arc<Mutex<Vec<ImageEvent>>>) -> Images {
    let sink = events.clone();
    Images::new(Options {
        client: client.clone(),
        snapshotter: "overlayfs".to_owned(),
        registry: berth_registry::Registry::new("berth-test", Arc::default),
        limits: berth_images::Limits {
            downloads: 3,
            uploads: 5,
            attempts: 5,
        },
        events: Arc::new(move |event| sink.lock().unwrap().push(event)),
    })
}

/// The messages of an operation, all of them.
pub(crate) struct Messages(tokio::task::JoinHandle<Vec<JsonMessage>>);

impl Messages {
    pub(crate) fn new() -> (Progress, Messages) {
        let (tx, mut rx) = tokio::sync::mpsc::channel(16);
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(message) = rx.recv().await {
                all.push(message);
            }
            all
        });
        (Progress::new(tx), Messages(task))
    }

    /// Their texts; drop the `Progress` first.
    pub(crate) async fn texts(self) -> Vec<String> {
        let all = self.0.await.unwrap();
        all.into_iter()
            .map(|m| {
                if m.stream.is_empty() {
                    m.status
                } else {
                    m.stream
                }
            })
            .collect()
    }
}

/// A body in uneven chunks.
pub(crate) fn body(data: Vec<u8>) -> Input {
    let chunks: Vec<_> = data
        .chunks(70_001)
        .map(|c| Ok(Bytes::copy_from_slice(c)))
        .collect();
    Box::pin(futures::stream::iter(chunks))
}

/// Noise that does not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append_data(&mut header, path, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data).unwrap();
    gzip.finish().unwrap()
}

/// An image of two layers: busybox, and noise that no compression makes smaller.
pub(crate) struct TestImage {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
}

impl TestImage {
    pub(crate) fn new(noise_length: usize) -> TestImage {
        TestImage::of(noise_length, &berth_images::Platform::host().architecture)
    }

    /// Says that it is for `architecture`; nobody runs it.
    pub(crate) fn of(noise_length: usize, architecture: &str) -> TestImage {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static");
        let layers = vec![
            tar(&[("bin/busybox", &busybox)]),
            tar(&[("noise", &noise(noise_length))]),
        ];
        let diff_ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2020-02-03T04:05:06Z",
            "config": {"Cmd": ["/bin/busybox", "sh"], "Labels": {"made": "here"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "one"}, {"created_by": "env", "empty_layer": true},
                {"created_by": "two", "comment": "the last"}],
        });
        TestImage {
            layers,
            config: serde_json::to_vec(&config).unwrap(),
        }
    }

    pub(crate) fn docker_archive(&self, tag: &str) -> Vec<u8> {
        let manifest = json!([{"Config": "config.json", "RepoTags": [tag],
            "Layers": ["1/layer.tar", "2/layer.tar"]}]);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        tar(&[
            ("1/layer.tar", &self.layers[0]),
            ("1/VERSION", b"1.0"),
            ("2/layer.tar", &self.layers[1]),
            ("config.json", &self.config),
            ("manifest.json", &manifest),
        ])
    }

    /// The gzipped layers, and the manifest over them.
    pub(crate) fn oci(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let layers: Vec<Vec<u8>> = self.layers.iter().map(|l| gzip(l)).collect();
        let describe = |kind: &str, data: &[u8]| {
            json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::of(data), "size": data.len()})
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("config.v1+json", &self.config),
            "layers": layers.iter().map(|l| describe("layer.v1.tar+gzip", l)).collect::<Vec<_>>(),
        });
        (layers, serde_json::to_vec(&manifest).unwrap())
    }

    pub(crate) fn oci_layout(&self, name: &str) -> Vec<u8> {
        let (layers, manifest) = self.oci();
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": name}}]});
        let index = serde_json::to_vec(&index).unwrap();
        let blobs = [&self.config, &layers[0], &layers[1], &manifest];
        let paths = blobs.map(|b| format!("blobs/sha256/{}", Digest::of(b).encoded()));
        let mut files: Vec<(&str, &[u8])> = vec![
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", &index),
        ];
        files.extend(
            paths
                .iter()
                .map(String::as_str)
                .zip(blobs.map(Vec::as_slice)),
        );
        tar(&files)
    }
}
