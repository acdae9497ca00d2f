//! What a specification is made of.

use std::path::{Path, PathBuf};

use berth_wire::{ContainerConfig, HostConfig, Ulimit};

use crate::devices::Devices;
use crate::facts::HostFacts;
use crate::passwd::User;

/// Everything that decides a container's specification. The engine resolves what lives outside
/// (users, devices, bind sources, namespaces of other containers); [`crate::build`] then only
/// computes.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The container's full id.
    pub id: &'a str,
    /// The container's configuration, merged with its image's.
    pub config: &'a ContainerConfig,
    /// The host-dependent part, with its defaults filled in ([`crate::validate::fill_defaults`]).
    pub host: &'a HostConfig,
    /// The host name inside, also `HOSTNAME` in the environment.
    pub hostname: &'a str,
    /// The NIS domain name inside; empty for none.
    pub domainname: &'a str,
    /// The user, resolved in the image ([`User::resolve`]).
    pub user: &'a User,
    /// The network namespace to join; `None` for the host's, which must then be what the network
    /// mode says.
    pub netns: Option<&'a Path>,
    /// The PID namespace of the container that `--pid container:…` names.
    pub pidns: Option<&'a Path>,
    /// The IPC namespace of the container that `--ipc container:…` names.
    pub ipcns: Option<&'a Path>,
    /// The directory to show as `/dev/shm` for `--ipc shareable` and `container:…`. Without one
    /// the container has a tmpfs of its own.
    pub shm: Option<&'a Path>,
    /// Binds with resolved sources: `-v`, `--mount`, volumes, and the files that the engine writes
    /// (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`). In any order.
    pub mounts: &'a [BindMount],
    /// Device nodes, resolved ([`Devices::resolve`]).
    pub devices: &'a Devices,
    /// What the host can do.
    pub facts: &'a HostFacts,
    /// The daemon's `--init`, for containers that say neither yes nor no.
    pub init_default: bool,
    /// The host's init binary (`docker-init`), needed when the container is to have one.
    pub init_binary: Option<&'a Path>,
    /// The daemon's `--cgroup-parent`; empty for Docker's own default.
    pub cgroup_parent: &'a str,
    /// Cgroups are made by systemd (`native.cgroupdriver=systemd`).
    pub systemd_cgroup: bool,
    /// The daemon's `--no-new-privileges`.
    pub no_new_privileges: bool,
    /// The daemon's `--default-ulimit`s.
    pub default_ulimits: &'a [Ulimit],
    /// The daemon's `--seccomp-profile`: the JSON text of a profile, `unconfined`, or `None` for the
    /// built-in one.
    pub seccomp_default: Option<&'a str>,
    /// The root filesystem's directory, relative to the bundle: `rootfs`.
    pub rootfs_path: &'a str,
}

/// A bind mount with its source resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindMount {
    /// The file or directory on the host.
    pub source: PathBuf,
    /// Where it shows inside: an absolute path.
    pub destination: PathBuf,
    /// Nothing can be written through this mount; nor through mounts below the source, where the
    /// kernel can do that (Linux 5.12 with runc 1.1).
    pub readonly: bool,
    /// With `readonly`: it is an error where the kernel cannot make mounts below the source
    /// read-only (`rro`, `BindOptions.ReadOnlyForceRecursive`).
    pub readonly_recursive: bool,
    /// With `readonly`: mounts below the source stay writable
    /// (`BindOptions.ReadOnlyNonRecursive`).
    pub readonly_non_recursive: bool,
    /// Mounts below the source are not shown (`BindOptions.NonRecursive`).
    pub non_recursive: bool,
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`; empty means `rprivate`.
    pub propagation: String,
}
