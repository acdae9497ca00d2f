//! What a create request of an older API version means in the newest one.
//!
//! Fields that a version did not know yet are what they were then: without effect. The engine
//! sees requests of the newest version only.

use berth_wire::{
    ApiVersion, CreateRequest, EndpointSettings, HostConfig, MountRequest, PortBinding,
};

use crate::query::quote;
use crate::{Error, Result};

/// The network that `default` stands for.
const DEFAULT_NETWORK: &str = "bridge";

/// The endpoint option that holds the sysctls of its interface.
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Turns a request of `version` into one of the newest version. Returns what to warn of.
/// `cgroup_v1` tells whether the host is on cgroup v1; it is asked only where that matters.
///
/// # Errors
/// What the version did not have and cannot be done without: dockerd's words.
pub(crate) fn adapt(
    request: &mut CreateRequest,
    version: ApiVersion,
    cgroup_v1: impl FnOnce() -> bool,
) -> Result<Vec<String>> {
    default_network(request);
    defaults(request, version, cgroup_v1);
    for mount in &mut request.host_config.mounts {
        adapt_mount(mount, version)?;
    }
    endpoints(request, version)?;
    let warnings = [
        volume_driver(&request.host_config, version),
        mac_address(request, version)?,
        sysctls(request, version)?,
        port_bindings(&mut request.host_config, version),
    ];
    if request.host_config.pids_limit.is_some_and(|n| n <= 0) {
        request.host_config.pids_limit = None;
    }
    Ok(warnings.into_iter().flatten().collect())
}

fn default_network(request: &mut CreateRequest) {
    let host = &mut request.host_config;
    if !matches!(host.network_mode.as_str(), "" | "default") {
        return;
    }
    host.network_mode = DEFAULT_NETWORK.to_owned();
    let endpoints = &mut request.networking_config.endpoints_config;
    if let Some(endpoint) = endpoints.remove("default") {
        endpoints.insert(DEFAULT_NETWORK.to_owned(), endpoint);
    }
}

fn defaults(request: &mut CreateRequest, version: ApiVersion, cgroup_v1: impl FnOnce() -> bool) {
    let host = &mut request.host_config;
    if version.before(25) {
        // The client itself removed the container.
        host.auto_remove = false;
    }
    if version.before(40) {
        host.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    if version.before(41) && host.cgroupns_mode.is_empty() && cgroup_v1() {
        "host".clone_into(&mut host.cgroupns_mode);
    }
    if version.before(42) {
        host.console_size = [0, 0];
    }
    if version.before(43) {
        host.annotations.clear();
    }
    if version.before(44)
        && let Some(healthcheck) = &mut request.config.healthcheck
    {
        healthcheck.start_interval = 0;
    }
}

fn adapt_mount(mount: &mut MountRequest, version: ApiVersion) -> Result<()> {
    let is = |kind: &str| mount.kind == kind;
    let (bind, volume, tmpfs, image) = (is("bind"), is("volume"), is("tmpfs"), is("image"));
    if version.before(42) {
        // Nobody checked these.
        mount.volume_options = mount.volume_options.take().filter(|_| volume);
        mount.tmpfs_options = mount.tmpfs_options.take().filter(|_| tmpfs);
    } else {
        let odd = [
            ("VolumeOptions", mount.volume_options.is_some() && !volume),
            ("BindOptions", mount.bind_options.is_some() && !bind),
            ("TmpfsOptions", mount.tmpfs_options.is_some() && !tmpfs),
        ];
        if let Some((name, _)) = odd.iter().find(|(_, odd)| *odd) {
            let kind = quote(&mount.kind);
            return Err(Error::invalid(format!(
                "{name} must not be specified on mount type {kind}"
            )));
        }
    }
    if let Some(options) = &mut mount.bind_options {
        options.non_recursive &= !version.before(40);
        options.create_mountpoint &= !version.before(42);
        if bind && version.before(44) && options.read_only_force_recursive {
            return needs("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
        }
    }
    if bind && mount.read_only && version.before(44) {
        // Read-only mounts were not recursively so.
        mount
            .bind_options
            .get_or_insert_default()
            .read_only_non_recursive = true;
    }
    let subpath = mount
        .volume_options
        .as_ref()
        .is_some_and(|o| !o.subpath.is_empty());
    if subpath && version.before(45) {
        return needs("VolumeOptions.Subpath needs API v1.45 or newer");
    }
    if image && version.before(48) {
        return needs("Mount type \"Image\" needs API v1.48 or newer");
    }
    Ok(())
}

fn needs(message: &str) -> Result<()> {
    Err(Error::invalid(message))
}

fn endpoints(request: &mut CreateRequest, version: ApiVersion) -> Result<()> {
    let endpoints = &mut request.networking_config.endpoints_config;
    if version.before(44) && endpoints.len() > 1 {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        return Err(Error::invalid(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    if version.before(48) {
        // All endpoints were alike.
        endpoints.values_mut().for_each(|e| e.gw_priority = 0);
    }
    Ok(())
}

fn volume_driver(host: &HostConfig, version: ApiVersion) -> Option<String> {
    let driver = |m: &MountRequest| {
        let config = m
            .volume_options
            .as_ref()
            .and_then(|o| o.driver_config.as_ref());
        config.is_some_and(|d| !d.name.is_empty())
    };
    let ignored = host.mounts.iter().any(|m| m.kind == "volume" && !driver(m));
    (!version.before(48) && !host.volume_driver.is_empty() && ignored).then(|| {
        "WARNING: the container-wide volume-driver configuration is ignored for volumes specified \
         via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
            .to_owned()
    })
}

/// Whether containers of this network mode have endpoints of their own.
fn has_endpoints(mode: &str) -> bool {
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// The MAC address moved from the container to its endpoints with API 1.44.
fn mac_address(request: &mut CreateRequest, version: ApiVersion) -> Result<Option<String>> {
    let wanted = request.config.mac_address.clone();
    if wanted.is_empty() {
        if version.before(44) {
            let endpoints = request.networking_config.endpoints_config.values_mut();
            endpoints.for_each(|e| e.mac_address.clear());
        }
        return Ok(None);
    }
    let possible = has_endpoints(&request.host_config.network_mode);
    if version.before(44) {
        if !possible {
            return Err(Error::invalid(
                "conflicting options: mac-address and the network mode",
            ));
        }
        endpoint(request, version)?.mac_address = wanted;
        return Ok(None);
    }
    if possible {
        let endpoint = endpoint(request, version).map_err(|e| {
            let what = "unable to migrate container-wide MAC address to a specific network";
            Error::invalid(format!("{what}: {e}"))
        })?;
        if endpoint.mac_address.is_empty() {
            endpoint.mac_address = wanted;
        } else if endpoint.mac_address != wanted {
            return Err(Error::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for \
                 the main network, or be left empty",
            ));
        }
    }
    request.config.mac_address.clear();
    Ok(Some(
        "The container-wide MacAddress field is now deprecated. It should be specified in \
         EndpointsConfig instead."
            .to_owned(),
    ))
}

/// The endpoint of the network that `NetworkMode` names; made when there is none at all.
fn endpoint(request: &mut CreateRequest, version: ApiVersion) -> Result<&mut EndpointSettings> {
    let name = request.host_config.network_mode.clone();
    let endpoints = &mut request.networking_config.endpoints_config;
    let key = match endpoints.keys().next() {
        None => name,
        // There was only one, whatever its name.
        Some(only) if version.before(44) => only.clone(),
        Some(_) if endpoints.contains_key(&name) => name,
        Some(_) => {
            return Err(Error::invalid(
                "HostConfig.NetworkMode must match the identity of a network in \
                 NetworkSettings.Networks",
            ));
        }
    };
    Ok(endpoints.entry(key).or_default())
}

/// Sysctls of `eth0` moved from the container to its endpoints with API 1.48.
fn sysctls(request: &mut CreateRequest, version: ApiVersion) -> Result<Option<String>> {
    let mode = &request.host_config.network_mode;
    if mode == "host" || mode.starts_with("container:") {
        return Ok(None);
    }
    let mut moved: Vec<(String, String)> = Vec::new();
    for (name, value) in &request.host_config.sysctls {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        let ["net", family, kind, interface, key] = parts[..] else {
            continue;
        };
        if !interface.starts_with("eth") {
            continue;
        }
        if !version.before(48) {
            return Err(Error::invalid(format!(
                "interface specific sysctl setting {} must be supplied using driver option \
                 '{ENDPOINT_SYSCTLS}'",
                quote(name)
            )));
        }
        if interface != "eth0" {
            return Err(Error::invalid(format!(
                "unable to determine network endpoint for sysctl {name}, use driver option \
                 '{ENDPOINT_SYSCTLS}' to set per-interface sysctls"
            )));
        }
        moved.push((
            name.clone(),
            format!("net.{family}.{kind}.IFNAME.{key}={value}"),
        ));
    }
    if moved.is_empty() {
        return Ok(None);
    }
    let (names, settings): (Vec<String>, Vec<String>) = moved.into_iter().unzip();
    for name in &names {
        request.host_config.sysctls.remove(name);
    }
    let settings = settings.join(",");
    let options = &mut endpoint(request, version)?.driver_opts;
    let all = match options.get(ENDPOINT_SYSCTLS) {
        // What the endpoint says itself comes last and so wins.
        Some(own) => format!("{settings},{own}"),
        None => settings.clone(),
    };
    options.insert(ENDPOINT_SYSCTLS.to_owned(), all);
    Ok(Some(format!(
        "Migrated sysctl {} to DriverOpts{{{}:{}}}.",
        quote(&names.join(",")),
        quote(ENDPOINT_SYSCTLS),
        quote(&settings)
    )))
}

/// A port with an empty list of bindings was published on a random one before API 1.53.
fn port_bindings(host: &mut HostConfig, version: ApiVersion) -> Option<String> {
    if !version.before(53) {
        host.port_bindings
            .retain(|_, bindings| !bindings.is_empty());
        return None;
    }
    let mut empty = Vec::new();
    for (port, bindings) in &mut host.port_bindings {
        if bindings.is_empty() {
            bindings.push(PortBinding::default());
            empty.push(port.as_str());
        }
    }
    (!version.before(52) && !empty.is_empty()).then(|| {
        format!(
            "Following container port(s) have an empty list of port-bindings: {}. Starting with \
             API 1.53, such bindings will be discarded.",
            empty.join(", ")
        )
    })
}

#[cfg(test)]
mod tests;
