//! What Berth does not do yet. It is refused: an option that is ignored in silence would have a
//! container run otherwise than its owner thinks.

use std::path::{Component, Path, PathBuf};

use berth_wire::{ContainerConfig, HostConfig};

use crate::error::{Error, Result};

/// Refuses what is not done yet.
pub(super) fn refuse(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    let refuse = |what: &str| Err(Error::Unsupported(what.to_owned()));
    if !host.links.is_empty() {
        return refuse("links are");
    }
    if !host.storage_opt.is_empty() {
        return refuse("--storage-opt is");
    }
    if !host.cgroup.is_empty() {
        return refuse("joining another container's cgroup is");
    }
    match anonymous_volume(host, config) {
        Some(path) => refuse(&format!(
            "the volume at {path} (mount a directory or a tmpfs there) is"
        )),
        None => Ok(()),
    }
}

/// The first of the configuration's volumes in whose place nothing else is mounted.
fn anonymous_volume<'a>(host: &HostConfig, config: &'a ContainerConfig) -> Option<&'a str> {
    let binds = host.binds.iter().filter_map(|bind| bind.split(':').nth(1));
    let mounts = host.mounts.iter().map(|mount| mount.target.as_str());
    let tmpfs = host.tmpfs.keys().map(String::as_str);
    let taken: Vec<PathBuf> = binds.chain(mounts).chain(tmpfs).map(clean).collect();
    let mut volumes = config.volumes.iter().map(String::as_str);
    volumes.find(|path| !taken.contains(&clean(path)))
}

fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}
