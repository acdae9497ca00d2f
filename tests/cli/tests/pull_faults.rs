//! Pulls from a registry that misbehaves as each test says, and pulls that are cut off.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::json;
use testkit::{
    Asked, Compression, Daemon, Image, Leaks, Options, PATIENCE, Stub, Wire, eventually,
    run_command,
};

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

fn image() -> Image {
    Image::busybox("x").layer(&[("etc/name", 0o644, "whole")])
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

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let daemon = Daemon::start(Options::default());
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let cut = AtomicUsize::new(0);
    let wanted = largest.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        let first = asked.target.ends_with(&wanted) && cut.fetch_add(1, Ordering::Relaxed) == 0;
        match stock.blob(asked) {
            Some(blob) if first => {
                wire.head("200 OK", &[], blob.len());
                wire.send(&blob[..blob.len() / 2]);
            }
            _ => stock.serve(asked, wire),
        }
    });
    let name = format!("{}/cut:1", stub.host());
    let output = daemon.docker(["pull", &name]).ok();
    output.out_has("Retrying in 1 second");
    runs(&daemon, &name);
    let offsets = offsets(&stub, &largest);
    assert!(matches!(offsets[..], [0, more] if more > 0), "{offsets:?}");
}

#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let daemon = Daemon::start(Options::default());
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let refused = Mutex::new(Vec::new());
    let wanted = largest.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        let limited = asked.target.ends_with(&wanted) || asked.target.contains("/manifests/");
        let mut refused = refused.lock().unwrap();
        if limited && asked.method == "GET" && !refused.contains(&asked.target) {
            refused.push(asked.target.clone());
            return wire.answer("429 Too Many Requests", &[("Retry-After", "2")], "");
        }
        drop(refused);
        stock.serve(asked, wire);
    });
    let name = format!("{}/limited:1", stub.host());
    let output = daemon.docker(["pull", &name]).ok();
    output.out_has("Retrying in 2 seconds");
    runs(&daemon, &name);
    assert_eq!(offsets(&stub, &largest), [0, 0]);
}

#[test]
fn tries_end_as_configured_and_nothing_is_left() {
    let daemon = Daemon::start(Options {
        config: json!({"max-download-attempts": 2}),
        ..Options::default()
    });
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let wanted = largest.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        match asked.target.ends_with(&wanted) {
            true => wire.answer("503 Service Unavailable", &[], ""),
            false => stock.serve(asked, wire),
        }
    });
    let before = Leaks::count(&daemon);
    let name = format!("{}/broken:1", stub.host());
    daemon
        .docker(["pull", &name])
        .exits(1)
        .err_has("503 Service Unavailable");
    assert_eq!(offsets(&stub, &largest), [0, 0]);
    // Live.
    std::fs::write(daemon.config_file(), "{\"max-download-attempts\": 1}").unwrap();
    let mut reload = daemon.bare_command();
    reload.args(["config", "reload", "--exec-root"]);
    reload.arg(daemon.exec_root());
    run_command(reload).ok();
    daemon.docker(["pull", &name]).exits(1);
    assert_eq!(offsets(&stub, &largest).len(), 3);
    absent(&daemon, &name);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn other_bytes_than_promised_are_refused() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    // Of the right size, and of too large a one.
    for (port, extra) in [(5000, 0), (5001, 70_000)] {
        let stock = Stock::of(&image(), Compression::Gzip);
        let largest = stock.largest();
        let stub = Stub::start(&daemon, port, move |asked, wire| match stock.blob(asked) {
            Some(blob) if asked.target.ends_with(&largest) => {
                let mut other = vec![7; blob.len() + extra];
                other[..100].copy_from_slice(&blob[..100]);
                wire.answer("200 OK", &[], other);
            }
            _ => stock.serve(asked, wire),
        });
        let name = format!("{}/other:1", stub.host());
        let words = match extra {
            0 => "filesystem layer verification failed for digest",
            _ => "is larger than the",
        };
        daemon.docker(["pull", &name]).exits(1).err_has(words);
        absent(&daemon, &name);
    }
    before.settle(&daemon, PATIENCE);
}

#[test]
fn credentials_stay_with_their_registry() {
    let daemon = Daemon::start(Options::default());
    let stock = Arc::new(Stock::of(&image(), Compression::Gzip));
    let store = stock.clone();
    let elsewhere = Stub::start(&daemon, 5001, move |asked, wire| store.serve(asked, wire));
    let host = elsewhere.host();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        if asked.header("authorization").is_none() {
            let challenge = ("WWW-Authenticate", "Basic realm=\"x\"");
            return wire.answer("401 Unauthorized", &[challenge], "");
        }
        match asked.target.contains("/blobs/") {
            true => {
                let to = format!("http://{host}{}", asked.target);
                wire.answer("307 Temporary Redirect", &[("Location", &to)], "");
            }
            false => stock.serve(asked, wire),
        }
    });
    let home = daemon.sandbox().state().join("login");
    let auth = json!({"auths": {stub.host(): {"auth": "dGVzdDpzM2NyZXQ="}}});
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config.json"), auth.to_string()).unwrap();
    let name = format!("{}/moved:1", stub.host());
    let home = home.display().to_string();
    daemon.docker(["--config", &home, "pull", &name]).ok();
    runs(&daemon, &name);
    let asked = elsewhere.asked();
    assert!(asked.len() >= 3, "{asked:?}");
    let told = asked.iter().find(|a| a.header("authorization").is_some());
    assert!(told.is_none(), "{told:?}");
}

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
            .any(|asked| asked.target.ends_with(what))
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
fn two_pulls_of_one_image_download_it_once() {
    let daemon = Daemon::start(Options::default());
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let wanted = largest.clone();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        if asked.target.ends_with(&wanted) {
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
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
fn berthd_killed_at_any_step_of_a_pull_leaks_nothing_and_the_next_one_resumes() {
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

/// A tar with what no image should have.
fn hostile() -> Vec<u8> {
    let mut tar = Vec::new();
    let mut entry = |name: &str, kind: u8, link: &str, content: &[u8]| {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..336].copy_from_slice(b"0000001");
        header[337..344].copy_from_slice(b"0000003");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().div_ceil(512) * 512, 0);
    };
    entry("../../../../../../canary-dots", b'0', "", b"out");
    entry("/canary-absolute", b'0', "", b"out");
    entry("escape", b'2', "/", b"");
    entry("escape/canary-link", b'0', "", b"out");
    entry("up", b'2', "../../../../../../..", b"");
    entry("up/canary-up", b'0', "", b"out");
    entry("device", b'3', "", b"");
    let long = format!("path={}\n", "n/".repeat(700) + "deep");
    let record = format!("{} {long}", long.len() + 5);
    entry("pax", b'x', "", record.as_bytes());
    entry("short", b'0', "", b"long name");
    tar.extend_from_slice(&[0; 1024]);
    tar
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
    let mut tar = vec![0u8; 512];
    tar[..4].copy_from_slice(b"hard");
    tar[100..107].copy_from_slice(b"0000644");
    tar[108..115].copy_from_slice(b"0000000");
    tar[116..123].copy_from_slice(b"0000000");
    tar[124..135].copy_from_slice(b"00000000000");
    tar[136..147].copy_from_slice(b"00000000000");
    tar[156] = b'1';
    let target = b"../../../../../../../../etc/hostname";
    tar[157..157 + target.len()].copy_from_slice(target);
    tar[257..265].copy_from_slice(b"ustar\x0000");
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar.iter().map(|b| u32::from(*b)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&[0; 1024]);
    let stock = Stock::of(&image().raw_layer(tar), Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let before = Leaks::count(&daemon);
    let name = format!("{}/hard:1", stub.host());
    daemon.docker(["pull", &name]).exits(1);
    absent(&daemon, &name);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn many_small_files() {
    let daemon = Daemon::start(Options::default());
    let names: Vec<String> = (0..10_000)
        .map(|n| format!("many/{}/{n}", n % 97))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 0o644, "x"))
        .collect();
    let stock = Stock::of(&image().layer(&files), Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/many:1", stub.host());
    daemon.docker(["pull", "-q", &name]).ok();
    let count = [
        "run",
        "--rm",
        &name,
        "sh",
        "-c",
        "find /many -type f | wc -l",
    ];
    daemon.docker(count).ok().out_is("10000");
}

#[test]
fn a_layer_that_unpacks_to_more_than_it_said_is_refused() {
    let daemon = Daemon::start(Options::default());
    // A megabyte that becomes a quarter of a gigabyte, none of which the
    // configuration knows.
    let mut bomb = image().raw_layer(vec![0; 1024]);
    let honest = bomb.config_json();
    bomb = image().raw_layer(vec![0; 256 << 20]);
    let (manifest, mut blobs) = bomb.blobs(Compression::Gzip);
    let packed = blobs[3].1.len();
    assert!(packed < 2 << 20, "{packed}");
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

#[test]
fn a_full_disk_fails_the_pull_and_leaves_the_daemon_well() {
    let daemon = Daemon::prepare(Options::default());
    let root = daemon.data_root().display().to_string();
    let mut mount = daemon.sandbox().command("sh");
    mount.args([
        "-c",
        "mkdir -p $0 && mount -t tmpfs -o size=48m tmpfs $0",
        &root,
    ]);
    run_command(mount).ok();
    daemon.boot();
    daemon.load_busybox();
    let large = Stock::of(&image().raw_layer(vec![0x5a; 64 << 20]), Compression::None);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| large.serve(asked, wire));
    let name = format!("{}/large:1", stub.host());
    daemon
        .docker(["pull", &name])
        .exits(1)
        .err_has("no space left on device");
    absent(&daemon, &name);
    let small = Stock::of(&image(), Compression::Gzip);
    let stub = Stub::start(&daemon, 5001, move |asked, wire| small.serve(asked, wire));
    let name = format!("{}/small:1", stub.host());
    eventually("what was written is collected", PATIENCE, || {
        (daemon.docker(["pull", "-q", &name]).code == 0).then_some(())
    });
    runs(&daemon, &name);
}

/// The most memory that a process has had since it was last asked to forget it, in KiB.
fn peak(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.expect("VmHWM").trim().trim_end_matches(" kB").trim();
    line.parse().expect("a number")
}

#[test]
fn a_large_pull_takes_little_memory() {
    let daemon = Daemon::start(Options::default());
    let large = image().raw_layer(vec![0; 192 << 20]);
    let stock = Stock::of(&large, Compression::None);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let pid = daemon.pid();
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root may");
    let name = format!("{}/large:1", stub.host());
    let pull = daemon
        .cli(["pull", "-q", &name])
        .patience(Duration::from_secs(300));
    pull.run().ok();
    let peak = peak(pid);
    println!("peak of berthd while it pulled 192 MiB: {peak} KiB");
    assert!(peak <= 64 << 10, "{peak} KiB");
}
