//! One file: its form, and what is required of it.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// The versions of the interface's specification that there are, oldest first.
const VERSIONS: [&str; 10] = [
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// A file as it is written. A field that nobody knows would be one that is not honoured: the file
/// is refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Description {
    cdi_version: String,
    /// `vendor.com/class`.
    kind: String,
    #[serde(default)]
    /// For people to read.
    annotations: Value,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: ContainerEdits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default)]
    /// For people to read.
    annotations: Value,
    container_edits: ContainerEdits,
}

/// What is changed in a container's specification.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ContainerEdits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) net_devices: Vec<NetDevice>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<IntelRdt>,
    #[serde(rename = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
}

/// A node. What is not said is as the host's node is.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DeviceNode {
    /// Where it is inside.
    pub(super) path: String,
    /// Where it is on the host; the same where nothing is said.
    pub(super) host_path: String,
    /// `b`, `c`, `u` or `p`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    /// Letters of `rwm`; all of them where nothing is said.
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A network interface that is moved into the container.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

/// A program that the runtime runs at a certain point.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: HookName,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) timeout: Option<i64>,
}

/// When.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum HookName {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

/// Shares of a processor's cache and of the memory's bandwidth.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct IntelRdt {
    #[serde(rename = "closID")]
    pub(super) clos_id: String,
    pub(super) l3_cache_schema: String,
    pub(super) mem_bw_schema: String,
    pub(super) schemata: Vec<String>,
    pub(super) enable_monitoring: bool,
    #[serde(rename = "enableCMT")]
    pub(super) enable_cmt: bool,
    #[serde(rename = "enableMBM")]
    pub(super) enable_mbm: bool,
}

impl Description {
    /// Decodes and checks a file.
    pub(super) fn parse(text: &str, json: bool) -> Result<Description, String> {
        let description: Description = match json {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            false => {
                let mut options = serde_saphyr::Options::default();
                // `fileMode: 0666`, as the library of the interface reads it.
                options.legacy_octal_numbers = true;
                options.with_snippet = false;
                serde_saphyr::from_str_with_options(text, options)
                    .map_err(|error| error.to_string())?
            }
        };
        description
            .check()
            .map_err(|reason| format!("invalid CDI Spec: {reason}"))?;
        Ok(description)
    }

    /// The devices' qualified names, in the order they are written.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let names = self.devices.iter().map(|device| &device.name);
        names.map(|name| format!("{}={name}", self.kind))
    }

    /// What comes with each of the devices.
    pub(super) fn edits(&self) -> &ContainerEdits {
        &self.container_edits
    }

    /// What comes with one of them.
    pub(super) fn device(&self, device: usize) -> Option<&ContainerEdits> {
        Some(&self.devices.get(device)?.container_edits)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.trim_start_matches('v');
        let version = VERSIONS
            .iter()
            .position(|known| *known == version)
            .ok_or_else(|| format!("invalid version {:?}", self.cdi_version))?;
        let (vendor, class) = self.kind.split_once('/').unwrap_or(("", &self.kind));
        check_name(vendor).map_err(|reason| format!("invalid vendor. {reason}"))?;
        check_name(class).map_err(|reason| format!("invalid class. {reason}"))?;
        self.container_edits.check()?;
        let mut names = BTreeSet::new();
        for device in &self.devices {
            let name = &device.name;
            check_device(device)
                .map_err(|reason| format!("failed add device {name:?}: {reason}"))?;
            if !names.insert(name) {
                return Err(format!("invalid spec, multiple device {name:?}"));
            }
        }
        if names.is_empty() {
            return Err("invalid spec, no devices".to_owned());
        }
        match self.needs(class) {
            needed if needed > version => Err(format!(
                "the spec version must be at least v{}",
                VERSIONS.get(needed).unwrap_or(&"?")
            )),
            _ => Ok(()),
        }
    }

    /// The oldest version that has all that is used, as its place among [`VERSIONS`].
    fn needs(&self, class: &str) -> usize {
        let all = || {
            let own = self.devices.iter().map(|device| &device.container_edits);
            own.chain([&self.container_edits])
        };
        let any = |uses: fn(&ContainerEdits) -> bool| all().any(uses);
        let annotated = |annotations: &Value| !annotations.is_null();
        let digit = |device: &Device| !device.name.starts_with(|c: char| c.is_ascii_alphabetic());
        let of = |version: &str| VERSIONS.iter().position(|known| *known == version);
        let uses = [
            ("1.1.0", any(|edits| !edits.net_devices.is_empty())),
            (
                "1.1.0",
                any(|edits| {
                    let rdt = edits.intel_rdt.as_ref();
                    rdt.is_some_and(|rdt| !rdt.schemata.is_empty() || rdt.enable_monitoring)
                }),
            ),
            ("0.7.0", any(|edits| edits.intel_rdt.is_some())),
            ("0.7.0", any(|edits| !edits.additional_gids.is_empty())),
            ("0.6.0", annotated(&self.annotations) || class.contains('.')),
            (
                "0.6.0",
                self.devices
                    .iter()
                    .any(|device| annotated(&device.annotations)),
            ),
            ("0.5.0", self.devices.iter().any(digit)),
            (
                "0.5.0",
                any(|edits| {
                    edits
                        .device_nodes
                        .iter()
                        .any(|node| !node.host_path.is_empty())
                }),
            ),
            (
                "0.4.0",
                any(|edits| edits.mounts.iter().any(|mount| !mount.kind.is_empty())),
            ),
        ];
        let needed = uses.iter().filter(|(_, used)| *used);
        needed
            .filter_map(|(version, _)| of(version))
            .max()
            .unwrap_or(0)
    }
}

fn check_device(device: &Device) -> Result<(), String> {
    let name = device.name.as_str();
    let inner = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if name.is_empty() {
        return Err("invalid (empty) device name".to_owned());
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!(
            "invalid name {name:?}, should start with a letter or digit"
        ));
    }
    if !name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!(
            "invalid name {name:?}, should end with a letter or digit"
        ));
    }
    if let Some(wrong) = name.chars().find(|c| !inner(*c)) {
        return Err(format!(
            "invalid character '{wrong}' in device name {name:?}"
        ));
    }
    if device.container_edits == ContainerEdits::default() {
        return Err("invalid device, empty device edits".to_owned());
    }
    device.container_edits.check()
}

/// A vendor's or a class's.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("empty name".to_owned());
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!("{name:?}, should start with letter"));
    }
    if !name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("{name:?}, should end with a letter or digit"));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match name.chars().find(|c| !inner(*c)) {
        Some(wrong) => Err(format!("invalid character '{wrong}' in name {name:?}")),
        None => Ok(()),
    }
}

fn check_env(env: &[String]) -> Result<(), String> {
    let wrong = env.iter().find(|variable| {
        let name = variable.split_once('=').map(|(name, _)| name);
        name.is_none_or(str::is_empty)
    });
    match wrong {
        Some(wrong) => Err(format!("invalid environment variable {wrong:?}")),
        None => Ok(()),
    }
}

impl ContainerEdits {
    fn check(&self) -> Result<(), String> {
        check_env(&self.env).map_err(|reason| format!("invalid container edits: {reason}"))?;
        for DeviceNode {
            path,
            kind,
            permissions,
            ..
        } in &self.device_nodes
        {
            if path.is_empty() {
                return Err("invalid (empty) device path".to_owned());
            }
            if !matches!(kind.as_str(), "" | "b" | "c" | "u" | "p") {
                return Err(format!("device {path:?}: invalid type {kind:?}"));
            }
            if permissions.contains(|letter| !"rwm".contains(letter)) {
                return Err(format!(
                    "device {path:?}: invalid permissions {permissions:?}"
                ));
            }
        }
        for hook in &self.hooks {
            if hook.path.is_empty() {
                return Err(format!("invalid hook {:?} with empty path", hook.hook_name));
            }
            check_env(&hook.env)
                .map_err(|reason| format!("invalid hook {:?}: {reason}", hook.hook_name))?;
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() {
                return Err("invalid mount, empty host path".to_owned());
            }
            if mount.container_path.is_empty() {
                return Err("invalid mount, empty container path".to_owned());
            }
        }
        if self
            .net_devices
            .iter()
            .any(|device| device.host_interface_name.is_empty() || device.name.is_empty())
        {
            return Err("invalid linux net device, empty name".to_owned());
        }
        let id = self.intel_rdt.as_ref().map_or("", |rdt| &rdt.clos_id);
        if id != "/" && (id.len() >= 4096 || id == "." || id == ".." || id.contains(['/', '\n'])) {
            return Err("invalid ClosID".to_owned());
        }
        Ok(())
    }
}
