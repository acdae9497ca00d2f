//! Reading the kernel's files, and how many were read.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// No file of the kernel's that is read here is longer: `cgroup.procs` of a million processes is 8 MiB.
const LONGEST: u64 = 16 << 20;

/// The file system of a host, or a folder that looks like one.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    reads: AtomicU64,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Files {
        Files {
            root: root.to_owned(),
            reads: AtomicU64::new(0),
        }
    }

    /// The text of `path`, an absolute one.
    pub(crate) fn read(&self, path: &Path) -> Result<String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(self.real(path)).map_err(failed)?;
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Ok(text)
    }

    /// The text of `path`; empty when there is none, as where a controller lacks a file.
    pub(crate) fn read_or_empty(&self, path: &Path) -> String {
        self.read(path).unwrap_or_default()
    }

    /// Writes `text` into `path`, which there must be.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<()> {
        let file = File::options().write(true).open(self.real(path));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::Write {
                path: path.to_owned(),
                source,
            })
    }

    pub(crate) fn is_there(&self, path: &Path) -> bool {
        self.real(path).exists()
    }

    /// The folders in `path`, in order of name; none when it cannot be read.
    pub(crate) fn folders(&self, path: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.real(path)).into_iter().flatten();
        let mut found: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| path.join(entry.file_name()))
            .collect();
        found.sort();
        found
    }

    /// How many files have been read.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}
