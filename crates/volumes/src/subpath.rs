//! A path inside a volume, for `--mount …,volume-subpath=…`.
//!
//! What a container writes into a volume can change at any time, so a path that was checked is
//! not the path that is mounted later. Here the kernel resolves it beneath the volume, and what it
//! found is bound to a place of the daemon's own: that is what the container gets.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::{Error, Result};

/// Binds `subpath` of the directory `base` to `at`, with what is mounted below it. `at` is made: a
/// directory or a file, as it needs to be; the directory that holds it too.
///
/// # Errors
/// [`Error::Escapes`] and [`Error::NotAccessible`] for the path, [`Error::Io`] for the rest.
pub fn pin(base: &Path, subpath: &Path, at: &Path) -> Result<()> {
    let root = rustix::fs::open(
        base,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::io("open", base))?;
    let found = rustix::fs::openat2(
        &root,
        subpath,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| match error {
        Errno::XDEV => Error::Escapes {
            base: base.to_owned(),
            subpath: subpath.to_owned(),
        },
        error => Error::NotAccessible {
            path: base.join(subpath),
            source: error.into(),
        },
    })?;
    let stat = rustix::fs::fstat(&found).map_err(Error::io("stat", subpath))?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    make_place(at, kind == rustix::fs::FileType::Directory).map_err(Error::io("create", at))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&found, "", flags).map_err(Error::io("bind", subpath))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, at, flags).map_err(Error::io("mount", at))
}

fn make_place(at: &Path, directory: bool) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    if let Some(parent) = at.parent() {
        builder.create(parent)?;
    }
    match directory {
        true => builder.create(at),
        false => std::fs::File::create_new(at).map(drop),
    }
}

/// Takes away everything that was pinned in the directory `place`, and the directory.
///
/// # Errors
/// The first thing that went wrong; the rest is tried all the same.
pub fn unpin(place: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", place)(error)),
    };
    let mut outcome = Ok(());
    for entry in entries.flatten() {
        let path = entry.path();
        let gone = crate::unmount(&path).and_then(|()| {
            // Of a file or an empty directory: nothing of the volume can be there any more.
            let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = match directory {
                true => std::fs::remove_dir(&path),
                false => std::fs::remove_file(&path),
            };
            removed.map_err(Error::io("remove", &path))
        });
        outcome = outcome.and(gone);
    }
    outcome.and_then(|()| std::fs::remove_dir(place).map_err(Error::io("remove", place)))
}
