//! Reads the host's facts from `/proc` and `/sys`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupSupport, CgroupVersion, HostFacts};
use crate::capabilities::CapSet;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// `statfs(2)`'s `f_type` of a cgroup v2 mount.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

pub(super) fn detect() -> HostFacts {
    let cgroup_version = cgroup_version();
    let mut cgroup = match cgroup_version {
        CgroupVersion::V2 => unified(),
        CgroupVersion::V1 | CgroupVersion::Hybrid => {
            legacy(&controller_mounts(&read("/proc/self/mountinfo")))
        }
    };
    cgroup.namespaces = Path::new("/proc/self/ns/cgroup").exists();
    let kernel_release = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let status = read("/proc/self/status");
    let profiles = read("/sys/kernel/security/apparmor/profiles");
    let apparmor = read("/sys/module/apparmor/parameters/enabled").starts_with('Y');
    HostFacts {
        cgroup_version,
        cgroup,
        seccomp: field(&status, "Seccomp:").is_some(),
        apparmor,
        apparmor_default: apparmor
            && profiles
                .lines()
                .any(|line| line.starts_with("docker-default (")),
        kernel: kernel_version(&kernel_release),
        kernel_release,
        capabilities: field(&status, "CapBnd:")
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .map_or(CapSet::KNOWN, CapSet::from_bits),
        ncpu: ncpu(),
        mem_total: mem_total(&read("/proc/meminfo")),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        ping_group_range: Path::new("/proc/sys/net/ipv4/ping_group_range").exists(),
        unprivileged_port_start: Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .exists(),
        ipv4_forwarding_disabled: read("/proc/sys/net/ipv4/ip_forward").trim() == "0",
        thermal_paths: thermal_paths(&read("/sys/devices/system/cpu/possible")),
    }
}

fn cgroup_version() -> CgroupVersion {
    let is_v2 = |path: &str| {
        rustix::fs::statfs(path)
            .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == CGROUP2_MAGIC))
    };
    if is_v2(CGROUP_ROOT) {
        CgroupVersion::V2
    } else if is_v2("/sys/fs/cgroup/unified") {
        CgroupVersion::Hybrid
    } else {
        CgroupVersion::V1
    }
}

/// Where each v1 controller is mounted.
fn controller_mounts(mountinfo: &str) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split(' ');
        if right.next() != Some("cgroup") {
            continue;
        }
        let (Some(point), Some(options)) = (left.split(' ').nth(4), right.nth(1)) else {
            continue;
        };
        for option in options.split(',') {
            mounts
                .entry(option.to_owned())
                .or_insert_with(|| PathBuf::from(point));
        }
    }
    mounts
}

fn legacy(mounts: &BTreeMap<String, PathBuf>) -> CgroupSupport {
    let has = |controller: &str, file: &str| {
        mounts
            .get(controller)
            .is_some_and(|mount| mount.join(file).exists())
    };
    let list = |file: &str| {
        mounts
            .get("cpuset")
            .map(|mount| read(mount.join(file)).trim().to_owned())
    };
    CgroupSupport {
        memory_limit: mounts.contains_key("memory"),
        swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        memory_swappiness: has("memory", "memory.swappiness"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        kernel_memory_tcp: has("memory", "memory.kmem.tcp.limit_in_bytes"),
        cpu_shares: has("cpu", "cpu.shares"),
        cpu_cfs: has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime: has("cpu", "cpu.rt_period_us"),
        cpuset: mounts.contains_key("cpuset"),
        cpus: list("cpuset.cpus").unwrap_or_default(),
        mems: list("cpuset.mems").unwrap_or_default(),
        pids_limit: mounts.contains_key("pids"),
        blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
        blkio_weight_device: has("blkio", "blkio.weight_device")
            || has("blkio", "blkio.bfq.weight_device"),
        blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
        devices: mounts.contains_key("devices"),
        namespaces: false,
    }
}

fn unified() -> CgroupSupport {
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
    let list = |file: &str| read(Path::new(CGROUP_ROOT).join(file)).trim().to_owned();
    let (memory, cpu, io) = (has("memory"), has("cpu"), has("io"));
    CgroupSupport {
        memory_limit: memory,
        swap_limit: memory && swap_is_accounted(),
        memory_reservation: memory,
        cpu_shares: cpu,
        cpu_cfs: cpu,
        cpuset: has("cpuset"),
        cpus: list("cpuset.cpus.effective"),
        mems: list("cpuset.mems.effective"),
        pids_limit: has("pids"),
        blkio_weight: io,
        blkio_weight_device: io,
        blkio_throttle: io,
        devices: true,
        ..CgroupSupport::default()
    }
}

/// Swap accounting shows as a file in every cgroup but the root one: ours tells.
fn swap_is_accounted() -> bool {
    let own = read("/proc/self/cgroup");
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return true;
    };
    let path = path.trim_start_matches('/');
    path.is_empty()
        || Path::new(CGROUP_ROOT)
            .join(path)
            .join("memory.swap.max")
            .exists()
}

fn ncpu() -> u32 {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => set.count().max(1),
        Err(_) => std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
    }
}

fn mem_total(meminfo: &str) -> i64 {
    let kib = field(meminfo, "MemTotal:").and_then(|rest| rest.split(' ').next());
    kib.and_then(|text| text.parse::<i64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Go's name for a machine that Rust calls `name`.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

fn thermal_paths(possible: &str) -> Vec<String> {
    processors(possible)
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"))
        .filter(|path| Path::new(path).exists())
        .collect()
}

/// The numbers of a kernel list such as `0-3,8`.
fn processors(list: &str) -> impl Iterator<Item = u32> + '_ {
    list.trim().split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first..last.min(first.saturating_add(8192)).saturating_add(1),
            _ => 0..0,
        }
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The file's text, empty when it cannot be read.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(kernel_version("5.4"), (5, 4));
        assert_eq!(kernel_version(""), (0, 0));
        assert_eq!(processors("0-2,5\n").collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert_eq!(processors("").count(), 0);
        assert_eq!(mem_total("MemTotal:       2048 kB\n"), 2 << 20);
    }

    #[test]
    fn controllers_of_mountinfo() {
        let text = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let mounts = controller_mounts(text);
        assert_eq!(mounts["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(mounts.contains_key("cpuacct") && !mounts.contains_key("unified"));
    }
}
