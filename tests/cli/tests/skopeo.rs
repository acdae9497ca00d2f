//! Another tool's view of what we push, save and show, and ours of what it pushes: digests agree.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::{Compression, Image, Output, Registry, sha256, shared};

fn skopeo<'a>(args: impl IntoIterator<Item = &'a str>) -> Output {
    shared().skopeo(args)
}

fn json(output: Output) -> Value {
    serde_json::from_str(output.ok().out()).expect("JSON")
}

/// Loads an image that no other test has.
fn load(name: &str) {
    let image = Image::busybox(name).layer(&[("etc/name", 0o644, name)]);
    let archive = image.docker_archive(Compression::Gzip);
    shared().cli(["load"]).stdin(archive).run().ok();
}

fn layers(name: &str) -> Value {
    let inspect = ["image", "inspect", "-f", "{{json .RootFS.Layers}}", name];
    serde_json::from_str(shared().docker(inspect).ok().out()).expect("JSON")
}

/// The digests of an image's uncompressed layers, as skopeo reads its configuration.
fn told_layers(source: &str, more: &[&str]) -> Value {
    let inspect = ["inspect", "--config"]
        .into_iter()
        .chain(more.iter().copied());
    json(skopeo(inspect.chain([source])))["rootfs"]["diff_ids"].clone()
}

fn runs(name: &str, text: &str) {
    let run = ["run", "--rm", "--pull", "never", name, "cat", "/etc/name"];
    shared().docker(run).ok().out_is(text);
}

/// A place for skopeo to write to.
fn place(name: &str) -> PathBuf {
    shared().sandbox().state().join(name)
}

fn at(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

#[test]
fn what_we_push_and_what_it_pushes() {
    let registry = Registry::start(shared(), 5100);
    load("ours:1");
    let ours = format!("{}/ours:1", registry.host());
    shared().docker(["tag", "ours:1", &ours]).ok();
    shared().docker(["push", "-q", &ours]).ok();
    let id = shared().format("ours:1", "{{.Id}}");
    let there = format!("docker://{ours}");
    let inspect = ["inspect", "--tls-verify=false", &there];
    assert_eq!(json(skopeo(inspect))["Digest"], id.as_str());
    // All of it can be read.
    let copy = place("skopeo-copy");
    let to = at("dir", &copy);
    skopeo(["copy", "-q", "--src-tls-verify=false", &there, &to]).ok();
    let manifest = std::fs::read(copy.join("manifest.json")).expect("it was copied");
    assert_eq!(format!("sha256:{}", sha256(&manifest)), id);

    // It makes another manifest of it, as OCI; we have what it has.
    let theirs = format!("{}/theirs:1", registry.host());
    let there = format!("docker://{theirs}");
    let push = [
        "copy",
        "-q",
        "-f",
        "oci",
        "--dest-tls-verify=false",
        &to,
        &there,
    ];
    skopeo(push).ok();
    let digest = json(skopeo(["inspect", "--tls-verify=false", &there]))["Digest"].clone();
    assert_ne!(digest, id.as_str());
    shared().docker(["pull", "-q", &theirs]).ok();
    assert_eq!(digest, shared().format(&theirs, "{{.Id}}"));
    assert_eq!(layers(&theirs), layers("ours:1"));
    runs(&theirs, "ours:1");
    shared().docker(["rmi", &ours, &theirs, "ours:1"]).ok();
}

#[test]
fn what_we_save_and_show() {
    let registry = Registry::start(shared(), 5110);
    load("saved:1");
    let file = place("saved.tar");
    let path = file.display().to_string();
    shared().docker(["save", "-o", &path, "saved:1"]).ok();
    let socket = older(&shared().socket());
    let host = format!("unix://{}", socket.display());
    let archive = at("docker-archive", &file);
    for (n, (from, more)) in [
        (archive.as_str(), vec![]),
        ("docker-daemon:saved:1", vec!["--daemon-host", &host]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(told_layers(from, &more), layers("saved:1"), "{from}");
        // There and back again.
        let name = format!("{}/back{n}:1", registry.host());
        let to = format!("docker://{name}");
        let more: Vec<&str> = match more.last() {
            Some(host) => vec!["--src-daemon-host", host],
            None => vec![],
        };
        let copy = ["copy", "-q", "--dest-tls-verify=false"].into_iter();
        skopeo(copy.chain(more).chain([from, to.as_str()])).ok();
        shared().docker(["pull", "-q", &name]).ok();
        assert_eq!(layers(&name), layers("saved:1"));
        runs(&name, "saved:1");
        shared().docker(["rmi", &name]).ok();
    }
    shared().docker(["rmi", "saved:1"]).ok();
}

/// A socket that leads to `daemon` and makes API 1.22 of Debian 12's skopeo 1.24, the oldest that
/// there still is; newer ones ask what there is.
fn older(daemon: &Path) -> PathBuf {
    let path = place("older.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let daemon = daemon.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, UnixStream::connect(&daemon)) else {
                return;
            };
            let back = (server.try_clone(), client.try_clone());
            if let (Ok(from), Ok(to)) = back {
                std::thread::spawn(move || carry(from, to));
            }
            std::thread::spawn(move || carry(client, server));
        }
    });
    path
}

fn carry(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let chunk = &mut buffer[..n];
        let asked = chunk.windows(7).position(|seven| seven == b"/v1.22/");
        // Of a head, not of what follows it.
        if let Some(at) = asked.filter(|at| *at < 8) {
            chunk[at + 5] = b'4';
        }
        if to.write_all(chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
