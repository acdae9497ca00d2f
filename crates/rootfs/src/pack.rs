//! A tree as a tar stream, as dockerd writes it: PAX, whole seconds, no names of users.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::{Entry, Result, Step, Walk};

/// Where in PAX extended attributes stand.
pub(crate) const XATTR: &str = "SCHILY.xattr.";
/// The one that is packed: without it a binary loses what it may do.
const CAPABILITY: &str = "security.capability";
/// How much of a file is read at a time.
const CHUNK: usize = 256 << 10;
/// The longest name that a header holds, in bytes.
const NAME: usize = 100;

/// What the entries of an archive are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The first entry has this name, and what is below it stands below that. Empty for the
    /// root, whose entries begin with a slash.
    Under(PathBuf),
    /// By their paths below the first entry, which is left out itself.
    Relative,
}

impl Naming {
    fn of(&self, path: &Path) -> Option<Vec<u8>> {
        let path = path.as_os_str().as_bytes();
        match self {
            Naming::Relative => (!path.is_empty()).then(|| path.to_owned()),
            Naming::Under(base) if path.is_empty() => Some(base.as_os_str().as_bytes().to_owned()),
            Naming::Under(base) => {
                let mut name = base.as_os_str().as_bytes().to_owned();
                name.push(b'/');
                name.extend_from_slice(path);
                Some(name)
            }
        }
    }
}

/// Packs what `walk` finds. Sockets are left out, and what vanishes or cannot be read is too, as
/// in dockerd; a file that shrinks is filled up with zeros, one that grows is cut off.
///
/// # Errors
/// The tree cannot be walked, or `out` takes no more.
pub fn pack(walk: Walk, naming: &Naming, out: impl Write) -> Result<()> {
    let mut packer = Packer::new(out);
    for step in walk {
        if let Step::Enter(entry) = step?
            && let Some(name) = naming.of(&entry.path)
        {
            packer.add(&entry, &name)?;
        }
    }
    packer.finish()
}

/// Writes entries one after the other.
pub(crate) struct Packer<W: Write> {
    out: W,
    /// What files of several names were called first, by device and number.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(out: W) -> Packer<W> {
        Packer {
            out,
            links: HashMap::new(),
        }
    }

    /// Adds an entry under `name`.
    pub(crate) fn add(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        let kind = entry.kind();
        let id = (entry.stat.st_dev, entry.stat.st_ino);
        let shared = kind != FileType::Directory && entry.stat.st_nlink > 1;
        if let Some(first) = self.links.get(&id).filter(|_| shared).cloned() {
            let header = Header::of(entry, tar::EntryType::Link).link(&first);
            return Ok(header.write(&mut self.out, name)?);
        }
        let added = match self.add_new(entry, name) {
            // Replaced or removed since it was looked at, or of a file system that lets nobody
            // read it.
            Err(error) if error.errno().is_some() => return Ok(()),
            other => other?,
        };
        if added && shared {
            self.links.insert(id, name.to_owned());
        }
        Ok(())
    }

    fn add_new(&mut self, entry: &Entry, name: &[u8]) -> Result<bool> {
        let (major, minor) = (
            rustix::fs::major(entry.stat.st_rdev),
            rustix::fs::minor(entry.stat.st_rdev),
        );
        let header = match entry.kind() {
            FileType::RegularFile => return self.add_file(entry, name).map(|()| true),
            FileType::Directory => Header::of(entry, tar::EntryType::Directory).xattrs(entry)?,
            FileType::Symlink => {
                let target = entry.read_link()?;
                Header::of(entry, tar::EntryType::Symlink).link(target.as_os_str().as_bytes())
            }
            FileType::Fifo => Header::of(entry, tar::EntryType::Fifo),
            FileType::CharacterDevice => {
                Header::of(entry, tar::EntryType::Char).device(major, minor)
            }
            FileType::BlockDevice => Header::of(entry, tar::EntryType::Block).device(major, minor),
            FileType::Socket | FileType::Unknown => return Ok(false),
        };
        let mut name = name.to_owned();
        if entry.kind() == FileType::Directory && name.last() != Some(&b'/') {
            name.push(b'/');
        }
        header.write(&mut self.out, &name)?;
        Ok(true)
    }

    fn add_file(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        let mut file = entry.open()?;
        // As it is now: it may have grown since the directory was read.
        let stat = rustix::fs::fstat(&file).map_err(entry.fail("stat"))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut header = Header::of(entry, tar::EntryType::Regular).xattrs(entry)?;
        header.fields.set_size(size);
        header.write(&mut self.out, name)?;
        // From here on the size is promised.
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut left = size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(CHUNK));
            let got = match file.read(&mut buffer[..most]) {
                Ok(0) => {
                    buffer.fill(0);
                    most
                }
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Half an entry cannot be taken back: the whole stream has failed.
                Err(error) => return Err(error.into()),
            };
            self.out.write_all(&buffer[..got])?;
            left -= got as u64;
        }
        pad(&mut self.out, size)?;
        Ok(())
    }

    /// Adds what says that a layer below has no `name` any more: `.wh.<name>` beside it.
    pub(crate) fn add_whiteout(&mut self, path: &Path) -> Result<()> {
        let mut name = b".wh.".to_vec();
        name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
        let path = path.with_file_name(OsStr::from_bytes(&name));
        let header = Header::new(tar::EntryType::Regular);
        Ok(header.write(&mut self.out, path.as_os_str().as_bytes())?)
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.out.write_all(&[0; 1024])?;
        Ok(self.out.flush()?)
    }
}

fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    const BLOCK: usize = 512;
    match (size % BLOCK as u64) as usize {
        0 => Ok(()),
        over => out.write_all(&[0; BLOCK][over..]),
    }
}

/// A header and the PAX records before it.
struct Header {
    fields: tar::Header,
    records: Vec<(String, Vec<u8>)>,
    link: Vec<u8>,
}

impl Header {
    fn new(kind: tar::EntryType) -> Header {
        let mut fields = tar::Header::new_ustar();
        fields.set_entry_type(kind);
        fields.set_size(0);
        fields.set_mode(0);
        fields.set_uid(0);
        fields.set_gid(0);
        fields.set_mtime(0);
        Header {
            fields,
            records: Vec::new(),
            link: Vec::new(),
        }
    }

    fn of(entry: &Entry, kind: tar::EntryType) -> Header {
        let mut header = Header::new(kind);
        let stat = &entry.stat;
        header.fields.set_mode(stat.st_mode & 0o7777);
        header.fields.set_uid(stat.st_uid.into());
        header.fields.set_gid(stat.st_gid.into());
        match u64::try_from(stat.st_mtime) {
            Ok(seconds) => header.fields.set_mtime(seconds),
            Err(_) => header.record("mtime", stat.st_mtime.to_string().into_bytes()),
        }
        header
    }

    fn record(&mut self, key: impl Into<String>, value: Vec<u8>) {
        self.records.push((key.into(), value));
    }

    fn link(mut self, target: &[u8]) -> Header {
        self.link = target.to_owned();
        self
    }

    fn device(mut self, major: u32, minor: u32) -> Header {
        for (key, set) in [
            ("SCHILY.devmajor", self.fields.set_device_major(major)),
            ("SCHILY.devminor", self.fields.set_device_minor(minor)),
        ] {
            if set.is_err() {
                let value = if key.ends_with("major") { major } else { minor };
                self.record(key, value.to_string().into_bytes());
            }
        }
        self
    }

    fn xattrs(mut self, entry: &Entry) -> Result<Header> {
        for (name, value) in entry.xattrs()? {
            if name.to_bytes() == CAPABILITY.as_bytes() {
                self.record(format!("{XATTR}{CAPABILITY}"), value);
            }
        }
        Ok(self)
    }

    fn write(mut self, out: &mut impl Write, name: &[u8]) -> io::Result<()> {
        if name.len() > NAME {
            self.record("path", name.to_owned());
        }
        if self.link.len() > NAME {
            self.record("linkpath", self.link.clone());
        }
        if !self.records.is_empty() {
            let records: Vec<u8> = self.records.iter().flat_map(|(k, v)| line(k, v)).collect();
            let mut before = Header::new(tar::EntryType::XHeader);
            before.fields.set_size(records.len() as u64);
            before.block(b"PaxHeaders.0/entry", out)?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        self.block(name, out)
    }

    /// The header proper; what is longer than a field is cut off, as a record has it whole.
    fn block(mut self, name: &[u8], out: &mut impl Write) -> io::Result<()> {
        if let Some(fields) = self.fields.as_ustar_mut() {
            put(&mut fields.name, name);
            put(&mut fields.linkname, &self.link);
        }
        self.fields.set_cksum();
        out.write_all(self.fields.as_bytes())
    }
}

fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// A PAX record: its own length, key and value.
fn line(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut line = format!("{length} {key}=").into_bytes();
    line.extend_from_slice(value);
    line.push(b'\n');
    line
}

/// Whether an error only says that something is not there any more.
pub(crate) fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::INVAL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_its_own_length() {
        for size in [0, 1, 5, 80, 84, 85, 86, 90, 990, 1000, 9985, 9990] {
            let line = line("path", &vec![b'x'; size]);
            let told = String::from_utf8_lossy(&line);
            let told = told.split(' ').next().expect("a length");
            assert_eq!(told, line.len().to_string());
        }
    }
}
