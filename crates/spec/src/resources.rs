//! Limits: memory, processors, processes, block I/O.

use berth_wire::{HostConfig, ThrottleDevice};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use crate::devices::{self, Devices};
use crate::error::{Error, Result};

/// The period that `--cpus` is expressed in, in microseconds.
const CFS_PERIOD: u64 = 100_000;

/// The OCI resources of a container.
pub(crate) fn build(host: &HostConfig, devices: &Devices) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources
        .set_devices(Some(devices::cgroup_rules(host, devices)?))
        .set_memory(memory(host))
        .set_cpu(cpu(host)?)
        .set_pids(pids(host))
        .set_block_io(block_io(host, devices)?);
    Ok(resources)
}

/// `None` when `value` is what `T` has by default: nothing asked for.
fn unless_default<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

pub(crate) fn memory(host: &HostConfig) -> Option<LinuxMemory> {
    let positive = |bytes: i64| (bytes > 0).then_some(bytes);
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(positive(host.memory))
        .set_reservation(positive(host.memory_reservation))
        // -1, unlimited, is what the kernel has when nothing is set.
        .set_swap(positive(host.memory_swap))
        .set_swappiness(
            host.memory_swappiness
                .and_then(|value| u64::try_from(value).ok()),
        )
        .set_kernel_tcp(positive(host.kernel_memory_tcp))
        .set_disable_oom_killer(host.oom_kill_disable);
    unless_default(memory)
}

pub(crate) fn cpu(host: &HostConfig) -> Result<Option<LinuxCpu>> {
    let shares =
        u64::try_from(host.cpu_shares).map_err(|_| Error::invalid("shares: invalid argument"))?;
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let (mut period, mut quota) = (unsigned(host.cpu_period), unless_default(host.cpu_quota));
    if host.nano_cpus > 0 {
        period = period.or(Some(CFS_PERIOD));
        // 10⁹ nano-CPUs are one period each period.
        quota = quota.or(Some(host.nano_cpus / (1_000_000_000 / CFS_PERIOD as i64)));
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unless_default(shares))
        .set_period(period)
        .set_quota(quota)
        .set_realtime_period(unsigned(host.cpu_realtime_period))
        .set_realtime_runtime(unless_default(host.cpu_realtime_runtime))
        .set_cpus(text(&host.cpuset_cpus))
        .set_mems(text(&host.cpuset_mems));
    Ok(unless_default(cpu))
}

pub(crate) fn pids(host: &HostConfig) -> Option<LinuxPids> {
    let mut pids = LinuxPids::default();
    // 0 and everything below mean "no limit"; the runtime's word for that is -1.
    pids.set_limit(match host.pids_limit? {
        limit if limit > 0 => limit,
        _ => -1,
    });
    Some(pids)
}

pub(crate) fn block_io(host: &HostConfig, devices: &Devices) -> Result<Option<LinuxBlockIo>> {
    let throttles = |limits: &[ThrottleDevice]| {
        let limits: Vec<_> = limits
            .iter()
            .map(|limit| throttle(limit, devices))
            .collect::<Result<_>>()?;
        Ok::<_, Error>(unless_default(limits))
    };
    let mut weights = Vec::new();
    for limit in &host.blkio_weight_device {
        let (major, minor) = numbers(devices, &limit.path)?;
        let weight = LinuxWeightDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .weight(limit.weight)
            .build();
        weights.push(weight.map_err(|error| Error::invalid(error.to_string()))?);
    }
    let mut block = LinuxBlockIo::default();
    block
        .set_weight(unless_default(host.blkio_weight))
        .set_weight_device(unless_default(weights))
        .set_throttle_read_bps_device(throttles(&host.blkio_device_read_bps)?)
        .set_throttle_write_bps_device(throttles(&host.blkio_device_write_bps)?)
        .set_throttle_read_iops_device(throttles(&host.blkio_device_read_iops)?)
        .set_throttle_write_iops_device(throttles(&host.blkio_device_write_iops)?);
    Ok(unless_default(block))
}

fn throttle(limit: &ThrottleDevice, devices: &Devices) -> Result<LinuxThrottleDevice> {
    let (major, minor) = numbers(devices, &limit.path)?;
    LinuxThrottleDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .rate(limit.rate)
        .build()
        .map_err(|error| Error::invalid(error.to_string()))
}

fn numbers(devices: &Devices, path: &str) -> Result<(i64, i64)> {
    devices
        .block
        .get(path)
        .copied()
        .ok_or_else(|| Error::Host(format!("stat {path}: no such file or directory")))
}
