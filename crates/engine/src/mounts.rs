//! Bind mounts as clients ask for them: `-v` and `--mount`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use berth_errdefs::Kind;
use berth_spec::BindMount;
use berth_wire as wire;

use crate::{Error, Result};

/// A bind mount that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) mount: BindMount,
    /// The options as given after the second colon of `-v`.
    pub(crate) mode: String,
    /// A missing source is made (`-v`, or `--mount` with `bind-create-mountpoint`).
    pub(crate) create: bool,
}

/// The bind mounts of a configuration. Volumes are refused: there are none yet.
///
/// # Errors
/// Docker's words for what is malformed, or given twice.
pub(crate) fn binds(host: &wire::HostConfig) -> Result<Vec<Bind>> {
    let mut list = Vec::new();
    let mut volumes = Vec::new();
    for text in &host.binds {
        match short(text)? {
            Short::Bind(bind) => list.push(bind),
            Short::Volume(destination) => volumes.push(destination),
        }
    }
    for mount in &host.mounts {
        match mount.kind.as_str() {
            "bind" => list.push(long(mount)?),
            "tmpfs" => absolute(&mount.target, "tmpfs", mount)?,
            "volume" | "image" | "npipe" | "cluster" => {
                return Err(unsupported(&format!("{} mounts are", mount.kind)));
            }
            other => {
                return Err(Error::invalid(format!(
                    "invalid mount config for type {other:?}: mount type unknown"
                )));
            }
        }
    }
    if !host.volumes_from.is_empty() {
        return Err(unsupported("--volumes-from is"));
    }
    let mut taken = BTreeSet::new();
    let tmpfs = host
        .mounts
        .iter()
        .filter(|m| m.kind == "tmpfs")
        .map(|m| PathBuf::from(&m.target));
    let tmpfs = tmpfs.chain(host.tmpfs.keys().map(PathBuf::from));
    let binds = list.iter().map(|bind| bind.mount.destination.clone());
    for destination in binds.chain(tmpfs).chain(volumes.iter().cloned()) {
        let shown = destination.display().to_string();
        if !taken.insert(destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {shown}")));
        }
    }
    // Only now: what is malformed is told as that.
    if !volumes.is_empty() {
        return Err(unsupported("named volumes are"));
    }
    Ok(list)
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::NotImplemented, format!("{what} not supported yet"))
}

/// What `-v` can ask for.
enum Short {
    Bind(Bind),
    /// A volume, for this place.
    Volume(PathBuf),
}

/// `source:destination[:options]`.
fn short(text: &str) -> Result<Short> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<_> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] if destination.starts_with('/') => {
            return Ok(Short::Volume(clean(destination)));
        }
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    if source.is_empty() || destination.is_empty() {
        return Err(invalid());
    }
    if !destination.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": \
             invalid mount path: '{destination}' mount path must be absolute"
        )));
    }
    let destination = clean(destination);
    if destination == Path::new("/") {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": \
             invalid specification: destination can't be '/'"
        )));
    }
    if !source.starts_with('/') {
        return Ok(Short::Volume(destination));
    }
    let mut mount = BindMount {
        source: clean(source),
        destination,
        ..BindMount::default()
    };
    options(mode, &mut mount)?;
    Ok(Short::Bind(Bind {
        mount,
        mode: mode.to_owned(),
        create: true,
    }))
}

fn options(mode: &str, mount: &mut BindMount) -> Result<()> {
    let invalid = || Error::invalid(format!("invalid mode: {mode}"));
    let (mut access, mut propagation, mut label) = (0, 0, 0);
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        match option {
            "ro" | "rw" => {
                access += 1;
                mount.readonly = option == "ro";
            }
            "rro" => {
                access += 1;
                mount.readonly = true;
                mount.readonly_recursive = true;
            }
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                propagation += 1;
                mount.propagation = option.to_owned();
            }
            // Without SELinux there is nothing to label, as in dockerd.
            "z" | "Z" => label += 1,
            "nocopy" | "consistent" | "cached" | "delegated" => {}
            _ => return Err(invalid()),
        }
    }
    if access > 1 || propagation > 1 || label > 1 {
        return Err(invalid());
    }
    Ok(())
}

fn long(mount: &wire::MountRequest) -> Result<Bind> {
    absolute(&mount.target, "bind", mount)?;
    let invalid =
        |what: String| Error::invalid(format!("invalid mount config for type \"bind\": {what}"));
    if mount.source.is_empty() {
        return Err(invalid("field Source must not be empty".to_owned()));
    }
    if !mount.source.starts_with('/') {
        return Err(invalid(format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.source
        )));
    }
    if mount.volume_options.is_some() {
        return Err(invalid(
            "field VolumeOptions must not be specified".to_owned(),
        ));
    }
    if mount.tmpfs_options.is_some() {
        return Err(invalid(
            "field TmpfsOptions must not be specified".to_owned(),
        ));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let source = clean(&mount.source);
    if !options.create_mountpoint && std::fs::symlink_metadata(&source).is_err() {
        return Err(invalid(format!(
            "bind source path does not exist: {}",
            source.display()
        )));
    }
    Ok(Bind {
        mount: BindMount {
            source,
            destination: clean(&mount.target),
            readonly: mount.read_only,
            readonly_recursive: options.read_only_force_recursive,
            readonly_non_recursive: options.read_only_non_recursive,
            non_recursive: options.non_recursive,
            propagation: options.propagation,
        },
        mode: String::new(),
        create: options.create_mountpoint,
    })
}

fn absolute(target: &str, kind: &str, mount: &wire::MountRequest) -> Result<()> {
    let invalid = |what: String| {
        Err(Error::invalid(format!(
            "invalid mount config for type {kind:?}: {what}"
        )))
    };
    if target.is_empty() {
        return invalid("field Target must not be empty".to_owned());
    }
    if !target.starts_with('/') {
        return invalid(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        ));
    }
    if clean(target) == Path::new("/") {
        return invalid("invalid specification: destination can't be '/'".to_owned());
    }
    if kind == "tmpfs" && !mount.source.is_empty() {
        return invalid("field Source must not be specified".to_owned());
    }
    Ok(())
}

/// The path without `.`, `..` and doubled slashes, as Go's `filepath.Clean` gives it.
fn clean(path: &str) -> PathBuf {
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

/// How `inspect` and `ps` show the mounts: binds first, then tmpfs of `--mount`.
pub(crate) fn shown(host: &wire::HostConfig) -> Vec<wire::MountPoint> {
    let mut points: Vec<_> = binds(host)
        .unwrap_or_default()
        .into_iter()
        .map(|bind| wire::MountPoint {
            kind: "bind".to_owned(),
            source: bind.mount.source.to_string_lossy().into_owned(),
            destination: bind.mount.destination.to_string_lossy().into_owned(),
            mode: bind.mode,
            rw: !bind.mount.readonly,
            propagation: match bind.mount.propagation.as_str() {
                "" => "rprivate".to_owned(),
                given => given.to_owned(),
            },
            ..Default::default()
        })
        .collect();
    let tmpfs = host.mounts.iter().filter(|mount| mount.kind == "tmpfs");
    points.extend(tmpfs.map(|mount| wire::MountPoint {
        kind: "tmpfs".to_owned(),
        destination: mount.target.clone(),
        rw: !mount.read_only,
        ..Default::default()
    }));
    points
}

/// Makes the missing sources of `binds` as dockerd does, and tells of those that must exist.
/// Blocks.
///
/// # Errors
/// A source is missing that is not to be made, or cannot be made.
pub(crate) fn ensure_sources(binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let source = &bind.mount.source;
        let shown = source.display();
        if std::fs::metadata(source).is_ok() {
            continue;
        }
        if !bind.create {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {shown}"
            )));
        }
        std::fs::create_dir_all(source).map_err(|error| {
            Error::internal(format!(
                "error while creating mount source path '{shown}': mkdir {shown}: {error}"
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(binds: &[&str]) -> Result<Vec<Bind>> {
        let binds = binds.iter().map(|&bind| bind.to_owned()).collect();
        super::binds(&wire::HostConfig {
            binds,
            ..Default::default()
        })
    }

    #[test]
    fn short_binds() {
        let binds = parse(&["/a/./b/../c:/d/:ro,rslave"]).expect("valid");
        assert_eq!(binds[0].mount.source, Path::new("/a/c"));
        assert_eq!(binds[0].mount.destination, Path::new("/d"));
        assert!(binds[0].mount.readonly && binds[0].create);
        assert_eq!(binds[0].mount.propagation, "rslave");
    }

    #[test]
    fn malformed_binds_are_refused_in_dockers_words() {
        let cases = [
            (
                &["/a:b"][..],
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
            (&["/a:/b:odd"], "invalid mode: odd"),
            (&["/a:/b:ro,rw"], "invalid mode: ro,rw"),
            (
                &["/a:/b:ro:x"],
                "invalid volume specification: '/a:/b:ro:x'",
            ),
            (&[":/b"], "invalid volume specification: ':/b'"),
            (
                &["/a:/"],
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (&["/a:/b", "/c:/b/"], "Duplicate mount point: /b"),
            (&["name:/b"], "named volumes are not supported yet"),
        ];
        for (binds, message) in cases {
            assert_eq!(parse(binds).expect_err(message).to_string(), message);
        }
    }

    #[test]
    fn long_binds_need_a_source_that_exists() {
        let mount = wire::MountRequest {
            kind: "bind".into(),
            source: "/does/not/exist".into(),
            target: "/b".into(),
            ..Default::default()
        };
        let host = wire::HostConfig {
            mounts: vec![mount],
            ..Default::default()
        };
        let error = super::binds(&host).expect_err("missing").to_string();
        assert_eq!(
            error,
            "invalid mount config for type \"bind\": bind source path does not exist: /does/not/exist"
        );
    }
}
