//! Directories that a layer has something in without saying what they are like.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::FOLDER;
use crate::assembly::link_to;
use crate::entry::{Attributes, xattrs};
use crate::view::{open_below, open_inside};
use crate::{Error, Result, View};

/// Makes a directory that a layer only implies what it is in the topmost layer below that has it, if
/// any. One that is `given` gets only attributes that it has not.
pub(super) fn inherit(root: &View, path: &Path, given: bool, lowers: &[View]) -> Result<bool> {
    let fail = |errno| Error::at("inherit", path)(errno);
    let at = Path::new("/").join(path);
    let ours = open_inside(root.root(), &at, FOLDER).map_err(fail)?;
    for lower in lowers {
        let found = match open_inside(lower.root(), &at, OFlags::PATH) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(fail)?,
        };
        let stat = rustix::fs::fstat(&found).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(false);
        }
        let found = Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            accessed: (stat.st_atime, stat.st_atime_nsec as i64),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            xattrs: xattrs(&link_to(found.as_fd()), true).map_err(fail)?,
        };
        return become_like(&ours, &found, given)
            .map(|()| true)
            .map_err(fail);
    }
    Ok(false)
}

/// One that no lower layer has is the group's that the directory above it gives.
pub(super) fn adopt_group(root: &View, path: &Path) -> Result<()> {
    let fail = |errno| Error::at("inherit", path)(errno);
    let open = |path: &Path| open_inside(root.root(), &Path::new("/").join(path), FOLDER);
    let above = open(path.parent().unwrap_or(path)).and_then(rustix::fs::fstat);
    let above = above.map_err(fail)?;
    if above.st_mode & Mode::SGID.bits() == 0 {
        return Ok(());
    }
    let group = Some(Gid::from_raw(above.st_gid));
    let ours = open(path).map_err(fail)?;
    rustix::fs::chownat(ours, "", None, group, AtFlags::EMPTY_PATH).map_err(fail)
}

fn become_like(ours: &OwnedFd, found: &Attributes, given: bool) -> Result<(), Errno> {
    let path = link_to(ours.as_fd());
    if !given {
        let (uid, gid) = (Uid::from_raw(found.uid), Gid::from_raw(found.gid));
        rustix::fs::chownat(ours, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(found.mode))?;
    }
    for (name, value) in &found.xattrs {
        if name.to_bytes().starts_with(b"trusted.") {
            continue;
        }
        // What is made in such a directory has it too, from its beginning.
        if name.to_bytes().starts_with(b"system.posix_acl_") {
            return Err(Errno::NOTSUP);
        }
        match rustix::fs::setxattr(&path, name.as_c_str(), value, XattrFlags::CREATE) {
            Ok(()) | Err(Errno::EXIST | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    // What has something in it has been changed since.
    let mut inside = rustix::fs::Dir::new(open_below(ours, Path::new(""), OFlags::DIRECTORY)?)?;
    let is_empty = inside.all(|entry| matches!(entry, Ok(e) if is_dots(e.file_name().to_bytes())));
    match is_empty && !given {
        true => found.give_times(ours.as_fd()),
        false => Ok(()),
    }
}

fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}
