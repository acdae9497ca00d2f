//! What dockerd checks of a configuration when a container is created, and the defaults that it
//! fills in.

mod conflicts;
pub(crate) mod limits;
mod names;
mod unsupported;

use berth_wire::{ContainerConfig, HostConfig};

use crate::build;
use crate::capabilities;
use crate::devices;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::modes::{self, Mode};
use crate::mounts::{self, DEFAULT_SHM_SIZE};
use crate::process;
use crate::security::SecurityOptions;
use crate::tmpfs;

/// The longest host name that the kernel takes, in bytes.
const MAX_HOSTNAME: usize = 64;

/// The shortest duration of a health check, in nanoseconds (1 ms).
const MIN_DURATION: i64 = 1_000_000;

/// What the daemon fills in where a client says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// `--default-shm-size`, in bytes; 0 for Docker's own 64 MiB.
    pub shm_size: i64,
    /// `--default-ipc-mode`; empty for `private`.
    pub ipc_mode: &'a str,
    /// `--default-cgroupns-mode`; empty for the host's own default.
    pub cgroupns_mode: &'a str,
    /// Cgroups are made by systemd.
    pub systemd_cgroup: bool,
}

/// Fills in the defaults that `inspect` shows: shm size, IPC and cgroup namespace modes, the swap
/// limit, masked and read-only paths. Brings CPU shares into the kernel's range.
pub fn fill_defaults(host: &mut HostConfig, facts: &HostFacts, defaults: &Defaults<'_>) {
    if host.cpu_shares > 0 {
        host.cpu_shares = host
            .cpu_shares
            .clamp(limits::MIN_SHARES, limits::MAX_SHARES);
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.shm_size == 0 {
        host.shm_size = if defaults.shm_size > 0 {
            defaults.shm_size
        } else {
            DEFAULT_SHM_SIZE
        };
    }
    let or = |text: &str, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text.to_owned()
        }
    };
    if host.ipc_mode.is_empty() {
        host.ipc_mode = or(defaults.ipc_mode, "private");
    }
    if host.cgroupns_mode.is_empty() {
        // On v1 a privileged container expects to see the host's hierarchies.
        host.cgroupns_mode = if host.privileged && !facts.cgroup_version.is_unified() {
            "host".to_owned()
        } else {
            or(defaults.cgroupns_mode, facts.default_cgroupns_mode())
        };
    }
    if host.oom_kill_disable.is_none() && facts.cgroup.oom_kill_disable {
        host.oom_kill_disable = Some(false);
    }
    if !host.privileged {
        host.masked_paths
            .get_or_insert_with(|| build::default_masked_paths(facts));
        host.readonly_paths
            .get_or_insert_with(build::default_readonly_paths);
    }
}

/// Checks a configuration as dockerd does at create, and returns the warnings that its answer
/// carries. Limits that this host cannot set are taken out of `host`, with a warning: run it after
/// [`fill_defaults`].
///
/// Not checked here, since they need the engine: runtimes, images, networks, volumes and ports.
///
/// # Errors
/// [`Error::Invalid`] with dockerd's words; [`Error::Unsupported`] for what Berth does not do yet.
pub fn validate_host_config(
    host: &mut HostConfig,
    config: &ContainerConfig,
    facts: &HostFacts,
) -> Result<Vec<String>> {
    conflicts::validate(host, config)?;
    container(config)?;
    restart_policy(host)?;
    capabilities::effective(&host.cap_add, &host.cap_drop, false, facts.capabilities)?;
    if !matches!(host.isolation.to_lowercase().as_str(), "" | "default") {
        return Err(Error::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    if host.annotations.contains_key("") {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    SecurityOptions::parse(&host.security_opt)?;
    let mut warnings = limits::validate(host, facts, false)?;
    modes::validate(host)?;
    names::validate(host)?;
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    mounts_and_devices(host)?;
    sysctls(host)?;
    warnings.extend(network_warnings(host, facts));
    if host.cgroupns_mode == "private" && !facts.cgroup.namespaces {
        warnings.push(
            "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded."
                .to_owned(),
        );
    }
    unsupported::refuse(host)?;
    Ok(warnings)
}

/// Checks `HostConfig.CgroupParent` against the daemon's cgroup driver.
///
/// # Errors
/// dockerd's words for a parent that is no slice where systemd makes the cgroups.
pub fn validate_cgroup_parent(parent: &str, systemd_cgroup: bool) -> Result<()> {
    let is_slice = parent.len() > 6 && parent.ends_with(".slice");
    if systemd_cgroup && !parent.is_empty() && !is_slice {
        return Err(Error::invalid(
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
        ));
    }
    Ok(())
}

/// Checks what is not about the host.
fn container(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(variable) = config
        .env
        .iter()
        .find(|v| v.is_empty() || v.starts_with('='))
    {
        return Err(Error::invalid(format!(
            "invalid environment variable: {variable}"
        )));
    }
    // The kernel takes 64 bytes; a line break would end up in /etc/hosts.
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if config.hostname.len() > MAX_HOSTNAME || config.hostname.contains(odd) {
        return Err(Error::invalid(format!(
            "invalid hostname format: {}",
            config.hostname
        )));
    }
    process::command(config)?;
    health_check(config)
}

fn health_check(config: &ContainerConfig) -> Result<()> {
    let Some(check) = &config.healthcheck else {
        return Ok(());
    };
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < MIN_DURATION {
            return Err(Error::invalid(format!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// Checks the restart policy.
pub(crate) fn restart_policy(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    let (name, retries) = (policy.name.as_str(), policy.maximum_retry_count);
    if host.auto_remove && !matches!(name, "" | "no") {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    let start = "invalid restart policy:";
    match name {
        "" => Ok(()),
        "always" | "unless-stopped" | "no" if retries == 0 => Ok(()),
        "always" | "unless-stopped" | "no" => Err(Error::invalid(format!(
            "{start} maximum retry count can only be used with 'on-failure'{}",
            if retries < 0 {
                " and cannot be negative"
            } else {
                ""
            }
        ))),
        "on-failure" if retries < 0 => Err(Error::invalid(format!(
            "{start} maximum retry count cannot be negative"
        ))),
        "on-failure" => Ok(()),
        unknown => Err(Error::invalid(format!(
            "{start} unknown policy '{unknown}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ))),
    }
}

fn mounts_and_devices(host: &HostConfig) -> Result<()> {
    for (destination, options) in &host.tmpfs {
        tmpfs::validate_destination(destination)?;
        tmpfs::merge(options)?;
    }
    for mount in host.mounts.iter().filter(|mount| mount.kind == "tmpfs") {
        tmpfs::validate_destination(&mount.target)?;
        tmpfs::merge(&mounts::tmpfs_options(mount))?;
    }
    host.ulimits
        .iter()
        .try_for_each(|ulimit| process::rlimit(ulimit).map(drop))?;
    devices::validate_rules(host)
}

fn sysctls(host: &HostConfig) -> Result<()> {
    let host_network = Mode::of(&host.network_mode) == Mode::Host;
    let own_uts = Mode::of(&host.uts_mode) != Mode::Host;
    host.sysctls
        .keys()
        .try_for_each(|name| build::validate_sysctl(name, host_network, &host.ipc_mode, own_uts))
}

fn network_warnings(host: &HostConfig, facts: &HostFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    let mode = Mode::of(&host.network_mode);
    if facts.ipv4_forwarding_disabled && !matches!(mode, Mode::Host | Mode::Named("none")) {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".to_owned());
    }
    if mode == Mode::Host && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests;
