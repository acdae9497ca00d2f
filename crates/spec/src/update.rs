//! Changes to the limits of a container that exists: `docker update`.

use berth_wire::{HostConfig, ThrottleDevice, WeightDevice};
use oci_spec::runtime::LinuxResources;

use crate::devices::Devices;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::{resources, validate};

/// Checks what is asked for as dockerd does; returns the warnings that its answer carries. Limits
/// that this host cannot set are taken out of `asked`.
///
/// # Errors
/// [`Error::Invalid`] with dockerd's words.
pub fn validate_update(asked: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    validate::restart_policy(asked)?;
    // Every number of no process or less means no limit.
    asked.pids_limit = asked.pids_limit.map(|limit| limit.max(0));
    validate::limits::validate(asked, facts, true)
}

/// What `current` becomes when what `asked` names is changed; what it leaves at its default stays.
///
/// # Errors
/// [`Error::Conflict`] with dockerd's words, where the two do not go together.
pub fn update(current: &HostConfig, asked: &HostConfig) -> Result<HostConfig> {
    conflicts(current, asked)?;
    let mut new = current.clone();
    take(&mut new.blkio_weight, &asked.blkio_weight);
    take(&mut new.cpu_shares, &asked.cpu_shares);
    take(&mut new.nano_cpus, &asked.nano_cpus);
    take(&mut new.cpu_period, &asked.cpu_period);
    take(&mut new.cpu_quota, &asked.cpu_quota);
    take(&mut new.cpu_realtime_period, &asked.cpu_realtime_period);
    take(&mut new.cpu_realtime_runtime, &asked.cpu_realtime_runtime);
    take(&mut new.cpuset_cpus, &asked.cpuset_cpus);
    take(&mut new.cpuset_mems, &asked.cpuset_mems);
    take(&mut new.memory, &asked.memory);
    take(&mut new.memory_swap, &asked.memory_swap);
    take(&mut new.memory_reservation, &asked.memory_reservation);
    take(&mut new.kernel_memory, &asked.kernel_memory);
    take(&mut new.kernel_memory_tcp, &asked.kernel_memory_tcp);
    take(&mut new.pids_limit, &asked.pids_limit);
    weights(&mut new.blkio_weight_device, &asked.blkio_weight_device);
    for (own, asked) in [
        (&mut new.blkio_device_read_bps, &asked.blkio_device_read_bps),
        (
            &mut new.blkio_device_write_bps,
            &asked.blkio_device_write_bps,
        ),
        (
            &mut new.blkio_device_read_iops,
            &asked.blkio_device_read_iops,
        ),
        (
            &mut new.blkio_device_write_iops,
            &asked.blkio_device_write_iops,
        ),
    ] {
        throttles(own, asked);
    }
    if !asked.restart_policy.name.is_empty() {
        new.restart_policy.clone_from(&asked.restart_policy);
    }
    if new.memory == 0 && new.memory_swap > 0 {
        return Err(Error::invalid(validate::limits::SWAP_WITHOUT_MEMORY));
    }
    Ok(new)
}

fn conflicts(current: &HostConfig, asked: &HostConfig) -> Result<()> {
    let set = |what: &str, by: &str| {
        format!("Conflicting options: {what} cannot be updated as {by} has already been set")
    };
    let message = if asked.nano_cpus > 0 && current.cpu_period > 0 {
        set("Nano CPUs", "CPU Period")
    } else if asked.nano_cpus > 0 && current.cpu_quota > 0 {
        set("Nano CPUs", "CPU Quota")
    } else if asked.cpu_period > 0 && current.nano_cpus > 0 {
        set("CPU Period", "NanoCPUs")
    } else if asked.cpu_quota > 0 && current.nano_cpus > 0 {
        set("CPU Quota", "NanoCPUs")
    } else if asked.memory != 0 && asked.memory_swap == 0 && asked.memory > current.memory_swap {
        "Memory limit should be smaller than already set memoryswap limit, update the memoryswap \
         at the same time"
            .to_owned()
    } else if current.auto_remove && !matches!(asked.restart_policy.name.as_str(), "" | "no") {
        "Restart policy cannot be updated because AutoRemove is enabled for the container"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Conflict(message))
}

fn take<T: Default + PartialEq + Clone>(own: &mut T, asked: &T) {
    if *asked != T::default() {
        own.clone_from(asked);
    }
}

/// The kernel keeps one limit for each device: those that are not named stay.
fn weights(own: &mut Vec<WeightDevice>, asked: &[WeightDevice]) {
    own.retain(|one| !asked.iter().any(|new| new.path == one.path));
    own.extend_from_slice(asked);
}

fn throttles(own: &mut Vec<ThrottleDevice>, asked: &[ThrottleDevice]) {
    own.retain(|one| !asked.iter().any(|new| new.path == one.path));
    own.extend_from_slice(asked);
}

/// Only what names devices of block I/O, to look them up with [`Devices::resolve`].
pub fn block_devices(asked: &HostConfig) -> HostConfig {
    HostConfig {
        blkio_weight_device: asked.blkio_weight_device.clone(),
        blkio_device_read_bps: asked.blkio_device_read_bps.clone(),
        blkio_device_write_bps: asked.blkio_device_write_bps.clone(),
        blkio_device_read_iops: asked.blkio_device_read_iops.clone(),
        blkio_device_write_iops: asked.blkio_device_write_iops.clone(),
        ..HostConfig::default()
    }
}

/// The OCI resources, as JSON, that make what `asked` names so in a container that runs, whose
/// configuration is `new` with it. `None` when nothing of it concerns what runs.
///
/// # Errors
/// A device that `devices` does not know.
pub fn encode_update(
    new: &HostConfig,
    asked: &HostConfig,
    devices: &Devices,
) -> Result<Option<Vec<u8>>> {
    let mut changed = LinuxResources::default();
    // Limits that belong together travel together: the runtime makes one out of two.
    if asked.memory != 0 || asked.memory_swap != 0 || asked.memory_reservation != 0 {
        let mut memory = resources::memory(new);
        if new.memory_swap == -1 {
            memory.get_or_insert_default().set_swap(Some(-1));
        }
        changed.set_memory(memory);
    }
    let asked_cpu = resources::cpu(asked)?;
    if asked_cpu.is_some() {
        changed.set_cpu(resources::cpu(new)?);
    }
    if asked.pids_limit.is_some() {
        changed.set_pids(resources::pids(new));
    }
    changed.set_block_io(resources::block_io(asked, devices)?);
    if changed == LinuxResources::default() {
        return Ok(None);
    }
    let failed = |error: serde_json::Error| Error::invalid(error.to_string());
    serde_json::to_vec(&changed).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use berth_wire::RestartPolicy;
    use serde_json::{Value, json};

    use super::*;

    const MIB: i64 = 1 << 20;

    fn with(change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut host = HostConfig::default();
        change(&mut host);
        host
    }

    fn refused(current: &HostConfig, asked: &HostConfig) -> String {
        update(current, asked).expect_err("refused").to_string()
    }

    fn encoded(current: &HostConfig, asked: &HostConfig) -> Option<Value> {
        let new = update(current, asked).expect("fits");
        let bytes = encode_update(&new, asked, &Devices::default()).expect("encodes")?;
        serde_json::from_slice(&bytes).ok()
    }

    #[test]
    fn what_is_not_named_stays() {
        let current = with(|host| {
            host.memory = 100 * MIB;
            host.memory_swap = 200 * MIB;
            host.cpu_shares = 512;
            host.blkio_device_read_bps = vec![throttle("/dev/a", 1), throttle("/dev/b", 2)];
            host.binds = vec!["/a:/b".into()];
        });
        assert_eq!(
            update(&current, &HostConfig::default()).expect("fits"),
            current
        );
        let asked = with(|host| {
            host.memory = 150 * MIB;
            host.pids_limit = Some(0);
            host.blkio_device_read_bps = vec![throttle("/dev/b", 3)];
        });
        let new = update(&current, &asked).expect("fits");
        let wanted = HostConfig {
            memory: 150 * MIB,
            pids_limit: Some(0),
            blkio_device_read_bps: vec![throttle("/dev/a", 1), throttle("/dev/b", 3)],
            ..current
        };
        assert_eq!(new, wanted);
    }

    fn throttle(path: &str, rate: u64) -> ThrottleDevice {
        let path = path.to_owned();
        ThrottleDevice { path, rate }
    }

    #[test]
    fn conflicts_in_dockers_words() {
        let none = HostConfig::default();
        let memory = with(|host| host.memory = 100 * MIB);
        assert_eq!(
            refused(&none, &memory),
            "Memory limit should be smaller than already set memoryswap limit, update the \
             memoryswap at the same time"
        );
        let both = with(|host| (host.memory, host.memory_swap) = (100 * MIB, 200 * MIB));
        assert!(update(&none, &both).is_ok());
        let swap = with(|host| host.memory_swap = 200 * MIB);
        assert_eq!(
            refused(&none, &swap),
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        );
        let nano = with(|host| host.nano_cpus = 500_000_000);
        let quota = with(|host| host.cpu_quota = 50_000);
        let period = with(|host| host.cpu_period = 50_000);
        let start = "Conflicting options:";
        let end = "has already been set";
        for (current, asked, words) in [
            (&quota, &nano, "Nano CPUs cannot be updated as CPU Quota"),
            (&period, &nano, "Nano CPUs cannot be updated as CPU Period"),
            (&nano, &quota, "CPU Quota cannot be updated as NanoCPUs"),
            (&nano, &period, "CPU Period cannot be updated as NanoCPUs"),
        ] {
            assert_eq!(refused(current, asked), format!("{start} {words} {end}"));
        }
        let policy = |name: &str| {
            with(|host| {
                host.restart_policy = RestartPolicy {
                    name: name.to_owned(),
                    ..RestartPolicy::default()
                };
            })
        };
        let auto = with(|host| host.auto_remove = true);
        assert_eq!(
            refused(&auto, &policy("always")),
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        );
        assert!(update(&auto, &policy("no")).is_ok());
    }

    #[test]
    fn what_runs_gets_what_was_named_with_what_belongs_to_it() {
        let current = with(|host| {
            (host.memory, host.memory_swap) = (100 * MIB, 300 * MIB);
            host.cpu_shares = 512;
            host.pids_limit = Some(9);
        });
        let asked = with(|host| host.memory = 200 * MIB);
        let memory = json!({"memory": {"limit": 200 * MIB, "swap": 300 * MIB}});
        assert_eq!(encoded(&current, &asked), Some(memory));
        let asked = with(|host| host.memory_swap = -1);
        let memory = json!({"memory": {"limit": 100 * MIB, "swap": -1}});
        assert_eq!(encoded(&current, &asked), Some(memory));
        let asked = with(|host| host.nano_cpus = 1_500_000_000);
        let cpu = json!({"cpu": {"shares": 512, "period": 100_000, "quota": 150_000}});
        assert_eq!(encoded(&current, &asked), Some(cpu));
        let asked = with(|host| host.pids_limit = Some(0));
        assert_eq!(
            encoded(&current, &asked),
            Some(json!({"pids": {"limit": -1}}))
        );
        let asked = with(|host| host.restart_policy.name = "always".into());
        assert_eq!(encoded(&current, &asked), None);
    }
}
