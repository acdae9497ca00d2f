//! A registry, and a proxy in front of it that misbehaves.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_reference::Digest;
use serde_json::json;

use super::{LIMIT, Service, TestImage, free_address, spawn};

/// One HTTP request on its own connection; the status and the body.
pub(crate) fn http(
    at: SocketAddr,
    method: &str,
    path: &str,
    kind: &str,
    data: &[u8],
) -> (u16, Vec<u8>) {
    let (head, body) = exchange(at, method, path, kind, data);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

fn exchange(
    at: SocketAddr,
    method: &str,
    path: &str,
    kind: &str,
    data: &[u8],
) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(at).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {at}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        data.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(data).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (
        String::from_utf8(answer[..end].to_vec()).unwrap(),
        answer[end + 4..].to_vec(),
    )
}

/// A docker-registry on loopback.
pub(crate) struct TestRegistry {
    _service: Service,
    pub(crate) address: SocketAddr,
}

impl TestRegistry {
    pub(crate) fn start(directory: &Path) -> TestRegistry {
        TestRegistry::listen(directory, "plain", "")
    }

    /// With a certificate that nobody knows, over the same files.
    pub(crate) fn start_tls(directory: &Path) -> TestRegistry {
        let at = |name: &str| directory.join(name).display().to_string();
        let (key, certificate) = (at("registry.key"), at("registry.crt"));
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=registry",
                "-keyout",
                &key,
                "-out",
                &certificate,
            ])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let tls = format!(", tls: {{certificate: {certificate}, key: {key}}}");
        TestRegistry::listen(directory, "tls", &tls)
    }

    fn listen(directory: &Path, name: &str, more: &str) -> TestRegistry {
        let address = free_address();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}/registry}}}}\nhttp: {{addr: \"{address}\"{more}}}\n",
            directory.display()
        );
        let file = directory.join(format!("{name}.yml"));
        std::fs::write(&file, config).unwrap();
        let service = spawn(
            directory,
            "docker-registry",
            &["serve", file.to_str().unwrap()],
        );
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < LIMIT, "docker-registry did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        TestRegistry {
            _service: service,
            address,
        }
    }

    /// An index of one image for several platforms, and of what says something about them.
    pub(crate) fn push_index(
        &self,
        repository: &str,
        tag: &str,
        images: &[(&TestImage, &str)],
    ) -> Digest {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut manifests = Vec::new();
        for (image, architecture) in images {
            self.push(repository, architecture, image);
            let (_, manifest) = image.oci();
            manifests.push(json!({"mediaType": kind, "digest": Digest::of(&manifest),
                "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture}}));
        }
        let mut about = manifests[0].clone();
        about["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        about["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        manifests.insert(0, about);
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        let index = serde_json::to_vec(&index).unwrap();
        let path = format!("/v2/{repository}/manifests/{tag}");
        assert_eq!(http(self.address, "PUT", &path, kind, &index).0, 201);
        Digest::of(&index)
    }

    pub(crate) fn push(&self, repository: &str, tag: &str, image: &TestImage) -> Digest {
        let (layers, manifest) = image.oci();
        for blob in layers.iter().chain([&image.config]) {
            let uploads = format!("/v2/{repository}/blobs/uploads/");
            let (head, _) = exchange(self.address, "POST", &uploads, "", b"");
            let location = head
                .lines()
                .find_map(|l| l.strip_prefix("Location: "))
                .unwrap();
            let path = location.split_once(&self.address.to_string()).unwrap().1;
            let path = format!("{path}&digest={}", Digest::of(blob));
            assert_eq!(
                http(self.address, "PUT", &path, "application/octet-stream", blob).0,
                201
            );
        }
        let path = format!("/v2/{repository}/manifests/{tag}");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(http(self.address, "PUT", &path, kind, &manifest).0, 201);
        Digest::of(&manifest)
    }
}

/// Passes requests on to a registry, except that the first answer about `cut` breaks off after
/// some bytes.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// The heads of all requests.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(upstream: SocketAddr, cut: &Digest, after: usize) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, cut) = (requests.clone(), cut.to_string());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, cut) = (seen.clone(), cut.clone());
                std::thread::spawn(move || pass(stream.unwrap(), upstream, &seen, &cut, after));
            }
        });
        Proxy { address, requests }
    }

    /// The head of the last request that contains `what`.
    pub(crate) fn last(&self, what: &str) -> String {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .rfind(|head| head.contains(what))
            .unwrap()
            .clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|head| head.contains(what))
            .count()
    }
}

fn pass(
    mut client: TcpStream,
    upstream: SocketAddr,
    seen: &Mutex<Vec<String>>,
    cut: &str,
    after: usize,
) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // A TLS hello is not for us.
        if client.read(&mut byte).unwrap_or(0) == 0 || (head.is_empty() && byte[0] == 0x16) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let first = !seen.lock().unwrap().iter().any(|head| head.contains(cut));
    let break_off = first && head.contains(cut);
    seen.lock().unwrap().push(head.clone());
    let mut server = TcpStream::connect(upstream).unwrap();
    let head = head.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
    server.write_all(head.as_bytes()).unwrap();
    let mut left = if break_off { after } else { usize::MAX };
    let mut buffer = [0; 8192];
    while left > 0 {
        let n = server.read(&mut buffer).unwrap_or(0).min(left);
        if n == 0 || client.write_all(&buffer[..n]).is_err() {
            break;
        }
        left -= n;
    }
    let _ = client.shutdown(Shutdown::Both);
}
