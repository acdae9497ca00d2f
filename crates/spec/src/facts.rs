//! What the host can do, as a plain value: the specification is a function of it, never of the host.

mod detect;

use crate::capabilities::CapSet;

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The same, with an additional v2 hierarchy that has no controllers (systemd's "hybrid").
    Hybrid,
    /// The unified hierarchy alone.
    V2,
}

impl CgroupVersion {
    /// Whether limits go to the unified hierarchy.
    #[must_use]
    pub fn is_unified(self) -> bool {
        self == CgroupVersion::V2
    }
}

/// Which limits the kernel can set, as `/info` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupSupport {
    /// `--memory`.
    pub memory_limit: bool,
    /// `--memory-swap`: swap accounting is on.
    pub swap_limit: bool,
    /// `--memory-reservation`.
    pub memory_reservation: bool,
    /// `--memory-swappiness` (v1 only).
    pub memory_swappiness: bool,
    /// `--oom-kill-disable` (v1 only).
    pub oom_kill_disable: bool,
    /// `--kernel-memory` TCP buffers (v1 only).
    pub kernel_memory_tcp: bool,
    /// `--cpu-shares`.
    pub cpu_shares: bool,
    /// `--cpu-period`, `--cpu-quota`, `--cpus`.
    pub cpu_cfs: bool,
    /// `--cpu-rt-period`, `--cpu-rt-runtime` (v1 with `CONFIG_RT_GROUP_SCHED` only).
    pub cpu_realtime: bool,
    /// `--cpuset-cpus`, `--cpuset-mems`.
    pub cpuset: bool,
    /// The processors that a cpuset may name, e.g. `0-3`.
    pub cpus: String,
    /// The memory nodes that a cpuset may name, e.g. `0`.
    pub mems: String,
    /// `--pids-limit`.
    pub pids_limit: bool,
    /// `--blkio-weight`.
    pub blkio_weight: bool,
    /// `--blkio-weight-device`.
    pub blkio_weight_device: bool,
    /// `--device-read-bps` and the three like it.
    pub blkio_throttle: bool,
    /// The `devices` controller (v1) or its eBPF twin (v2).
    pub devices: bool,
    /// The kernel has cgroup namespaces.
    pub namespaces: bool,
}

/// What a specification depends on besides the container itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// How control groups are mounted.
    pub cgroup_version: CgroupVersion,
    /// Which limits can be set.
    pub cgroup: CgroupSupport,
    /// The kernel filters system calls.
    pub seccomp: bool,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// The profile `docker-default` is loaded: only then can a container run under it.
    pub apparmor_default: bool,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// The kernel's release as `uname -r` prints it.
    pub kernel_release: String,
    /// The capabilities in the daemon's bounding set: the most that a container can get.
    pub capabilities: CapSet,
    /// How many processors the daemon may use.
    pub ncpu: u32,
    /// The host's memory, in bytes.
    pub mem_total: i64,
    /// The machine by Go's name (`amd64`, `arm64`), as Docker shows it.
    pub architecture: String,
    /// Unprivileged pings can be allowed (`net.ipv4.ping_group_range` exists).
    pub ping_group_range: bool,
    /// Low ports can be opened to all (`net.ipv4.ip_unprivileged_port_start` exists).
    pub unprivileged_port_start: bool,
    /// `net.ipv4.ip_forward` is 0.
    pub ipv4_forwarding_disabled: bool,
    /// Files under `/sys` that tell the host's thermal state, masked like the fixed ones
    /// (GHSA-6fw5-f8r9-fgfm).
    pub thermal_paths: Vec<String>,
}

impl HostFacts {
    /// The facts of the host that this process runs on. Reads `/proc` and `/sys` only; what cannot
    /// be read counts as absent.
    #[must_use]
    pub fn detect() -> HostFacts {
        detect::detect()
    }

    /// What `--cgroupns` means when it is not given: `private` on a v2 host, else `host`.
    #[must_use]
    pub fn default_cgroupns_mode(&self) -> &'static str {
        if self.cgroup_version.is_unified() {
            "private"
        } else {
            "host"
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host that can do everything, for the golden tests.
    pub(crate) fn able(cgroup_version: CgroupVersion) -> HostFacts {
        let unified = cgroup_version.is_unified();
        HostFacts {
            cgroup_version,
            cgroup: CgroupSupport {
                memory_limit: true,
                swap_limit: true,
                memory_reservation: true,
                memory_swappiness: !unified,
                oom_kill_disable: !unified,
                kernel_memory_tcp: !unified,
                cpu_shares: true,
                cpu_cfs: true,
                cpu_realtime: !unified,
                cpuset: true,
                cpus: "0-3".to_owned(),
                mems: "0".to_owned(),
                pids_limit: true,
                blkio_weight: true,
                blkio_weight_device: true,
                blkio_throttle: true,
                devices: true,
                namespaces: true,
            },
            seccomp: true,
            apparmor: false,
            apparmor_default: false,
            kernel: (6, 1),
            kernel_release: "6.1.0-test".to_owned(),
            capabilities: CapSet::KNOWN,
            ncpu: 4,
            mem_total: 8 << 30,
            architecture: "amd64".to_owned(),
            ping_group_range: true,
            unprivileged_port_start: true,
            ipv4_forwarding_disabled: false,
            thermal_paths: Vec::new(),
        }
    }

    #[test]
    fn this_host_has_sane_facts() {
        let facts = HostFacts::detect();
        assert!(facts.ncpu >= 1 && facts.mem_total > 0);
        assert!(facts.kernel >= (3, 10));
        assert_eq!(facts, HostFacts::detect());
    }
}
