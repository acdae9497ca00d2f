//! A container's tree, and looking paths up in it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::assembly::{Base, Bind, assemble, link_to};
use crate::{Error, Result, Stat};

/// How often a look-up is tried again that a rename disturbed.
const TRIES: usize = 1000;
/// How many links one path may lead through, as dockerd has it.
const MAX_LINKS: u32 = 255;

/// A container's root file system with the mounts that are part of it, out of everybody's sight.
/// It is there for as long as this, or anything opened below it, is.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
}

impl View {
    /// Puts the tree together. `over` is any directory of the host's that stays where it is; see
    /// nothing changes there. Mount points of `binds` that are missing are made. No RPC.
    ///
    /// # Errors
    /// A mount failed, or the process has ended ([`Error::Ended`]).
    pub fn open(base: &Base, binds: &[Bind], over: &Path) -> Result<View> {
        assemble(base, binds, over).map(|root| View { root })
    }

    /// Takes a directory that is nobody's to change as a tree.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of_dir(path: &Path) -> Result<View> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::at("open", path))?;
        Ok(View { root })
    }

    /// The root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The kernel's own link to the root directory, for what knows no descriptors: of use to this
    /// process, for as long as the view is there.
    pub fn path(&self) -> PathBuf {
        link_to(self.root())
    }

    /// What is at `path`; a last component that is a link is not followed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stat(&self, path: &Path) -> Result<Stat> {
        open_inside(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(rustix::fs::fstat)
            .map_err(Error::at("lstat", path))
    }

    /// Where `path` leads with all links followed, as an absolute path free of links. From the
    /// first component on that is missing, the rest is taken as it is. The tree may be another
    /// by the time the answer is used: it is for showing and for choosing, not for trusting.
    ///
    /// # Errors
    /// Too many links, or a directory cannot be read.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut found = PathBuf::from("/");
        let mut pending: VecDeque<OsString> = names(path);
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                found.pop();
                continue;
            }
            let next = found.join(&name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let target = match open_inside(&self.root, &next, flags) {
                Err(Errno::NOENT | Errno::NOTDIR) => None,
                Err(errno) => return Err(Error::at("lstat", path)(errno)),
                Ok(fd) => rustix::fs::readlinkat(&fd, "", Vec::new()).ok(),
            };
            let Some(target) = target else {
                found = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::at("lstat", path)(Errno::LOOP));
            }
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                found = PathBuf::from("/");
            }
            let mut rest = names(&target);
            rest.append(&mut pending);
            pending = rest;
        }
        Ok(found)
    }

    /// Opens what `path` leads to, links followed inside the tree; with `OFlags::NOFOLLOW` not
    /// the last one. Use `OFlags::PATH` for what may be a FIFO or a device.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        open_inside(&self.root, path, flags).map_err(Error::at("open", path))
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Opens `path` with `root` as the root: absolute links and `..` stay inside.
pub(crate) fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    open_as(root.as_fd(), path, flags, resolve)
}

/// Opens `path` below `dir`, where no component may be a link.
pub(crate) fn open_below(dir: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let here = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    open_as(dir.as_fd(), here, flags, resolve)
}

fn open_as(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        match openat2(dir, path, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile, so that the kernel could not tell where `..` is.
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Makes the mount point `path`, with the directories above it, as runtimes do.
pub(crate) fn mount_point(root: BorrowedFd<'_>, path: &Path, is_dir: bool) -> Result<OwnedFd> {
    let fail = |errno| Error::at("make the mount point", path)(errno);
    let (folder, name) = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if !is_dir => (folder, Some(name)),
        _ => (path, None),
    };
    let parent = make_dirs(root, folder).map_err(fail)?;
    if let Some(name) = name {
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::mknodat(&parent, name, FileType::RegularFile, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    open_inside(root, path, OFlags::PATH).map_err(fail)
}

/// Opens the directory `path` inside `root`, making what is missing of it.
pub(crate) fn make_dirs(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_inside(root, path, flags) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut sofar = PathBuf::from("/");
    for name in names(path) {
        let parent = open_inside(root, &sofar, flags)?;
        if name != ".." {
            match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        sofar.push(name);
    }
    open_inside(root, path, flags)
}
