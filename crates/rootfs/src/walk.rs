//! A walk through a tree that may change meanwhile.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;

use crate::entry::look;
use crate::view::open_below;
use crate::{Entry, Error, Result};

/// A step of a [`Walk`].
#[derive(Clone, Debug)]
pub enum Step {
    /// Something is there; a directory's contents follow.
    Enter(Entry),
    /// A directory's contents are over.
    Leave(PathBuf),
}

#[derive(Debug)]
enum Task {
    Visit(PathBuf),
    Leave(PathBuf),
}

/// Visits everything at and below a name, depth first, names in byte order. What vanishes on the
/// way is left out. One or two descriptors are open at a time, however deep the tree is.
#[derive(Debug)]
pub struct Walk {
    start: Arc<OwnedFd>,
    /// What the walk begins with, in `start`.
    first: OsString,
    tasks: Vec<Task>,
    /// The directory of the entry visited last, since the next one is mostly there too.
    near: Option<(PathBuf, Arc<OwnedFd>)>,
}

impl Walk {
    /// Through `start`, an open directory (`O_PATH` will do); the first step is `start` itself.
    pub fn new(start: OwnedFd) -> Walk {
        Walk::from(start, ".".into())
    }

    /// As [`Walk::new`], from `name` in the directory `start`; it may be no directory.
    pub fn from(start: OwnedFd, name: OsString) -> Walk {
        Walk {
            start: Arc::new(start),
            first: name,
            tasks: vec![Task::Visit(PathBuf::new())],
            near: None,
        }
    }

    /// Leaves out what the directory entered last contains.
    pub fn skip(&mut self) {
        while let Some(Task::Visit(_)) = self.tasks.last() {
            self.tasks.pop();
        }
        self.tasks.pop();
    }

    fn visit(&mut self, path: PathBuf) -> Result<Option<Entry>> {
        let gone = |errno| matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
        let fail = |errno| Error::at("open", Path::new("/").join(&path))(errno);
        let (folder, name) = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => (folder, name.to_owned()),
            _ => (Path::new(""), self.first.clone()),
        };
        let parent = match self.directory(folder) {
            Err(errno) if gone(errno) => return Ok(None),
            other => other.map_err(fail)?,
        };
        let stat = match look(&parent, &name) {
            Err(errno) if gone(errno) => return Ok(None),
            other => other.map_err(fail)?,
        };
        let entry = Entry {
            name,
            parent,
            stat,
            path,
        };
        if entry.kind() == FileType::Directory {
            self.open(&entry)?;
        }
        Ok(Some(entry))
    }

    fn directory(&mut self, path: &Path) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((near, fd)) = &self.near
            && near == path
        {
            return Ok(fd.clone());
        }
        let fd = match path.as_os_str().is_empty() {
            true => self.start.clone(),
            false => Arc::new(open_below(
                &*self.start,
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
            )?),
        };
        self.near = Some((path.to_owned(), fd.clone()));
        Ok(fd)
    }

    /// Puts what the directory contains next.
    fn open(&mut self, entry: &Entry) -> Result<()> {
        self.tasks.push(Task::Leave(entry.path.clone()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open_below(&*entry.parent, Path::new(&entry.name), flags);
        let opened = match opened {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other.map_err(entry.fail("open"))?,
        };
        let mut names = names_in(opened).map_err(entry.fail("read"))?;
        names.sort_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
        let below = names.into_iter().map(|name| entry.path.join(name));
        self.tasks.extend(below.map(Task::Visit));
        Ok(())
    }
}

/// What an open directory contains, in no order.
pub(crate) fn names_in(folder: OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for found in Dir::read_from(folder)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

impl Iterator for Walk {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        loop {
            match self.tasks.pop()? {
                Task::Leave(path) => return Some(Ok(Step::Leave(path))),
                Task::Visit(path) => match self.visit(path) {
                    Ok(Some(entry)) => return Some(Ok(Step::Enter(entry))),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }
}
