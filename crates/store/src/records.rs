use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::{TEMP_MARK, sync_dir};
use crate::removal::remove_tree;
use crate::{Durability, Error, Result, read_json, write_json};

/// How the names of folders that are being removed begin. No id begins so.
const REMOVING: &str = ".removing-";

/// How the names of folders that are being made begin. No id begins so.
const CREATING: &str = ".creating-";

/// A directory of folders, each named by an id and holding records: `<root>/<id>/<file>`.
/// An id is one of 64 hexadecimal digits or, where so opened, a name.
///
/// There is no state in memory and no lock: each folder has one owner (the container's actor,
/// say), and only it writes there.
#[derive(Clone, Debug)]
pub struct Records {
    root: PathBuf,
    check: fn(&str) -> Result<()>,
}

/// A folder whose record could not be loaded.
#[derive(Debug)]
pub struct Quarantined {
    /// The folder's id.
    pub id: String,
    /// Where the damaged record is now: `<file>.corrupt-<n>` in its folder, or its own path when
    /// it could not be moved, is missing, or cannot be read.
    pub path: PathBuf,
    /// Why it could not be loaded.
    pub reason: Error,
}

/// What [`Records::load_all`] found: the records by their folders' ids, and what could not be
/// loaded.
pub type Loaded<T> = (Vec<(String, T)>, Vec<Quarantined>);

impl Records {
    /// The records in the folders of `root`. Makes `root` (mode 0700) when it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::with_ids(root.into(), check_id)
    }

    /// The same with folders that are called by names: letters, digits, and not at first `_`, `.`
    /// and `-`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_named(root: impl Into<PathBuf>) -> Result<Self> {
        Self::with_ids(root.into(), check_name)
    }

    fn with_ids(root: PathBuf, check: fn(&str) -> Result<()>) -> Result<Self> {
        private_dirs()
            .recursive(true)
            .create(&root)
            .map_err(Error::io("create", &root))?;
        Ok(Self { root, check })
    }

    /// The directory that holds the folders.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of `id`, whether it exists or not.
    ///
    /// # Errors
    /// [`Error::InvalidId`].
    pub fn folder(&self, id: &str) -> Result<PathBuf> {
        (self.check)(id)?;
        Ok(self.root.join(id))
    }

    /// Makes the folder of `id` (mode 0700) when it is missing, and tells its path.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::Io`].
    pub fn create_folder(&self, id: &str) -> Result<PathBuf> {
        let folder = self.folder(id)?;
        self.ensure(&folder)?;
        Ok(folder)
    }

    /// Replaces the record `file` of `id`; makes its folder when it is missing.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::InvalidName`], and those of [`write_json`].
    pub fn save<T: Serialize + ?Sized>(
        &self,
        id: &str,
        file: &str,
        value: &T,
        durability: Durability,
    ) -> Result<()> {
        let folder = self.folder(id)?;
        let path = folder.join(check_file(file)?);
        match write_json(&path, value, durability) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.ensure(&folder)?;
                write_json(&path, value, durability)?;
                match durability {
                    Durability::Synced => sync_dir(&self.root),
                    Durability::Renamed => Ok(()),
                }
            }
            done => done,
        }
    }

    /// Replaces the record `file` of `id` unless its folder is gone: what is written while another
    /// removes the folder never brings it back. False when it is gone.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::InvalidName`], and those of [`write_json`].
    pub fn replace<T: Serialize + ?Sized>(
        &self,
        id: &str,
        file: &str,
        value: &T,
        durability: Durability,
    ) -> Result<bool> {
        let path = self.folder(id)?.join(check_file(file)?);
        match write_json(&path, value, durability) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Makes the folder of `id` (mode 0700) with its record `file`, and with whatever else `fill`
    /// puts into it, in one step: after a crash it is there whole, or not at all. Survives a power
    /// loss.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::InvalidName`], and those of [`write_json`]; [`Error::Io`] when
    /// it exists or `fill` fails. Nothing is left then.
    pub fn make<T: Serialize + ?Sized>(
        &self,
        id: &str,
        file: &str,
        value: &T,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<()> {
        let folder = self.folder(id)?;
        let name = format!("{CREATING}{id}");
        remove_tree(&self.root, &name)?;
        let fresh = self.root.join(&name);
        let make = || {
            self.ensure(&fresh)?;
            fill(&fresh).map_err(Error::io("create", &folder))?;
            write_json(&fresh.join(check_file(file)?), value, Durability::Synced)?;
            let cwd = rustix::fs::CWD;
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(cwd, &fresh, cwd, &folder, flags)
                .map_err(Error::io("create", &folder))
        };
        if let Err(error) = make() {
            if let Err(error) = remove_tree(&self.root, &name) {
                tracing::warn!(%error, "taking back a folder");
            }
            return Err(error);
        }
        sync_dir(&self.root)
    }

    /// Reads the record `file` of `id`.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::InvalidName`], and those of [`read_json`].
    pub fn load<T: DeserializeOwned>(&self, id: &str, file: &str) -> Result<T> {
        read_json(&self.folder(id)?.join(check_file(file)?))
    }

    /// Reads the record `file` of every folder, in the order of their ids. One that cannot be loaded stops nothing:
    /// it is told in the second list, and when its bytes are damaged it is moved aside, so that a
    /// later write cannot destroy what may still be saved by hand. Whatever is not a folder
    /// named by an id is left alone.
    ///
    /// # Errors
    /// [`Error::InvalidName`], and [`Error::Io`] when the root itself cannot be listed.
    pub fn load_all<T: DeserializeOwned>(&self, file: &str) -> Result<Loaded<T>> {
        check_file(file)?;
        let mut ids: Vec<String> = self
            .names()?
            .into_iter()
            .filter(|n| (self.check)(n).is_ok() && self.root.join(n).is_dir())
            .collect();
        ids.sort_unstable();
        let mut loaded = Vec::with_capacity(ids.len());
        let mut quarantined = Vec::new();
        for id in ids {
            match self.load(&id, file) {
                Ok(value) => loaded.push((id, value)),
                Err(reason) => quarantined.push(self.quarantine(id, file, reason)),
            }
        }
        Ok((loaded, quarantined))
    }

    /// Removes the folder of `id` with all that is in it. It is first renamed away, so no reader
    /// finds half of it and a crash leaves only what [`Records::sweep`] takes. Calling it again
    /// goes on where an earlier call failed; a folder that does not exist is success.
    ///
    /// Mounts inside the folder are never entered: what is mounted there stays as it is, and the
    /// call fails.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::Io`].
    pub fn remove(&self, id: &str) -> Result<()> {
        self.withdraw(id)?;
        self.delete_withdrawn(id)
    }

    /// The first half of [`Records::remove`], which takes no time: the folder is not found any
    /// more, and its id is free.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::Io`].
    pub fn withdraw(&self, id: &str) -> Result<()> {
        let folder = self.folder(id)?;
        for count in 0_u64.. {
            let away = self.root.join(format!("{REMOVING}{id}-{count}"));
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let cwd = rustix::fs::CWD;
            match rustix::fs::renameat_with(cwd, &folder, cwd, &away, flags) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => break,
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Error::io("remove", &folder)(error)),
            }
        }
        Ok(())
    }

    /// The second half of [`Records::remove`]: deletes all that was withdrawn under this id.
    ///
    /// # Errors
    /// [`Error::Io`]; what is left is swept at the next start.
    pub fn delete_withdrawn(&self, id: &str) -> Result<()> {
        let withdrawn = |name: &String| {
            name.strip_prefix(REMOVING)
                .and_then(|rest| rest.rsplit_once('-'))
                .is_some_and(|(whose, _)| whose == id)
        };
        let leftovers: Vec<_> = self.names()?.into_iter().filter(withdrawn).collect();
        leftovers
            .iter()
            .try_for_each(|name| remove_tree(&self.root, name))
    }

    /// Takes away what earlier processes left unfinished: folders half removed and records half
    /// written. To be called once, at start, before anything writes. Goes on after an error and
    /// returns all of them.
    #[must_use = "what could not be swept stays on the disk"]
    pub fn sweep(&self) -> Vec<Error> {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return vec![error],
        };
        let mut errors = Vec::new();
        for name in names {
            if name.starts_with(REMOVING) || name.starts_with(CREATING) {
                errors.extend(remove_tree(&self.root, &name).err());
            } else if (self.check)(&name).is_ok() && self.root.join(&name).is_dir() {
                errors.extend(sweep_folder(&self.root.join(name)));
            }
        }
        errors
    }

    fn quarantine(&self, id: String, file: &str, reason: Error) -> Quarantined {
        let record = self.root.join(&id).join(file);
        let path = match &reason {
            Error::Corrupt { .. } => move_aside(&record, file).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot move a damaged record aside");
                record
            }),
            _ => record,
        };
        Quarantined { id, path, reason }
    }

    fn ensure(&self, folder: &Path) -> Result<()> {
        match private_dirs().create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", folder)(error))
            }
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        names_in(&self.root)
    }
}

fn sweep_folder(folder: &Path) -> Vec<Error> {
    let names = match names_in(folder) {
        Ok(names) => names,
        Err(error) => return vec![error],
    };
    names
        .into_iter()
        .filter(|name| name.starts_with('.') && name.contains(TEMP_MARK))
        .map(|name| folder.join(name))
        .filter_map(|path| {
            std::fs::remove_file(&path)
                .map_err(Error::io("remove", &path))
                .err()
        })
        .collect()
}

fn move_aside(record: &Path, file: &str) -> Result<PathBuf> {
    for count in 1_u64.. {
        let aside = record.with_file_name(format!("{file}.corrupt-{count}"));
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, record, cwd, &aside, flags) {
            Ok(()) => return Ok(aside),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(Error::io("rename", record)(error)),
        }
    }
    Ok(record.to_owned())
}

/// The names in a directory. Names that are not UTF-8 are nobody's here and are passed over.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// A record's file name: a plain name that is neither hidden nor that of a damaged record.
fn check_file(file: &str) -> Result<&str> {
    if file.is_empty() || file.starts_with('.') || file.contains(['/', '\0']) {
        return Err(Error::InvalidName(file.to_owned()));
    }
    Ok(file)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let first = name.bytes().next().is_some_and(plain);
    let rest = |byte| plain(byte) || matches!(byte, b'_' | b'.' | b'-');
    if first && name.bytes().all(rest) {
        Ok(())
    } else {
        Err(Error::InvalidName(name.to_owned()))
    }
}

fn check_id(id: &str) -> Result<()> {
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() == 64 && id.bytes().all(hexadecimal) {
        Ok(())
    } else {
        Err(Error::InvalidId(id.to_owned()))
    }
}
