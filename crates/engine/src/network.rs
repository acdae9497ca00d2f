//! A container's network as its configuration asks for it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use berth_net::{Mac, Proto, Publish};
use berth_spec::modes::Mode;

use crate::container::handle::View;
use crate::container::record::Record;
use crate::shared::Shared;
use crate::{Error, Result};

/// The name of the default network.
pub(crate) const BRIDGE: &str = "bridge";

/// Where a container's network namespace comes from.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The host's own.
    Host,
    /// One of its own with nothing but loopback.
    None,
    /// One of its own on the default bridge.
    Bridge(Bridged),
    /// Another container's.
    Joined { netns: PathBuf, of: Arc<View> },
}

/// What is asked of the default bridge.
#[derive(Debug, Default)]
pub(crate) struct Bridged {
    pub(crate) mac: Option<Mac>,
    pub(crate) publish: Vec<Publish>,
}

impl Plan {
    /// Whether the engine makes a namespace for it.
    pub(crate) fn has_own_netns(&self) -> bool {
        matches!(self, Plan::None | Plan::Bridge(_))
    }
}

/// What `record` asks for, with the container it joins looked up.
///
/// # Errors
/// Docker's words for a network that there is not, or a container that does not run.
pub(crate) fn plan(shared: &Shared, record: &Record) -> Result<Plan> {
    match Mode::of(&record.host.network_mode) {
        Mode::Host => Ok(Plan::Host),
        _ if record.config.network_disabled => Ok(Plan::None),
        Mode::Named("none") => Ok(Plan::None),
        Mode::Default | Mode::Named(BRIDGE | "default") => Ok(Plan::Bridge(Bridged {
            mac: mac(record)?,
            publish: publish(record)?,
        })),
        Mode::Container(other) => {
            let view = running(shared, other, "network")?;
            let netns = format!("/proc/{}/ns/net", view.run.pid).into();
            Ok(Plan::Joined { netns, of: view })
        }
        Mode::Named(other) => Err(Error::not_found(format!("network {other} not found"))),
    }
}

/// The container whose namespace another one wants to join.
pub(crate) fn running(shared: &Shared, other: &str, what: &str) -> Result<Arc<View>> {
    let view = shared.table.find(other)?.view();
    if !view.run.status.is_running() {
        let (name, status) = (&view.record.name, view.run.status.as_str());
        return Err(Error::conflict(format!(
            "cannot join {what} namespace of a non running container: container {name} is {status}"
        )));
    }
    Ok(view)
}

fn mac(record: &Record) -> Result<Option<Mac>> {
    let endpoint = record.networking.endpoints_config.get(BRIDGE);
    let wanted = endpoint.map_or("", |endpoint| endpoint.mac_address.as_str());
    let wanted = if wanted.is_empty() {
        &record.config.mac_address
    } else {
        wanted
    };
    if wanted.is_empty() {
        return Ok(None);
    }
    wanted.parse().map(Some).map_err(Error::from_lower)
}

/// The ports to publish: the bindings, and with `-P` every other exposed port.
///
/// # Errors
/// Docker's words for what is no port.
pub(crate) fn publish(record: &Record) -> Result<Vec<Publish>> {
    let mut list = Vec::new();
    let mut bound = BTreeSet::new();
    for (port, bindings) in &record.host.port_bindings {
        let (container_port, proto) = port_proto(port)?;
        for binding in bindings {
            bound.insert((proto, container_port));
            let host_ip = match binding.host_ip.as_str() {
                "" => None,
                ip => {
                    let invalid = || Error::invalid(format!("invalid IP address: {ip}"));
                    Some(ip.parse::<IpAddr>().map_err(|_| invalid())?)
                }
            };
            let host_ports = host_ports(&binding.host_port)?;
            list.push(Publish {
                host_ip,
                host_ports,
                container_port,
                proto,
            });
        }
    }
    if record.host.publish_all_ports {
        for port in &record.config.exposed_ports {
            let (container_port, proto) = port_proto(port)?;
            if bound.insert((proto, container_port)) {
                list.push(Publish {
                    host_ip: None,
                    host_ports: None,
                    container_port,
                    proto,
                });
            }
        }
    }
    Ok(list)
}

/// `80/tcp`, or `80` for the same.
pub(crate) fn port_proto(text: &str) -> Result<(u16, Proto)> {
    let (port, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = port
        .parse()
        .map_err(|_| Error::invalid(format!("invalid port specification: {text:?}")))?;
    Ok((number, proto.parse().map_err(Error::from_lower)?))
}

/// `8080`, `8000-8010`, or nothing for any free port.
fn host_ports(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    let invalid = || Error::invalid(format!("invalid port specification: {text:?}"));
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.parse().map_err(|_| invalid())?;
    let last: u16 = last.parse().map_err(|_| invalid())?;
    if first > last || first == 0 {
        return Err(invalid());
    }
    Ok(Some(first..=last))
}

/// Refuses what asks for networks that cannot be had yet, and what contradicts itself.
///
/// # Errors
/// A clear one: nothing of it is ignored.
pub(crate) fn validate(record: &Record) -> Result<()> {
    let mode = record.host.network_mode.as_str();
    for (name, endpoint) in &record.networking.endpoints_config {
        let is_mode = name == mode || (name == "default" && mode == BRIDGE);
        if !is_mode {
            return Err(Error::new(
                berth_errdefs::Kind::NotImplemented,
                format!("connecting a container to network {name} at create is not supported yet"),
            ));
        }
        let fixed = endpoint.ipam_config.as_ref().is_some_and(|ipam| {
            !ipam.ipv4_address.is_empty()
                || !ipam.ipv6_address.is_empty()
                || !ipam.link_local_ips.is_empty()
        });
        if fixed {
            let message = "user-specified IP address is supported on user-defined networks only";
            return Err(Error::invalid(message));
        }
        if !endpoint.links.is_empty() || !endpoint.driver_opts.is_empty() {
            return Err(Error::new(
                berth_errdefs::Kind::NotImplemented,
                "endpoint links and driver options are not supported yet",
            ));
        }
        if !endpoint.aliases.is_empty() && Mode::of(mode).is_private() && mode == BRIDGE {
            let message =
                "network-scoped alias is supported only for containers in user defined networks";
            return Err(Error::invalid(message));
        }
    }
    mac(record)?;
    for port in &record.config.exposed_ports {
        port_proto(port)?;
    }
    publish(record).map(drop)
}

#[cfg(test)]
mod tests {
    use berth_wire::PortBinding;

    use super::*;

    fn record(port: &str, host_ip: &str, host_port: &str) -> Record {
        let mut record = Record::default();
        let binding = PortBinding {
            host_ip: host_ip.into(),
            host_port: host_port.into(),
        };
        record.host.port_bindings.insert(port.into(), vec![binding]);
        record
    }

    #[test]
    fn bindings_become_ports_to_publish() {
        let list = publish(&record("80/udp", "127.0.0.1", "8000-8010")).expect("valid");
        assert_eq!(
            list,
            [Publish {
                host_ip: Some("127.0.0.1".parse().expect("ip")),
                host_ports: Some(8000..=8010),
                container_port: 80,
                proto: Proto::Udp,
            }]
        );
        assert_eq!(
            publish(&record("80", "", "")).expect("valid")[0].host_ports,
            None
        );
        for (port, ip, host) in [
            ("x", "", ""),
            ("80/icmp", "", ""),
            ("80", "nowhere", ""),
            ("80", "", "9-8"),
            ("80", "", "70000"),
        ] {
            assert!(
                publish(&record(port, ip, host)).is_err(),
                "{port} {ip} {host}"
            );
        }
    }

    #[test]
    fn publish_all_adds_what_is_exposed_and_not_bound() {
        let mut record = record("80/tcp", "", "8080");
        record.host.publish_all_ports = true;
        record.config.exposed_ports = ["80/tcp", "443/tcp"].map(str::to_owned).into();
        let ports: Vec<_> = publish(&record)
            .expect("valid")
            .iter()
            .map(|p| p.container_port)
            .collect();
        assert_eq!(ports, [80, 443]);
    }
}
