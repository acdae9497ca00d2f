//! A layer of an image unpacked as overlayfs keeps it: as an upper directory, before what is below it is
//! there. What containerd would make of the same tar, where it can be told; else nothing.

mod inherit;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_archive::Metered;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::assembly::{below, link_to};
use crate::entry::{Attributes, look};
use crate::member::{Kind, Member};
use crate::unpack::{Place, remove_tree};
use crate::view::{open_below, open_inside};
use crate::{Error, Result, View};
use inherit::{adopt_group, inherit};

/// How overlayfs marks a directory that shows nothing of those below it.
const OPAQUE: &str = "trusted.overlay.opaque";
/// How much of a file is written at a time, in bytes.
const CHUNK: usize = 256 << 10;
/// The most memory that the directories of a layer may take while it is unpacked, in bytes.
const KEPT: usize = 8 << 20;
/// What one of them takes besides its path, in bytes.
const KEPT_FOR_EACH: usize = 80;
/// What a directory may that a layer says nothing about.
const IMPLIED: u32 = 0o755;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A layer's tree, out of its place.
#[derive(Debug)]
pub struct Upper {
    path: PathBuf,
    found: Found,
}

/// What there is to know of a layer's tree besides the tree.
#[derive(Debug, Default)]
struct Found {
    implied: Implied,
    /// It says what is not seen of the layers below.
    covers: bool,
}

/// Directories that a layer has something in before it says what they are like, by path; and whether it
/// did say so after that. They are as in the layers below.
type Implied = BTreeMap<PathBuf, bool>;

impl Upper {
    /// Unpacks a plain tar into the directory `at`, which is made. Nobody else may change anything
    /// there. Reads `input` to its end. What leads out of `at` by links ends within.
    ///
    /// # Errors
    /// `input` fails, the tar is broken or one that readers of tars may take differently, or the
    /// file system does not take it. Then nothing of it is left.
    pub fn unpack(at: &Path, input: impl Read) -> Result<Upper> {
        let made = std::fs::DirBuilder::new().mode(IMPLIED).create(at);
        made.map_err(failed("mkdir", at))?;
        let unpacked = View::of_dir(at).and_then(|root| unpack(&root, input));
        match unpacked {
            Ok(found) => Ok(Upper {
                path: at.to_owned(),
                found,
            }),
            Err(error) => {
                // What is left has whoever made the directory above.
                let _ = remove(at);
                Err(error)
            }
        }
    }

    /// Puts it in the place of the empty directory `upper`, above the trees `lowers`, the topmost of
    /// them first. All are on one file system.
    ///
    /// # Errors
    /// The file system's. Then nothing of it is left, and `upper` is as it was.
    pub fn place(self, upper: &Path, lowers: &[PathBuf]) -> Result<()> {
        self.put(upper, lowers).inspect_err(|_| {
            let _ = remove(&self.path);
        })
    }

    fn put(&self, upper: &Path, lowers: &[PathBuf]) -> Result<()> {
        if self.found.covers && lowers.is_empty() {
            // containerd applies these to what the layer itself had before.
            return Err(Error::Refused("a base layer that covers others".to_owned()));
        }
        let implied = &self.found.implied;
        if !implied.is_empty() {
            let root = View::of_dir(&self.path)?;
            let lowers = lowers.iter().map(|path| View::of_dir(path));
            let lowers = lowers.collect::<Result<Vec<_>>>()?;
            for (path, given) in implied {
                let is_below = inherit(&root, path, *given, &lowers)?;
                let above = path.parent().and_then(|above| implied.get(above));
                if !is_below && !given && above == Some(&false) {
                    adopt_group(&root, path)?;
                }
            }
        }
        // Layers say nothing about the root: it stays what the snapshotter made it.
        let (path, fail) = (&self.path, || failed("replace", upper));
        let root = std::fs::symlink_metadata(upper).map_err(fail())?;
        std::os::unix::fs::chown(path, Some(root.uid()), Some(root.gid())).map_err(fail())?;
        let mode = std::fs::Permissions::from_mode(root.mode() & 0o7777);
        std::fs::set_permissions(path, mode).map_err(fail())?;
        std::fs::rename(path, upper).map_err(fail())
    }
}

/// Removes a directory that nobody else changes, with all that is in it, however deep.
///
/// # Errors
/// It is not there, or the file system's.
pub fn remove(path: &Path) -> Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::at("remove", path)(Errno::INVAL));
    };
    let flags = FOLDER | OFlags::CLOEXEC;
    let parent = rustix::fs::open(above, flags, Mode::empty()).map_err(Error::at("open", above))?;
    remove_tree(&Place {
        parent,
        name: name.to_owned(),
        path: path.to_owned(),
    })
}

/// An error of the standard library as ours.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| match Errno::from_io_error(&error) {
        Some(errno) => Error::at(what, path)(errno),
        None => error.into(),
    }
}

fn unpack(root: &View, input: impl Read) -> Result<Found> {
    let (mut input, budget) = Metered::new(input);
    let mut archive = tar::Archive::new(&mut input);
    let mut entries = archive.entries()?;
    let mut unpacker = Unpacker {
        root,
        parent: None,
        found: Found::default(),
        folders: Vec::new(),
        kept: 0,
        buffer: vec![0; CHUNK],
    };
    while let Some(entry) = budget.header(|| entries.next()) {
        let mut entry = entry?;
        if let Some(member) = Member::read(&mut entry)? {
            unpacker.add(&member, &mut entry)?;
        }
        // What was not read is read here, where it is not taken for headers.
        io::copy(&mut entry, &mut io::sink())?;
    }
    ended(&mut input)?;
    unpacker.finish()
}

/// Reads what is behind the block of zeros that ended a tar. One more block of them, or nothing, has to
/// come first: there are readers that go on, or fail, where anything else does.
fn ended(input: &mut impl Read) -> Result<()> {
    let mut block = Vec::with_capacity(512);
    input.by_ref().take(512).read_to_end(&mut block)?;
    if !matches!(block.len(), 0 | 512) || block.iter().any(|byte| *byte != 0) {
        let why = "something behind the end of the tar".to_owned();
        return Err(Error::Refused(why));
    }
    io::copy(input, &mut io::sink())?;
    Ok(())
}

/// A directory that members go into.
struct Parent {
    /// As they call it.
    called: PathBuf,
    /// Free of links.
    path: PathBuf,
    fd: OwnedFd,
}

/// A directory that a layer has told of: as it calls it, and the times, which are as in [`Attributes`].
struct Given {
    path: PathBuf,
    accessed: (i64, i64),
    modified: (i64, i64),
}

struct Unpacker<'a> {
    root: &'a View,
    /// Where the last member went: most often the next one does, too.
    parent: Option<Parent>,
    found: Found,
    /// Directories, whose times are set at the end, when nothing is made in them any more.
    folders: Vec<Given>,
    /// What directories take in memory until then, in bytes.
    kept: usize,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn add(&mut self, member: &Member, content: &mut impl Read) -> Result<()> {
        let parent = match self.parent.take() {
            Some(parent) if parent.called == member.folder => parent,
            _ => self.folder(&member.folder)?,
        };
        let at = parent.path.join(&member.name);
        let mut made = self.make(member, &parent.fd, content);
        let mut removed = false;
        if made == Err(Errno::EXIST) && member.kind != Kind::Whiteout {
            removed = self.clear(member, &parent.fd, &at)?;
            made = match removed {
                true => self.make(member, &parent.fd, content),
                // A directory meets a directory: it is what the layer says of it last.
                false => Ok(()),
            };
        }
        made.map_err(Error::at("make", &at))?;
        if !matches!(member.kind, Kind::Whiteout | Kind::Opaque) {
            dress(&parent.fd, member).map_err(Error::at("set attributes of", &at))?;
        }
        match member.kind {
            Kind::Directory => self.given(member, at)?,
            Kind::Whiteout | Kind::Opaque => self.found.covers = true,
            _ => {}
        }
        // What was taken away may have been on the way there.
        self.parent = (!removed).then_some(parent);
        Ok(())
    }

    /// Notes what a layer has said of the directory `at`.
    fn given(&mut self, member: &Member, at: PathBuf) -> Result<()> {
        let implied = &mut self.found.implied;
        if let Some(given) = implied.get_mut(&at) {
            *given = true;
            let mut below = implied.range(at.clone()..).skip(1);
            if below.next().is_some_and(|(path, _)| path.starts_with(&at)) {
                // Whose group they were made with depends on what the directory was then.
                let why = "directories are in one that is told of later".to_owned();
                return Err(Error::Refused(why));
            }
        }
        let path = member.folder.join(&member.name);
        self.keep(&path)?;
        let Attributes {
            accessed, modified, ..
        } = member.attributes;
        self.folders.push(Given {
            path,
            accessed,
            modified,
        });
        Ok(())
    }

    /// Counts what is kept of a directory.
    fn keep(&mut self, path: &Path) -> Result<()> {
        self.kept += path.as_os_str().len() + KEPT_FOR_EACH;
        match self.kept > KEPT {
            true => Err(Error::Refused("too many directories".to_owned())),
            false => Ok(()),
        }
    }

    /// Makes what `member` is, without its attributes.
    fn make(
        &mut self,
        member: &Member,
        parent: &OwnedFd,
        content: &mut impl Read,
    ) -> Result<(), Errno> {
        let (name, attributes) = (&*member.name, &member.attributes);
        match &member.kind {
            Kind::File => self.file(parent, name, content),
            Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)),
            Kind::Symlink(target) => rustix::fs::symlinkat(target, parent, name),
            Kind::HardLink(target) => self.link(parent, name, target),
            Kind::Node(kind, device) => {
                let mode = Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(parent, name, *kind, mode, *device)
            }
            Kind::Whiteout => {
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(parent, name, kind, Mode::empty(), 0)?;
                chown(parent, name, attributes)
            }
            Kind::Opaque => {
                rustix::fs::setxattr(link_to(parent.as_fd()), OPAQUE, b"y", XattrFlags::empty())
            }
        }
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        content: &mut impl Read,
    ) -> Result<(), Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(file);
        let broken = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        loop {
            match content.read(&mut self.buffer) {
                // One that is too short fails where the next member is looked for.
                Ok(0) => return Ok(()),
                Ok(length) => file.write_all(&self.buffer[..length]).map_err(broken)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }

    fn link(&self, parent: &OwnedFd, name: &OsStr, target: &Path) -> Result<(), Errno> {
        let folder = target.parent().unwrap_or(Path::new(""));
        let from = open_inside(self.root.root(), &Path::new("/").join(folder), FOLDER)?;
        let of = target.file_name().ok_or(Errno::INVAL)?;
        rustix::fs::linkat(&from, of, parent, name, AtFlags::empty())
    }

    /// Takes away what is in a member's place; `false` where a directory meets a directory.
    fn clear(&mut self, member: &Member, parent: &OwnedFd, at: &Path) -> Result<bool> {
        let stat = look(parent, &member.name).map_err(Error::at("lstat", at))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let removed = rustix::fs::unlinkat(parent, &member.name, AtFlags::empty());
            removed.map_err(Error::at("unlinkat", at))?;
            return Ok(true);
        }
        if member.kind == Kind::Directory {
            return Ok(false);
        }
        let again = rustix::io::fcntl_dupfd_cloexec(parent, 3).map_err(Error::at("dup", at))?;
        remove_tree(&Place {
            parent: again,
            name: member.name.clone(),
            path: at.to_owned(),
        })?;
        let implied = &mut self.found.implied;
        let below = implied.range(at.to_owned()..).map(|(path, _)| path);
        let below: Vec<_> = below
            .take_while(|path| path.starts_with(at))
            .cloned()
            .collect();
        for path in below {
            implied.remove(&path);
        }
        Ok(true)
    }

    /// Opens the directory that members go into, and makes what is missing of it.
    fn folder(&mut self, path: &Path) -> Result<Parent> {
        let fail = |errno| Error::at("mkdir", path)(errno);
        match open_below(self.root.root(), path, FOLDER) {
            Err(Errno::NOENT | Errno::LOOP) => {}
            other => {
                return Ok(Parent {
                    called: path.to_owned(),
                    path: path.to_owned(),
                    fd: other.map_err(fail)?,
                });
            }
        }
        // Through links that are not there, or lead on, it is made where they lead to.
        let resolved = self.root.resolve(path)?;
        let mut sofar = PathBuf::new();
        let mut fd = open_below(self.root.root(), &sofar, FOLDER).map_err(fail)?;
        for name in resolved.iter().skip(1) {
            sofar.push(name);
            match rustix::fs::mkdirat(&fd, name, Mode::from_raw_mode(IMPLIED)) {
                Ok(()) => {
                    // Not what a directory gets from the one above it.
                    let mode = Mode::from_raw_mode(IMPLIED);
                    rustix::fs::chmodat(&fd, name, mode, AtFlags::empty()).map_err(fail)?;
                    self.keep(&sofar)?;
                    self.found.implied.insert(sofar.clone(), false);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(fail(errno)),
            }
            fd = open_below(&fd, Path::new(name), FOLDER).map_err(fail)?;
        }
        Ok(Parent {
            called: path.to_owned(),
            path: sofar,
            fd,
        })
    }

    fn finish(self) -> Result<Found> {
        for given in &self.folders {
            let path = &given.path;
            let times = Attributes {
                accessed: given.accessed,
                modified: given.modified,
                ..Attributes::default()
            };
            // Whether it may have been replaced is not for us to judge.
            open_inside(self.root.root(), &Path::new("/").join(path), FOLDER)
                .and_then(|folder| times.give_times(folder.as_fd()))
                .map_err(Error::at("set times of", path))?;
        }
        Ok(self.found)
    }
}

fn chown(parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<(), Errno> {
    let uid = Uid::from_raw(attributes.uid);
    let gid = Gid::from_raw(attributes.gid);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
}

/// Gives what `member` made its attributes, in containerd's order.
fn dress(parent: &OwnedFd, member: &Member) -> Result<(), Errno> {
    let (name, attributes) = (&*member.name, &member.attributes);
    chown(parent, name, attributes)?;
    for (key, value) in &attributes.xattrs {
        let path = below(parent.as_fd(), name);
        match rustix::fs::lsetxattr(path, key.as_c_str(), value, XattrFlags::empty()) {
            // The file system has none of that kind.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    let is_link = match member.kind {
        Kind::Symlink(_) => true,
        Kind::HardLink(_) => {
            FileType::from_raw_mode(look(parent, name)?.st_mode) == FileType::Symlink
        }
        _ => false,
    };
    // After the owner, whose change takes set-user-id bits away.
    if !is_link {
        let mode = Mode::from_raw_mode(attributes.mode);
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
    }
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(attributes.accessed),
        last_modification: time(attributes.modified),
    };
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests;
