//! The ports that a container publishes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use berth_net::{Proto, Publish};

use crate::container::record::Record;
use crate::{Error, Result};

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
                    Some(ip.parse::<IpAddr>().map_err(|_| invalid())?.to_canonical())
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
