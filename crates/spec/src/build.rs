//! Puts the specification together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, Process, Root, Spec,
};

use crate::capabilities::{self, CapSet};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::inputs::Inputs;
use crate::modes::{self, Mode};
use crate::mounts;
use crate::process;
use crate::resources;
use crate::security::SecurityOptions;

/// The version of the runtime specification that the result follows.
const OCI_VERSION: &str = "1.0.2";

/// Paths that a container cannot see into, besides the host's thermal files.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container cannot write to.
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The OCI specification of the container that `inputs` describe.
///
/// A pure function: the same inputs give the same value, and with [`encode`] the same bytes.
///
/// # Errors
/// The configuration asks for something impossible ([`Error::Invalid`], in Docker's words), or the
/// host lacks something it needs ([`Error::Host`]).
pub fn build(inputs: &Inputs<'_>) -> Result<Spec> {
    modes::validate(inputs.host)?;
    let host = inputs.host;
    let security = SecurityOptions::parse(&host.security_opt)?;
    let granted = capabilities::effective(
        &host.cap_add,
        &host.cap_drop,
        host.privileged,
        inputs.facts.capabilities,
    )?;
    let writable_cgroups = security.writable_cgroups.unwrap_or(host.privileged);
    let mounts = mounts::build(inputs, writable_cgroups)?;
    let mut root = Root::default();
    root.set_path(PathBuf::from(inputs.rootfs_path))
        .set_readonly(Some(host.readonly_rootfs));
    let mut linux = linux(inputs, granted, &security)?;
    linux.set_rootfs_propagation(mounts.rootfs_propagation.map(str::to_owned));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts.list))
        .set_process(Some(process::build(inputs, granted, &security)?))
        .set_hostname(own_uts(inputs).then(|| inputs.hostname.to_owned()))
        .set_annotations(annotations(inputs))
        .set_linux(Some(linux));
    Ok(spec)
}

/// The specification as JSON, the same bytes for the same value: the members of sets, which the
/// `oci-spec` crate keeps in hash tables, are sorted.
///
/// # Errors
/// None in practice: a specification has nothing that JSON cannot say.
pub fn encode(spec: &Spec) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| Error::invalid(error.to_string());
    let mut value = serde_json::to_value(spec).map_err(failed)?;
    canonical_process(value.get_mut("process"));
    serde_json::to_vec(&value).map_err(failed)
}

/// A process (of `exec`) as JSON, the same bytes for the same value, as [`encode`].
///
/// # Errors
/// None in practice, as [`encode`].
pub fn encode_process(process: &Process) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| Error::invalid(error.to_string());
    let mut value = serde_json::to_value(process).map_err(failed)?;
    canonical_process(Some(&mut value));
    serde_json::to_vec(&value).map_err(failed)
}

fn canonical_process(process: Option<&mut serde_json::Value>) {
    let sets = process
        .and_then(|process| process.get_mut("capabilities"))
        .and_then(serde_json::Value::as_object_mut);
    for names in sets
        .into_iter()
        .flatten()
        .filter_map(|(_, set)| set.as_array_mut())
    {
        names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
}

fn linux(inputs: &Inputs<'_>, granted: CapSet, security: &SecurityOptions<'_>) -> Result<Linux> {
    let host = inputs.host;
    let paths = |asked: &Option<Vec<String>>, default: Vec<String>| match asked {
        Some(asked) => asked.clone(),
        None if host.privileged => Vec::new(),
        None => default,
    };
    let mut linux = Linux::default();
    linux
        .set_sysctl(sysctls(inputs)?)
        .set_resources(Some(resources::build(host, inputs.devices)?))
        .set_cgroups_path(Some(cgroups_path(inputs)))
        .set_namespaces(Some(namespaces(inputs)?))
        .set_devices(Some(
            inputs
                .devices
                .nodes
                .iter()
                .map(|node| node.to_oci())
                .collect(),
        ))
        .set_seccomp(security.seccomp(inputs, granted)?)
        .set_masked_paths(Some(paths(
            &host.masked_paths,
            default_masked_paths(inputs.facts),
        )))
        .set_readonly_paths(Some(paths(&host.readonly_paths, default_readonly_paths())));
    Ok(linux)
}

/// What `MaskedPaths` is when the client says nothing.
#[must_use]
pub fn default_masked_paths(facts: &HostFacts) -> Vec<String> {
    let fixed = MASKED.iter().map(|path| (*path).to_owned());
    fixed.chain(facts.thermal_paths.iter().cloned()).collect()
}

/// What `ReadonlyPaths` is when the client says nothing.
#[must_use]
pub fn default_readonly_paths() -> Vec<String> {
    READONLY.iter().map(|path| (*path).to_owned()).collect()
}

fn own_uts(inputs: &Inputs<'_>) -> bool {
    Mode::of(&inputs.host.uts_mode) != Mode::Host
}

fn annotations(inputs: &Inputs<'_>) -> Option<HashMap<String, String>> {
    let annotations = &inputs.host.annotations;
    (!annotations.is_empty()).then(|| {
        annotations
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    })
}

fn namespaces(inputs: &Inputs<'_>) -> Result<Vec<LinuxNamespace>> {
    let host = inputs.host;
    let mut list = vec![namespace(LinuxNamespaceType::Mount, None)?];
    if let Some(path) = inputs.netns {
        list.push(namespace(LinuxNamespaceType::Network, Some(path))?);
    } else if Mode::of(&host.network_mode).is_private() {
        // Leaving the namespace out means the host's: never by mistake.
        return Err(Error::Host(format!(
            "no network namespace was made for network mode {:?}",
            host.network_mode
        )));
    }
    if own_uts(inputs) {
        list.push(namespace(LinuxNamespaceType::Uts, None)?);
    }
    for (kind, mode, joined) in [
        (LinuxNamespaceType::Pid, &host.pid_mode, inputs.pidns),
        (LinuxNamespaceType::Ipc, &host.ipc_mode, inputs.ipcns),
    ] {
        match Mode::of(mode) {
            Mode::Host => {}
            Mode::Container(name) => {
                let path = joined.ok_or_else(|| {
                    Error::Host(format!("container {name} has no namespace to join"))
                })?;
                list.push(namespace(kind, Some(path))?);
            }
            Mode::Default | Mode::Named(_) => list.push(namespace(kind, None)?),
        }
    }
    if private_cgroupns(inputs) {
        list.push(namespace(LinuxNamespaceType::Cgroup, None)?);
    }
    Ok(list)
}

fn private_cgroupns(inputs: &Inputs<'_>) -> bool {
    let mode = match inputs.host.cgroupns_mode.as_str() {
        "" => inputs.facts.default_cgroupns_mode(),
        given => given,
    };
    mode == "private" && inputs.facts.cgroup.namespaces
}

fn namespace(kind: LinuxNamespaceType, path: Option<&Path>) -> Result<LinuxNamespace> {
    let mut builder = LinuxNamespaceBuilder::default().typ(kind);
    if let Some(path) = path {
        builder = builder.path(path);
    }
    builder
        .build()
        .map_err(|error| Error::invalid(error.to_string()))
}

/// Where the container's cgroup goes: a path for cgroupfs, `slice:docker:id` for systemd.
fn cgroups_path(inputs: &Inputs<'_>) -> PathBuf {
    let default = if inputs.systemd_cgroup {
        "system.slice"
    } else {
        "/docker"
    };
    let parent = [
        inputs.host.cgroup_parent.as_str(),
        inputs.cgroup_parent,
        default,
    ]
    .into_iter()
    .find(|parent| !parent.is_empty())
    .unwrap_or(default);
    if inputs.systemd_cgroup {
        return PathBuf::from(format!("{parent}:docker:{}", inputs.id));
    }
    clean(parent).join(inputs.id)
}

/// `path` without `.` and `..`; going above its start stays there, so no parent that a client
/// names leads out of the hierarchy.
fn clean(path: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    PathBuf::from(if path.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    })
}

/// Docker's own sysctls and the container's over them.
///
/// # Errors
/// One of a namespace that the container shares with the host: `sysctl "…" not allowed in host
/// network namespace` and its like, as runc says it.
fn sysctls(inputs: &Inputs<'_>) -> Result<Option<HashMap<String, String>>> {
    let (host, facts) = (inputs.host, inputs.facts);
    let mut sysctls = HashMap::new();
    if Mode::of(&host.network_mode).is_private() {
        if facts.ping_group_range {
            sysctls.insert(
                "net.ipv4.ping_group_range".to_owned(),
                "0 2147483647".to_owned(),
            );
        }
        if facts.unprivileged_port_start {
            sysctls.insert(
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "0".to_owned(),
            );
        }
    }
    if !inputs.domainname.is_empty() && own_uts(inputs) {
        sysctls.insert("kernel.domainname".to_owned(), inputs.domainname.to_owned());
    }
    for (name, value) in &host.sysctls {
        validate_sysctl(
            name,
            inputs.netns.is_none(),
            &host.ipc_mode,
            own_uts(inputs),
        )?;
        sysctls.insert(name.clone(), value.clone());
    }
    Ok((!sysctls.is_empty()).then_some(sysctls))
}

/// Sysctls that belong to an IPC namespace, besides `fs.mqueue.*`.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses a sysctl that would reach the host: one that no namespace holds, or one of a namespace
/// that the container shares.
pub(crate) fn validate_sysctl(
    name: &str,
    host_network: bool,
    ipc_mode: &str,
    own_uts: bool,
) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("sysctl {name:?} {why}")));
    // The kernel takes slashes for dots; a name with both could slip through as something else.
    let name_with_dots = name.replace('/', ".");
    if name_with_dots.split('.').any(str::is_empty) {
        return refuse("is not in a separate kernel namespace");
    }
    let dotted = name_with_dots.as_str();
    if IPC_SYSCTLS.contains(&dotted) || dotted.starts_with("fs.mqueue.") {
        return match Mode::of(ipc_mode) {
            Mode::Host => refuse("is not allowed in the hosts ipc namespace"),
            _ => Ok(()),
        };
    }
    if dotted.starts_with("net.") {
        return if host_network {
            refuse("not allowed in host network namespace")
        } else {
            Ok(())
        };
    }
    match dotted {
        "kernel.domainname" if own_uts => Ok(()),
        "kernel.domainname" => refuse("is not allowed in the hosts UTS namespace"),
        "kernel.hostname" if own_uts => refuse(
            "conflicts with the OCI config's hostname: it is set through the hostname, not sysctl",
        ),
        _ => refuse("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests;
