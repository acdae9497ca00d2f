//! Image archives: reading a tar without trusting it, and writing one.

use std::io::{self, Read};

use berth_archive::{Metered, plain};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Error, Result};

/// How many bytes of a file are passed on at a time.
const CHUNK: usize = 1 << 20;
/// How many files an archive may hold.
const MAX_FILES: usize = 1 << 16;
/// The longest path, in bytes.
const MAX_PATH: usize = 4096;

/// A piece of an archive, in the order it comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A file of `size` bytes begins.
    File { path: String, size: u64 },
    /// Bytes of the file that began last.
    Data(Bytes),
    /// That file is complete.
    End,
    /// `path` is another name of `target`, which is a path in the archive.
    Link { path: String, target: String },
}

/// Reads a tar, compressed or not, and sends its files on. Nothing is written to disk here, and
/// paths are mere names: what leads out of the archive is refused nevertheless.
pub(crate) fn read(body: impl Read, parts: &mpsc::Sender<Part>) -> Result<()> {
    let body = plain(body).map_err(|e| Error::Input(e.to_string()))?;
    let (body, budget) = Metered::new(body);
    let mut archive = tar::Archive::new(body);
    let mut entries = archive.entries().map_err(broken)?;
    for _ in 0..MAX_FILES {
        let Some(entry) = budget.header(|| entries.next()) else {
            return Ok(());
        };
        let mut entry = entry.map_err(broken)?;
        member(&mut entry, parts)?;
        // What was not read is read here, where it is not taken for headers.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    Err(Error::Archive(format!(
        "archive has more than {MAX_FILES} files"
    )))
}

/// Passes one member on.
fn member<R: Read>(entry: &mut tar::Entry<'_, R>, parts: &mpsc::Sender<Part>) -> Result<()> {
    let path = {
        let raw = entry.path_bytes();
        inner_path(text(&raw)?)?
    };
    let kind = entry.header().entry_type();
    if kind.is_dir() || kind == tar::EntryType::XGlobalHeader || path.is_empty() {
        return Ok(());
    }
    if kind.is_symlink() || kind.is_hard_link() {
        let raw = entry.link_name_bytes().unwrap_or_default();
        let base = if kind.is_symlink() { path.as_str() } else { "" };
        let target = link_target(base, text(&raw)?)?;
        return send(parts, Part::Link { path, target });
    }
    // Sparse files among them: a few bytes of them can stand for terabytes.
    if !kind.is_file() && kind != tar::EntryType::Continuous {
        return Err(Error::Archive(format!(
            "invalid archive: {path:?} is no regular file"
        )));
    }
    let size = entry.size();
    send(parts, Part::File { path, size })?;
    let mut left = size;
    while left > 0 {
        let mut chunk = Vec::new();
        let mut piece = entry.by_ref().take(left.min(CHUNK as u64));
        let got = piece.read_to_end(&mut chunk).map_err(broken)?;
        if got == 0 {
            return Err(Error::Archive("invalid archive: unexpected EOF".to_owned()));
        }
        left -= got as u64;
        send(parts, Part::Data(chunk.into()))?;
    }
    send(parts, Part::End)
}

fn send(parts: &mpsc::Sender<Part>, part: Part) -> Result<()> {
    parts.blocking_send(part).map_err(|_| Error::Cancelled)
}

fn broken(e: io::Error) -> Error {
    const NUMBER: &str = "numeric field was not a number";
    let mut why = e.to_string();
    // Bytes of the archive follow.
    if let Some(at) = why.find(NUMBER) {
        why.truncate(at + NUMBER.len());
    }
    Error::Archive(format!(
        "invalid archive: archive/tar: invalid tar header: {why}"
    ))
}

fn text(raw: &[u8]) -> Result<&str> {
    std::str::from_utf8(raw)
        .map_err(|_| Error::Archive("invalid archive: a path is not UTF-8".to_owned()))
}

/// A path in the archive without `.` and doubled slashes; empty for the root.
///
/// # Errors
/// When it is absolute or has `..` in it.
pub(crate) fn inner_path(path: &str) -> Result<String> {
    let escapes = path.starts_with('/') || path.split('/').any(|c| c == "..");
    if path.len() > MAX_PATH {
        return Err(Error::Archive(
            "invalid archive: a path is too long".to_owned(),
        ));
    }
    if escapes || path.contains('\0') {
        return Err(Error::Archive(format!(
            "invalid archive: path {path:?} leads out of it"
        )));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|c| !c.is_empty() && *c != ".")
        .collect();
    Ok(parts.join("/"))
}

/// Where a link at `link` leads. Old `docker save` archives link equal layers to one another.
pub(crate) fn link_target(link: &str, target: &str) -> Result<String> {
    let escape = || Error::Archive(format!("invalid archive: link {target:?} leads out of it"));
    if target.starts_with('/') || target.contains('\0') || target.len() > MAX_PATH {
        return Err(escape());
    }
    let mut parts: Vec<&str> = link.split('/').filter(|c| !c.is_empty()).collect();
    parts.pop();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(escape)?;
            }
            other => parts.push(other),
        }
    }
    Ok(parts.join("/"))
}

/// The header block of a file in an archive that we write.
pub(crate) fn header(path: &str, size: u64) -> Result<Bytes> {
    let mut header = tar::Header::new_ustar();
    let invalid = |e: io::Error| Error::Invalid(e.to_string());
    header.set_path(path).map_err(invalid)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

/// What fills up a file of `size` bytes to whole blocks.
pub(crate) fn padding(size: u64) -> Bytes {
    let over = (size % 512) as usize;
    Bytes::from(vec![0; if over == 0 { 0 } else { 512 - over }])
}
