//! What a reload costs with many runtimes, and what a capture costs beside reloads. Prints, and
//! fails only on counts: times are the machine's.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_config::{ConfigStore, Facts, Sources};

const RUNTIMES: usize = 50;
const RELOADS: usize = 200;
const READERS: usize = 8;
const CAPTURES: u32 = 20_000;

/// A configuration with `RUNTIMES` runtimes, each with a wrapper script, and a label.
fn text(n: usize) -> String {
    let mut runtimes = String::new();
    for i in 0..RUNTIMES {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(
            runtimes,
            r#"{comma}"r{i}":{{"path":"/r{i}","runtimeArgs":["--a","b c {i}"]}}"#
        );
    }
    format!(r#"{{"labels":["n={n}"],"runtimes":{{{runtimes}}}}}"#)
}

fn open(dir: &Path) -> ConfigStore {
    let file = dir.join("daemon.json");
    std::fs::write(&file, text(0)).unwrap();
    let mut sources = Sources {
        file,
        ..Sources::default()
    };
    let data = dir.join("data").to_string_lossy().into_owned();
    sources.flags.insert("data-root".to_owned(), data.into());
    let store = ConfigStore::open(sources, Facts::default()).unwrap();
    store.write_wrappers().unwrap();
    store
}

fn reloads(store: &ConfigStore, dir: &Path) -> Vec<Duration> {
    let mut times = Vec::with_capacity(RELOADS);
    for n in 1..=RELOADS {
        std::fs::write(dir.join("daemon.json"), text(n)).unwrap();
        let since = Instant::now();
        store.reload().unwrap();
        times.push(since.elapsed());
        assert_eq!(store.capture().labels, [format!("n={n}")]);
    }
    times.sort();
    times
}

fn captures(store: &ConfigStore) -> Duration {
    let since = Instant::now();
    for _ in 0..CAPTURES {
        std::hint::black_box(store.capture());
    }
    since.elapsed() / CAPTURES
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let times = reloads(&store, dir.path());
    let (median, slowest) = (times[RELOADS / 2], times[RELOADS - 1]);
    let verdict = if median < Duration::from_millis(5) {
        "met"
    } else {
        "NOT MET"
    };
    println!(
        "reload, {RUNTIMES} runtimes    median {median:?}, slowest {slowest:?}; promised 5 ms: {verdict}"
    );
    println!("capture, alone         {:?}", captures(&store));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                store.reload().unwrap();
            }
        });
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| captures(&store)))
            .collect();
        let slowest = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .max();
        println!(
            "capture, {READERS} threads and reloads    {:?}",
            slowest.unwrap()
        );
        done.store(true, Ordering::Release);
    });
    let scripts = std::fs::read_dir(dir.path().join("data/runtimes"))
        .unwrap()
        .count();
    assert_eq!(
        scripts, RUNTIMES,
        "a reload that changes no runtime writes no script"
    );
}
