//! A container's tree, and looking paths up in it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::assembly::{Base, Bind, assemble};
use crate::{Error, Result};

/// How often a look-up is tried again that a rename disturbed.
const TRIES: usize = 1000;

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

    /// Opens what `path` leads to, links followed inside the tree; with `OFlags::NOFOLLOW` not
    /// the last one. Use `OFlags::PATH` for what may be a FIFO or a device.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        open_inside(&self.root, path, flags).map_err(Error::at("open", path))
    }
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
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut sofar = std::path::PathBuf::from("/");
    for (at, name) in names.iter().enumerate() {
        let last = at + 1 == names.len();
        let parent = open_inside(root, &sofar, OFlags::PATH | OFlags::DIRECTORY).map_err(fail)?;
        let made = match last && !is_dir {
            true => rustix::fs::mknodat(
                &parent,
                *name,
                rustix::fs::FileType::RegularFile,
                Mode::from_raw_mode(0o644),
                0,
            ),
            false => rustix::fs::mkdirat(&parent, *name, Mode::from_raw_mode(0o755)),
        };
        if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
            made.map_err(fail)?;
        }
        sofar.push(name);
    }
    open_inside(root, path, OFlags::PATH).map_err(fail)
}
