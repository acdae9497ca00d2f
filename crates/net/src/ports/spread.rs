//! Which host addresses a request to publish a port is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::hold;
use crate::{Error, Proto, Publish, Result, proxy};

/// A container port to publish on all of several host addresses, at the same host port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) host_ports: Option<RangeInclusive<u16>>,
    pub(crate) container_port: u16,
    pub(crate) proto: Proto,
}

/// What can lead packets to IPv6 addresses of the host to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The host has such addresses.
    pub(crate) host: bool,
    /// The container has one, so that rules can.
    pub(crate) container: bool,
    /// The proxy may.
    pub(crate) proxy: bool,
}

impl Reach {
    /// To a container without IPv6, from the network namespace of this thread.
    pub(crate) fn here(proxy: bool) -> Reach {
        let listens = hold(Ipv6Addr::UNSPECIFIED.into(), Proto::Tcp, 0, false);
        Reach {
            host: listens.is_ok_and(|socket| socket.is_some()),
            container: false,
            proxy,
        }
    }

    fn leads(self, proto: Proto) -> bool {
        self.container || (self.proxy && proxy::can_lead(proto))
    }

    /// What comes to which addresses when a port is published with these settings: requests without
    /// an address get `bind_ip`, and where that is any IPv4 address any IPv6 address as well, as in
    /// dockerd, where something leads from there to the container. Requests that differ in the
    /// address alone share a host port.
    ///
    /// Errors: [`Error::Unsupported`] for an IPv6 address from which nothing leads to the container.
    pub(crate) fn spread(self, publish: &[Publish], bind_ip: IpAddr) -> Result<Vec<Wanted>> {
        let mut spread: Vec<Wanted> = Vec::new();
        for request in publish {
            let wanted = self.wanted(request, bind_ip)?;
            let twin = spread.iter_mut().find(|other| {
                (&other.host_ports, other.container_port, other.proto)
                    == (&wanted.host_ports, wanted.container_port, wanted.proto)
                    && wanted
                        .host_ips
                        .iter()
                        .all(|ip| !other.host_ips.contains(ip))
            });
            match twin {
                Some(twin) => twin.host_ips.extend(wanted.host_ips),
                None => spread.push(wanted),
            }
        }
        Ok(spread)
    }

    fn wanted(self, request: &Publish, bind_ip: IpAddr) -> Result<Wanted> {
        let proto = request.proto;
        let host_ip = request.host_ip.unwrap_or(bind_ip);
        if host_ip.is_ipv6() && !self.leads(proto) {
            let why = match self.proxy {
                true => format!("{proto} ports on IPv6 addresses needs a container with IPv6"),
                false => "ports on IPv6 addresses to a container without IPv6 needs the userland \
                          proxy, which is switched off"
                    .to_owned(),
            };
            return Err(Error::Unsupported(format!("publishing {why}: {host_ip}")));
        }
        let mut host_ips = vec![host_ip];
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if request.host_ip.is_none() && host_ip == any && self.host && self.leads(proto) {
            host_ips.push(Ipv6Addr::UNSPECIFIED.into());
        }
        Ok(Wanted {
            host_ips,
            host_ports: request.host_ports.clone(),
            container_port: request.container_port,
            proto,
        })
    }
}
