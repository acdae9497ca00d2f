//! The files of one log, and which of them holds what.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::read::MultiGzDecoder;

use crate::format::Format;
use crate::{Error, Result};

/// How long a read from a compressed file's disk is.
const GZIP_BUFFER: usize = 32 * 1024;

/// Locks, whatever became of an earlier holder: what these locks guard stays sound at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log's files: `<path>` is being written, `<path>.1` (or `.1.gz`) was before it, and so on.
///
/// Names move at each rotation, so readers speak of *generations*: each file keeps its number for
/// life, and each rotation makes the next one.
#[derive(Debug)]
pub(crate) struct Files {
    path: PathBuf,
    max_file: u32,
    format: Format,
    /// The generation being written. Held while names move and while one is opened.
    current: Mutex<u64>,
}

/// One of the files, open for reading.
#[derive(Debug)]
pub(crate) enum Source {
    /// As it was written.
    Plain(File),
    /// Compressed.
    Gzip(Box<MultiGzDecoder<io::BufReader<File>>>),
}

impl Files {
    pub(crate) fn new(path: &Path, max_file: u32, format: Format) -> Self {
        let max_file = max_file.max(1);
        Self {
            path: path.to_owned(),
            max_file,
            format,
            current: Mutex::new(u64::from(max_file)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The form of the records.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The generation being written.
    pub(crate) fn current(&self) -> u64 {
        *lock(&self.current)
    }

    /// The oldest generation that may still be there when `current` is being written.
    pub(crate) fn oldest(&self, current: u64) -> u64 {
        current.saturating_sub(u64::from(self.max_file) - 1)
    }

    /// The name of the file that was written `age` rotations ago.
    pub(crate) fn name(&self, age: u64) -> PathBuf {
        match age {
            0 => self.path.clone(),
            _ => suffixed(&self.path, &format!(".{age}")),
        }
    }

    /// Opens a generation; `None`: it is no longer there, or never was.
    pub(crate) fn open(&self, generation: u64) -> Result<Option<Source>> {
        let current = lock(&self.current);
        let Some(age) = current.checked_sub(generation) else {
            return Ok(None);
        };
        let name = self.name(age);
        if let Some(file) = open_existing(&name)? {
            return Ok(Some(Source::Plain(file)));
        }
        // A compressed file gets its name when it is complete, and only then the plain one goes.
        let name = suffixed(&name, ".gz");
        Ok(open_existing(&name)?.map(|file| {
            let file = io::BufReader::with_capacity(GZIP_BUFFER, file);
            Source::Gzip(Box::new(MultiGzDecoder::new(file)))
        }))
    }

    /// Opens the file to write, making it (mode 0640) when it is missing.
    pub(crate) fn open_current(&self) -> Result<File> {
        writable(&self.path)
    }

    /// Starts the next generation. When that fails, the old one is still the one to write.
    pub(crate) fn rotate(&self) -> Result<File> {
        let mut current = lock(&self.current);
        let fresh = suffixed(&self.path, ".new");
        remove(&fresh)?;
        let file = writable(&fresh)?;
        let moved = self.shift().and_then(|()| rename(&fresh, &self.path));
        if let Err(error) = moved {
            let _ = remove(&fresh);
            return Err(error);
        }
        *current += 1;
        Ok(file)
    }

    /// Gives each file the name of the one before it, down to the first name that is free; the
    /// last file goes. Both kinds of names are moved: a crash may have left a file uncompressed.
    fn shift(&self) -> Result<()> {
        let last = u64::from(self.max_file) - 1;
        if last == 0 {
            return Ok(());
        }
        let taken =
            |age: &u64| self.name(*age).exists() || suffixed(&self.name(*age), ".gz").exists();
        let free = (1..last).find(|age| !taken(age)).unwrap_or(last);
        for suffix in ["", ".gz"] {
            remove(&suffixed(&self.name(free), suffix))?;
            for age in (1..free).rev() {
                let (from, to) = (self.name(age), self.name(age + 1));
                rename(&suffixed(&from, suffix), &suffixed(&to, suffix))?;
            }
        }
        rename(&self.path, &self.name(1))
    }
}

pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens (or makes) a file for appending. It can be read too: a torn end is looked for.
pub(crate) fn writable(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    options.open(path).map_err(Error::io("open", path))
}

fn open_existing(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Renames; a file that is not there is no error.
fn rename(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("rename", from)(error))
        }
        _ => Ok(()),
    }
}

/// Removes; a file that is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
