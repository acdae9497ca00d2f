//! Copies a tree with everything that it is: what a new volume gets of the image's directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::entry::Attributes;
use crate::view::open_below;
use crate::{Entry, Error, Result, Step, View, Walk};

/// Copies what the directory at `path` of `view` contains into the directory `into` of the host,
/// and gives `into` that directory's owner, mode, times and extended attributes. Hard links
/// within it stay links; sockets are left out. Links in `path` are followed inside the tree, and
/// `into` must be nobody's to change meanwhile. `Ok(false)` when there is no directory at `path`:
/// nothing is done.
///
/// # Errors
/// Reading or writing failed; what was copied before stays.
pub fn copy(view: &View, path: &Path, into: &Path) -> Result<bool> {
    let from = match view.open_at(path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(from) => from,
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(into, flags, Mode::empty()).map_err(Error::at("open", into))?;
    let mut copy = Copy {
        root,
        links: HashMap::new(),
        folders: Vec::new(),
    };
    for step in Walk::new(from) {
        match step? {
            Step::Enter(entry) => copy.enter(&entry)?,
            Step::Leave(path) => copy.leave(&path)?,
        }
    }
    Ok(true)
}

struct Copy {
    root: OwnedFd,
    /// Where files of several names were copied to, by device and number.
    links: HashMap<(u64, u64), PathBuf>,
    /// What the directories we are in get at their end, when nothing changes their times any more.
    folders: Vec<Attributes>,
}

impl Copy {
    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let attributes = Attributes::of(entry)?;
        let kind = entry.kind();
        if entry.path.as_os_str().is_empty() {
            self.folders.push(attributes);
            return Ok(());
        }
        let (parent, name) = self.place(entry)?;
        let id = (entry.stat.st_dev, entry.stat.st_ino);
        if kind != FileType::Directory && entry.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&id) {
                return rustix::fs::linkat(&self.root, first, &parent, &name, AtFlags::empty())
                    .map_err(entry.fail("link"));
            }
            self.links.insert(id, entry.path.clone());
        }
        let mode = Mode::from_raw_mode(0o600);
        let made = match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700))
                    .or_else(|errno| {
                        if errno == Errno::EXIST {
                            Ok(())
                        } else {
                            Err(errno)
                        }
                    })
                    .map_err(entry.fail("mkdir"))?;
                self.folders.push(attributes);
                return Ok(());
            }
            FileType::Symlink => rustix::fs::symlinkat(entry.read_link()?, &parent, &name),
            FileType::RegularFile => return copy_file(entry, &parent, &name, &attributes),
            FileType::Socket | FileType::Unknown => return Ok(()),
            _ => rustix::fs::mknodat(&parent, &name, kind, mode, entry.stat.st_rdev),
        };
        made.map_err(entry.fail("create"))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = open_below(&parent, Path::new(&name), flags).map_err(entry.fail("open"))?;
        attributes
            .give(fd.as_fd(), kind)
            .map_err(entry.fail("set attributes of"))
    }

    fn leave(&mut self, path: &Path) -> Result<()> {
        let Some(attributes) = self.folders.pop() else {
            return Ok(());
        };
        open_below(&self.root, path, OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|fd| attributes.give(fd.as_fd(), FileType::Directory))
            .map_err(Error::at("set attributes of", path))
    }

    fn place(&self, entry: &Entry) -> Result<(OwnedFd, OsString)> {
        let folder = entry.path.parent().unwrap_or(Path::new(""));
        let parent = open_below(&self.root, folder, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(entry.fail("open the directory of"))?;
        Ok((parent, entry.name.clone()))
    }
}

fn copy_file(entry: &Entry, parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<()> {
    let mut from = match entry.open() {
        // Replaced or removed meanwhile.
        Err(error)
            if matches!(
                error.errno(),
                Some(Errno::NOENT | Errno::STALE | Errno::LOOP)
            ) =>
        {
            return Ok(());
        }
        other => other?,
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        .map_err(entry.fail("create"))?;
    let mut to = std::fs::File::from(to);
    io::copy(&mut from, &mut to).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        entry.fail("copy")(errno)
    })?;
    attributes
        .give(to.as_fd(), FileType::RegularFile)
        .map_err(entry.fail("set attributes of"))
}
