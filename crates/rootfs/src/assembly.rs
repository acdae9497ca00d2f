//! Puts a container's mounts together where nobody sees them.
//!
//! The kernel lets mounts be stacked only inside a mount namespace. So a thread of its own makes
//! itself a private one, stacks them there, clones the result as a detached tree and ends; its
//! namespace goes with it, and what is left is a descriptor.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind,
    mount_change, mount_remount, move_mount, open_tree,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{
    ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces, unshare_unsafe,
};

use crate::view::{mount_point, open_inside};
use crate::{Error, Result};

/// The most bytes of options that one `mount` takes: a page, less the terminator.
const OPTIONS: usize = 4095;

/// One mount of a snapshot, as containerd's `Snapshots.Prepare` or `Mounts` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `overlay`, `bind`, or another file system's type.
    pub kind: String,
    /// The directory of a bind mount; of others what `mount(8)` calls the device.
    pub source: String,
    /// Options as `mount(8)` writes them.
    pub options: Vec<String>,
}

impl Layer {
    /// Has an overlay show the same but take no writes: its upper directory becomes its topmost
    /// lower one.
    pub fn seal(&mut self) {
        if self.kind != "overlay" {
            return;
        }
        let mut upper = None;
        self.options.retain(|option| {
            upper = option
                .strip_prefix("upperdir=")
                .map(str::to_owned)
                .or(upper.take());
            !option.starts_with("upperdir=") && !option.starts_with("workdir=")
        });
        for option in &mut self.options {
            if let (Some(upper), Some(lower)) = (&upper, option.strip_prefix("lowerdir=")) {
                *option = format!("lowerdir={upper}:{lower}");
            }
        }
        self.options.push("ro".to_owned());
    }
}

/// Where a container's root file system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nowhere yet: it is mounted from its snapshot.
    Snapshot(Vec<Layer>),
    /// In the mount namespace of the process of this id.
    Process(u32),
}

/// Something of the host's that is part of the container's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside the container, absolute.
    pub destination: PathBuf,
    /// Nothing can be written below it.
    pub read_only: bool,
    /// With what is mounted below the source.
    pub recursive: bool,
}

/// Stacks `binds` over `base` and gives the tree as a detached mount. `over` is any directory of
/// the host's: mounts are put together over it, in a namespace where nobody else is.
pub(crate) fn assemble(base: &Base, binds: &[Bind], over: &Path) -> Result<OwnedFd> {
    let grabbed = match base {
        Base::Process(pid) => Some(apart(|| grab(*pid))?),
        Base::Snapshot(_) => None,
    };
    apart(|| {
        // SAFETY: the calling thread was made for this, ends after it, and shares neither its
        // mount namespace nor its current directory with code that relies on them. Descriptors
        // and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
            .map_err(Error::mount("make a mount namespace"))?;
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .map_err(Error::mount("make the mount namespace private"))?;
        // What is bound is taken before anything hides it.
        let taken = binds
            .iter()
            .map(|bind| take(bind, over))
            .collect::<Result<Vec<_>>>()?;
        match (base, grabbed) {
            (Base::Snapshot(layers), _) => mount_all(layers, over)?,
            (Base::Process(_), Some(tree)) => put(&tree, CWD, over)?,
            (Base::Process(_), None) => return Err(Error::Ended),
        }
        let root = rustix::fs::open(over, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::mount("open the container's root"))?;
        for (bind, tree) in binds.iter().zip(&taken) {
            place(&root, bind, tree)?;
        }
        clone(CWD, over, true)
    })
}

/// Runs `work` on a thread of its own, since what it does to the thread cannot be undone.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("rootfs".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|error| Error::Thread(format!("cannot start a thread: {error}")))?;
        let failed = |_| Error::Thread("putting mounts together failed".to_owned());
        thread.join().map_err(failed)?
    })
}

/// The root of the mount namespace of process `pid`, without what is mounted below: not
/// `/proc/<pid>/root`, which the process can change.
fn grab(pid: u32) -> Result<OwnedFd> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = raw.ok_or(Error::Ended)?;
    let ended = |errno| match errno {
        Errno::SRCH => Error::Ended,
        errno => Error::mount("enter the container's mount namespace")(errno),
    };
    let process = pidfd_open(process, PidfdFlags::empty()).map_err(ended)?;
    // SAFETY: as in `assemble`: this thread ends after this, and only its current directory and
    // root stop being shared.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.map_err(Error::mount("leave the root"))?;
    move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::MOUNT).map_err(ended)?;
    let tree = clone(CWD, Path::new("/"), false)?;
    // It was this process's for as long as the process has lived.
    match lives(process.as_fd())? {
        true => Ok(tree),
        false => Err(Error::Ended),
    }
}

fn lives(process: BorrowedFd<'_>) -> Result<bool> {
    let mut ends = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    let now = Timespec::default();
    let ended = rustix::event::poll(&mut ends, Some(&now)).map_err(Error::mount("poll"))?;
    Ok(ended == 0)
}

fn clone(at: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    open_tree(at, path, flags).map_err(Error::mount(format!("clone {}", path.display())))
}

fn put(tree: &OwnedFd, at: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    flags.set(
        MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        path.as_os_str().is_empty(),
    );
    move_mount(tree, "", at, path, flags).map_err(Error::mount("move a mount"))
}

/// The source of `bind` as a detached mount, read-only where it is to be. `over` serves as the
/// place to change it at.
fn take(bind: &Bind, over: &Path) -> Result<OwnedFd> {
    let tree = clone(CWD, &bind.source, bind.recursive)?;
    if !bind.read_only {
        return Ok(tree);
    }
    let is_dir = rustix::fs::fstat(&tree)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(Error::mount("stat a bind's source"))?;
    if !is_dir {
        // A file cannot be put over a directory: it is made read-only where it is.
        let path = &bind.source;
        mount_bind(path, path).map_err(Error::mount(format!("bind {}", path.display())))?;
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, c"")
            .map_err(Error::mount("make a bind read-only"))?;
        let tree = clone(CWD, path, false)?;
        let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        return Ok(tree);
    }
    put(&tree, CWD, over)?;
    mount_remount(over, MountFlags::BIND | MountFlags::RDONLY, c"")
        .map_err(Error::mount("make a bind read-only"))?;
    let tree = clone(CWD, over, bind.recursive)?;
    let _ = rustix::mount::unmount(over, rustix::mount::UnmountFlags::DETACH);
    Ok(tree)
}

/// Puts a bind where it belongs in the tree at `root`, making the mount point as the runtime does.
fn place(root: &OwnedFd, bind: &Bind, tree: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(tree).map_err(Error::mount("stat a bind's source"))?;
    let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    let target = match open_inside(root, &bind.destination, OFlags::PATH) {
        Err(Errno::NOENT) => mount_point(root.as_fd(), &bind.destination, is_dir)?,
        other => other.map_err(Error::at("open", &bind.destination))?,
    };
    put(tree, target.as_fd(), Path::new("")).map_err(|error| match error.errno() {
        Some(errno) => Error::at("mount over", &bind.destination)(errno),
        None => error,
    })
}

fn mount_all(layers: &[Layer], over: &Path) -> Result<()> {
    for layer in layers {
        match layer.kind.as_str() {
            "bind" | "rbind" | "" => {
                let tree = clone(CWD, Path::new(&layer.source), true)?;
                put(&tree, CWD, over)?;
            }
            kind => mount_one(layer, kind, over)?,
        }
    }
    Ok(())
}

fn mount_one(layer: &Layer, kind: &str, over: &Path) -> Result<()> {
    let (flags, mut options) = split(&layer.options);
    if options.iter().map(|o| o.len() + 1).sum::<usize>() > OPTIONS {
        options = shorten(&options)?;
    }
    let data = CString::new(options.join(",")).map_err(|_| Error::mount("mount")(Errno::INVAL))?;
    mount(layer.source.as_str(), over, kind, flags, data.as_c_str())
        .map_err(Error::mount(format!("mount {kind}")))
}

/// Splits what the kernel takes as flags from what the file system takes.
fn split(options: &[String]) -> (MountFlags, Vec<String>) {
    let mut flags = MountFlags::NOATIME;
    let mut rest = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "rw" | "suid" | "dev" | "exec" | "noatime" | "relatime" => {}
            _ => rest.push(option.clone()),
        }
    }
    (flags, rest)
}

/// An image of many layers has more options than fit: the layers are named relative to the
/// directory they have in common, which becomes the thread's own.
fn shorten(options: &[String]) -> Result<Vec<String>> {
    const LOWER: &str = "lowerdir=";
    let too_long = || Error::mount("mount overlay")(Errno::NAMETOOLONG);
    let lower = options.iter().find_map(|o| o.strip_prefix(LOWER));
    let layers: Vec<&Path> = lower.unwrap_or("").split(':').map(Path::new).collect();
    let mut common = layers
        .first()
        .and_then(|l| l.parent())
        .ok_or_else(too_long)?;
    while !layers.iter().all(|layer| layer.starts_with(common)) {
        common = common.parent().ok_or_else(too_long)?;
    }
    rustix::process::chdir(common).map_err(Error::mount("enter the layers' directory"))?;
    let names: Vec<_> = layers
        .iter()
        .filter_map(|layer| layer.strip_prefix(common).ok())
        .map(|layer| layer.to_string_lossy().into_owned())
        .collect();
    let short = format!("{LOWER}{}", names.join(":"));
    let shortened: Vec<_> = options
        .iter()
        .map(|option| match option.starts_with(LOWER) {
            true => short.clone(),
            false => option.clone(),
        })
        .collect();
    match shortened.iter().map(|o| o.len() + 1).sum::<usize>() > OPTIONS {
        true => Err(too_long()),
        false => Ok(shortened),
    }
}

/// A path for the calls that know no descriptors: the kernel's own link to what `fd` is open on.
pub(crate) fn link_to(fd: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// [`link_to`] with a name below it.
pub(crate) fn below(dir: BorrowedFd<'_>, name: &std::ffi::OsStr) -> PathBuf {
    debug_assert!(!name.as_bytes().contains(&b'/'));
    link_to(dir).join(name)
}
