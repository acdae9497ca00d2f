//! Pulls whose daemon dies between two steps: see `crates/fault/src/lib.rs`.

use serde_json::json;
use testkit::{Compression, Daemon, Mortal, Options, PATIENCE, Stored, Stub, sha256};

use super::{Stock, image, runs};

/// A layer with nothing in it.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// A registry of one image of two layers, behind an index.
fn registry(daemon: &Daemon, stock: Stock) -> Stub {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", sha256(&stock.manifest)),
            "size": stock.manifest.len(),
            "platform": {"architecture": "amd64", "os": "linux"},
        }],
    })
    .to_string();
    let kind = "application/vnd.oci.image.index.v1+json";
    Stub::start(daemon, 5000, move |asked, wire| {
        match asked.target.ends_with("/manifests/1") {
            true => wire.answer("200 OK", &[("Content-Type", kind)], &index),
            false => stock.serve(asked, wire),
        }
    })
}

/// Every step, as often as a pull of such an image comes there.
fn steps(mortal: &Mortal) -> Vec<String> {
    let mut all = Vec::new();
    for change in [
        mortal.points_of("lease"),
        mortal.points_of("pull"),
        mortal.points_of("ahead"),
        mortal.points_of("unpack"),
        mortal.points_of("name"),
    ] {
        for step in change {
            let times = match step.as_str() {
                // Configuration, manifest, index.
                "pull:document" => 3,
                // That of a dangling image that gets a name: no pull comes there.
                "name:cleared" => 0,
                "pull:layer" | "ahead:unpacked" => 2,
                _ if step.starts_with("unpack:") => 2,
                _ => 1,
            };
            all.extend((0..times).map(|passed| format!("{step} {passed}")));
        }
    }
    all
}

/// How many layers are stored at least when a pull has come to `step`.
fn stored(step: &str) -> usize {
    match step.split([':', ' ']).collect::<Vec<_>>()[..] {
        ["lease", "taken", _] | ["ahead", ..] => 0,
        ["pull", "layer", passed] | ["unpack", _, passed] => {
            1 + passed.parse::<usize>().expect("a number")
        }
        _ => 2,
    }
}

#[test]
fn a_pull_cut_off_at_any_step_leaks_nothing_and_the_next_one_goes_on() {
    let Some(mortal) = Mortal::start(Options::default()) else {
        return;
    };
    let daemon = &mortal.daemon;
    // Its layer is the first one of the image that is pulled.
    daemon.docker(["rmi", "busybox"]).ok();
    let stock = Stock::of(&image(), Compression::Gzip);
    let layers: Vec<String> = stock.blobs[1..]
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(layers.len(), 2);
    let stub = registry(daemon, stock);
    let name = format!("{}/cut:1", stub.host());
    let before = Stored::count(daemon);
    for step in steps(&mortal) {
        eprintln!("-- {step}");
        // The image that has the name before.
        let import = daemon.cli(["import", "-", &name]).stdin(EMPTY_TAR);
        let old = import.run().ok().out().to_owned();
        if step.starts_with("lease:ended") {
            // The import's ends behind its answer.
            mortal.renew();
        }
        mortal.dies(&step, "POST", &format!("/images/create?fromImage={name}"));
        let list = [
            "images",
            "--no-trunc",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}}",
        ];
        let listed = daemon.docker(list).ok();
        let named = listed.stdout.lines().filter(|line| line.starts_with(&name));
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), 1, "{listed}");
        if !named[0].ends_with(&old) {
            runs(daemon, &name);
        }
        let there = Stored::count(daemon);
        let asked = stub.asked().len();
        daemon.docker(["pull", &name]).ok();
        runs(daemon, &name);
        let again = stub.asked().split_off(asked);
        let blobs = there.names("blob");
        let kept = layers
            .iter()
            .filter(|layer| blobs.contains(&layer.as_str()));
        assert!(kept.clone().count() >= stored(&step), "{step}: {blobs:?}");
        for layer in kept {
            let twice = again.iter().find(|asked| asked.target.ends_with(&**layer));
            assert!(twice.is_none(), "{step}: downloaded twice: {twice:?}");
        }
        daemon.docker(["rmi", &name]).ok();
        daemon.docker(["rmi", &old]).ok();
        before.settle(daemon, PATIENCE);
    }
}
