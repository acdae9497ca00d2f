//! Images that tests make themselves: busybox-static with every applet linked in `/bin`.

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    bin:x:2:2:bin:/bin:/bin/false\n\
    mail:x:8:8:mail:/var/spool/mail:/bin/false\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\n\
    operator:x:37:37:Operator:/var:/bin/false\n\
    nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nmail:x:8:www-data\n\
    audio:x:29:operator\nwww-data:x:33:\nstaff:x:50:\nnobody:x:65534:\n";
/// 2025-01-01: archives are the same in every run.
const MTIME: u64 = 1_735_689_600;
const CREATED: &str = "2025-01-01T00:00:00Z";

/// How a layer, or a whole archive, is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// bzip2, which no registry has.
    Bzip2,
    /// xz, which no registry has.
    Xz,
}

impl Compression {
    /// `bytes`, compressed.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).expect("a Vec takes all");
                encoder.finish().expect("a Vec takes all")
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).expect("zstd"),
            Compression::Bzip2 => {
                let level = bzip2::Compression::fast();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).expect("a Vec takes all");
                encoder.finish().expect("a Vec takes all")
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(bytes).expect("a Vec takes all");
                encoder.finish().expect("a Vec takes all")
            }
        }
    }

    fn layer_type(self) -> String {
        let suffix = match self {
            Compression::None => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
            Compression::Bzip2 => "+bzip2",
            Compression::Xz => "+xz",
        };
        format!("application/vnd.oci.image.layer.v1.tar{suffix}")
    }
}

/// The SHA-256 of `bytes`, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn entry(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, bytes: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .expect("a Vec takes all");
}

/// A layer and what it is called by; hashing is slow in a debug build.
#[derive(Clone, Debug)]
struct Layer {
    bytes: Arc<Vec<u8>>,
    digest: String,
}

impl Layer {
    fn new(bytes: Arc<Vec<u8>>) -> Layer {
        let digest = sha256(&bytes);
        Layer { bytes, digest }
    }

    fn rootfs() -> Layer {
        static LAYER: OnceLock<Layer> = OnceLock::new();
        LAYER.get_or_init(|| Layer::new(rootfs_tar())).clone()
    }
}

/// A tar of the root file system: busybox, its applets as hard links (as in Docker's own image),
/// `/etc/passwd`, `/etc/group`, `/tmp`, `/root`, …
pub fn rootfs_tar() -> Arc<Vec<u8>> {
    static TAR: OnceLock<Arc<Vec<u8>>> = OnceLock::new();
    Arc::clone(TAR.get_or_init(|| Arc::new(pack_rootfs())))
}

fn pack_rootfs() -> Vec<u8> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .find_map(|path| Some((path, std::fs::read(path).ok()?)));
    let (path, busybox) = busybox.expect("busybox: install busybox-static");
    let list = Command::new(path)
        .arg("--list")
        .output()
        .expect("busybox --list");
    let applets = String::from_utf8_lossy(&list.stdout).into_owned();
    let mut tar = Builder::new(Vec::new());
    let dirs = [
        ("bin/", 0o755),
        ("dev/", 0o755),
        ("etc/", 0o755),
        ("home/", 0o755),
        ("proc/", 0o755),
        ("root/", 0o700),
        ("sys/", 0o755),
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/sbin/", 0o755),
        ("var/", 0o755),
        ("var/spool/", 0o755),
        ("var/spool/mail/", 0o755),
        ("var/www/", 0o755),
    ];
    for (dir, mode) in dirs {
        entry(&mut tar, dir, EntryType::Directory, mode, b"");
    }
    entry(&mut tar, "bin/busybox", EntryType::Regular, 0o755, &busybox);
    for applet in applets
        .split_ascii_whitespace()
        .filter(|name| *name != "busybox")
    {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Link);
        header.set_mode(0o755);
        header.set_mtime(MTIME);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "bin/busybox")
            .expect("to a Vec");
    }
    entry(
        &mut tar,
        "etc/passwd",
        EntryType::Regular,
        0o644,
        PASSWD.as_bytes(),
    );
    entry(
        &mut tar,
        "etc/group",
        EntryType::Regular,
        0o644,
        GROUP.as_bytes(),
    );
    entry(
        &mut tar,
        "etc/shadow",
        EntryType::Regular,
        0o600,
        b"root:*:::::::\n",
    );
    tar.into_inner().expect("a Vec takes all")
}

/// An image about to be packed.
#[derive(Clone, Debug)]
pub struct Image {
    tags: Vec<String>,
    config: Value,
    layers: Vec<Layer>,
}

impl Image {
    /// busybox under `tag` (`name:tag`), with `Cmd ["sh"]` and Docker's usual `PATH`.
    pub fn busybox(tag: &str) -> Image {
        Image {
            tags: vec![tag.to_owned()],
            config: json!({
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
            }),
            layers: vec![Layer::rootfs()],
        }
    }

    /// An image without a layer yet.
    pub fn bare(tag: &str) -> Image {
        Image {
            layers: Vec::new(),
            ..Image::busybox(tag)
        }
    }

    /// One more tag.
    pub fn tag(mut self, tag: &str) -> Image {
        self.tags.push(tag.to_owned());
        self
    }

    /// No tag at all.
    pub fn untagged(mut self) -> Image {
        self.tags.clear();
        self
    }

    /// Sets a field of the image configuration's `config` (`Cmd`, `Entrypoint`, `User`, …).
    pub fn set(mut self, field: &str, value: Value) -> Image {
        self.config[field] = value;
        self
    }

    /// Adds a layer with these files: (path, mode, content).
    pub fn layer(mut self, files: &[(&str, u32, &str)]) -> Image {
        let mut tar = Builder::new(Vec::new());
        for (path, mode, content) in files {
            entry(
                &mut tar,
                path,
                EntryType::Regular,
                *mode,
                content.as_bytes(),
            );
        }
        let bytes = Arc::new(tar.into_inner().expect("a Vec takes all"));
        self.layers.push(Layer::new(bytes));
        self
    }

    /// Adds a layer of any bytes; a tar, if it is to be unpacked.
    pub fn raw_layer(mut self, bytes: Vec<u8>) -> Image {
        self.layers.push(Layer::new(Arc::new(bytes)));
        self
    }

    /// The image configuration's bytes.
    pub fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self
            .layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let history: Vec<_> = (0..self.layers.len())
            .map(|n| json!({"created": CREATED, "created_by": format!("testkit layer {n}")}))
            .collect();
        json!({
            "created": CREATED,
            "author": "testkit",
            "architecture": "amd64",
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        })
        .to_string()
        .into_bytes()
    }

    /// The digest of the configuration, `sha256:…`: the image's ID in dockerd's graph drivers.
    pub fn config_digest(&self) -> String {
        format!("sha256:{}", sha256(&self.config_json()))
    }

    /// A `docker save` archive of the old shape (`manifest.json`, `<id>.json`, `<id>/layer.tar`),
    /// as a whole compressed with `compression`.
    pub fn docker_archive(&self, compression: Compression) -> Vec<u8> {
        compression.pack(&self.archive_of_packed_layers(Compression::None))
    }

    /// As [`Image::docker_archive`], plain, but each layer in it is compressed.
    pub fn archive_of_packed_layers(&self, compression: Compression) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        let config = self.config_json();
        let name = format!("{}.json", sha256(&config));
        entry(&mut tar, &name, EntryType::Regular, 0o644, &config);
        let mut paths = Vec::new();
        for layer in &self.layers {
            let id = &layer.digest;
            entry(
                &mut tar,
                &format!("{id}/"),
                EntryType::Directory,
                0o755,
                b"",
            );
            let path = format!("{id}/layer.tar");
            let bytes = compression.pack(&layer.bytes);
            entry(&mut tar, &path, EntryType::Regular, 0o644, &bytes);
            paths.push(path);
        }
        let tags = if self.tags.is_empty() {
            Value::Null
        } else {
            json!(self.tags)
        };
        let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": paths}]).to_string();
        entry(
            &mut tar,
            "manifest.json",
            EntryType::Regular,
            0o644,
            manifest.as_bytes(),
        );
        tar.into_inner().expect("a Vec takes all")
    }

    /// The manifest (OCI) and the blobs it names, layers compressed with `compression`.
    pub fn blobs(&self, compression: Compression) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
        let config = self.config_json();
        let mut blobs = vec![(format!("sha256:{}", sha256(&config)), config.clone())];
        let mut layers = Vec::new();
        for layer in &self.layers {
            let packed = compression.pack(&layer.bytes);
            let name = format!("sha256:{}", sha256(&packed));
            layers.push(json!({
                "mediaType": compression.layer_type(), "digest": name, "size": packed.len(),
            }));
            blobs.push((name, packed));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": blobs[0].0,
                "size": config.len(),
            },
            "layers": layers,
        });
        (manifest.to_string().into_bytes(), blobs)
    }

    /// An OCI image layout as a tar, its layers compressed with `compression`.
    pub fn oci_layout(&self, compression: Compression) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        entry(&mut tar, "oci-layout", EntryType::Regular, 0o644, layout);
        let (manifest, mut blobs) = self.blobs(compression);
        let name = format!("sha256:{}", sha256(&manifest));
        let descriptor = |annotations: Value| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": name, "size": manifest.len(),
                "platform": {"architecture": "amd64", "os": "linux"},
                "annotations": annotations,
            })
        };
        let mut manifests: Vec<Value> = self
            .tags
            .iter()
            .map(|tag| {
                let (_, version) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
                descriptor(json!({
                    "io.containerd.image.name": normalized(tag),
                    "org.opencontainers.image.ref.name": version,
                }))
            })
            .collect();
        if manifests.is_empty() {
            manifests.push(descriptor(json!({})));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        entry(
            &mut tar,
            "index.json",
            EntryType::Regular,
            0o644,
            index.to_string().as_bytes(),
        );
        entry(&mut tar, "blobs/", EntryType::Directory, 0o755, b"");
        entry(&mut tar, "blobs/sha256/", EntryType::Directory, 0o755, b"");
        blobs.push((name.clone(), manifest.clone()));
        for (name, bytes) in &blobs {
            let path = format!("blobs/{}", name.replace(':', "/"));
            entry(&mut tar, &path, EntryType::Regular, 0o644, bytes);
        }
        tar.into_inner().expect("a Vec takes all")
    }
}

/// `busybox:1` → `docker.io/library/busybox:1`.
fn normalized(tag: &str) -> String {
    match tag.split_once('/') {
        None => format!("docker.io/library/{tag}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
    }
}
