//! Options that exclude each other, in the words of Docker's `conflicting options`.

use berth_wire::{ContainerConfig, HostConfig};

use crate::error::{Error, Result};
use crate::modes::Mode;

/// Refuses options that contradict the network or UTS mode.
pub(super) fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    let conflict = |what: &str| Err(Error::invalid(format!("conflicting options: {what}")));
    let uts_is_the_hosts = Mode::of(&host.uts_mode) == Mode::Host;
    let mode = Mode::of(&host.network_mode);
    if uts_is_the_hosts && !config.hostname.is_empty() {
        return conflict("hostname and the UTS mode");
    }
    let undefined = "can't be used with links. This would result in undefined behavior";
    match mode {
        Mode::Host if !host.links.is_empty() => {
            return conflict(&format!("host type networking {undefined}"));
        }
        Mode::Container("") | Mode::Named("container") => {
            return Err(Error::invalid(
                "invalid network mode: invalid container format container:<name|id>",
            ));
        }
        Mode::Container(_) => {}
        _ => return Ok(()),
    }
    if !config.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if !host.links.is_empty() {
        return conflict(&format!("container type network {undefined}"));
    }
    if !config.mac_address.is_empty() {
        return conflict("mac-address and the network mode");
    }
    if !host.dns.is_empty() {
        return conflict("dns and the network mode");
    }
    if !host.extra_hosts.is_empty() {
        return conflict("custom host-to-IP mapping and the network mode");
    }
    if !host.port_bindings.is_empty() || host.publish_all_ports {
        return conflict("port publishing and the container type network mode");
    }
    if !config.exposed_ports.is_empty() {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}
