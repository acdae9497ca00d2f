//! What is mounted in a container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::inputs::{BindMount, Inputs};
use crate::modes::Mode;
use crate::tmpfs;

/// Where the init binary shows inside.
pub(crate) const INIT_PATH: &str = "/sbin/docker-init";

/// The size of `/dev/shm` when nothing is said, in bytes (64 MiB).
pub const DEFAULT_SHM_SIZE: i64 = 64 << 20;

/// The first kernel that makes a mount and all below it read-only (`mount_setattr(2)`).
const RECURSIVE_READONLY: (u32, u32) = (5, 12);

/// Mounts that stay writable under a read-only root filesystem: they are the container's own.
const OWN: [&str; 5] = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];

/// The mounts of a container, and the propagation that its root needs for them.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// In the order they are made.
    pub(crate) list: Vec<Mount>,
    /// `shared` or `rslave`, where a bind asks to pass mounts on.
    pub(crate) rootfs_propagation: Option<&'static str>,
}

/// Puts the mounts together: the default ones except where a mount of the client's takes their
/// place, then the client's from the root down.
pub(crate) fn build(inputs: &Inputs<'_>, writable_cgroups: bool) -> Result<Mounts> {
    let (client, rootfs_propagation) = client_mounts(inputs)?;
    let taken = |path: &Path| client.iter().any(|mount| mount.destination() == path);
    let dev_is_taken = taken(Path::new("/dev"));
    let mut list = Vec::new();
    for mut mount in defaults(inputs) {
        let path = mount.destination().clone();
        if taken(&path) || (dev_is_taken && path != Path::new("/dev") && path.starts_with("/dev")) {
            continue;
        }
        let is = |name: &str| path == Path::new(name);
        let keep_writable = OWN.iter().any(|own| is(own));
        let options = mount.options_mut().get_or_insert_default();
        if inputs.host.readonly_rootfs && !keep_writable && !options.iter().any(|o| o == "ro") {
            options.push("ro".to_owned());
        }
        if (is("/sys") && inputs.host.privileged) || (is("/sys/fs/cgroup") && writable_cgroups) {
            options.retain(|option| option != "ro");
        }
        list.push(mount);
    }
    list.extend(client);
    if wants_init(inputs) {
        list.push(init(inputs)?);
    }
    Ok(Mounts {
        list,
        rootfs_propagation,
    })
}

/// Whether the container gets an init process: only in a PID namespace of its own, elsewhere there
/// is one already.
pub(crate) fn wants_init(inputs: &Inputs<'_>) -> bool {
    Mode::of(&inputs.host.pid_mode).is_private() && inputs.host.init.unwrap_or(inputs.init_default)
}

fn init(inputs: &Inputs<'_>) -> Result<Mount> {
    let source = inputs.init_binary.ok_or_else(|| {
        Error::Host("exec: \"docker-init\": executable file not found in $PATH".to_owned())
    })?;
    Ok(mount(Path::new(INIT_PATH), "bind", source, &["bind", "ro"]))
}

fn defaults(inputs: &Inputs<'_>) -> Vec<Mount> {
    const NOTHING: [&str; 3] = ["nosuid", "noexec", "nodev"];
    let of = |path: &str, kind: &str, source: &str, options: &[&str]| {
        mount(Path::new(path), kind, Path::new(source), options)
    };
    let mut list = vec![
        of("/proc", "proc", "proc", &NOTHING),
        of(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        of(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        of(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        of(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["ro", "nosuid", "noexec", "nodev"],
        ),
        of("/dev/mqueue", "mqueue", "mqueue", &NOTHING),
    ];
    if inputs.host.ipc_mode != "none" {
        let size = match inputs.host.shm_size {
            size if size > 0 => size,
            _ => DEFAULT_SHM_SIZE,
        };
        let size = format!("size={size}");
        list.push(of(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &size],
        ));
    }
    list
}

/// The client's mounts, parents before their children, and the root propagation that they need.
fn client_mounts(inputs: &Inputs<'_>) -> Result<(Vec<Mount>, Option<&'static str>)> {
    let mut list = Vec::new();
    let mut needs: Option<&'static str> = None;
    for bind in inputs.mounts {
        list.push(bind_mount(bind, inputs.facts)?);
        match bind.propagation.as_str() {
            "shared" | "rshared" => needs = Some("shared"),
            "slave" | "rslave" => needs = needs.or(Some("rslave")),
            _ => {}
        }
    }
    for (destination, options) in &inputs.host.tmpfs {
        list.push(tmpfs_mount(destination, options)?);
    }
    for wanted in inputs
        .host
        .mounts
        .iter()
        .filter(|wanted| wanted.kind == "tmpfs")
    {
        list.push(tmpfs_mount(&wanted.target, &tmpfs_options(wanted))?);
    }
    if let Some(source) = shared_memory(inputs)
        && !list
            .iter()
            .any(|mount| mount.destination() == Path::new("/dev/shm"))
    {
        let bind = BindMount {
            source: source.to_owned(),
            destination: PathBuf::from("/dev/shm"),
            ..BindMount::default()
        };
        list.push(bind_mount(&bind, inputs.facts)?);
    }
    let depth = |mount: &Mount| mount.destination().components().count();
    list.sort_by(|a, b| (depth(a), a.destination()).cmp(&(depth(b), b.destination())));
    Ok((list, needs))
}

/// The directory that `/dev/shm` shows when it is not the container's own.
fn shared_memory<'a>(inputs: &Inputs<'a>) -> Option<&'a Path> {
    match Mode::of(&inputs.host.ipc_mode) {
        Mode::Host => Some(Path::new("/dev/shm")),
        Mode::Container(_) | Mode::Named("shareable") => inputs.shm,
        Mode::Default | Mode::Named(_) => None,
    }
}

fn bind_mount(bind: &BindMount, facts: &HostFacts) -> Result<Mount> {
    let propagation = match bind.propagation.as_str() {
        "" => "rprivate",
        known @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => known,
        other => {
            return Err(Error::invalid(format!(
                "invalid mount propagation: {other:?}"
            )));
        }
    };
    let mut options = vec![if bind.non_recursive { "bind" } else { "rbind" }];
    if bind.readonly {
        options.push(readonly_option(bind, facts)?);
    }
    options.push(propagation);
    Ok(mount(&bind.destination, "bind", &bind.source, &options))
}

/// `rro` unless mounts below the source are to stay writable, or the kernel cannot do better.
fn readonly_option(bind: &BindMount, facts: &HostFacts) -> Result<&'static str> {
    let (force, able) = (bind.readonly_recursive, facts.kernel >= RECURSIVE_READONLY);
    match (bind.readonly_non_recursive, force) {
        (true, true) => Err(Error::invalid(
            "mount options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive",
        )),
        (true, false) => Ok("ro"),
        (false, _) if able => Ok("rro"),
        (false, false) => Ok("ro"),
        (false, true) => Err(Error::Host(format!(
            "rro is not supported: requires kernel >= 5.12, the host has {}",
            facts.kernel_release
        ))),
    }
}

fn tmpfs_mount(destination: &str, options: &str) -> Result<Mount> {
    tmpfs::validate_destination(destination)?;
    let options = tmpfs::merge(options)?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Ok(mount(
        Path::new(destination),
        "tmpfs",
        Path::new("tmpfs"),
        &options,
    ))
}

/// The options of a `--mount type=tmpfs`, as `--tmpfs` would spell them.
pub(crate) fn tmpfs_options(wanted: &berth_wire::MountRequest) -> String {
    let mut options = Vec::new();
    if let Some(tmpfs) = &wanted.tmpfs_options {
        if tmpfs.mode != 0 {
            options.push(format!("mode={:o}", tmpfs.mode));
        }
        if tmpfs.size_bytes > 0 {
            options.push(format!("size={}", tmpfs.size_bytes));
        }
        // A flag alone, or a name and its value.
        options.extend(tmpfs.options.iter().map(|option| option.join("=")));
    }
    if wanted.read_only {
        options.push("ro".to_owned());
    }
    options.join(",")
}

fn mount(destination: &Path, kind: &str, source: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.to_owned())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(
            options.iter().map(|option| (*option).to_owned()).collect(),
        ));
    mount
}
