//! A tar stream unpacked into a container's tree, without trusting either.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use berth_archive::Metered;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::entry::{Attributes, look};
use crate::pack::XATTR;
use crate::view::{make_dirs, open_below, open_inside};
use crate::{Error, Result, Step, View, Walk};

/// How to unpack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacking {
    /// A directory is not replaced by something else, nor the other way round.
    pub keep_kinds: bool,
    /// Who owns everything; as the archive says where not given.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks a plain tar into the directory `at` of `view`, which is free of links
/// ([`View::resolve`]). What is there is replaced, but directories are merged. Links on the way
/// are followed inside the tree, so entries may end up outside `at` but never outside the tree.
///
/// # Errors
/// The archive is broken or leads out of `at` by its names or links, `input` fails, or the tree
/// does not take it. What was unpacked before stays.
pub fn unpack(view: &View, at: &Path, input: impl Read, how: Unpacking) -> Result<()> {
    let (input, budget) = Metered::new(input);
    let mut archive = tar::Archive::new(input);
    let mut entries = archive.entries()?;
    let mut unpacker = Unpacker {
        view,
        at,
        how,
        folders: Vec::new(),
    };
    while let Some(entry) = budget.header(|| entries.next()) {
        let mut entry = entry?;
        unpacker.add(&mut entry)?;
        // What was not read is read here, where it is not taken for headers.
        io::copy(&mut entry, &mut io::sink())?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    view: &'a View,
    at: &'a Path,
    how: Unpacking,
    /// Directories whose times are set at the end, when nothing is made in them any more.
    folders: Vec<(PathBuf, Attributes)>,
}

/// Where an entry goes.
pub(crate) struct Place {
    pub(crate) parent: OwnedFd,
    pub(crate) name: OsString,
    /// The whole path inside the tree.
    pub(crate) path: PathBuf,
}

impl Place {
    fn fail(&self, what: &'static str) -> impl FnOnce(Errno) -> Error {
        Error::at(what, &self.path)
    }
}

impl Unpacker<'_> {
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let inner = self.inner(&entry.path_bytes())?;
        let Some(name) = inner.file_name().map(OsStr::to_owned) else {
            // The directory itself stays as it is.
            return Ok(());
        };
        let folder = self.at.join(inner.parent().unwrap_or(Path::new("")));
        let parent = make_dirs(self.view.root(), &folder).map_err(Error::at("mkdir", &folder))?;
        let place = Place {
            parent,
            name,
            path: self.at.join(&inner),
        };
        self.clear(&place, kind)?;
        let mut attributes = self.attributes(entry)?;
        if kind == EntryType::Directory {
            make_dir(&place, &attributes)?;
            attributes.xattrs.clear();
            self.folders.push((place.path, attributes));
            return Ok(());
        }
        self.make(entry, &place, kind, &attributes)
    }

    /// A name of the archive as a path below `at`.
    fn inner(&self, raw: &[u8]) -> Result<PathBuf> {
        let given = Path::new(OsStr::from_bytes(raw));
        lexical(given).ok_or_else(|| {
            Error::Refused(format!(
                "{:?} is outside of {:?}",
                given.display().to_string(),
                self.at.display().to_string()
            ))
        })
    }

    /// Takes away what is in the place, unless a directory meets a directory.
    fn clear(&self, place: &Place, kind: EntryType) -> Result<()> {
        let stat = match look(&place.parent, &place.name) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(place.fail("lstat"))?,
        };
        let was_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_dir = kind == EntryType::Directory;
        if self.how.keep_kinds && was_dir != is_dir {
            let (was, is) = match was_dir {
                true => ("directory", "non-directory"),
                false => ("non-directory", "directory"),
            };
            return Err(Error::Refused(format!(
                "cannot overwrite {was} {:?} with {is} {:?}",
                place.path.display().to_string(),
                self.at.display().to_string()
            )));
        }
        match was_dir {
            true if is_dir => Ok(()),
            true => remove_tree(place),
            false => rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty())
                .map_err(place.fail("unlinkat")),
        }
    }

    fn make<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        place: &Place,
        kind: EntryType,
        attributes: &Attributes,
    ) -> Result<()> {
        let (parent, name) = (&place.parent, &place.name);
        let file_type = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                return make_file(entry, place, attributes);
            }
            EntryType::Link => return self.hard_link(entry, place),
            EntryType::Symlink => FileType::Symlink,
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            EntryType::Fifo => FileType::Fifo,
            other => {
                let byte = other.as_byte();
                return Err(Error::Refused(format!("unhandled tar header type {byte}")));
            }
        };
        if file_type == FileType::Symlink {
            let target = link_name(entry);
            self.check_link(place, &target)?;
            rustix::fs::symlinkat(&target, parent, name).map_err(place.fail("symlink"))?;
        } else {
            let header = entry.header();
            let device = rustix::fs::makedev(
                header.device_major()?.unwrap_or(0),
                header.device_minor()?.unwrap_or(0),
            );
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(parent, name, file_type, mode, device)
                .map_err(place.fail("mknod"))?;
        }
        let made = open_below(parent, Path::new(name), OFlags::PATH | OFlags::NOFOLLOW);
        let made = made.map_err(place.fail("open"))?;
        // The container may have put something else there meanwhile; that stays as it is.
        let now = rustix::fs::fstat(&made).map_err(place.fail("lstat"))?;
        match FileType::from_raw_mode(now.st_mode) == file_type {
            true => attributes
                .give(made.as_fd(), file_type)
                .map_err(place.fail("set attributes of")),
            false => Ok(()),
        }
    }

    /// A link that leads out of `at` by counting its dots is refused, as in dockerd.
    fn check_link(&self, place: &Place, target: &Path) -> Result<()> {
        let relative = target.strip_prefix("/").unwrap_or(target);
        let folder = place.path.parent().unwrap_or(Path::new("/"));
        let inside = lexical(&folder.join(relative))
            .is_none_or(|path| Path::new("/").join(path).starts_with(self.at));
        match inside {
            true => Ok(()),
            false => Err(Error::Refused(format!(
                "invalid symlink {:?} -> {:?}",
                place.path.display().to_string(),
                target.display().to_string()
            ))),
        }
    }

    fn hard_link<R: Read>(&self, entry: &mut tar::Entry<'_, R>, place: &Place) -> Result<()> {
        let target = link_name(entry);
        let refused = || {
            Error::Refused(format!(
                "invalid hardlink {:?} -> {:?}",
                self.at.join(&target).display().to_string(),
                target.display().to_string()
            ))
        };
        let inner = lexical(&target).ok_or_else(refused)?;
        let name = inner.file_name().ok_or_else(refused)?;
        let folder = self.at.join(inner.parent().unwrap_or(Path::new("")));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let from = open_inside(self.view.root(), &folder, flags).map_err(place.fail("link"))?;
        rustix::fs::linkat(&from, name, &place.parent, &place.name, AtFlags::empty())
            .map_err(place.fail("link"))
    }

    fn attributes<R: Read>(&self, entry: &mut tar::Entry<'_, R>) -> Result<Attributes> {
        let header = entry.header();
        let old = header.as_old();
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut attributes = Attributes {
            mode: or_zero(&old.mode, || header.mode())? & 0o7777,
            uid: number(or_zero(&old.uid, || header.uid())?),
            gid: number(or_zero(&old.gid, || header.gid())?),
            modified: (
                i64::try_from(or_zero(&old.mtime, || header.mtime())?).unwrap_or(0),
                0,
            ),
            ..Attributes::default()
        };
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let (Ok(key), value) = (record.key(), record.value_bytes()) else {
                continue;
            };
            let text = std::str::from_utf8(value).unwrap_or_default();
            match key {
                "mtime" => attributes.modified = seconds(text).unwrap_or(attributes.modified),
                "uid" => attributes.uid = text.parse().unwrap_or(attributes.uid),
                "gid" => attributes.gid = text.parse().unwrap_or(attributes.gid),
                _ => attributes.xattrs.extend(xattr(key, value)),
            }
        }
        if let Some((uid, gid)) = self.how.owner {
            (attributes.uid, attributes.gid) = (uid, gid);
        }
        attributes.accessed = attributes.modified;
        Ok(attributes)
    }

    fn finish(self) -> Result<()> {
        for (path, attributes) in self.folders.iter().rev() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            // It may have been replaced since, by the archive itself or by the container.
            if let Ok(folder) = open_inside(self.view.root(), path, flags) {
                let given = attributes.give_times(folder.as_fd());
                given.map_err(Error::at("set times of", path))?;
            }
        }
        Ok(())
    }
}

/// The path without its root, `.` and doubled slashes; `None` when it has more `..` than
/// directories. An absolute path has nothing above it.
pub(crate) fn lexical(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => found.push(name),
            Component::ParentDir if !found.pop() && !path.is_absolute() => return None,
            _ => {}
        }
    }
    Some(found)
}

/// What `read` makes of a field; zero where it holds no number: so do Go's and GNU's tar take it.
pub(crate) fn or_zero<N: Default>(field: &[u8], read: impl Fn() -> io::Result<N>) -> io::Result<N> {
    let blank = |byte: &u8| matches!(byte, 0 | b' ');
    match field.iter().all(blank) {
        true => Ok(N::default()),
        false => read(),
    }
}

pub(crate) fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> PathBuf {
    let raw = entry.link_name_bytes().unwrap_or_default();
    PathBuf::from(OsString::from_vec(raw.into_owned()))
}

/// Those that a container could give its files itself, and capabilities.
fn xattr(key: &str, value: &[u8]) -> Option<(CString, Vec<u8>)> {
    let name = key.strip_prefix(XATTR)?;
    let wanted = name == "security.capability"
        || name.starts_with("user.") && !name.starts_with("user.overlay.")
        || name.starts_with("system.posix_acl_");
    let name = CString::new(name).ok().filter(|_| wanted)?;
    Some((name, value.to_owned()))
}

/// PAX's times: seconds with a fraction.
fn seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().take(9).collect();
    let nanos: i64 = format!("{digits:0<9}").parse().ok()?;
    // Before 1970 the fraction counts away from it.
    match text.starts_with('-') && nanos > 0 {
        true => Some((whole - 1, 1_000_000_000 - nanos)),
        false => Some((whole, nanos)),
    }
}

fn make_dir(place: &Place, attributes: &Attributes) -> Result<()> {
    match rustix::fs::mkdirat(&place.parent, &place.name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(place.fail("mkdir")(errno)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    open_below(&place.parent, Path::new(&place.name), flags)
        .and_then(|folder| attributes.give(folder.as_fd(), FileType::Directory))
        .map_err(place.fail("mkdir"))
}

fn make_file<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    place: &Place,
    attributes: &Attributes,
) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file =
        rustix::fs::openat(&place.parent, &place.name, flags, mode).map_err(place.fail("open"))?;
    let mut file = std::fs::File::from(file);
    let copied =
        io::copy(entry, &mut file).map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => place.fail("write")(errno),
            None => error.into(),
        })?;
    if copied < entry.size() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    attributes
        .give(file.as_fd(), FileType::RegularFile)
        .map_err(place.fail("set attributes of"))
}

pub(crate) fn remove_tree(place: &Place) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let folder =
        open_below(&place.parent, Path::new(&place.name), flags).map_err(place.fail("unlinkat"))?;
    let again = rustix::io::fcntl_dupfd_cloexec(&folder, 3).map_err(place.fail("dup"))?;
    for step in Walk::new(folder) {
        let removed = match step? {
            Step::Enter(entry) if entry.kind() != FileType::Directory => {
                rustix::fs::unlinkat(&*entry.parent, &entry.name, AtFlags::empty())
            }
            Step::Leave(path) => match (path.parent(), path.file_name()) {
                (Some(folder), Some(name)) => open_below(&again, folder, flags)
                    .and_then(|folder| rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)),
                _ => Ok(()),
            },
            Step::Enter(_) => Ok(()),
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(place.fail("unlinkat")(errno)),
        }
    }
    rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR)
        .map_err(place.fail("unlinkat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("12.5"), Some((12, 500_000_000)));
        assert_eq!(seconds("12"), Some((12, 0)));
        assert_eq!(seconds("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(seconds("x"), None);
    }

    #[test]
    fn names_stay_below() {
        let of = |path: &str| lexical(Path::new(path)).map(|p| p.display().to_string());
        assert_eq!(of("a/./b//c/../d").as_deref(), Some("a/b/d"));
        assert_eq!(of("/../../etc").as_deref(), Some("etc"));
        assert_eq!(of("a/../../b"), None);
        assert_eq!(of("./").as_deref(), Some(""));
    }
}
