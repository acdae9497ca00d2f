//! Reads files of a container's root filesystem without mounting it.
//!
//! A snapshot is a stack of layer directories that the kernel's overlayfs would merge. To learn who
//! `--user www-data` is, one small file is enough, and a mount and unmount for it would cost more
//! than the rest of a `create`. So the merge is done here, one path component at a time, by
//! overlayfs's own rules: the topmost layer that has a name decides; a character device 0:0 is a
//! whiteout; an opaque directory hides the ones below; directories of a name are merged.
//!
//! Nothing outside the layers is ever reached: components are opened one by one with `O_NOFOLLOW`,
//! and symbolic links, absolute ones and `..` included, are resolved inside the merged tree.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How many symbolic links one look-up follows, as the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// One mount of a snapshot, as containerd's `Snapshots.Prepare`/`Mounts` gives it.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotMount<'a> {
    /// `overlay`, `bind` …
    pub kind: &'a str,
    /// The directory of a `bind` mount.
    pub source: &'a str,
    /// The mount options, e.g. `lowerdir=/a:/b`.
    pub options: &'a [String],
}

/// What a path in the root filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The file's type; never a symbolic link, since those are followed.
    pub kind: FileType,
    /// The permission bits, `0o7777` at most.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size in bytes.
    pub size: u64,
}

/// The layers of a root filesystem, seen as the one tree that they make.
#[derive(Clone, Debug)]
pub struct LayeredRoot {
    /// The layer directories, topmost first.
    layers: Vec<PathBuf>,
    merge: Merge,
}

/// Which overlayfs conventions the layers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// A plain directory: no whiteouts, nothing to merge.
    Plain,
    /// Overlay layers whose marks are extended attributes of the `trusted` namespace.
    Trusted,
    /// The same with the `user` namespace (mount option `userxattr`).
    User,
}

/// A directory of the merged tree: the directories of that name, topmost first.
struct Dir(Vec<OwnedFd>);

/// What a name in a merged directory is.
enum Entry {
    Dir(Dir),
    Link(Vec<u8>),
    /// Anything else, with the directory that holds it (to open it properly).
    File {
        parent: OwnedFd,
        stat: rustix::fs::Stat,
    },
}

/// Where a look-up ended.
enum Found {
    Dir(Dir),
    File {
        parent: OwnedFd,
        name: OsString,
        stat: rustix::fs::Stat,
    },
}

impl LayeredRoot {
    /// Takes the mounts of a snapshot. Nothing is opened yet.
    ///
    /// # Errors
    /// [`Error::NeedsMount`] for a kind of mount that only the kernel can read, or for several.
    pub fn new(mounts: &[SnapshotMount<'_>]) -> Result<LayeredRoot> {
        let [mount] = mounts else {
            return Err(Error::NeedsMount(format!(
                "the snapshot has {} mounts",
                mounts.len()
            )));
        };
        match mount.kind {
            "bind" | "rbind" | "" => Ok(LayeredRoot {
                layers: vec![PathBuf::from(mount.source)],
                merge: Merge::Plain,
            }),
            "overlay" => overlay(mount.options),
            other => Err(Error::NeedsMount(format!("mount type {other:?}"))),
        }
    }

    /// The contents of the regular file at `path`, symbolic links followed; `None` when there is
    /// nothing at `path`.
    ///
    /// # Errors
    /// The path leads to something other than a regular file, the file is larger than `limit`
    /// bytes, there are too many symbolic links, or reading fails.
    pub fn read_file(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let shown = || path.display().to_string();
        let (parent, name) = match self.lookup(path)? {
            None => return Ok(None),
            Some(Found::Dir(_)) => return Err(Error::rootfs(shown(), Errno::ISDIR)),
            Some(Found::File { parent, name, stat }) => {
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(Error::rootfs(shown(), Errno::INVAL));
                }
                (parent, name)
            }
        };
        // The file may have become a FIFO or a device since: O_NONBLOCK keeps open from waiting
        // for it, and what was opened is looked at once more before it is read.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, &name, flags, Mode::empty())
            .map_err(|errno| Error::rootfs(shown(), errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::rootfs(shown(), errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::rootfs(shown(), Errno::INVAL));
        }
        let mut contents = Vec::new();
        std::fs::File::from(file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut contents)
            .map_err(|error| Error::rootfs(shown(), error))?;
        if contents.len() as u64 > limit {
            return Err(Error::rootfs(shown(), Errno::FBIG));
        }
        Ok(Some(contents))
    }

    /// What is at `path`, symbolic links followed; `None` when nothing is.
    ///
    /// # Errors
    /// Too many symbolic links, or a layer cannot be read.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Option<Metadata>> {
        let path = path.as_ref();
        let stat = match self.lookup(path)? {
            None => return Ok(None),
            Some(Found::File { stat, .. }) => stat,
            Some(Found::Dir(dir)) => {
                let Some(top) = dir.0.first() else {
                    return Ok(None);
                };
                rustix::fs::fstat(top)
                    .map_err(|errno| Error::rootfs(path.display().to_string(), errno))?
            }
        };
        Ok(Some(Metadata {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }))
    }

    /// Walks `path` from the root. `Ok(None)` also where a component that must be a directory is
    /// something else.
    fn lookup(&self, path: &Path) -> Result<Option<Found>> {
        let fail = |errno: Errno| Error::rootfs(path.display().to_string(), errno);
        let mut pending = components(path.as_os_str().as_bytes());
        // The directories gone through, by name and free of links: `..` starts again at the root
        // instead of keeping every level's descriptors open.
        let mut trail: Vec<OsString> = Vec::new();
        let mut dir = self.root(fail)?;
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                trail.pop();
                dir = match self.descend(&trail, fail)? {
                    Some(dir) => dir,
                    None => return Ok(None),
                };
                continue;
            }
            match self.entry(&dir, &name).map_err(fail)? {
                None => return Ok(None),
                Some(Entry::Dir(next)) => {
                    trail.push(name);
                    dir = next;
                }
                Some(Entry::File { parent, stat }) => {
                    let end = pending.is_empty();
                    return Ok(end.then_some(Found::File { parent, name, stat }));
                }
                Some(Entry::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(fail(Errno::LOOP));
                    }
                    if target.starts_with(b"/") {
                        trail.clear();
                        dir = self.root(fail)?;
                    }
                    let mut rest = components(&target);
                    rest.append(&mut pending);
                    pending = rest;
                }
            }
        }
        Ok(Some(Found::Dir(dir)))
    }

    fn root(&self, fail: impl Fn(Errno) -> Error) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |layer: &PathBuf| rustix::fs::open(layer, flags, Mode::empty()).map_err(&fail);
        self.layers.iter().map(open).collect::<Result<_>>().map(Dir)
    }

    /// The directory at `trail`, which holds no links.
    fn descend(&self, trail: &[OsString], fail: impl Fn(Errno) -> Error) -> Result<Option<Dir>> {
        let mut dir = self.root(&fail)?;
        for name in trail {
            match self.entry(&dir, name).map_err(&fail)? {
                Some(Entry::Dir(next)) => dir = next,
                _ => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// What `name` is in `dir`, by overlayfs's rules.
    fn entry(&self, dir: &Dir, name: &OsStr) -> Result<Option<Entry>, Errno> {
        let mut merged = Vec::new();
        for layer in &dir.0 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = match rustix::fs::openat(layer, name, flags, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
            let stat = rustix::fs::fstat(&found)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let opened = rustix::fs::openat(&found, ".", flags, Mode::empty())?;
                    let opaque = self.is_opaque(&opened)?;
                    merged.push(opened);
                    if opaque {
                        break;
                    }
                }
                // Below a directory, anything else hides what is further down but shows nothing.
                _ if !merged.is_empty() => break,
                FileType::CharacterDevice if self.merge != Merge::Plain && stat.st_rdev == 0 => {
                    return Ok(None);
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    return Ok(Some(Entry::Link(target.into_bytes())));
                }
                _ => {
                    let parent = rustix::io::fcntl_dupfd_cloexec(layer, 3)?;
                    return Ok(Some(Entry::File { parent, stat }));
                }
            }
        }
        Ok((!merged.is_empty()).then_some(Entry::Dir(Dir(merged))))
    }

    fn is_opaque(&self, dir: &OwnedFd) -> Result<bool, Errno> {
        let prefix = match self.merge {
            Merge::Plain => return Ok(false),
            Merge::Trusted => "trusted",
            Merge::User => "user",
        };
        let has = |name: &str, buffer: &mut [u8]| {
            match rustix::fs::fgetxattr(dir, format!("{prefix}.overlay.{name}"), buffer) {
                Ok(length) => Ok(Some(length)),
                Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
                // The value is longer than what any mark of ours has.
                Err(Errno::RANGE) => Ok(Some(0)),
                Err(errno) => Err(errno),
            }
        };
        // A directory that was renamed with redirect_dir=on continues below under its old name.
        // Nobody's snapshotter mounts so by default; reading on would show the wrong files.
        let mut value = [0u8; 8];
        if has("redirect", &mut value)?.is_some() {
            return Err(Errno::XDEV);
        }
        Ok(has("opaque", &mut value)? == Some(1) && value[0] == b'y')
    }
}

/// The layers of an overlay mount by its options.
fn overlay(options: &[String]) -> Result<LayeredRoot> {
    let value = |key: &str| {
        options
            .iter()
            .rev()
            .find_map(|option| option.strip_prefix(key))
    };
    let mut layers: Vec<PathBuf> = value("upperdir=").map(PathBuf::from).into_iter().collect();
    layers.extend(split_lower(value("lowerdir=").unwrap_or_default()));
    if layers.is_empty() {
        return Err(Error::NeedsMount(
            "the overlay has no directories".to_owned(),
        ));
    }
    if let Some(relative) = layers.iter().find(|layer| layer.is_relative()) {
        return Err(Error::NeedsMount(format!(
            "layer {relative:?} is not an absolute path"
        )));
    }
    let user = options.iter().any(|option| option == "userxattr");
    Ok(LayeredRoot {
        layers,
        merge: if user { Merge::User } else { Merge::Trusted },
    })
}

/// Splits `lowerdir`'s value at its colons; a backslash takes the next character as it is.
fn split_lower(value: &str) -> Vec<PathBuf> {
    let mut layers = vec![Vec::new()];
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => layers.push(Vec::new()),
            b'\\' => layers
                .last_mut()
                .into_iter()
                .for_each(|l| l.extend(bytes.next())),
            other => layers.last_mut().into_iter().for_each(|l| l.push(other)),
        }
    }
    layers.retain(|layer| !layer.is_empty());
    layers
        .into_iter()
        .map(|layer| PathBuf::from(OsString::from_vec(layer)))
        .collect()
}

fn components(path: &[u8]) -> VecDeque<OsString> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
