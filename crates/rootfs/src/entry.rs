//! One name in a directory of a tree: what it is, read and written by descriptor.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::assembly::{below, link_to};
use crate::{Error, Result};

/// What `stat` tells.
pub type Stat = rustix::fs::Stat;

/// Extended attributes, by name.
pub(crate) type Xattrs = Vec<(CString, Vec<u8>)>;

/// The most bytes of one extended attribute, as the kernel has it.
const XATTR_SIZE: usize = 64 << 10;

/// A name in a directory, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) parent: Arc<OwnedFd>,
    pub(crate) name: OsString,
    /// Relative to where the walk began; empty for that itself.
    pub path: PathBuf,
    /// What it is; of a link the link.
    pub stat: Stat,
}

impl Entry {
    /// Its type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens the regular file that this is.
    ///
    /// # Errors
    /// It is none, or not the one any more that was looked at ([`Errno::STALE`]).
    pub fn open(&self) -> Result<File> {
        // It may have become a FIFO meanwhile: opening must not wait for a writer.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*self.parent, &self.name, flags, Mode::empty())
            .map_err(self.fail("open"))?;
        let now = rustix::fs::fstat(&file).map_err(self.fail("stat"))?;
        let same = (now.st_dev, now.st_ino) == (self.stat.st_dev, self.stat.st_ino);
        if !same || FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
            return Err(self.fail("open")(Errno::STALE));
        }
        Ok(File::from(file))
    }

    /// Where the link that this is leads.
    ///
    /// # Errors
    /// It is no link any more.
    pub fn read_link(&self) -> Result<PathBuf> {
        rustix::fs::readlinkat(&*self.parent, &self.name, Vec::new())
            .map(|target| PathBuf::from(OsString::from_vec(target.into_bytes())))
            .map_err(self.fail("read link"))
    }

    /// Its extended attributes, without those that say how overlay layers are merged.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn xattrs(&self) -> Result<Vec<(CString, Vec<u8>)>> {
        let path = match self.name == "." {
            true => link_to(self.parent.as_fd()),
            false => below(self.parent.as_fd(), &self.name),
        };
        xattrs(&path, self.name == ".").map_err(self.fail("read extended attributes of"))
    }

    /// What it may do beyond its user, as the kernel keeps it; empty for nothing.
    pub(crate) fn capability(&self) -> Result<Vec<u8>> {
        match self.kind() == FileType::RegularFile {
            true => capability(&below(self.parent.as_fd(), &self.name))
                .map_err(self.fail("read extended attributes of")),
            false => Ok(Vec::new()),
        }
    }

    /// Whether overlayfs shows nothing of the layers below in this directory of an upper layer.
    pub(crate) fn is_opaque(&self) -> Result<bool> {
        let path = match self.name == "." {
            true => link_to(self.parent.as_fd()),
            false => below(self.parent.as_fd(), &self.name),
        };
        let mut value = [0; 8];
        for mark in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            match rustix::fs::getxattr(&path, mark, &mut value[..]) {
                Ok(1) if value[0] == b'y' => return Ok(true),
                Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
                Err(errno) => return Err(self.fail("read extended attributes of")(errno)),
            }
        }
        Ok(false)
    }

    pub(crate) fn fail(&self, what: &'static str) -> impl FnOnce(Errno) -> Error {
        Error::at(what, Path::new("/").join(&self.path))
    }
}

pub(crate) fn xattrs(path: &Path, follow: bool) -> Result<Xattrs, Errno> {
    let mut names = vec![0u8; XATTR_SIZE];
    let listed = match follow {
        true => rustix::fs::listxattr(path, &mut names[..]),
        false => rustix::fs::llistxattr(path, &mut names[..]),
    };
    let length = match listed {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    let mut value = vec![0u8; if length == 0 { 0 } else { XATTR_SIZE }];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if is_merge_mark(name) {
            continue;
        }
        let read = match follow {
            true => rustix::fs::getxattr(path, name, &mut value[..]),
            false => rustix::fs::lgetxattr(path, name, &mut value[..]),
        };
        match read {
            Ok(length) => found.push((name.to_owned(), value[..length].to_vec())),
            // Gone since it was listed, or not for us to read.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// The capabilities of the regular file at `path`.
pub(crate) fn capability(path: &Path) -> Result<Vec<u8>, Errno> {
    let mut value = [0; 64];
    match rustix::fs::getxattr(path, "security.capability", &mut value[..]) {
        Ok(length) => Ok(value[..length].to_vec()),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

fn is_merge_mark(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// What is to be true of a file besides its contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    /// Permission bits, `0o7777` at most; not of links.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) accessed: (i64, i64),
    pub(crate) modified: (i64, i64),
    pub(crate) xattrs: Xattrs,
}

impl Attributes {
    pub(crate) fn of(entry: &Entry) -> Result<Attributes> {
        let stat = &entry.stat;
        Ok(Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            accessed: (stat.st_atime, stat.st_atime_nsec as i64),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            xattrs: entry.xattrs()?,
        })
    }

    /// Gives them to what `fd` is open on, whose type is `kind`; `O_PATH` will do. The times
    /// come last, and a directory's again when it is full.
    pub(crate) fn give(&self, fd: BorrowedFd<'_>, kind: FileType) -> Result<(), Errno> {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(self.uid),
            rustix::fs::Gid::from_raw(self.gid),
        );
        rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        let path = link_to(fd);
        // After the owner, whose change takes capabilities and set-user-id bits away.
        if kind != FileType::Symlink {
            rustix::fs::chmod(&path, Mode::from_raw_mode(self.mode))?;
        }
        for (name, value) in &self.xattrs {
            match rustix::fs::setxattr(&path, name.as_c_str(), value, XattrFlags::empty()) {
                // The file system has none of that kind, as dockerd lets pass.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.give_times(fd)
    }

    /// Gives only the times.
    pub(crate) fn give_times(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: time(self.accessed),
            last_modification: time(self.modified),
        };
        // By the link: `utimensat` takes AT_EMPTY_PATH only of descriptors that are not O_PATH.
        rustix::fs::utimensat(rustix::fs::CWD, link_to(fd), &times, AtFlags::empty())
    }
}

/// What `name` is in `parent`, links not followed.
pub(crate) fn look(parent: &OwnedFd, name: &OsStr) -> Result<Stat, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}
