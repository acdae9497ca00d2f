//! Network namespaces: made, pinned, entered. Only on this crate's own threads.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::rtnl::{self, Rtnl};
use crate::{Error, Result};

const OWN: &str = "/proc/thread-self/ns/net";

/// The namespace that a thread lives in, to come back to.
#[derive(Debug)]
pub(crate) struct Home(File);

impl Home {
    /// The calling thread's present namespace.
    pub(crate) fn here() -> Result<Self> {
        File::open(OWN)
            .map(Home)
            .map_err(|e| Error::io("open", OWN, e))
    }

    /// Runs `work` in the namespace `of` on this thread and comes back.
    pub(crate) fn visit<T>(&self, of: &File, work: impl FnOnce() -> Result<T>) -> Result<T> {
        enter(of)?;
        let _back = Back(self);
        work()
    }

    /// Makes a namespace with its loopback up and pins it at `pin`.
    pub(crate) fn make(&self, pin: &Path) -> Result<()> {
        let place = || File::options().write(true).create_new(true).open(pin);
        let placed = match place() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Of a run that a crash cut off.
                remove(pin)?;
                place()
            }
            other => other,
        };
        placed.map_err(|e| Error::io("create", pin, e))?;
        // SAFETY: only CLONE_NEWNET is unshared: file descriptors and memory stay shared.
        let made = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|e| Error::io("make network namespace", pin, e));
        let made = made.and_then(|()| {
            let _back = Back(self);
            fill(pin)
        });
        if made.is_err() {
            let _ = remove(pin);
        }
        made
    }
}

/// Takes the thread home at the end of a visit, however it ends.
struct Back<'a>(&'a Home);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Err(error) = enter(&self.0.0) {
            // Going on here would program the host's rules into a container. Containers outlive
            // the daemon, so ending it is the smaller harm.
            tracing::error!(%error, "cannot return to the host's network namespace");
            std::process::abort();
        }
    }
}

fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::io("enter", "network namespace", e))
}

/// In the new namespace: loopback up, pin mounted.
fn fill(pin: &Path) -> Result<()> {
    let mut socket = Rtnl::open()?;
    if let Some(index) = socket.index("lo")? {
        socket.apply(vec![rtnl::set_up(index)])?;
    }
    mount_bind(OWN, pin).map_err(|e| Error::io("pin network namespace at", pin, e))
}

/// Removes a pin; fine when it is gone.
pub(crate) fn remove(pin: &Path) -> Result<()> {
    use rustix::io::Errno;
    match unmount(pin, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: there but not mounted, say after a crash between the two steps.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(errno) => return Err(Error::io("unmount", pin, errno)),
    }
    match fs::remove_file(pin) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", pin, error)),
        _ => Ok(()),
    }
}

/// Opens a pinned namespace.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoNetns(path.display().to_string()),
        _ => Error::io("open", path, error),
    })?;
    // An unmounted pin is a plain file; entering it would fail with a riddle.
    let magic = rustix::fs::fstatfs(&file).map_err(|e| Error::io("stat", path, e))?;
    if magic.f_type != NSFS_MAGIC {
        return Err(Error::NoNetns(path.display().to_string()));
    }
    Ok(file)
}

const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// The folder of pins, made if missing.
pub(crate) fn folder(exec_root: &Path) -> Result<PathBuf> {
    let folder = exec_root.join("netns");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|e| Error::io("create", &folder, e))?;
    Ok(folder)
}

/// The pins in a folder, by container id.
pub(crate) fn pins(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

/// Checks an id that becomes a file name.
///
/// Errors: [`Error::Invalid`].
pub(crate) fn check_id(id: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if id.is_empty() || id.len() > 128 || !id.bytes().all(plain) {
        return Err(Error::Invalid(format!("invalid container id {id:?}")));
    }
    Ok(())
}
