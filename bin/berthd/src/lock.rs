//! Files that one process holds.
//!
//! The kernel lets go of a lock when its holder ends, however it ends: nothing is ever stale.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// How often a file that was removed under our hands is made again.
const TRIES: usize = 10;

/// Opens the file, making it where it is missing, and locks it. `None` when another process
/// holds it.
pub(crate) fn hold(path: &Path, mode: u32) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode);
        let file = options.open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // Its last holder may have removed it between our open and our lock: then the lock is on
        // a file that nobody else will find.
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
    Err(io::Error::other(
        "the file is being replaced again and again",
    ))
}

/// Whether the open file is the one at `path`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(there.dev() == ours.dev() && there.ino() == ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
