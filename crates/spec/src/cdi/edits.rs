//! What devices change in a container's specification, and the change itself.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceCgroup, LinuxIntelRdt, Mount, Spec};

use super::file::{self, ContainerEdits, HookName};
use crate::devices::{DeviceKind, DeviceNode, node, rule, strerror};
use crate::error::{Error, Result};

/// The changes that some devices make, with what their nodes are on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    env: Vec<String>,
    nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<(HookName, Hook)>,
    intel_rdt: Option<LinuxIntelRdt>,
    groups: Vec<u32>,
}

/// A node, and what the container may do with it; a pipe needs no leave.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    device: LinuxDevice,
    rule: Option<LinuxDeviceCgroup>,
}

impl Edits {
    /// Adds what others change, after these.
    pub(crate) fn join(&mut self, others: Edits) {
        self.env.extend(others.env);
        self.nodes.extend(others.nodes);
        self.mounts.extend(others.mounts);
        self.hooks.extend(others.hooks);
        self.intel_rdt = others.intel_rdt.or_else(|| self.intel_rdt.take());
        self.groups.extend(others.groups);
    }

    /// Adds what a file, or a device in it, changes. Looks at the host's nodes.
    pub(super) fn add(&mut self, edits: &ContainerEdits) -> Result<()> {
        if !edits.net_devices.is_empty() {
            return Err(Error::Unsupported(
                "network interfaces as CDI devices are".to_owned(),
            ));
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            self.nodes.push(resolve(node)?);
        }
        self.mounts.extend(edits.mounts.iter().map(mount));
        let hooks = edits.hooks.iter();
        self.hooks
            .extend(hooks.map(|described| (described.hook_name, hook(described))));
        if let Some(rdt) = &edits.intel_rdt {
            self.intel_rdt = Some(intel_rdt(rdt));
        }
        // The container's own group is never root's by this.
        self.groups
            .extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
        Ok(())
    }

    /// Makes the changes. Where `is_taken` says that the container has a mount of its own, that one
    /// stays. A pure function of its arguments.
    pub fn apply(self, spec: &mut Spec, is_taken: impl Fn(&Path) -> bool) {
        let mut owner = (0, 0);
        if let Some(process) = spec.process_mut() {
            for variable in self.env {
                set(process.env_mut().get_or_insert_default(), variable);
            }
            let user = process.user_mut();
            owner = (user.uid(), user.gid());
            for gid in self.groups {
                let groups = user.additional_gids_mut().get_or_insert_default();
                if !groups.contains(&gid) {
                    groups.push(gid);
                }
            }
        }
        if let Some(linux) = spec.linux_mut() {
            if self.intel_rdt.is_some() {
                linux.set_intel_rdt(self.intel_rdt);
            }
            for mut node in self.nodes {
                own(&mut node.device, owner);
                let devices = linux.devices_mut().get_or_insert_default();
                devices.retain(|device| device.path() != node.device.path());
                devices.push(node.device);
                let resources = linux.resources_mut().get_or_insert_default();
                let rules = resources.devices_mut().get_or_insert_default();
                rules.extend(node.rule);
            }
        }
        if !self.mounts.is_empty() {
            let mounts = spec.mounts_mut().get_or_insert_default();
            for mount in self.mounts {
                if !is_taken(mount.destination()) {
                    mounts.retain(|other| other.destination() != mount.destination());
                    mounts.push(mount);
                }
            }
            // What is below another mount is made after it.
            mounts.sort_by_key(|mount| mount.destination().components().count());
        }
        if !self.hooks.is_empty() {
            let hooks = spec.hooks_mut().get_or_insert_default();
            for (name, hook) in self.hooks {
                slot(hooks, name).get_or_insert_default().push(hook);
            }
        }
    }
}

/// Sets a variable: a later value takes an earlier one's place.
fn set(env: &mut Vec<String>, variable: String) {
    let name = variable.split('=').next().unwrap_or_default();
    let before = env.iter_mut().find(|other| {
        let rest = other.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('='))
    });
    match before {
        Some(before) => *before = variable,
        None => env.push(variable),
    }
}

/// A node whose owner is not said is the container's user's, if that is not root.
fn own(device: &mut LinuxDevice, (uid, gid): (u32, u32)) {
    if device.uid().is_none() && uid > 0 {
        device.set_uid(Some(uid));
    }
    if device.gid().is_none() && gid > 0 {
        device.set_gid(Some(gid));
    }
}

fn slot(hooks: &mut Hooks, name: HookName) -> &mut Option<Vec<Hook>> {
    match name {
        HookName::Prestart => hooks.prestart_mut(),
        HookName::CreateRuntime => hooks.create_runtime_mut(),
        HookName::CreateContainer => hooks.create_container_mut(),
        HookName::StartContainer => hooks.start_container_mut(),
        HookName::Poststart => hooks.poststart_mut(),
        HookName::Poststop => hooks.poststop_mut(),
    }
}

/// What the file does not say of a node is looked up on the host.
fn resolve(described: &file::DeviceNode) -> Result<Node> {
    let inside = PathBuf::from(&described.path);
    let source = match described.host_path.as_str() {
        "" => &described.path,
        path => path,
    };
    let kind = match described.kind.as_str() {
        "" => None,
        "b" => Some(DeviceKind::Block),
        "p" => Some(DeviceKind::Fifo),
        // `u` is a character device without a buffer: the same to Linux.
        _ => Some(DeviceKind::Character),
    };
    let access = match described.permissions.as_str() {
        "" => "rwm",
        letters => letters,
    };
    let (kind, major, minor) = match kind {
        Some(kind) if described.major != 0 || kind == DeviceKind::Fifo => {
            (kind, described.major, described.minor)
        }
        _ => {
            let found = look(source)?;
            if let Some(kind) = kind.filter(|kind| *kind != found.kind) {
                return Err(Error::Host(format!(
                    "CDI device ({:?}, {source:?}), host type mismatch ({}, {})",
                    described.path,
                    letter(kind),
                    letter(found.kind)
                )));
            }
            (found.kind, found.major, found.minor)
        }
    };
    let known = DeviceNode {
        path: inside,
        kind,
        major,
        minor,
        mode: 0,
        uid: 0,
        gid: 0,
        access: access.to_owned(),
    };
    let mut device = known.to_oci();
    device
        .set_file_mode(described.file_mode)
        .set_uid(described.uid)
        .set_gid(described.gid);
    let needs_leave = kind != DeviceKind::Fifo;
    Ok(Node {
        rule: needs_leave.then(|| {
            rule(
                true,
                Some(known.oci_kind()),
                Some(major),
                Some(minor),
                access,
            )
        }),
        device,
    })
}

fn look(path: &str) -> Result<DeviceNode> {
    let reason = match node(Path::new(path), Path::new(path), "") {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => "not a device node".to_owned(),
        Err(errno) => strerror(errno),
    };
    Err(Error::Host(format!(
        "failed to stat CDI host device {path:?}: {reason}"
    )))
}

fn letter(kind: DeviceKind) -> char {
    match kind {
        DeviceKind::Character => 'c',
        DeviceKind::Block => 'b',
        DeviceKind::Fifo => 'p',
    }
}

fn mount(described: &file::Mount) -> Mount {
    let mut mount = Mount::default();
    let kind = &described.kind;
    let options = &described.options;
    mount
        .set_source(Some(PathBuf::from(&described.host_path)))
        .set_destination(PathBuf::from(&described.container_path))
        .set_typ((!kind.is_empty()).then(|| kind.clone()))
        .set_options((!options.is_empty()).then(|| options.clone()));
    mount
}

fn hook(described: &file::Hook) -> Hook {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let mut hook = Hook::default();
    hook.set_path(PathBuf::from(&described.path))
        .set_args(some(&described.args))
        .set_env(some(&described.env))
        .set_timeout(described.timeout);
    hook
}

fn intel_rdt(described: &file::IntelRdt) -> LinuxIntelRdt {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_clos_id(text(&described.clos_id))
        .set_l3_cache_schema(text(&described.l3_cache_schema))
        .set_mem_bw_schema(text(&described.mem_bw_schema))
        .set_schemata((!described.schemata.is_empty()).then(|| described.schemata.clone()))
        .set_enable_monitoring(described.enable_monitoring.then_some(true))
        .set_enable_cmt(described.enable_cmt.then_some(true))
        .set_enable_mbm(described.enable_mbm.then_some(true));
    rdt
}
