//! A container's mounts: resolved when it is made, bound when it starts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_spec::BindMount;
use berth_volumes::{DRIVER, Kind, MountPoint, Request, VolumesFrom, clean};
use berth_wire as wire;

use crate::container::record::Record;
use crate::shared::Shared;
use crate::volumes::{self, Wanted};
use crate::{Error, Result};

/// What is to be mounted in a container, by order of precedence: what `-v` and `--mount` ask for,
/// what it takes over from other containers, and volumes in the places that its image or `-v PATH`
/// name. Nothing is made yet.
///
/// # Errors
/// Docker's words for what is malformed, given twice, or not there.
pub(crate) fn check(
    shared: &Shared,
    config: &wire::ContainerConfig,
    host: &wire::HostConfig,
) -> Result<Vec<Request>> {
    let inherited = inherited(shared, host)?;
    let mut all = berth_volumes::requests(host).map_err(Error::from_lower)?;
    for request in &all {
        if request.point.kind == Kind::Volume {
            wanted(request, "").check().map_err(refused)?;
        }
    }
    let mut taken: BTreeSet<PathBuf> = host.tmpfs.keys().map(|path| clean(path)).collect();
    taken.extend(all.iter().map(|request| request.point.destination.clone()));
    for point in inherited {
        if taken.insert(point.destination.clone()) {
            all.push(Request {
                point,
                ..Request::default()
            });
        }
    }
    for path in &config.volumes {
        let destination = clean(path);
        if destination == Path::new("/") {
            return Err(Error::invalid(
                "invalid specification: destination can't be '/'",
            ));
        }
        if taken.insert(destination.clone()) {
            let request = anonymous(destination, &host.volume_driver);
            wanted(&request, "").check().map_err(refused)?;
            all.push(request);
        }
    }
    Ok(all)
}

/// Clients take what is not found at create for the image, and pull that.
fn refused(error: Error) -> Error {
    Error::invalid(error.to_string())
}

/// The mounts of the containers that `--volumes-from` names; of two in one place the later one.
fn inherited(shared: &Shared, host: &wire::HostConfig) -> Result<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> = Vec::new();
    for text in &host.volumes_from {
        let from = VolumesFrom::parse(text).map_err(Error::from_lower)?;
        let view = shared.table.find(from.container).map_err(refused)?.view();
        for point in &view.record.mounts {
            if point.kind == Kind::Tmpfs {
                continue;
            }
            points.retain(|other| other.destination != point.destination);
            points.push(MountPoint {
                read_only: point.read_only || from.read_only,
                copy: false,
                ..point.clone()
            });
        }
    }
    Ok(points)
}

fn anonymous(destination: PathBuf, driver: &str) -> Request {
    Request {
        point: MountPoint {
            kind: Kind::Volume,
            driver: driver.to_owned(),
            destination,
            copy: true,
            ..MountPoint::default()
        },
        ..Request::default()
    }
}

fn wanted(request: &Request, container: &str) -> Wanted {
    Wanted {
        name: request.point.name.clone(),
        driver: request.point.driver.clone(),
        labels: request.labels.clone(),
        options: request.options.clone(),
        container: Some(container.to_owned()),
    }
}

/// Makes the volumes that there are not, and has the container `id` use all of them: the mounts,
/// resolved. Blocks.
///
/// # Errors
/// A volume is gone, or cannot be made. Then the container uses none.
pub(crate) fn make(shared: &Shared, id: &str, requests: Vec<Request>) -> Result<Vec<MountPoint>> {
    let mut points = Vec::with_capacity(requests.len());
    for request in requests {
        match make_one(shared, id, request) {
            Ok(point) => points.push(point),
            Err(error) => {
                unmake(shared, id, &points);
                return Err(error);
            }
        }
    }
    Ok(points)
}

fn make_one(shared: &Shared, id: &str, request: Request) -> Result<MountPoint> {
    let mut point = request.point.clone();
    if point.kind != Kind::Volume {
        return Ok(point);
    }
    if point.source.as_os_str().is_empty() {
        let volume = shared.volumes.create(wanted(&request, id))?;
        point.name.clone_from(&volume.name);
        DRIVER.clone_into(&mut point.driver);
        point.source = shared.volumes.data(&volume.name);
    } else {
        // Another container's, too.
        shared.volumes.hold(&point.name, id)?;
    }
    Ok(point)
}

/// Takes back what [`make`] did. Blocks.
pub(crate) fn unmake(shared: &Shared, id: &str, points: &[MountPoint]) {
    for error in release(shared, id, points, true) {
        tracing::warn!(id, error, "taking back a create: its volumes");
    }
}

/// Ends a container's use of its volumes; with `remove` those go that nobody named and nobody
/// else uses. Blocks. Goes on after an error and returns all of them.
pub(crate) fn release(
    shared: &Shared,
    id: &str,
    points: &[MountPoint],
    remove: bool,
) -> Vec<String> {
    let volumes = || points.iter().filter(|point| point.kind == Kind::Volume);
    let all: Vec<_> = volumes().map(|point| point.name.as_str()).collect();
    let doomed: Vec<_> = volumes()
        .filter(|point| remove && !point.named)
        .map(|point| point.name.as_str())
        .collect();
    shared.volumes.release(id, &all, &doomed)
}

/// Has a container of an earlier daemon use its volumes again.
pub(crate) fn hold(shared: &Shared, record: &Record) {
    let volumes = record.mounts.iter();
    for point in volumes.filter(|point| point.kind == Kind::Volume) {
        if let Err(error) = shared.volumes.hold(&point.name, &record.id) {
            tracing::warn!(id = record.id, %error, "a container's volume is gone");
        }
    }
}

/// Takes over the mounts of a container that runs since an earlier daemon.
pub(crate) fn adopt(shared: &Shared, record: &Record) {
    let index = shared.volumes.load();
    for point in &record.mounts {
        let mounted = index
            .get(&point.name)
            .is_some_and(|volume| volume.mount.is_some());
        if point.kind == Kind::Volume && mounted {
            shared.volumes.active().adopt(&point.name, &record.id);
        }
    }
}

/// Removes the volumes that nobody named of a container that never came to be. Blocks.
pub(crate) fn forget(shared: &Shared, id: &str) {
    for (name, volume) in shared.volumes.load().iter() {
        let left = volume.record.container == id && volume.is_anonymous();
        if left
            && volume.users.is_empty()
            && let Err(error) = shared.volumes.remove(name, false)
        {
            tracing::warn!(volume = name, %error, "removing a volume without its container");
        }
    }
}

/// The binds and volumes of a container, as they are to be bound now, the volumes as `holder` has
/// them. A `--tmpfs` in the same place wins.
pub(crate) fn bound(shared: &Shared, record: &Record, holder: &str) -> Vec<BindMount> {
    let covered: BTreeSet<PathBuf> = record.host.tmpfs.keys().map(|path| clean(path)).collect();
    let points = record.mounts.iter().enumerate();
    points
        .filter(|(_, point)| point.kind != Kind::Tmpfs && !covered.contains(&point.destination))
        .map(|(index, point)| BindMount {
            source: volumes::source(shared, holder, index, point),
            destination: point.destination.clone(),
            readonly: point.read_only,
            readonly_recursive: point.read_only_force_recursive,
            readonly_non_recursive: point.read_only_non_recursive,
            non_recursive: point.non_recursive,
            propagation: point.propagation.clone(),
        })
        .collect()
}

/// How `inspect` and `ps` show the mounts.
pub(crate) fn shown(record: &Record) -> Vec<wire::MountPoint> {
    record
        .mounts
        .iter()
        .map(|point| wire::MountPoint {
            kind: point.kind.as_str().to_owned(),
            name: point.name.clone(),
            source: point.source.to_string_lossy().into_owned(),
            destination: point.destination.to_string_lossy().into_owned(),
            driver: point.driver.clone(),
            mode: point.mode.clone(),
            rw: !point.read_only,
            propagation: point.propagation.clone(),
        })
        .collect()
}

/// Makes the missing sources of binds as dockerd does, and tells of those that must exist.
/// Blocks.
///
/// # Errors
/// A source is missing that is not to be made, or cannot be made.
pub(crate) fn ensure_sources(points: &[MountPoint]) -> Result<()> {
    for point in points.iter().filter(|point| point.kind == Kind::Bind) {
        let source = &point.source;
        let shown = source.display();
        if std::fs::metadata(source).is_ok() {
            continue;
        }
        if !point.create_source {
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
