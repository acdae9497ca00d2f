//! Linux capabilities: the names, Docker's default set, and `--cap-add`/`--cap-drop`.

use oci_spec::runtime::Capability;

use crate::error::{Error, Result};

/// Every capability, in the kernel's numbering: the index is the bit.
const ALL: [(&str, Capability); 41] = [
    ("CAP_CHOWN", Capability::Chown),
    ("CAP_DAC_OVERRIDE", Capability::DacOverride),
    ("CAP_DAC_READ_SEARCH", Capability::DacReadSearch),
    ("CAP_FOWNER", Capability::Fowner),
    ("CAP_FSETID", Capability::Fsetid),
    ("CAP_KILL", Capability::Kill),
    ("CAP_SETGID", Capability::Setgid),
    ("CAP_SETUID", Capability::Setuid),
    ("CAP_SETPCAP", Capability::Setpcap),
    ("CAP_LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("CAP_NET_BIND_SERVICE", Capability::NetBindService),
    ("CAP_NET_BROADCAST", Capability::NetBroadcast),
    ("CAP_NET_ADMIN", Capability::NetAdmin),
    ("CAP_NET_RAW", Capability::NetRaw),
    ("CAP_IPC_LOCK", Capability::IpcLock),
    ("CAP_IPC_OWNER", Capability::IpcOwner),
    ("CAP_SYS_MODULE", Capability::SysModule),
    ("CAP_SYS_RAWIO", Capability::SysRawio),
    ("CAP_SYS_CHROOT", Capability::SysChroot),
    ("CAP_SYS_PTRACE", Capability::SysPtrace),
    ("CAP_SYS_PACCT", Capability::SysPacct),
    ("CAP_SYS_ADMIN", Capability::SysAdmin),
    ("CAP_SYS_BOOT", Capability::SysBoot),
    ("CAP_SYS_NICE", Capability::SysNice),
    ("CAP_SYS_RESOURCE", Capability::SysResource),
    ("CAP_SYS_TIME", Capability::SysTime),
    ("CAP_SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("CAP_MKNOD", Capability::Mknod),
    ("CAP_LEASE", Capability::Lease),
    ("CAP_AUDIT_WRITE", Capability::AuditWrite),
    ("CAP_AUDIT_CONTROL", Capability::AuditControl),
    ("CAP_SETFCAP", Capability::Setfcap),
    ("CAP_MAC_OVERRIDE", Capability::MacOverride),
    ("CAP_MAC_ADMIN", Capability::MacAdmin),
    ("CAP_SYSLOG", Capability::Syslog),
    ("CAP_WAKE_ALARM", Capability::WakeAlarm),
    ("CAP_BLOCK_SUSPEND", Capability::BlockSuspend),
    ("CAP_AUDIT_READ", Capability::AuditRead),
    ("CAP_PERFMON", Capability::Perfmon),
    ("CAP_BPF", Capability::Bpf),
    ("CAP_CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// What a container has when nothing is asked for (14 capabilities).
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The magic word of `--cap-add` and `--cap-drop`.
const EVERY: &str = "ALL";

/// A set of capabilities, one bit each in the kernel's numbering.
///
/// A bit set rather than a list of names: its order is always the kernel's, so a specification
/// comes out the same each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(u64);

impl CapSet {
    /// The capabilities that this code knows a name for.
    pub const KNOWN: CapSet = CapSet((1 << ALL.len()) - 1);

    /// The set with the bits of `mask` (as in `/proc/self/status`), as far as they have names.
    #[must_use]
    pub fn from_bits(mask: u64) -> CapSet {
        CapSet(mask & Self::KNOWN.0)
    }

    /// Whether the set holds the capability called `name` (`CAP_SYS_ADMIN`).
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names (`CAP_…`), in the kernel's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(name, _)| name)
    }

    /// The members as OCI values.
    pub(crate) fn to_oci(self) -> oci_spec::runtime::Capabilities {
        self.entries().map(|(_, capability)| capability).collect()
    }

    fn entries(self) -> impl Iterator<Item = (&'static str, Capability)> {
        ALL.into_iter()
            .enumerate()
            .filter(move |(i, _)| self.0 & (1 << i) != 0)
            .map(|(_, e)| e)
    }

    fn of(names: &[&str]) -> CapSet {
        CapSet(
            names
                .iter()
                .filter_map(|name| bit(name))
                .fold(0, |set, bit| set | bit),
        )
    }
}

/// Docker's default set.
#[must_use]
pub fn default_set() -> CapSet {
    CapSet::of(&DEFAULT)
}

/// `CapAdd` or `CapDrop` decoded: names in any case, with or without `CAP_`, or `ALL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Selection {
    every: bool,
    named: CapSet,
}

/// The capabilities of a container: the default set changed by `add` and `drop`, or everything in
/// `available` (the daemon's bounding set) for a privileged one.
///
/// # Errors
/// `invalid CapAdd: unknown capability: "CAP_X"`, the same for `CapDrop`, and
/// `… capability not supported by your kernel or not available in the current environment: …` for
/// one that is not in `available`.
pub fn effective(
    add: &[String],
    drop: &[String],
    privileged: bool,
    available: CapSet,
) -> Result<CapSet> {
    let (adds, drops) = (
        select("CapAdd", add, available)?,
        select("CapDrop", drop, available)?,
    );
    Ok(if privileged {
        available
    } else if adds.every {
        CapSet(available.0 & !drops.named.0)
    } else if drops.every {
        adds.named
    } else {
        CapSet((default_set().0 & !drops.named.0) | adds.named.0)
    })
}

fn select(field: &str, names: &[String], available: CapSet) -> Result<Selection> {
    let mut selection = Selection::default();
    for name in names {
        let name = normalise(name);
        if name == EVERY {
            selection.every = true;
            continue;
        }
        let Some(bit) = bit(&name) else {
            return Err(Error::invalid(format!(
                "invalid {field}: unknown capability: {name:?}"
            )));
        };
        if available.0 & bit == 0 {
            return Err(Error::invalid(format!(
                "invalid {field}: capability not supported by your kernel or not available in the \
                 current environment: {name:?}"
            )));
        }
        selection.named.0 |= bit;
    }
    Ok(selection)
}

/// The canonical spelling of a capability: `net_admin` → `CAP_NET_ADMIN`; `all` → `ALL`.
#[must_use]
pub fn normalise(name: &str) -> String {
    let upper = name.to_uppercase();
    if upper == EVERY || upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    }
}

fn bit(name: &str) -> Option<u64> {
    ALL.iter()
        .position(|(known, _)| *known == name)
        .map(|i| 1 << i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn tweak(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        effective(&strings(add), &strings(drop), false, CapSet::KNOWN)
            .unwrap()
            .names()
            .collect()
    }

    #[test]
    fn the_default_set_has_fourteen() {
        assert_eq!(tweak(&[], &[]).len(), 14);
    }

    #[test]
    fn the_kernel_numbers_are_right() {
        assert_eq!(bit("CAP_NET_ADMIN"), Some(1 << 12));
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
    }

    #[test]
    fn names_in_any_spelling() {
        for name in ["net_admin", "NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert!(tweak(&[name], &[]).contains(&"CAP_NET_ADMIN"), "{name}");
        }
    }

    #[test]
    fn all_and_exceptions() {
        assert_eq!(tweak(&["ALL"], &[]).len(), 41);
        assert_eq!(tweak(&["ALL"], &["MKNOD"]).len(), 40);
        assert_eq!(tweak(&["KILL"], &["all"]), ["CAP_KILL"]);
        assert!(tweak(&[], &["ALL"]).is_empty());
        assert!(!tweak(&[], &["MKNOD"]).contains(&"CAP_MKNOD"));
    }

    #[test]
    fn unknown_and_unavailable() {
        let error = effective(&strings(&["foo"]), &[], false, CapSet::KNOWN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
        let error = effective(&[], &strings(&["Foo"]), true, CapSet::KNOWN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid CapDrop: unknown capability: \"CAP_FOO\""
        );
        let few = CapSet::from_bits(1);
        let error = effective(&strings(&["BPF"]), &[], false, few).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("invalid CapAdd: capability not supported by your")
        );
    }

    #[test]
    fn privileged_has_what_the_daemon_has() {
        let few = CapSet::from_bits(0b111);
        assert_eq!(effective(&[], &[], true, few).unwrap(), few);
    }
}
