//! Pulls for which there is no room.

use serde_json::{Value, json};
use testkit::{Compression, Daemon, Image, PATIENCE, Stored, Stub, eventually, run_command};

use super::tarball::Tarball;
use super::{Stock, absent, gate, image, kept_in_memory, offsets, runs};

const FULL: &str = "no space left on device";

/// A daemon on a disk of so many megabytes.
fn daemon_on(megabytes: u32) -> Daemon {
    let daemon = kept_in_memory(&format!("{megabytes}m"));
    daemon.load_busybox();
    daemon
}

/// Makes the disk as large as that.
fn resize(daemon: &Daemon, megabytes: u32) {
    let disk = daemon.data_root().display().to_string();
    let size = format!("remount,size={megabytes}m");
    in_sandbox(daemon, "mount -o $1 $0", &[&disk, &size]);
}

/// How many megabytes of the disk are free.
fn free(daemon: &Daemon) -> u64 {
    let disk = daemon.data_root().display().to_string();
    let script = "stat -f -c '%f %S' $0";
    let told = in_sandbox(daemon, script, &[&disk]);
    let numbers: Vec<u64> = told
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    (numbers[0] * numbers[1]) >> 20
}

#[track_caller]
fn in_sandbox(daemon: &Daemon, script: &str, args: &[&str]) -> String {
    let mut shell = daemon.sandbox().command("sh");
    shell.args(["-c", script]).args(args);
    run_command(shell).ok().stdout
}

/// A file of so many megabytes, which compresses well.
fn large(megabytes: usize) -> String {
    "0123456789abcde\n".repeat(megabytes << 16)
}

#[test]
fn a_download_that_filled_the_disk_is_gone_on_with_when_there_is_room() {
    let daemon = daemon_on(64);
    let before = Stored::count(&daemon);
    let filler = Image::busybox("filler:1").layer(&[("filler", 0o644, &large(8))]);
    let filler = filler.docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(filler).run().ok();
    let image = image().layer(&[("large", 0o644, &large(56))]);
    let stock = Stock::of(&image, Compression::None);
    let (small, largest) = (stock.blobs[2].0.clone(), stock.largest());
    let (go, at_gate) = gate();
    let wanted = largest.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        // Not before the other layer is there.
        if asked.target.ends_with(&wanted) {
            at_gate();
        }
        stock.serve(asked, wire);
    });
    let name = format!("{}/large:1", stub.host());
    let pull = daemon.cli(["pull", &name]).spawn();
    eventually("the small layer is there", PATIENCE, || {
        Stored::count(&daemon)
            .names("blob")
            .contains(&&*small)
            .then_some(())
    });
    go.send(()).expect("the registry waits");
    pull.wait().exits(1).err_has(FULL);
    drop(go);
    absent(&daemon, &name);
    daemon.docker(["pull", &name]).exits(1).err_has(FULL);
    // So does somebody make room, and has containerd collect what nothing refers to.
    daemon.docker(["rmi", "filler:1"]).ok();
    resize(&daemon, 256);
    daemon.docker(["pull", &name]).ok();
    runs(&daemon, &name);
    assert_eq!(offsets(&stub, &small), [0]);
    let offsets = offsets(&stub, &largest);
    let (first, more) = offsets.split_first().expect("it was asked for");
    assert!(
        *first == 0 && more.iter().all(|more| *more > 0),
        "{offsets:?}"
    );
    daemon.docker(["rmi", &name]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_layer_that_filled_the_disk_is_unpacked_when_there_is_room() {
    let daemon = daemon_on(64);
    let before = Stored::count(&daemon);
    let image = image().layer(&[("large", 0o644, &large(80))]);
    let stock = Stock::of(&image, Compression::Gzip);
    let layers: Vec<String> = stock.blobs[1..]
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/large:1", stub.host());
    let room = free(&daemon);
    daemon.docker(["pull", &name]).exits(1).err_has(FULL);
    absent(&daemon, &name);
    eventually("what was unpacked gives its room back", PATIENCE, || {
        (free(&daemon) + 16 > room).then_some(())
    });
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    resize(&daemon, 256);
    Stored::count(&daemon);
    daemon.docker(["pull", &name]).ok();
    runs(&daemon, &name);
    for layer in &layers[1..] {
        assert_eq!(offsets(&stub, layer), [0]);
    }
    daemon.docker(["rmi", &name]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_full_disk_fails_the_pull_and_leaves_the_daemon_well() {
    let daemon = daemon_on(48);
    let large = Stock::of(&image().raw_layer(vec![0x5a; 64 << 20]), Compression::None);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| large.serve(asked, wire));
    let name = format!("{}/large:1", stub.host());
    daemon.docker(["pull", &name]).exits(1).err_has(FULL);
    absent(&daemon, &name);
    // What is left of the other makes room for it.
    let small = Stock::of(&image(), Compression::Gzip);
    let stub = Stub::start(&daemon, 5001, move |asked, wire| small.serve(asked, wire));
    let name = format!("{}/small:1", stub.host());
    daemon.docker(["pull", "-q", &name]).ok();
    runs(&daemon, &name);
}

#[test]
fn what_is_kept_of_a_pull_goes_with_a_prune_and_of_a_load_nothing_is_kept() {
    let daemon = daemon_on(64);
    let before = Stored::count(&daemon);
    let room = free(&daemon);
    let image = image().layer(&[("large", 0o644, &large(80))]);
    let stock = Stock::of(&image, Compression::None);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/large:1", stub.host());
    daemon.docker(["pull", &name]).exits(1).err_has(FULL);
    daemon.docker(["image", "prune", "-f"]).ok();
    before.settle(&daemon, PATIENCE);
    let archive = image.docker_archive(Compression::None);
    let load = daemon.cli(["load"]).stdin(archive);
    load.run().exits(1).err_has(FULL);
    // Without anybody asking for it.
    eventually("what was loaded gives its room back", PATIENCE, || {
        (free(&daemon) + 4 > room).then_some(())
    });
    before.settle(&daemon, PATIENCE);
}

/// An image with a layer of 8 GiB in as many megabytes.
fn bomb() -> Stock {
    let head = Tarball::default().pax(&[("size", b"8589934592")]);
    let mut packed = Compression::Gzip.pack(&head.file("zeros", b"").open());
    // Several compressed streams, one behind the other, are one.
    let zeros = Compression::Gzip.pack(&vec![0; 16 << 20]);
    packed.extend(zeros.repeat(512));
    let mut stock = Stock::of(&image().raw_layer(vec![0; 1024]), Compression::Gzip);
    let digest = format!("sha256:{}", testkit::sha256(&packed));
    let mut manifest: Value = serde_json::from_slice(&stock.manifest).expect("JSON");
    manifest["layers"][2]["digest"] = json!(digest);
    manifest["layers"][2]["size"] = json!(packed.len());
    stock.manifest = manifest.to_string().into_bytes();
    stock.blobs[3] = (digest, packed);
    stock
}

#[test]
fn a_bomb_is_unpacked_no_further_when_its_client_leaves() {
    let daemon = daemon_on(4096);
    let before = Stored::count(&daemon);
    let stock = bomb();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let room = free(&daemon);
    let pull = daemon.cli(["pull", &format!("{}/bomb:1", stub.host())]);
    let pull = pull.spawn();
    eventually("it is being unpacked", PATIENCE, || {
        (free(&daemon) + 256 < room).then_some(())
    });
    pull.signal(rustix::process::Signal::INT);
    pull.wait();
    eventually("it gives its room back", PATIENCE, || {
        (free(&daemon) + 4 > room).then_some(())
    });
    before.settle(&daemon, PATIENCE);
}
