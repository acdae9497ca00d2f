use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// What stands in the name of a file that is being written, after the name it will get.
pub(crate) const TEMP_MARK: &str = ".tmp-";

/// How much a write outlives.
///
/// Either way it is atomic for readers and survives the end of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The data and the directory entry are on the disk when the call returns: survives a power
    /// loss. For what the user configured and could not be told from elsewhere.
    Synced,
    /// Only renamed into place: after a power loss the old record may be back, or on some file
    /// systems the new one may be empty (and is then quarantined). For state that changes often
    /// and that is reconciled with containerd at start.
    Renamed,
}

/// Replaces the record at `path` with `value`, in one step, mode 0600.
///
/// The value goes to a new file beside it, which is then renamed over the old. The parent
/// directory must exist.
///
/// # Errors
/// [`Error::Encode`] and [`Error::Io`]; the old record is then untouched and no file is left
/// beside it. One exception: when the very last step of [`Durability::Synced`] fails, the sync of
/// the directory, the new record is in place but may not survive a power loss.
pub fn write_json<T: Serialize + ?Sized>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<()> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| Error::Encode {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    bytes.push(b'\n');

    let temp = temp_beside(path)?;
    if let Err(error) = fill(&temp, &bytes, durability) {
        remove_temp(&temp);
        return Err(error);
    }
    if let Err(error) = rustix::fs::rename(&temp, path) {
        remove_temp(&temp);
        return Err(Error::io("rename", path)(error));
    }
    match durability {
        Durability::Synced => sync_dir(parent(path)?),
        Durability::Renamed => Ok(()),
    }
}

/// Reads the record at `path`.
///
/// # Errors
/// [`Error::Missing`] when there is none, [`Error::Corrupt`] when it does not decode (also when it
/// was cut short), [`Error::Io`] when the operating system could not read it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            path: path.to_owned(),
        },
        _ => Error::io("read", path)(error),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Makes the names in a directory survive a power loss.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", dir))
}

fn fill(temp: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file =
        File::from(rustix::fs::open(temp, flags, mode).map_err(Error::io("create", temp))?);
    file.write_all(bytes).map_err(Error::io("write", temp))?;
    match durability {
        Durability::Synced => file.sync_data().map_err(Error::io("sync", temp)),
        Durability::Renamed => Ok(()),
    }
}

fn remove_temp(temp: &Path) {
    if let Err(error) = std::fs::remove_file(temp)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %temp.display(), %error, "cannot remove an unfinished record");
    }
}

/// A name that no other writer uses: the process and a count make it unique. What an earlier
/// process with the same id left behind is removed by `Records::sweep`, and until then only
/// makes the count move on.
fn temp_beside(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        Error::io("write", path)(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a file name",
        ))
    })?;
    let dir = parent(path)?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut temp = std::ffi::OsString::from(".");
        temp.push(name);
        temp.push(format!("{TEMP_MARK}{}-{count}", std::process::id()));
        let temp = dir.join(temp);
        if !temp.exists() {
            return Ok(temp);
        }
    }
}

fn parent(path: &Path) -> Result<&Path> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(dir) => Ok(dir),
        None => Err(Error::io("write", path)(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a file name",
        ))),
    }
}
