//! Registries that may speak plain HTTP or have an unknown certificate.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// How long a host's addresses may take to be found.
const LOOKUP: Duration = Duration::from_secs(10);

/// What the administrator named; what is on loopback always counts.
#[derive(Debug, Default)]
pub(crate) struct Insecure {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl Insecure {
    /// Of hosts as names have them (`host`, `host:5000`) and CIDRs.
    pub(crate) fn new(named: &[String]) -> Insecure {
        let mut insecure = Insecure::default();
        for text in named {
            match text.parse() {
                Ok(network) => insecure.networks.push(network),
                Err(_) => insecure.hosts.push(text.to_ascii_lowercase()),
            }
        }
        insecure
    }

    /// Whether a host, with its port where names have one, is named or its address is in a CIDR
    /// that is. Names are not resolved.
    pub(crate) fn covers(&self, host: &str) -> bool {
        is_loopback(host)
            || self
                .hosts
                .iter()
                .any(|named| named.eq_ignore_ascii_case(host))
            || bare(host).parse().is_ok_and(|address| self.has(address))
    }

    /// As [`Insecure::covers`], with names resolved where there are CIDRs. As for dockerd, one
    /// address in one of them is enough.
    pub(crate) async fn covers_resolved(&self, host: &str) -> bool {
        if self.covers(host) {
            return true;
        }
        if self.networks.is_empty() {
            return false;
        }
        let found = tokio::net::lookup_host((bare(host), 0));
        match tokio::time::timeout(LOOKUP, found).await {
            Ok(Ok(mut found)) => found.any(|address| self.has(address.ip())),
            _ => false,
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// A host without its port and brackets.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
        None => host,
    }
}

/// True for `localhost` and addresses of the loopback interface, with or without a port.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = bare(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insecure(named: &[&str]) -> Insecure {
        Insecure::new(
            &named
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[tokio::test]
    async fn hosts_are_named_with_their_port_and_addresses_by_networks() {
        let insecure = insecure(&[
            "reg.example:5000",
            "plain.example",
            "10.0.0.0/8",
            "fd00::/8",
        ]);
        for host in [
            "reg.example:5000",
            "REG.example:5000",
            "plain.example",
            "10.1.2.3:5000",
            "[fd00::1]:5000",
            "localhost:1",
        ] {
            assert!(insecure.covers(host), "{host}");
            assert!(insecure.covers_resolved(host).await, "{host}");
        }
        for host in [
            "reg.example",
            "reg.example:5001",
            "plain.example:5000",
            "11.0.0.1",
            "[fe80::1]:1",
            "docker.io",
        ] {
            assert!(!insecure.covers(host), "{host}");
        }
        assert!(!super::Insecure::default().covers("10.1.2.3"));
    }
}
