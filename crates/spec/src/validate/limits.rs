//! Limits: which are nonsense, and which this host cannot set.

use berth_wire::HostConfig;

use crate::error::{Error, Result};
use crate::facts::{CgroupSupport, HostFacts};

/// The kernel's range of CPU shares.
pub(super) const MIN_SHARES: i64 = 2;
/// The other end of it.
pub(super) const MAX_SHARES: i64 = 262_144;

/// The least memory that a container can be limited to, in bytes (6 MiB): below that, nothing
/// starts.
const MIN_MEMORY: i64 = 6 << 20;

/// A swap limit is one of memory and swap together.
pub(crate) const SWAP_WITHOUT_MEMORY: &str =
    "You should always set the Memory limit when using Memoryswap limit, see usage";

/// The highest processor or memory node that a cpuset may name.
const MAX_CPUSET: u32 = 8192;

/// Checks the limits in `host`, takes those out that `facts` say cannot be set, and returns
/// dockerd's warnings about that.
///
/// In an `update` the other limits are those that the container has.
pub(crate) fn validate(
    host: &mut HostConfig,
    facts: &HostFacts,
    update: bool,
) -> Result<Vec<String>> {
    let support = &facts.cgroup;
    let mut warnings = Vec::new();
    memory(host, support, &mut warnings)?;
    if !update && host.memory == 0 && host.memory_swap > 0 {
        return refuse(SWAP_WITHOUT_MEMORY);
    }
    swappiness_and_reservation(host, support, &mut warnings)?;
    kernel_memory(host, support, &mut warnings);
    oom_and_pids(host, support, &mut warnings);
    nano_cpus(host, facts)?;
    cpu(host, support, &mut warnings)?;
    realtime(host, support)?;
    cpuset(host, support, &mut warnings)?;
    block_io(host, support, &mut warnings)?;
    Ok(warnings)
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::invalid(message))
}

/// Takes a limit out when the kernel lacks it: `what` and the end of dockerd's sentence.
fn discard<T: Default>(value: &mut T, warnings: &mut Vec<String>, sentence: &str) {
    *value = T::default();
    warnings.push(format!("Your kernel does not support {sentence}"));
}

fn memory(
    host: &mut HostConfig,
    support: &CgroupSupport,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if host.memory != 0 && host.memory < MIN_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && !support.memory_limit {
        discard(
            &mut host.memory,
            warnings,
            "memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap != -1 && !support.swap_limit {
        discard(
            &mut host.memory_swap,
            warnings,
            "swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    Ok(())
}

/// Kernel memory: gone from the kernel with 5.4, from the API with 1.42; TCP buffers with v1.
fn kernel_memory(host: &mut HostConfig, support: &CgroupSupport, warnings: &mut Vec<String>) {
    if host.kernel_memory != 0 {
        discard(
            &mut host.kernel_memory,
            warnings,
            "kernel memory limit capabilities. Limitation discarded.",
        );
    }
    if host.kernel_memory_tcp != 0 && !support.kernel_memory_tcp {
        discard(
            &mut host.kernel_memory_tcp,
            warnings,
            "kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation \
             discarded.",
        );
    }
}

fn swappiness_and_reservation(
    host: &mut HostConfig,
    support: &CgroupSupport,
    warnings: &mut Vec<String>,
) -> Result<()> {
    // -1 is how old clients say "not given".
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if host.memory_swappiness.is_some() && !support.memory_swappiness {
        discard(
            &mut host.memory_swappiness,
            warnings,
            "memory swappiness capabilities or the cgroup is not mounted. Memory swappiness \
             discarded.",
        );
    }
    if let Some(value) = host
        .memory_swappiness
        .filter(|value| !(0..=100).contains(value))
    {
        return refuse(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        ));
    }
    if host.memory_reservation > 0 && !support.memory_reservation {
        discard(
            &mut host.memory_reservation,
            warnings,
            "memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
    }
    if host.memory_reservation > 0 && host.memory_reservation < MIN_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return refuse(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    Ok(())
}

fn oom_and_pids(host: &mut HostConfig, support: &CgroupSupport, warnings: &mut Vec<String>) {
    if host.oom_kill_disable.is_some() && !support.oom_kill_disable {
        if host.oom_kill_disable == Some(true) {
            warnings.push(
                "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
            );
        }
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can \
             result in the system running out of resources."
                .to_owned(),
        );
    }
    if host.pids_limit.is_some() && !support.pids_limit {
        if host.pids_limit > Some(0) {
            warnings.push(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not \
                 mounted. PIDs limit discarded."
                    .to_owned(),
            );
        }
        host.pids_limit = None;
    }
}

fn nano_cpus(host: &HostConfig, facts: &HostFacts) -> Result<()> {
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if host.nano_cpus > 0 && !facts.cgroup.cpu_cfs {
        return refuse(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the \
             cgroup is not mounted",
        );
    }
    let ncpu = facts.ncpu;
    if host.nano_cpus < 0 || host.nano_cpus > i64::from(ncpu) * 1_000_000_000 {
        return refuse(format!(
            "range of CPUs is from 0.01 to {ncpu}.00, as there are only {ncpu} CPUs available"
        ));
    }
    Ok(())
}

fn cpu(host: &mut HostConfig, support: &CgroupSupport, warnings: &mut Vec<String>) -> Result<()> {
    if host.cpu_shares < 0 {
        return refuse("shares: invalid argument");
    }
    if host.cpu_shares > 0 && !support.cpu_shares {
        discard(
            &mut host.cpu_shares,
            warnings,
            "CPU shares or the cgroup is not mounted. Shares discarded.",
        );
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !support.cpu_cfs {
        host.cpu_quota = 0;
        discard(
            &mut host.cpu_period,
            warnings,
            "CPU CFS scheduler. CPU period/quota discarded.",
        );
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_count > 0 {
        host.cpu_count = 0;
        warnings.push("linux does not support CPU count. Count discarded.".to_owned());
    }
    if host.cpu_percent > 0 {
        host.cpu_percent = 0;
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
    }
    Ok(())
}

fn realtime(host: &HostConfig, support: &CgroupSupport) -> Result<()> {
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if (period != 0 || runtime != 0) && !support.cpu_realtime {
        return refuse("kernel does not support CPU real-time scheduler");
    }
    if period != 0 && runtime != 0 && runtime > period {
        return refuse("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

fn cpuset(
    host: &mut HostConfig,
    support: &CgroupSupport,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let given = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if given && !support.cpuset {
        host.cpuset_mems.clear();
        discard(
            &mut host.cpuset_cpus,
            warnings,
            "cpuset or the cgroup is not mounted. Cpuset discarded.",
        );
    }
    for (asked, available, short, long) in [
        (&host.cpuset_cpus, &support.cpus, "cpus", "CPUs"),
        (&host.cpuset_mems, &support.mems, "mems", "memory nodes"),
    ] {
        let Some(wanted) = parse_list(asked) else {
            return refuse(format!(
                "Invalid value {asked} for cpuset {short}: invalid format: {asked}"
            ));
        };
        let have = parse_list(available).unwrap_or_default();
        if !wanted.iter().all(|number| have.contains(number)) {
            return refuse(format!(
                "Requested {long} are not available - requested {asked}, available: {available}"
            ));
        }
    }
    Ok(())
}

/// The numbers of a list such as `0-2,7`; `None` when it is malformed.
fn parse_list(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|_| !list.is_empty()) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => {
                let number: u32 = part.parse().ok()?;
                (number, number)
            }
        };
        if first > last || last > MAX_CPUSET {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn block_io(
    host: &mut HostConfig,
    support: &CgroupSupport,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if host.blkio_weight > 0 && !support.blkio_weight {
        discard(
            &mut host.blkio_weight,
            warnings,
            "Block I/O weight or the cgroup is not mounted. Weight discarded.",
        );
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    if host.io_maximum_bandwidth != 0 || host.io_maximum_iops != 0 {
        return refuse(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    if !host.blkio_weight_device.is_empty() && !support.blkio_weight_device {
        discard(
            &mut host.blkio_weight_device,
            warnings,
            "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        );
    }
    for (limits, start, end) in [
        (
            &mut host.blkio_device_read_bps,
            "BPS Block I/O read limit",
            "BPS read",
        ),
        (
            &mut host.blkio_device_write_bps,
            "BPS Block I/O write limit",
            "BPS write",
        ),
        (
            &mut host.blkio_device_read_iops,
            "IOPS Block read limit",
            "IOPS read",
        ),
        (
            &mut host.blkio_device_write_iops,
            "IOPS Block write limit",
            "IOPS write",
        ),
    ] {
        if !limits.is_empty() && !support.blkio_throttle {
            let rest =
                format!("{start} or the cgroup is not mounted. Block I/O {end} limit discarded.");
            discard(limits, warnings, &rest);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn lists_of_processors() {
        assert!(parse_list("").unwrap().is_empty());
        assert_eq!(parse_list("0-2,7").unwrap(), [0, 1, 2, 7]);
        for bad in ["a", "1-", "3-1", "0,,1", "-1", "0-4294967295"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
