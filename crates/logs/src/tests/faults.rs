//! Crashes, damage, and disks that are full or slow.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Log, at, config, texts};
use crate::{Logger, ReadOptions, Reader, Stream, Subject};

const GOOD: &str =
    "{\"log\":\"good\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-24T12:00:00Z\"}\n";

#[tokio::test]
async fn a_record_that_a_crash_cut_short_is_taken_away() {
    for cut in 0..GOOD.len() {
        let log = Log::new(&[]);
        std::fs::write(&log.path, format!("{GOOD}{}", &GOOD[..cut])).unwrap();
        let logger = log.open();
        logger.write(Stream::Stdout, b"next\n", at(0)).await;
        logger.close(at(0)).await.unwrap();
        assert_eq!(
            texts(&log.read(ReadOptions::default()).await),
            ["good\n", "next\n"],
            "cut at {cut}"
        );
        assert_eq!(log.text().lines().count(), 2);
    }
}

#[tokio::test]
async fn a_torn_record_longer_than_a_block_is_taken_away() {
    let log = Log::new(&[]);
    std::fs::write(
        &log.path,
        format!("{GOOD}{{\"log\":\"{}", "x".repeat(200_000)),
    )
    .unwrap();
    log.open().close(at(0)).await.unwrap();
    assert_eq!(log.text(), GOOD);
}

#[tokio::test]
async fn damaged_lines_are_passed_over() {
    let log = Log::new(&[]);
    let damage = [
        "",
        "{",
        "null",
        "[1]",
        "{\"log\":1}",
        "\0\0\0",
        "{\"log\":\"x\\q\",\"stream\":\"stdout\"",
        "\u{fffd}",
    ];
    let mut text = String::new();
    for damaged in damage {
        text.push_str(GOOD);
        text.push_str(damaged);
        text.push('\n');
    }
    text.push_str(&"y".repeat(3 << 20));
    text.push('\n');
    text.push_str(GOOD);
    // As another program may write it: other order, spaces, a zone.
    text.push_str("{ \"time\": \"2026-11-24T13:00:00+01:00\", \"stream\": \"stderr\", \"log\": \"other\\u00e9\\n\" }\n");
    text.push_str(&GOOD[..20]);
    std::fs::write(&log.path, text).unwrap();
    let lines = log.read(ReadOptions::default()).await;
    let mut expected = vec!["good\n"; damage.len() + 1];
    expected.push("otheré\n");
    assert_eq!(texts(&lines), expected);
    assert_eq!(lines.last().unwrap().time, at(0));
}

#[tokio::test]
async fn a_damaged_compressed_file_hides_only_itself() {
    let log = Log::new(&[("max-size", "1k"), ("max-file", "3"), ("compress", "true")]);
    std::fs::write(log.rotated(2, ".gz"), b"\x1f\x8bnonsense").unwrap();
    std::fs::write(log.rotated(1, ""), GOOD).unwrap();
    std::fs::write(&log.path, GOOD).unwrap();
    for tail in [None, Some(10)] {
        let lines = log
            .read(ReadOptions {
                tail,
                ..ReadOptions::default()
            })
            .await;
        assert_eq!(texts(&lines), ["good\n", "good\n"]);
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_in_compression_are_taken_away() {
    let log = Log::new(&[("max-size", "1"), ("max-file", "3"), ("compress", "true")]);
    std::fs::write(log.rotated(1, ".gz.tmp"), "half").unwrap();
    std::fs::write(log.rotated(1, ""), GOOD).unwrap();
    let logger = log.open();
    assert!(!super::exists(&log.rotated(1, ".gz.tmp")));
    logger.write(Stream::Stdout, b"a\nb\n", at(0)).await;
    logger.close(at(0)).await.unwrap();
    assert_eq!(
        texts(&log.read(ReadOptions::default()).await),
        ["good\n", "a\n", "b\n"]
    );
}

#[tokio::test]
async fn log_files_are_not_for_everyone() {
    let log = Log::new(&[]);
    log.open().close(at(0)).await.unwrap();
    let mode = std::fs::metadata(&log.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o640, 0);
}

/// A log on a disk that hangs: a FIFO without a reader, full.
fn hanging_log(pairs: &[(&str, &str)]) -> (Log, std::fs::File) {
    let log = Log::new(pairs);
    assert!(
        Command::new("mkfifo")
            .arg(&log.path)
            .status()
            .unwrap()
            .success()
    );
    let other_end = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&log.path)
        .unwrap();
    (log, other_end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_the_container_back() {
    let (log, mut disk) = hanging_log(&[]);
    let logger = log.open();
    let chunk = vec![b'x'; 64 * 1024];
    let mut writes = 0;
    while tokio::time::timeout(
        Duration::from_millis(300),
        logger.write(Stream::Stdout, &chunk, at(0)),
    )
    .await
    .is_ok()
    {
        writes += 1;
        assert!(writes < 100, "nothing holds the container back");
    }
    // It goes on when the disk does.
    let total = writes * chunk.len();
    let drain = tokio::task::spawn_blocking(move || {
        let mut read = 0;
        let mut block = vec![0; 64 * 1024];
        while read < total {
            read += std::io::Read::read(&mut disk, &mut block).unwrap();
        }
        disk
    });
    tokio::time::timeout(
        Duration::from_secs(20),
        logger.write(Stream::Stdout, b"\n", at(0)),
    )
    .await
    .unwrap();
    let _disk = drain.await.unwrap();
    logger.close(at(0)).await.unwrap();
    assert_eq!(logger.stats().dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_costs_lines_in_non_blocking_mode() {
    let (log, mut disk) = hanging_log(&[("mode", "non-blocking"), ("max-buffer-size", "8k")]);
    let logger = log.open();
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    let written = tokio::time::timeout(Duration::from_secs(20), async {
        for _ in 0..1000 {
            logger.write(Stream::Stdout, &line, at(0)).await;
        }
    });
    written.await.expect("the container never waits");
    let dropped = logger.stats().dropped;
    assert!(dropped > 800, "{dropped}");
    let drain = tokio::task::spawn_blocking(move || {
        let mut records = 0;
        let mut block = vec![0; 64 * 1024];
        while records < 1000 - dropped {
            let length = std::io::Read::read(&mut disk, &mut block).unwrap();
            records += memchr::memchr_iter(b'\n', &block[..length]).count() as u64;
        }
    });
    logger.close(at(0)).await.unwrap();
    drain.await.unwrap();
}

/// Runs [`on_a_full_disk`] in a mount namespace with a small tmpfs.
#[test]
fn a_full_disk_costs_lines_but_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=128k tmpfs \"$DISK\" && exec \"$0\" --ignored --exact tests::faults::on_a_full_disk";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("DISK", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "runs only where a_full_disk_costs_lines_but_stops_nothing has mounted a small disk"]
async fn on_a_full_disk() {
    let disk = std::env::var_os("DISK").expect("a small disk");
    let path = Path::new(&disk).join("log");
    let config = config(&[("max-size", "10m"), ("max-file", "2")]);
    let logger = Logger::open(&config, &path, &Subject::default()).unwrap();
    let mut ballast = std::fs::File::create(Path::new(&disk).join("ballast")).unwrap();
    ballast.write_all(&[0; 64 * 1024]).unwrap();
    for index in 0..3000 {
        logger
            .write(
                Stream::Stdout,
                format!("before {index}\n").as_bytes(),
                at(0),
            )
            .await;
    }
    // A reader of now waits for all that was handed over: the disk has been full by then.
    assert!(
        super::all(logger.read(ReadOptions::default()).unwrap())
            .await
            .len()
            < 3000
    );
    assert!(
        std::fs::read_to_string(&path).unwrap().ends_with("}\n"),
        "no half record stays"
    );
    drop(ballast);
    std::fs::remove_file(Path::new(&disk).join("ballast")).unwrap();
    logger.write(Stream::Stdout, b"after\n", at(1)).await;
    logger.close(at(1)).await.unwrap();
    assert!(logger.stats().lost > 0);
    let lines = super::all(Reader::open(&config, &path, ReadOptions::default()).unwrap()).await;
    assert_eq!(texts(&lines).last().unwrap(), "after\n");
    let before = texts(&lines)
        .iter()
        .enumerate()
        .all(|(at, line)| at + 1 == lines.len() || line.starts_with("before "));
    assert!(before);
}
