mod faults;
mod follow;
mod format;
mod local;
mod options;
mod roundtrip;
mod speed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::{Line, LogConfig, Logger, ReadOptions, Reader, Stream, Subject};

/// A log in a folder of its own.
struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
    config: LogConfig,
}

impl Log {
    fn new(opts: &[(&str, &str)]) -> Self {
        Self::of("json-file", opts)
    }

    fn of(driver: &'static str, opts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = crate::log_path(driver, folder.path(), "c0ffee");
        Self {
            _folder: folder,
            path,
            config: LogConfig::parse(driver, &self::opts(opts)).unwrap(),
        }
    }

    fn open(&self) -> Logger {
        Logger::open(&self.config, &self.path, &Subject::default()).unwrap()
    }

    async fn read(&self, options: ReadOptions) -> Vec<Line> {
        all(Reader::open(&self.config, &self.path, options).unwrap()).await
    }

    /// What the current file holds.
    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    /// The file of that many rotations ago.
    fn rotated(&self, age: u32, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}.{age}{suffix}", self.path.display()))
    }
}

fn opts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn config(pairs: &[(&str, &str)]) -> LogConfig {
    LogConfig::parse("json-file", &opts(pairs)).unwrap()
}

/// Writes to both streams of a log and closes it.
async fn write_all(logger: &Logger, chunks: &[(Stream, Vec<u8>)]) {
    for (index, (stream, chunk)) in chunks.iter().enumerate() {
        logger.write(*stream, chunk, at(index)).await;
    }
    logger.close(at(chunks.len())).await.unwrap();
}

async fn all(mut reader: Reader) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(line) = reader.next().await {
        lines.push(line.unwrap());
    }
    lines
}

/// A time for each index, increasing.
fn at(index: usize) -> Timestamp {
    let start: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_millis(i64::try_from(index).unwrap() * 10)
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines
        .iter()
        .map(|line| String::from_utf8(line.bytes.to_vec()).unwrap())
        .collect()
}

fn exists(path: &Path) -> bool {
    path.exists()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
