//! Layers on their way at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::json;
use testkit::{Compression, Daemon, Exchange, Image, Options, PATIENCE, Stored, Stub, eventually};

use super::{Stock, gate, image, runs};

#[test]
fn a_layer_is_unpacked_while_the_next_one_is_downloaded() {
    let daemon = Daemon::start(Options {
        without_image: true,
        ..Options::default()
    });
    let stock = Stock::of(&image(), Compression::None);
    // Not compressed, a layer's digest is that of what it unpacks to.
    let (first, last) = (stock.blobs[1].0.clone(), stock.blobs[2].0.clone());
    let (go, at_gate) = gate();
    let held = last.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        if asked.target.ends_with(&held) {
            at_gate();
        }
        stock.serve(asked, wire);
    });
    let name = format!("{}/overlaps:1", stub.host());
    let mut pull = daemon.cli(["pull", &name]).spawn();
    eventually("the first layer is unpacked", PATIENCE, || {
        let stored = Stored::count(&daemon);
        let snapshots = stored.names("snapshot of overlayfs");
        snapshots.contains(&&*first).then_some(())
    });
    pull.wait_for(&format!(
        "{}: Pull complete",
        &first["sha256:".len()..][..12]
    ));
    let stored = Stored::count(&daemon);
    assert!(!stored.names("blob").contains(&&*last), "{stored:?}");
    go.send(()).expect("the registry waits");
    pull.wait().ok();
    runs(&daemon, &name);
}

/// Images of five layers each, of which a registry gives none until it is told; how many were asked
/// for at the same time at most.
struct Gate {
    stub: Stub,
    most: Arc<AtomicUsize>,
    go: mpsc::Sender<()>,
}

const LAYERS: usize = 5;

impl Gate {
    fn start(daemon: &Daemon, port: u16, text: &str) -> Gate {
        let mut image = Image::busybox("x");
        for n in 1..LAYERS {
            image = image.layer(&[(&format!("etc/{n}"), 0o644, text)]);
        }
        let stock = Stock::of(&image, Compression::Gzip);
        let (go, at_gate) = gate();
        let (most, now) = (Arc::<AtomicUsize>::default(), AtomicUsize::new(0));
        let told = most.clone();
        let config = stock.blobs[0].0.clone();
        let stub = Stub::start(daemon, port, move |asked, wire| {
            if stock.blob(asked).is_some() && !asked.target.ends_with(&config) {
                let many = now.fetch_add(1, Ordering::SeqCst) + 1;
                told.fetch_max(many, Ordering::SeqCst);
                at_gate();
                now.fetch_sub(1, Ordering::SeqCst);
            }
            stock.serve(asked, wire);
        });
        Gate { stub, most, go }
    }

    /// Pulls, which must download as many layers at a time as `limit` says.
    #[track_caller]
    fn has_at_most(&self, daemon: &Daemon, limit: usize) {
        let name = format!("{}/five:1", self.stub.host());
        let target = format!("/images/create?fromImage={name}");
        let mut pull = daemon.request("POST", &target).open();
        waiting(&mut pull, LAYERS - limit);
        eventually("as many are downloaded as may be", PATIENCE, || {
            (self.most.load(Ordering::SeqCst) == limit).then_some(())
        });
        for _ in 0..LAYERS {
            self.go.send(()).expect("the registry waits");
        }
        let rest = pull.rest(PATIENCE).expect("it comes to its end");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("Downloaded newer image"), "{rest}");
        assert_eq!(self.most.load(Ordering::SeqCst), limit);
        // The next one has a layer in common with it.
        daemon.docker(["rmi", &name]).ok();
    }
}

/// Reads until so many layers wait.
#[track_caller]
fn waiting(pull: &mut Exchange, many: usize) {
    let mut all = String::new();
    while all.matches("\"status\":\"Waiting\"").count() < many {
        let piece = pull
            .next(PATIENCE)
            .expect("they wait")
            .expect("not the end");
        all.push_str(&String::from_utf8_lossy(&piece));
    }
}

#[test]
fn as_many_layers_are_downloaded_at_a_time_as_is_configured() {
    let daemon = Daemon::start(Options {
        config: json!({"max-concurrent-downloads": 2}),
        without_image: true,
        ..Options::default()
    });
    Gate::start(&daemon, 5000, "two").has_at_most(&daemon, 2);
    daemon.reload(&json!({"max-concurrent-downloads": 4}));
    Gate::start(&daemon, 5001, "four").has_at_most(&daemon, 4);
    daemon.reload(&json!({"max-concurrent-downloads": 1}));
    Gate::start(&daemon, 5002, "one").has_at_most(&daemon, 1);
    // Three where nothing is said.
    daemon.reload(&json!({}));
    Gate::start(&daemon, 5003, "three").has_at_most(&daemon, 3);
}
