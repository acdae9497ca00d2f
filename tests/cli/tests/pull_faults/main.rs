//! Pulls from a registry that misbehaves as each test says, and pulls that are cut off.

mod alike;
mod cut_off;
mod extremes;
mod full_disk;
mod layers;
mod registry;
mod side_by_side;
mod steps;
mod tarball;

use std::sync::{Mutex, mpsc};

use testkit::{Asked, Compression, Daemon, Image, Options, PATIENCE, Stub, Wire, run_command};

/// What a registry of one image serves.
struct Stock {
    manifest: Vec<u8>,
    blobs: Vec<(String, Vec<u8>)>,
}

impl Stock {
    fn of(image: &Image, compression: Compression) -> Stock {
        let (manifest, blobs) = image.blobs(compression);
        Stock { manifest, blobs }
    }

    /// The blob that is asked for.
    fn blob(&self, asked: &Asked) -> Option<&[u8]> {
        let (_, digest) = asked.target.rsplit_once("/blobs/")?;
        let found = self.blobs.iter().find(|(name, _)| name == digest);
        found.map(|(_, bytes)| &bytes[..])
    }

    /// The largest blob: the layer that things happen to.
    fn largest(&self) -> String {
        let largest = self.blobs.iter().max_by_key(|(_, bytes)| bytes.len());
        largest.expect("there are blobs").0.clone()
    }

    /// What a good registry answers.
    fn serve(&self, asked: &Asked, wire: &mut Wire) {
        if asked.target.contains("/manifests/") {
            let kind = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
            return wire.answer("200 OK", &[kind], &self.manifest);
        }
        match (self.blob(asked), asked.offset()) {
            (Some(blob), 0) => wire.answer("200 OK", &[], blob),
            (Some(blob), from) => {
                let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
                let rest = &blob[from..];
                wire.answer("206 Partial Content", &[("Content-Range", &range)], rest);
            }
            (None, _) => wire.answer("200 OK", &[], "{}"),
        }
    }
}

/// Where a stub waits until the test sends for it, each time anew.
fn gate() -> (mpsc::Sender<()>, impl Fn() + Send + Sync) {
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let wait = move || {
        let _ = gate.lock().expect("nobody panicked").recv_timeout(PATIENCE);
    };
    (go, wait)
}

fn image() -> Image {
    Image::busybox("x").layer(&[("etc/name", 0o644, "whole")])
}

/// A daemon whose data root is a disk in memory of this size.
fn kept_in_memory(size: &str) -> Daemon {
    let daemon = Daemon::prepare(Options::default());
    let mut mount = daemon.sandbox().command("sh");
    let script = "mkdir -p $0 && mount -t tmpfs -o size=$1 tmpfs $0";
    mount.args(["-c", script]).arg(daemon.data_root()).arg(size);
    run_command(mount).ok();
    daemon.boot();
    daemon
}

fn runs(daemon: &Daemon, name: &str) {
    let run = ["run", "--rm", "--pull", "never", name, "cat", "/etc/name"];
    daemon.docker(run).ok().out_is("whole");
}

/// How often each offset of the largest blob was asked for.
fn offsets(stub: &Stub, blob: &str) -> Vec<usize> {
    let asked = stub.asked();
    let of_it = asked.iter().filter(|asked| asked.target.ends_with(blob));
    of_it.map(Asked::offset).collect()
}

fn absent(daemon: &Daemon, name: &str) {
    let target = format!("/images/{name}/json");
    daemon.api("GET", &target, None).is(404);
}
