use std::path::Path;
use std::time::Instant;

use berth_config::{Config, Facts, RuntimeConfig};

use super::*;

/// A runtime that is a shell script.
fn script(dir: &Path, name: &str, body: &str) -> RuntimeConfig {
    let path = dir.join(name);
    let text = path.with_extension("text");
    std::fs::write(&text, format!("#!/bin/sh\n{body}\n")).unwrap();
    // Not by this process: a child of another test, between fork and exec, would hold it open to be
    // written, and nobody could run it.
    let mut install = std::process::Command::new("install");
    let made = install.args(["-m", "755"]).args([&text, &path]).status();
    assert!(made.unwrap().success());
    RuntimeConfig {
        path: path.to_str().unwrap().to_owned(),
        ..RuntimeConfig::default()
    }
}

fn live(runtimes: &[(&str, &RuntimeConfig)], dir: &Path) -> Arc<Live> {
    let config = Config {
        data_root: dir.to_owned(),
        exec_root: dir.to_owned(),
        runtimes: runtimes
            .iter()
            .map(|(name, config)| ((*name).to_owned(), (*config).clone()))
            .collect(),
        ..Config::default()
    };
    Arc::new(Live::derive(config, Facts::default()).expect("a good configuration"))
}

fn of(features: &Features, live: &Live, name: &str) -> Option<String> {
    features
        .of(&live.runtimes.get(name).unwrap())
        .map(|text| text.to_string())
}

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing is being asked any more.
async fn idle(features: &Features) {
    eventually("asking ends", || features.asked.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_runtime_is_asked_once_for_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count");
    let body = format!("echo \"$@\" >>{}; echo '{{ \"a\" : 1 }}'", count.display());
    let mut told = script(dir.path(), "told", &body);
    told.runtime_args = vec!["--x y".into()];
    let features = Arc::new(Features::default());
    let first = live(&[("told", &told)], dir.path());
    assert_eq!(of(&features, &first, "told"), None);
    features.look(&first);
    eventually("it is known", || of(&features, &first, "told").is_some()).await;
    assert_eq!(of(&features, &first, "told").as_deref(), Some(r#"{"a":1}"#));
    idle(&features).await;
    // Another configuration with the same runtime.
    let second = live(&[("told", &told)], dir.path());
    features.look(&second);
    assert_eq!(
        of(&features, &second, "told").as_deref(),
        Some(r#"{"a":1}"#),
        "at once"
    );
    tokio::task::yield_now().await;
    idle(&features).await;
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "--x y features\n");
    // Another file in its place.
    std::thread::sleep(Duration::from_millis(10));
    script(dir.path(), "told", "echo '{\"b\":22}'");
    features.look(&live(&[("told", &told)], dir.path()));
    eventually("the new one is known", || {
        of(&features, &first, "told").as_deref() == Some(r#"{"b":22}"#)
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_none_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let runtimes = [
        ("fails", script(dir.path(), "fails", "echo '{}'; exit 3")),
        ("text", script(dir.path(), "text", "echo hello")),
        ("list", script(dir.path(), "list", "echo '[]'")),
        (
            "endless",
            script(dir.path(), "endless", "exec cat /dev/zero"),
        ),
        ("good", script(dir.path(), "good", "echo '{}'")),
    ];
    let missing = RuntimeConfig {
        path: "/no/such".into(),
        ..RuntimeConfig::default()
    };
    let mut all: Vec<_> = runtimes
        .iter()
        .map(|(name, config)| (*name, config))
        .collect();
    all.push(("missing", &missing));
    let live = live(&all, dir.path());
    let features = Arc::new(Features::default());
    features.look(&live);
    eventually("a good one is known", || {
        of(&features, &live, "good").is_some()
    })
    .await;
    idle(&features).await;
    for name in ["fails", "text", "list", "endless", "missing"] {
        assert_eq!(of(&features, &live, name), None, "{name}");
    }
}

#[tokio::test]
async fn one_that_hangs_holds_up_nothing_and_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    // It hangs in a child of its own, which keeps the output open.
    let hangs = script(
        dir.path(),
        "hangs",
        &format!("sleep 1000 & echo $! >{}; wait", child.display()),
    );
    let good = script(dir.path(), "good", "echo '{\"ok\":true}'");
    let live = live(&[("hangs", &hangs), ("good", &good)], dir.path());
    let features = Arc::new(Features::default());
    features.look(&live);
    eventually("the good one is known", || {
        of(&features, &live, "good").is_some()
    })
    .await;
    eventually("the other one hangs", || {
        std::fs::read_to_string(&child).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await;
    let pid = std::fs::read_to_string(&child).unwrap().trim().to_owned();
    let alive = || {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "sleep")
    };
    // Its process is there before it has become what it is to be.
    eventually("its child hangs", &alive).await;
    assert_eq!(of(&features, &live, "hangs"), None);
    eventually("its child is ended, too", || !alive()).await;
    idle(&features).await;
}
