//! Layers that nobody should have made.

use std::time::Instant;

use serde_json::json;
use testkit::{Compression, Daemon, Leaks, Options, PATIENCE, Stub};

use super::tarball::Tarball;
use super::{Stock, absent, image, kept_in_memory, runs};

/// A tar with what no image should have.
fn hostile() -> Vec<u8> {
    let long = "n/".repeat(700) + "deep";
    Tarball::default()
        .file("../../../../../../canary-dots", b"out")
        .file("/canary-absolute", b"out")
        .member("escape", b'2', "/", b"")
        .file("escape/canary-link", b"out")
        .member("up", b'2', "../../../../../../..", b"")
        .file("up/canary-up", b"out")
        .member("device", b'3', "", b"")
        .pax(&[("path", long.as_bytes())])
        .file("short", b"long name")
        .end()
}

#[test]
fn layers_that_lead_out_of_the_image_reach_nothing() {
    let daemon = Daemon::start(Options::default());
    let hostile = image().raw_layer(hostile());
    let stock = Stock::of(&hostile, Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/hostile:1", stub.host());
    let pulled = daemon.docker(["pull", &name]);
    for place in ["/", "/var/", "/var/tmp/", "/run/", "/var/lib/"] {
        for canary in ["dots", "absolute", "link", "up"] {
            let path = format!("{place}canary-{canary}");
            let root = daemon.sandbox().init();
            let path = format!("/proc/{root}/root{path}");
            assert!(!std::path::Path::new(&path).exists(), "{path}: {pulled}");
        }
    }
    // Where containerd takes them, they lie within.
    if pulled.code == 0 {
        runs(&daemon, &name);
        let ls = [
            "run",
            "--rm",
            &name,
            "ls",
            "/canary-dots",
            "/canary-absolute",
        ];
        daemon.docker(ls).ok();
    }
}

#[test]
fn hard_links_to_outside_are_refused() {
    let daemon = Daemon::start(Options::default());
    let target = "../../../../../../../../etc/hostname";
    let tar = Tarball::default().member("hard", b'1', target, b"").end();
    let stock = Stock::of(&image().raw_layer(tar), Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let before = Leaks::count(&daemon);
    let name = format!("{}/hard:1", stub.host());
    daemon.docker(["pull", &name]).exits(1);
    absent(&daemon, &name);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_hundred_thousand_small_files_are_pulled_in_little_memory() {
    // On ext4, to find inodes beside those that other tests have just removed takes longer than
    // all the rest.
    let daemon = kept_in_memory("2g");
    let names: Vec<String> = (0..100_000)
        .map(|n| format!("many/{}/{n}", n % 997))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 0o644, "x"))
        .collect();
    let stock = Stock::of(&image().layer(&files), Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/many:1", stub.host());
    daemon.forget_peak_memory();
    let begun = Instant::now();
    let pull = daemon.cli(["pull", "-q", &name]).patience(5 * PATIENCE);
    pull.run().ok();
    let (took, peak) = (begun.elapsed(), daemon.peak_memory());
    println!("100,000 files took {took:?} and {peak} KiB of berthd");
    assert!(peak <= 64 << 10, "{peak} KiB");
    let count = "find /many -type f | wc -l";
    let run = ["run", "--rm", &name, "sh", "-c", count];
    daemon.docker(run).ok().out_is("100000");
}

#[test]
fn a_layer_that_unpacks_to_more_than_it_said_is_refused() {
    let daemon = Daemon::start(Options::default());
    // A few megabytes that become a quarter of a gigabyte, none of which the
    // configuration knows.
    let mut bomb = image().raw_layer(vec![0; 1024]);
    let honest = bomb.config_json();
    bomb = image().raw_layer(vec![0; 256 << 20]);
    let (manifest, mut blobs) = bomb.blobs(Compression::Gzip);
    let packed = blobs[3].1.len();
    assert!(packed < 4 << 20, "{packed}");
    let config = format!("sha256:{}", testkit::sha256(&honest));
    let mut text: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    text["config"]["digest"] = json!(config);
    text["config"]["size"] = json!(honest.len());
    blobs[0] = (config, honest);
    let stock = Stock {
        manifest: text.to_string().into_bytes(),
        blobs,
    };
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let before = Leaks::count(&daemon);
    let name = format!("{}/bomb:1", stub.host());
    let pull = daemon.docker(["pull", &name]).exits(1);
    pull.err_has("wrong diff id calculated on extraction");
    absent(&daemon, &name);
    before.settle(&daemon, PATIENCE);
}
