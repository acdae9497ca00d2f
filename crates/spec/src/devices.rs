//! Device nodes: what `--device` and `--privileged` give a container, and the block devices that
//! I/O limits name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use berth_wire::{DeviceMapping, HostConfig};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How deep and how wide a directory of devices is walked.
const MAX_DEPTH: usize = 16;

/// Directories of `/dev` whose contents a privileged container does not get: they are mounts of
/// their own inside.
const NOT_SHARED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// A device node of the host under the path it has inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path in the container.
    pub path: PathBuf,
    /// Character device, block device or FIFO.
    pub kind: DeviceKind,
    /// The major number.
    pub major: i64,
    /// The minor number.
    pub minor: i64,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// What the container may do with it: letters of `rwm`.
    pub access: String,
}

/// The types of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// The device nodes of a container and the numbers of the block devices that its limits name,
/// looked up on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// The nodes to make inside.
    pub nodes: Vec<DeviceNode>,
    /// Major and minor number by path, for `--device-read-bps` and its kin.
    pub block: BTreeMap<String, (i64, i64)>,
}

impl Devices {
    /// Looks up what `host` names: its device mappings, every device of the host for a privileged
    /// container, and the block devices of its I/O limits. Sorted, so that the same host gives the
    /// same answer.
    ///
    /// # Errors
    /// `error gathering device information while adding custom device "…": …`, `stat PATH: …`
    /// for a device of a limit.
    pub fn resolve(host: &HostConfig) -> Result<Devices> {
        let mut nodes = Vec::new();
        if host.privileged {
            walk(
                Path::new("/dev"),
                Path::new("/dev"),
                "rwm",
                MAX_DEPTH,
                &mut nodes,
            );
        }
        for mapping in &host.devices {
            if host.privileged && mapping.path_on_host == mapping.path_in_container {
                continue;
            }
            let access = if host.privileged {
                "rwm"
            } else {
                &*mapping.cgroup_permissions
            };
            nodes.extend(map(mapping, access)?);
        }
        let limits = [
            &host.blkio_device_read_bps,
            &host.blkio_device_write_bps,
            &host.blkio_device_read_iops,
            &host.blkio_device_write_iops,
        ];
        let named = limits.into_iter().flatten().map(|limit| &limit.path);
        let mut block = BTreeMap::new();
        for path in named.chain(host.blkio_weight_device.iter().map(|weight| &weight.path)) {
            let stat = rustix::fs::stat(path.as_str())
                .map_err(|errno| Error::Host(format!("stat {path}: {}", strerror(errno))))?;
            block.insert(path.clone(), numbers(stat.st_rdev));
        }
        Ok(Devices { nodes, block })
    }
}

/// The nodes of one `--device`: one, or all in a directory.
fn map(mapping: &DeviceMapping, access: &str) -> Result<Vec<DeviceNode>> {
    let source = resolve_link(Path::new(&mapping.path_on_host));
    let target = Path::new(&mapping.path_in_container);
    let failure = match node(&source, target, access) {
        Ok(Some(node)) => return Ok(vec![node]),
        Ok(None) => {
            let mut nodes = Vec::new();
            walk(&source, target, access, MAX_DEPTH, &mut nodes);
            if !nodes.is_empty() {
                return Ok(nodes);
            }
            "not a device node".to_owned()
        }
        Err(errno) => strerror(errno),
    };
    Err(Error::Host(format!(
        "error gathering device information while adding custom device {:?}: {failure}",
        mapping.path_on_host
    )))
}

/// Follows a link, as `/dev/disk/by-uuid` is full of them, but only to somewhere in `/dev`.
fn resolve_link(path: &Path) -> PathBuf {
    match fs::canonicalize(path) {
        Ok(target) if path.is_symlink() && target.starts_with("/dev") => target,
        _ => path.to_owned(),
    }
}

/// Collects the device nodes below `source`, in order of name. What cannot be read is passed over.
fn walk(source: &Path, target: &Path, access: &str, depth: usize, nodes: &mut Vec<DeviceNode>) {
    let Ok(entries) = fs::read_dir(source) else {
        return;
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let top = source == Path::new("/dev");
    for name in names {
        if top && (name == "console" || NOT_SHARED.iter().any(|skipped| name == *skipped)) {
            continue;
        }
        let (path, inside) = (source.join(&name), target.join(&name));
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                walk(&path, &inside, access, depth - 1, nodes);
            }
        } else if let Ok(Some(node)) = node(&path, &inside, access) {
            nodes.push(node);
        }
    }
}

/// The device node at `path`; `None` when there is something else.
pub(crate) fn node(path: &Path, inside: &Path, access: &str) -> Result<Option<DeviceNode>, Errno> {
    let stat = rustix::fs::lstat(path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => DeviceKind::Character,
        FileType::BlockDevice => DeviceKind::Block,
        FileType::Fifo => DeviceKind::Fifo,
        _ => return Ok(None),
    };
    let (major, minor) = numbers(stat.st_rdev);
    Ok(Some(DeviceNode {
        path: inside.to_owned(),
        kind,
        major,
        minor,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        access: access.to_owned(),
    }))
}

fn numbers(device: u64) -> (i64, i64) {
    (
        i64::from(rustix::fs::major(device)),
        i64::from(rustix::fs::minor(device)),
    )
}

/// The system's words for an error as Go prints them.
pub(crate) fn strerror(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    let mut chars = plain.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

impl DeviceNode {
    pub(crate) fn oci_kind(&self) -> LinuxDeviceType {
        match self.kind {
            DeviceKind::Character => LinuxDeviceType::C,
            DeviceKind::Block => LinuxDeviceType::B,
            DeviceKind::Fifo => LinuxDeviceType::P,
        }
    }

    pub(crate) fn to_oci(&self) -> LinuxDevice {
        let mut device = LinuxDevice::default();
        device
            .set_path(self.path.clone())
            .set_typ(self.oci_kind())
            .set_major(self.major)
            .set_minor(self.minor)
            .set_file_mode(Some(self.mode))
            .set_uid(Some(self.uid))
            .set_gid(Some(self.gid));
        device
    }

    fn rule(&self) -> LinuxDeviceCgroup {
        rule(
            true,
            Some(self.oci_kind()),
            Some(self.major),
            Some(self.minor),
            &self.access,
        )
    }
}

/// The devices that a container may use: everything when privileged; else the harmless ones, its
/// own, and those of `--device-cgroup-rule`.
///
/// # Errors
/// `invalid device cgroup rule format: '…'`.
pub(crate) fn cgroup_rules(host: &HostConfig, devices: &Devices) -> Result<Vec<LinuxDeviceCgroup>> {
    if host.privileged {
        return Ok(vec![rule(true, None, None, None, "rwm")]);
    }
    let character = |allow, major, minor| {
        rule(
            allow,
            Some(LinuxDeviceType::C),
            Some(major),
            Some(minor),
            "rwm",
        )
    };
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        character(true, 1, 5),     // zero
        character(true, 1, 3),     // null
        character(true, 1, 9),     // urandom
        character(true, 1, 8),     // random
        character(true, 5, 0),     // tty
        character(true, 5, 1),     // console
        character(false, 10, 229), // fuse
    ];
    rules.extend(devices.nodes.iter().map(DeviceNode::rule));
    for text in &host.device_cgroup_rules {
        rules.push(parse_rule(text)?);
    }
    Ok(rules)
}

/// Checks the rules' syntax alone.
pub(crate) fn validate_rules(host: &HostConfig) -> Result<()> {
    host.device_cgroup_rules
        .iter()
        .try_for_each(|text| parse_rule(text).map(drop))
}

/// Decodes a rule such as `c 1:3 rwm`, `b 8:* r` or `a`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let full = if text == "a" { "a *:* rwm" } else { text };
    let mut parts = full.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "c" => LinuxDeviceType::C,
        "b" => LinuxDeviceType::B,
        _ => return Err(invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |part: &str, which: &str| match part {
        "*" => Ok(-1),
        _ if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) => {
            part.parse().map_err(|_| {
                Error::invalid(format!(
                    "invalid {which} value in device cgroup rule format: '{text}'"
                ))
            })
        }
        _ => Err(invalid()),
    };
    if !(1..=3).contains(&access.len()) || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(invalid());
    }
    Ok(rule(
        true,
        Some(kind),
        Some(number(major, "major")?),
        Some(number(minor, "minor")?),
        access,
    ))
}

pub(crate) fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(path: &str) -> DeviceMapping {
        DeviceMapping {
            path_on_host: path.to_owned(),
            path_in_container: "/dev/inside".to_owned(),
            cgroup_permissions: "rw".to_owned(),
        }
    }

    #[test]
    fn a_node_is_found() {
        let nodes = map(&mapping("/dev/null"), "rw").unwrap();
        assert_eq!((nodes[0].major, nodes[0].minor), (1, 3));
        assert_eq!(nodes[0].path, Path::new("/dev/inside"));
        assert_eq!(nodes[0].access, "rw");
    }

    #[test]
    fn errors_have_dockers_words() {
        let start = "error gathering device information while adding custom device";
        assert_eq!(
            map(&mapping("/dev/nope"), "rw").unwrap_err().to_string(),
            format!("{start} \"/dev/nope\": no such file or directory")
        );
        assert_eq!(
            map(&mapping("/etc/passwd"), "rw").unwrap_err().to_string(),
            format!("{start} \"/etc/passwd\": not a device node")
        );
    }

    #[test]
    fn privileged_containers_get_the_hosts_devices() {
        let host = HostConfig {
            privileged: true,
            ..HostConfig::default()
        };
        let devices = Devices::resolve(&host).unwrap();
        assert!(
            devices
                .nodes
                .iter()
                .any(|node| node.path == Path::new("/dev/null"))
        );
        assert!(
            !devices
                .nodes
                .iter()
                .any(|node| node.path.starts_with("/dev/pts"))
        );
        assert_eq!(devices, Devices::resolve(&host).unwrap());
    }

    #[test]
    fn rules_are_taken_apart() {
        let rule = parse_rule("c 42:* rw").unwrap();
        assert_eq!((rule.major(), rule.minor()), (Some(42), Some(-1)));
        assert_eq!(parse_rule("a").unwrap().typ(), Some(LinuxDeviceType::A));
        for text in [
            "",
            "c",
            "d 1:1 r",
            "c 1 r",
            "c 1:1 x",
            "c 1:1 rwmr",
            "c  1:1 r",
            "c -1:1 r",
        ] {
            let error = parse_rule(text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("invalid device cgroup rule format: '{text}'")
            );
        }
        assert!(
            parse_rule("c 99999999999999999999:1 r")
                .unwrap_err()
                .to_string()
                .contains("major")
        );
    }
}
