//! A member of a layer's tar. It is taken only where no reader of tars is known to take it for something
//! else: what a layer means must not depend on who unpacks it.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use tar::EntryType;

use crate::entry::Attributes;
use crate::pack::XATTR;
use crate::unpack::{lexical, link_name, or_zero};
use crate::{Error, Result};

/// What a name begins with that stands for something of a lower layer that is gone, as AUFS had it:
/// <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>.
const WHITEOUT: &[u8] = b".wh.";
/// The name that stands for all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The last second that fits into 64 bits of nanoseconds. Go's `os.Chtimes`, which containerd unpacks
/// with, knows none after it.
const LAST: i64 = i64::MAX / 1_000_000_000;

/// What a member makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink(PathBuf),
    /// To what a path from the root of the layer leads to.
    HardLink(PathBuf),
    /// A FIFO, or a device of this number.
    Node(FileType, u64),
    /// Nothing of the layers below is seen of what has the member's name.
    Whiteout,
    /// Nothing of the layers below is seen in the member's folder.
    Opaque,
}

/// A member, and where it goes.
#[derive(Debug)]
pub(crate) struct Member {
    /// The directory it goes into, relative to the root, without `.` and `..`; it may lead through links.
    pub(crate) folder: PathBuf,
    pub(crate) name: OsString,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
}

impl Member {
    /// `None` for the root, which layers say nothing about.
    ///
    /// # Errors
    /// The member is broken, or readers of tars may differ about it.
    pub(crate) fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<Member>> {
        let kind = entry.header().entry_type();
        let raw = entry.path_bytes().into_owned();
        plain_header(entry.header()).ok_or_else(|| odd("a header of its own kind", &raw))?;
        if raw.is_empty() || raw.contains(&0) {
            return Err(odd("a name that is none", &raw));
        }
        if kind != EntryType::Regular && entry.size() > 0 {
            return Err(odd("contents of what has none", &raw));
        }
        if kind != EntryType::Directory && raw.ends_with(b"/") {
            return Err(odd("a slash behind what is no directory", &raw));
        }
        let attributes = attributes(entry)?;
        let path = lexical(Path::new(OsStr::from_bytes(&raw)));
        let path = path.ok_or_else(|| odd("a path that leads out of the layer", &raw))?;
        let made = self::kind(entry, kind)?;
        let Some(name) = path.file_name() else {
            return match made {
                Kind::Directory => Ok(None),
                _ => Err(odd("a root that is no directory", &raw)),
            };
        };
        let (name, kind) = match named(name)? {
            Named::Itself => (name.to_owned(), made),
            Named::Gone(name) => (name, Kind::Whiteout),
            Named::AllGone => (name.to_owned(), Kind::Opaque),
        };
        Ok(Some(Member {
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            name,
            kind,
            attributes,
        }))
    }
}

/// `Some` for a header of POSIX's, GNU's or the oldest form whose fields all readers read alike: there are
/// GNU headers that have the beginning of the name where others have times, and octal numbers that are none.
fn plain_header(header: &tar::Header) -> Option<()> {
    let bytes = header.as_bytes();
    let (magic, rest) = (bytes.get(257..265)?, bytes.get(345..)?);
    let numbers = [100..108, 108..116, 116..124, 124..136, 136..148];
    let devices = [329..337, 337..345];
    let has_devices = match magic {
        b"ustar\x0000" => !rest.ends_with(b"tar\0"),
        b"ustar  \0" => rest.iter().all(|byte| *byte == 0),
        _ if !magic.starts_with(b"ustar") => {
            return numbers.iter().all(|at| is_number(bytes, at)).then_some(());
        }
        _ => false,
    };
    let mut all = numbers.iter().chain(&devices);
    (has_devices && all.all(|at| is_number(bytes, at))).then_some(())
}

/// Octal digits between blanks, or a number in base 256.
fn is_number(header: &[u8; 512], at: &Range<usize>) -> bool {
    let field = header.get(at.clone()).unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, 0 | b' ');
    let digits = field.iter().skip_while(|byte| blank(byte));
    let mut behind = digits.skip_while(|byte| matches!(byte, b'0'..=b'7'));
    field.first().is_some_and(|first| first & 0x80 != 0) || behind.all(blank)
}

fn odd(what: &str, of: &[u8]) -> Error {
    Error::Refused(format!("{what}: {:?}", String::from_utf8_lossy(of)))
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Itself,
    /// Of lower layers, this is gone.
    Gone(OsString),
    AllGone,
}

fn named(name: &OsStr) -> Result<Named> {
    let bytes = name.as_bytes();
    let Some(gone) = bytes.strip_prefix(WHITEOUT) else {
        return Ok(Named::Itself);
    };
    match gone {
        _ if bytes == OPAQUE => Ok(Named::AllGone),
        b"" | b"." | b".." => Err(odd("invalid whiteout name", bytes)),
        // AUFS's own, which nobody has a meaning for.
        _ if gone.starts_with(WHITEOUT) => Err(odd("a whiteout of a whiteout", bytes)),
        _ => Ok(Named::Gone(OsString::from_vec(gone.to_owned()))),
    }
}

fn kind<R: Read>(entry: &tar::Entry<'_, R>, kind: EntryType) -> Result<Kind> {
    let header = entry.header();
    let device = || -> Result<u64> {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        Ok(rustix::fs::makedev(major.unwrap_or(0), minor.unwrap_or(0)))
    };
    Ok(match kind {
        EntryType::Regular => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target(entry)?),
        EntryType::Link => {
            let target = target(entry)?;
            let raw = target.as_os_str().as_bytes();
            // Some count dots, some follow them; some follow a link before a slash.
            let dots = raw.split(|byte| *byte == b'/').any(|name| name == b"..");
            let plain = !dots && !raw.ends_with(b"/") && !raw.ends_with(b"/.");
            let inside = lexical(&target).filter(|path| plain && path.file_name().is_some());
            Kind::HardLink(inside.ok_or_else(|| odd("where a hard link leads", raw))?)
        }
        EntryType::Char => Kind::Node(FileType::CharacterDevice, device()?),
        EntryType::Block => Kind::Node(FileType::BlockDevice, device()?),
        EntryType::Fifo => Kind::Node(FileType::Fifo, 0),
        other => return Err(odd("unhandled tar header type", &[other.as_byte()])),
    })
}

/// Where a link leads.
fn target<R: Read>(entry: &tar::Entry<'_, R>) -> Result<PathBuf> {
    let target = link_name(entry);
    let raw = target.as_os_str().as_bytes();
    match raw.is_empty() || raw.contains(&0) {
        true => Err(odd("a link that leads nowhere", raw)),
        false => Ok(target),
    }
}

/// An owner; the last number means "as it is" to the kernel.
fn owner(number: u64) -> Result<u32> {
    let owner = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    owner.ok_or_else(|| odd("an owner that no system has", number.to_string().as_bytes()))
}

fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Attributes> {
    let header = entry.header();
    let old = header.as_old();
    let modified = or_zero(&old.mtime, || header.mtime())?;
    let mut attributes = Attributes {
        mode: or_zero(&old.mode, || header.mode())? & 0o7777,
        uid: owner(or_zero(&old.uid, || header.uid())?)?,
        gid: owner(or_zero(&old.gid, || header.gid())?)?,
        modified: (
            i64::try_from(modified).map_err(|_| odd("a time that is none", b"mtime"))?,
            0,
        ),
        ..Attributes::default()
    };
    extended(entry, &mut attributes)?;
    let accessed = attributes.accessed.max(attributes.modified);
    attributes.accessed = bound(accessed);
    attributes.modified = bound(attributes.modified);
    Ok(attributes)
}

/// What extended headers say instead: POSIX's pax.
fn extended<R: Read>(entry: &mut tar::Entry<'_, R>, attributes: &mut Attributes) -> Result<()> {
    let mut keys = BTreeSet::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let (key, value) = (record.key_bytes(), record.value_bytes());
        let refused = || odd("an extended header that not all take alike", key);
        // The same twice: some take the first, some the last.
        if key.is_empty() || key.contains(&0) || !keys.insert(key.to_owned()) {
            return Err(refused());
        }
        let text = || std::str::from_utf8(value).map_err(|_| refused());
        let number = || text()?.parse::<u64>().map_err(|_| refused());
        match key {
            b"path" | b"linkpath" | b"uname" | b"gname" if value.contains(&0) => {
                return Err(refused());
            }
            // Without a value the header counts; not for all.
            b"path" | b"linkpath" | b"size" if value.is_empty() => return Err(refused()),
            b"size" => drop(number()?),
            b"uid" => attributes.uid = owner(number()?)?,
            b"gid" => attributes.gid = owner(number()?)?,
            b"mtime" => attributes.modified = time(text()?).ok_or_else(refused)?,
            b"atime" => attributes.accessed = time(text()?).ok_or_else(refused)?,
            b"ctime" => drop(time(text()?).ok_or_else(refused)?),
            _ if key.starts_with(b"GNU.sparse.") => return Err(refused()),
            _ => attributes.xattrs.extend(xattr(key, value)?),
        }
    }
    Ok(())
}

/// The epoch for what Go's programs cannot say.
fn bound(time: (i64, i64)) -> (i64, i64) {
    match time.0 {
        0..LAST => time,
        _ => (0, 0),
    }
}

/// PAX's times, as strictly as Go reads them: seconds, with a fraction of which nine digits count.
/// What lies before 1970 is 1970.
fn time(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction.get(..9).unwrap_or(fraction);
    let nanos = format!("{nanos:0<9}").parse().ok()?;
    Some(match text.starts_with('-') {
        true => (0, 0),
        false => (whole, nanos),
    })
}

/// An extended attribute of the file; those of the `trusted` space are the host's to give.
fn xattr(key: &[u8], value: &[u8]) -> Result<Option<(CString, Vec<u8>)>> {
    let name = key.strip_prefix(XATTR.as_bytes());
    let Some(name) = name.filter(|name| !name.starts_with(b"trusted.")) else {
        return Ok(None);
    };
    let name = CString::new(name).map_err(|_| odd("an attribute's name", key))?;
    Ok(Some((name, value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_for_what_is_gone() {
        let of = |name: &str| named(OsStr::new(name)).ok();
        assert_eq!(of("x"), Some(Named::Itself));
        assert_eq!(of(".wh.x"), Some(Named::Gone("x".into())));
        assert_eq!(of(".wh..wh..opq"), Some(Named::AllGone));
        for odd in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", ".wh..wh."] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn times_are_as_go_has_them() {
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("1.9999999999"), Some((1, 999_999_999)));
        assert_eq!(time("7."), Some((7, 0)));
        assert_eq!(time("-0.5"), Some((0, 0)));
        for odd in ["", "x", "1.+5", "1.x", "99999999999999999999"] {
            assert_eq!(time(odd), None, "{odd}");
        }
        assert_eq!(bound((i64::MAX, 1)), (0, 0));
        assert_eq!(bound((-1, 0)), (0, 0));
        assert_eq!(bound((5, 6)), (5, 6));
    }

    #[test]
    fn owners_are_numbers_of_32_bits() {
        assert_eq!(owner(70_000).unwrap(), 70_000);
        owner(u64::from(u32::MAX)).unwrap_err();
        owner(1 << 32).unwrap_err();
    }

    #[test]
    fn headers_that_all_readers_read_alike() {
        let is_plain = |change: &dyn Fn(&mut [u8; 512])| {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(0);
            change(header.as_mut_bytes());
            plain_header(&header).is_some()
        };
        let put = |at: usize, bytes: &'static [u8]| {
            move |header: &mut [u8; 512]| header[at..at + bytes.len()].copy_from_slice(bytes)
        };
        assert!(is_plain(&|_| ()));
        assert!(is_plain(&put(257, b"ustar  \0")));
        assert!(is_plain(&put(257, &[0; 8])));
        assert!(is_plain(&put(124, b" 0000001234 ")));
        assert!(is_plain(&put(108, b"\x80\0\0\0\0\0\0\x01")));
        assert!(!is_plain(&put(257, b"ustar\0  ")));
        assert!(!is_plain(&put(508, b"tar\0")));
        assert!(!is_plain(&put(124, b"+000000123\0\0")));
        assert!(!is_plain(&put(329, b"garbage")));
        // The beginning of a name, which GNU headers have no place for.
        assert!(!is_plain(&|header| {
            put(257, b"ustar  \0")(header);
            put(345, b"some/where")(header);
        }));
    }
}
