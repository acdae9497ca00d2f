//! Mounts as clients ask for them: `-v`, `--mount`, `--volumes-from`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use berth_wire as wire;

use crate::{Error, Kind, MountPoint, Result};

mod long;
mod short;
#[cfg(test)]
mod tests;

/// Where mounts pass through, in Docker's words.
const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// A mount that a client asked for, and the volume it is to make if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The mount. A volume's source is not known yet.
    pub point: MountPoint,
    /// Labels of a volume that is made.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver of a volume that is made.
    pub options: BTreeMap<String, String>,
}

/// The mounts that `host` asks for, in the order of the request: what `-v` gave, then `--mount`.
/// Neither `--tmpfs` nor `--volumes-from` are among them.
///
/// # Errors
/// [`Error::Invalid`] with dockerd's words for what is malformed, given twice for one place, or
/// bound from where nothing is.
pub fn requests(host: &wire::HostConfig) -> Result<Vec<Request>> {
    let mut list = Vec::with_capacity(host.binds.len() + host.mounts.len());
    for text in &host.binds {
        list.push(short::parse(text, &host.volume_driver)?);
    }
    for mount in &host.mounts {
        list.push(long::parse(mount)?);
    }
    let mut taken: BTreeSet<PathBuf> = host.tmpfs.keys().map(|path| clean(path)).collect();
    for request in &list {
        let destination = &request.point.destination;
        if !taken.insert(destination.clone()) {
            let shown = destination.display();
            return Err(Error::invalid(format!("Duplicate mount point: {shown}")));
        }
    }
    Ok(list)
}

/// `--volumes-from container[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom<'a> {
    /// The container's name or id.
    pub container: &'a str,
    /// Nothing can be written through any of them.
    pub read_only: bool,
}

impl<'a> VolumesFrom<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with dockerd's words.
    pub fn parse(text: &'a str) -> Result<VolumesFrom<'a>> {
        let (container, mode) = text.split_once(':').unwrap_or((text, ""));
        if text.is_empty() {
            return Err(Error::invalid(
                "volumes-from specification cannot be an empty string",
            ));
        }
        let mode = short::Mode::parse(mode)
            .filter(|mode| mode.propagation.is_none() && !mode.nocopy)
            .ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?;
        Ok(VolumesFrom {
            container,
            read_only: mode.read_only,
        })
    }
}

/// The path without `.`, `..` and doubled slashes, taken from the root: Go's `filepath.Clean`.
#[must_use]
pub fn clean(path: &str) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(cleaned.pop()),
            Component::Normal(name) => cleaned.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// Where it shows: not empty, not the root, absolute.
fn target(target: &str) -> Result<PathBuf, String> {
    if target.is_empty() {
        return Err("field Target must not be empty".to_owned());
    }
    if clean(target) == Path::new("/") && (target.starts_with('/') || target.starts_with('.')) {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    absolute(target)
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(clean(path));
    }
    Err(format!(
        "invalid mount path: '{path}' mount path must be absolute"
    ))
}

/// The mode that dockerd shows for volumes of `-v` and `--mount` that have none.
fn volume_mode(mode: &str) -> String {
    if mode.is_empty() { "z" } else { mode }.to_owned()
}

fn invalid_config(kind: &str, what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid mount config for type {kind:?}: {what}"))
}
