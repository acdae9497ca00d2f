//! Shared memory that other containers can join (`--ipc shareable`): a tmpfs of the engine's, shown
//! as `/dev/shm`. Everything here blocks.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::container::record::Record;
use crate::shared::Shared;
use crate::{Error, Result};

/// The IPC mode of a container that others can join.
pub(crate) const SHAREABLE: &str = "shareable";

/// Where the shared memory of the container `id` is.
pub(crate) fn path(shared: &Shared, id: &str) -> PathBuf {
    shared.shm_root.join(id)
}

/// Mounts a container's shared memory, an empty one.
///
/// # Errors
/// The system's.
pub(crate) fn mount(shared: &Shared, record: &Record) -> Result<()> {
    let path = path(shared, &record.id);
    let failed = |what: &str, error: std::io::Error| {
        Error::internal(format!("{what} shared memory {}: {error}", path.display()))
    };
    unmount(&path)?;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    made.map_err(|error| failed("making", error))?;
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let options = format!("mode=1777,size={}", record.host.shm_size);
    let options =
        std::ffi::CString::new(options).map_err(|error| failed("mounting", error.into()))?;
    rustix::mount::mount("shm", &path, "tmpfs", flags, options.as_c_str())
        .map_err(|error| failed("mounting", error.into()))
}

/// Takes shared memory away; containers that joined it keep what they see.
///
/// # Errors
/// The system's; none when there is nothing.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::internal(format!("unmounting {}: {error}", path.display()));
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Not there, or not mounted.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(failed(error.into())),
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}
