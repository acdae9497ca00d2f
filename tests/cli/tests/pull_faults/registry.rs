//! A registry that breaks off, refuses, sends other bytes or sends elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::{Asked, Compression, Daemon, Leaks, Options, PATIENCE, Stub};

use super::{Stock, absent, image, offsets, runs};

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
fn a_layer_that_is_tried_again_waits_for_no_other_try_of_its_own() {
    let daemon = Daemon::start(Options {
        config: json!({"max-concurrent-downloads": 1}),
        ..Options::default()
    });
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let tries = AtomicUsize::new(0);
    let wanted = largest.clone();
    // Nothing of it comes before the third try.
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        let is_it = asked.target.ends_with(&wanted);
        match is_it && tries.fetch_add(1, Ordering::Relaxed) < 2 {
            true => wire.answer("503 Service Unavailable", &[], ""),
            false => stock.serve(asked, wire),
        }
    });
    let name = format!("{}/tried:1", stub.host());
    daemon.docker(["pull", &name]).ok();
    runs(&daemon, &name);
    assert_eq!(offsets(&stub, &largest), [0, 0, 0]);
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
    daemon.reload(&json!({"max-download-attempts": 1}));
    daemon.docker(["pull", &name]).exits(1);
    assert_eq!(offsets(&stub, &largest).len(), 3);
    absent(&daemon, &name);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_registry_that_breaks_off_after_a_byte_each_time_is_given_up() {
    let daemon = Daemon::start(Options {
        config: json!({"max-download-attempts": 3}),
        ..Options::default()
    });
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let wanted = largest.clone();
    let stub = Stub::start(&daemon, 5000, move |asked, wire| match stock.blob(asked) {
        Some(blob) if asked.target.ends_with(&wanted) => {
            let (from, last, all) = (asked.offset(), blob.len() - 1, blob.len());
            let range = format!("bytes {from}-{last}/{all}");
            let head = [("Content-Range", range.as_str())];
            wire.head("206 Partial Content", &head, all - from);
            wire.send(&blob[from..=from]);
        }
        _ => stock.serve(asked, wire),
    });
    let before = Leaks::count(&daemon);
    let name = format!("{}/mean:1", stub.host());
    let pull = daemon.docker(["pull", &name]).exits(1);
    pull.err_has("unexpected EOF");
    assert_eq!(offsets(&stub, &largest), [0, 1, 2]);
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

/// A configuration of the docker CLI with a user and a password for `host`.
fn log_in(daemon: &Daemon, host: &str) -> String {
    let home = daemon.sandbox().state().join("login");
    let auth = json!({"auths": {host: {"auth": "dGVzdDpzM2NyZXQ="}}});
    std::fs::create_dir(&home).expect("it can be made");
    std::fs::write(home.join("config.json"), auth.to_string()).expect("it can be written");
    home.display().to_string()
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
    let home = log_in(&daemon, &stub.host());
    let name = format!("{}/moved:1", stub.host());
    daemon.docker(["--config", &home, "pull", &name]).ok();
    runs(&daemon, &name);
    let asked = elsewhere.asked();
    assert!(asked.len() >= 3, "{asked:?}");
    let told = asked.iter().find(|a| a.header("authorization").is_some());
    assert!(told.is_none(), "{told:?}");
}

/// The same image whose largest layer is not the registry's to give: it is at `addresses`.
fn foreign(stock: &Stock, addresses: &[String]) -> Stock {
    let mut manifest: Value = serde_json::from_slice(&stock.manifest).expect("JSON");
    let largest = stock.largest();
    let layers = manifest["layers"].as_array_mut().expect("layers");
    let layer = layers.iter_mut().find(|layer| layer["digest"] == largest);
    let layer = layer.expect("it has the largest blob");
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    layer["urls"] = json!(addresses);
    let kept = stock.blobs.iter().filter(|(name, _)| *name != largest);
    Stock {
        manifest: manifest.to_string().into_bytes(),
        blobs: kept.cloned().collect(),
    }
}

#[test]
fn foreign_layers_come_from_where_their_manifest_says() {
    let daemon = Daemon::start(Options::default());
    let stock = Stock::of(&image(), Compression::Gzip);
    let largest = stock.largest();
    let layer = stock.blobs.iter().find(|(name, _)| *name == largest);
    let layer = layer.expect("it is there").1.clone();
    // The first time half of it.
    let times = AtomicUsize::new(0);
    let elsewhere = Stub::start(&daemon, 5001, move |asked, wire| {
        match asked.target.as_str() {
            "/gone" => wire.answer("404 Not Found", &[], ""),
            "/other" => wire.answer("200 OK", &[], vec![7; layer.len()]),
            _ if times.fetch_add(1, Ordering::Relaxed) == 0 => {
                wire.head("200 OK", &[], layer.len());
                wire.send(&layer[..layer.len() / 2]);
            }
            _ => {
                let (from, last, all) = (asked.offset(), layer.len() - 1, layer.len());
                let range = format!("bytes {from}-{last}/{all}");
                let rest = &layer[from..];
                wire.answer("206 Partial Content", &[("Content-Range", &range)], rest);
            }
        }
    });
    let at = |path: &str| format!("http://{}/{path}", elsewhere.host());
    let file = || "file:///etc/passwd".to_owned();
    let stocks = [
        foreign(&stock, &[file(), at("gone"), at("layer")]),
        foreign(&stock, &[at("other")]),
        foreign(&stock, &[file(), "ftp://127.0.0.1/layer".to_owned()]),
    ];
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        if asked.header("authorization").is_none() {
            let challenge = ("WWW-Authenticate", "Basic realm=\"x\"");
            return wire.answer("401 Unauthorized", &[challenge], "");
        }
        let stock = stocks.iter().enumerate();
        let stock = stock.filter(|(n, _)| asked.target.contains(&format!("/image{n}/")));
        match stock.map(|(_, stock)| stock).next() {
            Some(stock) if asked.target.contains("/manifests/") => stock.serve(asked, wire),
            Some(stock) if stock.blob(asked).is_some() => stock.serve(asked, wire),
            Some(_) => wire.answer("404 Not Found", &[], ""),
            None => wire.answer("200 OK", &[], "{}"),
        }
    });
    let home = log_in(&daemon, &stub.host());
    let pull = |n: usize| {
        let name = format!("{}/image{n}:1", stub.host());
        let output = daemon.docker(["--config", &home, "pull", &name]);
        (name, output)
    };
    let (other, output) = pull(1);
    output
        .exits(1)
        .err_has("filesystem layer verification failed for digest");
    absent(&daemon, &other);
    let (refused, output) = pull(2);
    output.exits(1).err_has("unsupported protocol scheme");
    absent(&daemon, &refused);
    let (name, output) = pull(0);
    output.ok();
    runs(&daemon, &name);
    let asked = elsewhere.asked();
    let tried = asked.iter().filter(|asked| asked.target == "/layer");
    let tried: Vec<usize> = tried.map(Asked::offset).collect();
    assert!(matches!(tried[..], [0, more] if more > 0), "{tried:?}");
    let told = asked.iter().find(|a| a.header("authorization").is_some());
    assert!(told.is_none(), "{told:?}");
}
