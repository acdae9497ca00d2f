//! Pulls whose client, daemon or memory comes to its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use testkit::{Compression, Daemon, Leaks, Options, PATIENCE, Stub, eventually};

use super::{Stock, absent, gate, image, offsets, runs};

/// Holds the largest blob back after its first half, for as long as the client stays.
fn stalling(daemon: &Daemon, port: u16) -> (Stub, String, mpsc::Receiver<()>) {
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let wanted = largest.clone();
    let (gone, hung_up) = mpsc::channel();
    let gone = Mutex::new(gone);
    let times = AtomicUsize::new(0);
    let stub = Stub::start(daemon, port, move |asked, wire| {
        let first = asked.target.ends_with(&wanted) && times.fetch_add(1, Ordering::Relaxed) == 0;
        match stock.blob(asked) {
            Some(blob) if first => {
                wire.head("200 OK", &[], blob.len());
                wire.send(&blob[..blob.len() / 2]);
                wire.wait_for_hangup();
                let _ = gone.lock().expect("nobody panicked").send(());
            }
            _ => stock.serve(asked, wire),
        }
    });
    (stub, largest, hung_up)
}

fn is_asked(stub: &Stub, what: &str) {
    eventually("the pull has come that far", PATIENCE, || {
        let asked = stub.asked();
        asked
            .iter()
            .any(|asked| asked.target.contains(what))
            .then_some(())
    });
}

#[test]
fn a_pull_that_nobody_waits_for_ends_and_the_next_goes_on() {
    let daemon = Daemon::start(Options::default());
    let (stub, largest, hung_up) = stalling(&daemon, 5000);
    let name = format!("{}/slow:1", stub.host());
    let pull = daemon.cli(["pull", &name]).spawn();
    is_asked(&stub, &largest);
    pull.signal(rustix::process::Signal::INT);
    hung_up
        .recv_timeout(PATIENCE)
        .expect("the download is cancelled");
    pull.wait();
    absent(&daemon, &name);
    daemon.docker(["pull", &name]).ok();
    runs(&daemon, &name);
}

#[test]
fn a_registry_that_drips_is_left_when_the_client_leaves() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    let stock = std::sync::Arc::new(Stock::of(&image(), Compression::Gzip));
    let (config, layer) = (stock.blobs[0].0.clone(), stock.largest());
    let places = ["/token", "/manifests/", &config, &layer];
    let each = places
        .iter()
        .flat_map(|place| [(*place, true), (*place, false)]);
    for (port, (place, head)) in (5000..).zip(each) {
        let (gone, hung_up) = mpsc::channel();
        let gone = Mutex::new(gone);
        let (stock, wanted) = (stock.clone(), place.to_owned());
        let stub = Stub::start(&daemon, port, move |asked, wire| {
            if asked.target.contains(&wanted) {
                match head {
                    true => drop(wire.send("HTTP/1.1 200 OK\r\nX-Long: ")),
                    false => wire.head("200 OK", &[], 1 << 20),
                }
                while wire.send("1") {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let _ = gone.lock().expect("nobody panicked").send(());
            } else if wanted == "/token" && asked.target != "/v2/" {
                let realm = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
                let challenge = ("WWW-Authenticate", realm.as_str());
                wire.answer("401 Unauthorized", &[challenge], "");
            } else {
                stock.serve(asked, wire);
            }
        });
        let name = format!("{}/drips:1", stub.host());
        let pull = daemon.cli(["pull", &name]).spawn();
        is_asked(&stub, place);
        pull.signal(rustix::process::Signal::INT);
        let gone = hung_up.recv_timeout(PATIENCE);
        gone.unwrap_or_else(|e| panic!("{place}: {e}"));
        pull.wait();
        absent(&daemon, &name);
    }
    // What was pulled so far is kept for the next try for a while.
    let stub = Stub::start(&daemon, 4999, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/whole:1", stub.host());
    daemon.docker(["pull", &name]).ok();
    daemon.docker(["rmi", &name]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn two_pulls_of_one_image_download_it_once() {
    let daemon = Daemon::start(Options::default());
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let wanted = largest.clone();
    let (go, at_gate) = gate();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        if asked.target.ends_with(&wanted) {
            at_gate();
        }
        stock.serve(asked, wire);
    });
    let name = format!("{}/once:1", stub.host());
    let mut one = daemon.cli(["pull", &name]).spawn();
    is_asked(&stub, &largest);
    let mut two = daemon.cli(["pull", &name]).spawn();
    two.wait_for("Waiting");
    assert!(one.running() && two.running());
    go.send(()).unwrap();
    one.wait().ok();
    two.wait().ok();
    runs(&daemon, &name);
    assert_eq!(offsets(&stub, &largest), [0]);
}

#[test]
fn who_joins_a_pull_sees_how_far_it_is_and_may_leave() {
    let daemon = Daemon::start(Options::default());
    let text = "all of it\n".repeat(600_000);
    let large = image().layer(&[("etc/large", 0o644, &text)]);
    let stock = Stock::of(&large, Compression::None);
    let largest = stock.largest();
    let wanted = largest.clone();
    let (go, at_gate) = gate();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| match stock.blob(asked) {
        Some(blob) if asked.target.ends_with(&wanted) => {
            wire.head("200 OK", &[], blob.len());
            let (half, rest) = blob.split_at(blob.len() / 2);
            wire.send(half);
            at_gate();
            wire.send(rest);
        }
        _ => stock.serve(asked, wire),
    });
    let target = format!("/images/create?fromImage={}/joined&tag=1", stub.host());
    let pull = || daemon.request("POST", &target).open();
    let mut one = pull();
    one.read_until("Downloading");
    for _ in 0..2 {
        // It goes at once, and takes nobody along.
        pull().read_until("Downloading");
    }
    let mut last = pull();
    last.read_until("Downloading");
    go.send(()).expect("the registry waits");
    for mut stream in [one, last] {
        let rest = stream.rest(PATIENCE).expect("it comes to its end");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("Download complete"), "{rest}");
        assert!(rest.contains("Status: Downloaded newer image"), "{rest}");
    }
    assert_eq!(offsets(&stub, &largest), [0]);
    runs(&daemon, &format!("{}/joined:1", stub.host()));
}

#[test]
fn who_joined_a_pull_goes_on_when_the_first_one_leaves() {
    let daemon = Daemon::start(Options::default());
    let (stub, largest, hung_up) = stalling(&daemon, 5000);
    let target = format!("/images/create?fromImage={}/left&tag=1", stub.host());
    let pull = || daemon.request("POST", &target).open();
    let first = pull();
    is_asked(&stub, &largest);
    let mut second = pull();
    second.read_until("Waiting");
    drop(first);
    let gone = hung_up.recv_timeout(PATIENCE);
    gone.expect("the first one's download is cancelled");
    let rest = second.rest(PATIENCE).expect("it comes to its end");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("Status: Downloaded newer image"), "{rest}");
    assert_eq!(offsets(&stub, &largest).len(), 2);
    runs(&daemon, &format!("{}/left:1", stub.host()));
}

#[test]
fn containerd_killed_in_the_middle_of_a_layer_leaks_nothing_and_the_next_pull_is_whole() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    let stock = Stock::of(&image().raw_layer(vec![0; 8 << 20]), Compression::None);
    let largest = stock.largest();
    let wanted = largest.clone();
    let (go, at_gate) = gate();
    let times = AtomicUsize::new(0);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| match stock.blob(asked) {
        Some(blob)
            if asked.target.ends_with(&wanted) && times.fetch_add(1, Ordering::Relaxed) == 0 =>
        {
            wire.head("200 OK", &[], blob.len());
            let (half, rest) = blob.split_at(blob.len() / 2);
            wire.send(half);
            at_gate();
            wire.send(rest);
        }
        _ => stock.serve(asked, wire),
    });
    let name = format!("{}/killed:1", stub.host());
    let mut pull = daemon.cli(["pull", &name]).spawn();
    pull.wait_for("Pulling fs layer");
    is_asked(&stub, &largest);
    daemon.kill9_containerd();
    go.send(()).expect("the registry waits");
    // It ends, with the reason.
    pull.wait().exits(1).err_has("containerd");
    eventually(
        "containerd is back and the next pull whole",
        PATIENCE,
        || (daemon.docker(["pull", &name]).code == 0).then_some(()),
    );
    runs(&daemon, &name);
    daemon.docker(["rmi", &name]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn berthd_killed_while_the_registry_answers_leaks_nothing_and_the_next_pull_resumes() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    for (port, step) in [(5000, "manifests/1"), (5001, "config"), (5002, "layer")] {
        // Larger than what is on its way to containerd at a time.
        let image = image().raw_layer(vec![0; 8 << 20]);
        let stock = Stock::of(&image, Compression::None);
        let (config, largest) = (stock.blobs[0].0.clone(), stock.largest());
        let stop = match step {
            "config" => config,
            "layer" => largest.clone(),
            other => other.to_owned(),
        };
        let (wanted, times) = (stop.clone(), AtomicUsize::new(0));
        let stub = Stub::start(&daemon, port, move |asked, wire| {
            let hit = asked.target.ends_with(&wanted) && asked.method == "GET";
            if hit && times.fetch_add(1, Ordering::Relaxed) == 0 {
                if let Some(blob) = stock.blob(asked) {
                    wire.head("200 OK", &[], blob.len());
                    wire.send(&blob[..blob.len() / 2]);
                }
                return wire.wait_for_hangup();
            }
            stock.serve(asked, wire);
        });
        let name = format!("{}/killed:1", stub.host());
        let target = format!("/images/create?fromImage={name}");
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| {
                // A pull answers with the first byte of its progress.
                let mut pull = daemon.request("POST", &target).try_open().ok()?;
                if step == "layer" {
                    pull.read_until("\"total\":8388608");
                }
                Some(pull)
            });
            is_asked(&stub, &stop);
            // Some of the layer is with containerd then.
            let pull = (step == "layer").then(|| pull.join());
            daemon.kill9();
            drop(pull);
        });
        daemon.boot();
        absent(&daemon, &name);
        daemon.docker(["pull", &name]).ok();
        runs(&daemon, &name);
        if step == "layer" {
            let offsets = offsets(&stub, &largest);
            assert!(matches!(offsets[..], [0, more] if more > 0), "{offsets:?}");
        }
        daemon.docker(["rmi", "-f", &name]).ok();
    }
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_large_pull_takes_little_memory() {
    let daemon = Daemon::start(Options::default());
    let large = image().raw_layer(vec![0; 192 << 20]);
    let stock = Stock::of(&large, Compression::None);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    daemon.forget_peak_memory();
    let name = format!("{}/large:1", stub.host());
    let pull = daemon
        .cli(["pull", "-q", &name])
        .patience(Duration::from_secs(300));
    pull.run().ok();
    let peak = daemon.peak_memory();
    println!("peak of berthd while it pulled 192 MiB: {peak} KiB");
    assert!(peak <= 64 << 10, "{peak} KiB");
}
