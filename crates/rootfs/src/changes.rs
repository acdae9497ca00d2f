//! What a container has changed: its tree beside its image's.
//!
//! As in Docker, a directory counts as changed when something in it is, or when its owner or mode
//! is another, and a file when anything of it is but its contents alone.

use std::ffi::OsStr;
use std::io::Write;
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::assembly::link_to;
use crate::entry::{capability, look};
use crate::pack::{Packer, is_gone};
use crate::view::open_below;
use crate::walk::names_in;
use crate::{Entry, Error, Result, Stat, Step, View, Walk};

/// What became of a path. The numbers are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another, or something in it is.
    Modified = 0,
    /// It is new.
    Added = 1,
    /// It is gone.
    Deleted = 2,
}

/// A changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute, inside the container.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What a container has written, as it can be had.
#[derive(Debug)]
pub enum Written {
    /// By itself: overlayfs's upper directory, or all of a container that was made of nothing.
    Upper(PathBuf),
    /// As one tree with what was there before, which it has to be compared with.
    Whole(View),
}

/// What differs between the image `before` (`None`: there is none) and the container, in the order
/// of a walk.
///
/// # Errors
/// A directory cannot be read.
pub fn changes(written: &Written, before: Option<&View>) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    each(written, before, &mut |path, kind, _| {
        let path = Path::new("/").join(path);
        found.push(Change { path, kind });
        Ok(())
    })?;
    Ok(found)
}

/// The same as an image layer: a tar with whiteouts for what is gone.
///
/// # Errors
/// As [`changes`], or `out` takes no more.
pub fn pack_changes(written: &Written, before: Option<&View>, out: impl Write) -> Result<()> {
    let mut packer = Packer::new(out);
    each(written, before, &mut |path, _, entry| match entry {
        Some(entry) => packer.add(entry, path.as_os_str().as_bytes()),
        None => packer.add_whiteout(path),
    })?;
    packer.finish()
}

/// Takes a changed path, what became of it, and what is there now.
type Tell<'t> = &'t mut dyn FnMut(&Path, ChangeKind, Option<&Entry>) -> Result<()>;

fn each(written: &Written, before: Option<&View>, tell: Tell<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match written {
        Written::Upper(upper) => {
            rustix::fs::open(upper, flags, Mode::empty()).map_err(Error::at("open", upper))?
        }
        Written::Whole(tree) => tree.open_at(Path::new("/"), flags)?,
    };
    let mut comparison = Comparison {
        is_whole: matches!(written, Written::Whole(_)),
        before,
        unchanged: Vec::new(),
        tell,
    };
    for step in Walk::new(root) {
        match step? {
            Step::Enter(entry) => comparison.enter(entry)?,
            Step::Leave(path) => comparison.leave(&path),
        }
    }
    Ok(())
}

struct Comparison<'a> {
    /// What is not there is gone; otherwise only what has a mark that says so.
    is_whole: bool,
    before: Option<&'a View>,
    /// Directories we are in that are not told yet, as nothing in them has changed so far.
    unchanged: Vec<Entry>,
    tell: Tell<'a>,
}

impl Comparison<'_> {
    fn enter(&mut self, entry: Entry) -> Result<()> {
        let is_dir = entry.kind() == FileType::Directory;
        let before = self.before(&entry)?;
        let is_whiteout = !self.is_whole && is_whiteout(&entry);
        let kind = match &before {
            _ if entry.path.as_os_str().is_empty() => None,
            Some(_) if is_whiteout => {
                return self.changed(&entry.path, ChangeKind::Deleted, None);
            }
            // Of something that was made here and is gone again.
            None if is_whiteout => return Ok(()),
            None => Some(ChangeKind::Added),
            Some((stat, capability))
                if differs(&entry.stat, stat) || *capability != entry.capability()? =>
            {
                Some(ChangeKind::Modified)
            }
            Some(_) => None,
        };
        if let Some(kind) = kind {
            self.changed(&entry.path, kind, Some(&entry))?;
        }
        if !is_dir {
            return Ok(());
        }
        let was_dir = before.is_some_and(|(stat, _)| kind_of(&stat) == FileType::Directory);
        if kind.is_none() {
            self.unchanged.push(entry.clone());
        }
        match was_dir && (self.is_whole || is_opaque(&entry)?) {
            true => self.tell_missing(&entry),
            false => Ok(()),
        }
    }

    fn leave(&mut self, path: &Path) {
        if self.unchanged.last().is_some_and(|last| last.path == path) {
            self.unchanged.pop();
        }
    }

    /// Tells a change, and first those directories that it makes changed ones.
    fn changed(&mut self, path: &Path, kind: ChangeKind, now: Option<&Entry>) -> Result<()> {
        for above in mem::take(&mut self.unchanged) {
            if !above.path.as_os_str().is_empty() {
                (self.tell)(&above.path, ChangeKind::Modified, Some(&above))?;
            }
        }
        (self.tell)(path, kind, now)
    }

    /// Tells what the image has in a directory and the container has not.
    fn tell_missing(&mut self, entry: &Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let Some(before) = self.before else {
            return Ok(());
        };
        let folder = open_below(before.root(), &entry.path, flags).map_err(entry.fail("open"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let now = match open_below(&*entry.parent, Path::new(&entry.name), flags) {
            Err(errno) if is_gone(errno) => return Ok(()),
            other => other.map_err(entry.fail("open"))?,
        };
        for name in names_in(folder).map_err(entry.fail("read"))? {
            if matches!(look(&now, &name), Err(Errno::NOENT)) {
                self.changed(&entry.path.join(name), ChangeKind::Deleted, None)?;
            }
        }
        Ok(())
    }

    /// What the image has in the entry's place, and the capabilities of it. What cannot be read is not
    /// taken for missing: a commit would bring back what was deleted.
    fn before(&self, entry: &Entry) -> Result<Option<(Stat, Vec<u8>)>> {
        const LOOK: &str = "look in the image at";
        let Some(before) = self.before else {
            return Ok(None);
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = match open_below(before.root(), &entry.path, flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other.map_err(entry.fail(LOOK))?,
        };
        let stat = rustix::fs::fstat(&found).map_err(entry.fail(LOOK))?;
        let capability = capability(&link_to(found.as_fd())).map_err(entry.fail(LOOK))?;
        Ok(Some((stat, capability)))
    }
}

fn is_whiteout(entry: &Entry) -> bool {
    entry.kind() == FileType::CharacterDevice && entry.stat.st_rdev == 0
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn differs(now: &Stat, before: &Stat) -> bool {
    let who = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let when = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec, stat.st_size);
    who(now) != who(before) || kind_of(now) != FileType::Directory && when(now) != when(before)
}

fn is_opaque(entry: &Entry) -> Result<bool> {
    match entry.is_opaque() {
        Err(error) if error.errno().is_some_and(is_gone) => Ok(false),
        other => other,
    }
}

/// The directory of an overlay's options that the container writes to.
pub fn upper_dir(options: &[String]) -> Option<PathBuf> {
    let upper = options.iter().find_map(|o| o.strip_prefix("upperdir="))?;
    Some(PathBuf::from(OsStr::new(upper)))
}
