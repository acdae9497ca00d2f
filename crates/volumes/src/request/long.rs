//! `--mount type=…`.

use std::path::{Component, Path, PathBuf};

use berth_wire as wire;

use super::{Kind, PROPAGATIONS, Request, absolute, clean, invalid_config, target, volume_mode};
use crate::{Error, MountPoint, Result};

pub(super) fn parse(mount: &wire::MountRequest) -> Result<Request> {
    let config = |what: String| invalid_config(&mount.kind, what);
    let destination = target(&mount.target).map_err(config)?;
    let point = MountPoint {
        destination,
        read_only: mount.read_only,
        ..MountPoint::default()
    };
    match mount.kind.as_str() {
        "bind" => bind(mount, point),
        "volume" => volume(mount, point),
        "tmpfs" => tmpfs(mount, point),
        "image" => return Err(Error::Unsupported("image mounts are".to_owned())),
        _ => Err("mount type unknown".to_owned()),
    }
    .map_err(config)
}

type Parsed = Result<Request, String>;

fn extra<T>(field: &str) -> Result<T, String> {
    Err(format!("field {field} must not be specified"))
}

fn bind(mount: &wire::MountRequest, point: MountPoint) -> Parsed {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => "rprivate",
        known if PROPAGATIONS.contains(&known) => known,
        other => return Err(format!("invalid propagation mode: {other}")),
    };
    if mount.volume_options.is_some() {
        return extra("VolumeOptions");
    }
    if mount.tmpfs_options.is_some() {
        return extra("TmpfsOptions");
    }
    absolute(&mount.source)?;
    let source = clean(&mount.source);
    if !options.create_mountpoint && std::fs::symlink_metadata(&source).is_err() {
        let shown = source.display();
        return Err(format!("bind source path does not exist: {shown}"));
    }
    Ok(Request {
        point: MountPoint {
            kind: Kind::Bind,
            source,
            propagation: propagation.to_owned(),
            read_only_force_recursive: options.read_only_force_recursive,
            read_only_non_recursive: options.read_only_non_recursive,
            non_recursive: options.non_recursive,
            create_source: options.create_mountpoint,
            ..point
        },
        ..Request::default()
    })
}

fn volume(mount: &wire::MountRequest, point: MountPoint) -> Parsed {
    if mount.bind_options.is_some() {
        return extra("BindOptions");
    }
    if mount.tmpfs_options.is_some() {
        return extra("TmpfsOptions");
    }
    let options = mount.volume_options.clone().unwrap_or_default();
    let anonymous = mount.source.is_empty();
    let subpath = PathBuf::from(&options.subpath);
    if !options.subpath.is_empty() {
        if anonymous {
            return Err("must not set Subpath when using anonymous volumes".to_owned());
        }
        if !is_local(&subpath) {
            return Err("subpath must be a relative path within the volume".to_owned());
        }
    }
    if mount.read_only && anonymous {
        return Err("must not set ReadOnly mode when using anonymous volumes".to_owned());
    }
    let driver = options.driver_config.unwrap_or_default();
    Ok(Request {
        point: MountPoint {
            kind: Kind::Volume,
            name: mount.source.clone(),
            driver: driver.name,
            named: !anonymous,
            mode: volume_mode(""),
            copy: !options.no_copy,
            subpath,
            ..point
        },
        labels: options.labels,
        options: driver.options,
    })
}

fn tmpfs(mount: &wire::MountRequest, point: MountPoint) -> Parsed {
    if mount.bind_options.is_some() {
        return extra("BindOptions");
    }
    if mount.volume_options.is_some() {
        return extra("VolumeOptions");
    }
    if !mount.source.is_empty() {
        return extra("Source");
    }
    Ok(Request {
        point: MountPoint {
            kind: Kind::Tmpfs,
            ..point
        },
        ..Request::default()
    })
}

/// Whether a path stays below where it begins, by its words alone: Go's `filepath.IsLocal`.
fn is_local(path: &Path) -> bool {
    let mut depth = 0_i32;
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}
