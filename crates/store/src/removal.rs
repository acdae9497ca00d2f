//! Recursive deletion that cannot leave its tree.
//!
//! `std::fs::remove_dir_all` does not follow symbolic links, but it does walk into mounts. A
//! container's folder may still have one (its `/dev/shm`, a bind mount that could not be taken
//! down), and walking into it would delete the user's files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Deletes the directory `name` of `root` with all that is in it. Already gone is success.
pub(crate) fn remove_tree(root: &Path, name: &str) -> Result<()> {
    let path = root.join(name);
    let root = match rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::io("remove", &path)(error)),
    };
    remove_dir(&root, name.as_ref(), &path)
}

fn remove_dir(parent: &OwnedFd, name: &Path, path: &Path) -> Result<()> {
    let Some(dir) = enter(parent, name).map_err(Error::io("remove", path))? else {
        return Ok(());
    };
    let entries = Dir::read_from(&dir).map_err(Error::io("list", path))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", path))?;
        let bytes = entry.file_name().to_bytes();
        if bytes == b"." || bytes == b".." {
            continue;
        }
        let child = Path::new(OsStr::from_bytes(bytes));
        let child_path = path.join(child);
        let is_dir = match entry.file_type() {
            FileType::Unknown => rustix::fs::statat(&dir, child, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                .map_err(Error::io("remove", &child_path))?,
            kind => kind == FileType::Directory,
        };
        if is_dir {
            remove_dir(&dir, child, &child_path)?;
        } else {
            unlink(&dir, child, AtFlags::empty()).map_err(Error::io("remove", &child_path))?;
        }
    }
    unlink(parent, name, AtFlags::REMOVEDIR).map_err(Error::io("remove", path))
}

/// Opens a directory without following a link or entering a mount (that is `EXDEV`, which is
/// told as what it means: busy). `None`: it is gone.
fn enter(parent: &OwnedFd, name: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::XDEV) => Err(Errno::BUSY),
        Err(error) => Err(error),
    }
}

fn unlink(dir: &OwnedFd, name: &Path, flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}
