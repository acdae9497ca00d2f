//! A container in one network: what is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_net::{EndpointRequest, Mac, Publish, Upstream};
use berth_wire as wire;

use super::{links, unsupported};
use crate::container::record::Record;
use crate::networks::Found;
use crate::shared::Shared;
use crate::{Error, Result};

/// A network that a container is to be in.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) network: Found,
    pub(crate) settings: wire::EndpointSettings,
    pub(crate) publish: Vec<Publish>,
    mac: Option<Mac>,
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
}

impl Wanted {
    /// Reads what `settings` ask for, for `record` in `network`.
    ///
    /// # Errors
    /// Docker's words for what cannot be had.
    pub(crate) fn new(
        record: &Record,
        network: Found,
        settings: &wire::EndpointSettings,
    ) -> Result<Wanted> {
        super::may_join(&network)?;
        check(&network, settings)?;
        let asked = settings.ipam_config.clone().unwrap_or_default();
        let mut settings = settings.clone();
        if network.name() == record.host.network_mode {
            // Clients put links of networks of users into the endpoint; others have them here.
            let links = record.host.links.iter().filter(|_| network.is_users());
            settings.links.extend(links.cloned());
        }
        Ok(Wanted {
            mac: mac(&settings.mac_address)?,
            ip: address(&asked.ipv4_address)?,
            ip6: address(&asked.ipv6_address)?,
            network,
            settings,
            publish: Vec::new(),
        })
    }

    /// Where it comes when one is to have the default route and the ports.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let network = &self.network;
        berth_net::rank(
            network.is_internal(),
            self.settings.gw_priority,
            network.name(),
        )
    }
}

/// What `net` is asked for. `upstream`: where questions go that are not about containers.
pub(crate) fn request(
    shared: &Shared,
    record: &Record,
    wanted: &Wanted,
    upstream: &Upstream,
) -> EndpointRequest {
    let users = wanted.network.is_users();
    EndpointRequest {
        id: record.id.clone(),
        network: wanted.network.id().to_owned(),
        netns: shared.net.netns_path(&record.id),
        mac: wanted.mac,
        ip: wanted.ip,
        ip6: wanted.ip6,
        publish: wanted.publish.clone(),
        priority: wanted.settings.gw_priority,
        names: dns_names(record, &wanted.settings.aliases),
        links: links::words(shared, &wanted.settings.links),
        upstream: users.then(|| upstream.clone()),
    }
}

/// The names that a container answers to in a network of users, its own first.
pub(crate) fn dns_names(record: &Record, aliases: &[String]) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let others = aliases.iter().map(String::as_str);
    for name in others.chain([record.short_id(), record.hostname()]) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Refuses what a network cannot give.
///
/// # Errors
/// Docker's words.
pub(crate) fn check(network: &Found, settings: &wire::EndpointSettings) -> Result<()> {
    check_settings(settings)?;
    let asked = settings.ipam_config.clone().unwrap_or_default();
    let addresses = [&asked.ipv4_address, &asked.ipv6_address];
    let addresses = addresses.into_iter().filter(|text| !text.is_empty());
    let Found::Users(users) = network else {
        if addresses.count() > 0 {
            let message = "user-specified IP address is supported on user-defined networks only";
            return Err(Error::invalid(message));
        }
        if !settings.aliases.is_empty() && network.driver() == "bridge" {
            let message =
                "network-scoped alias is supported only for containers in user defined networks";
            return Err(Error::invalid(message));
        }
        return Ok(());
    };
    for text in addresses {
        let ip: IpAddr = address(text)?.ok_or_else(|| Error::invalid("no address"))?;
        let mut subnets = users.spec.subnets();
        let configured = |net: &ipnet::IpNet| {
            users
                .asked
                .iter()
                .any(|asked| asked.subnet == net.to_string())
        };
        let Some(subnet) = subnets.find(|subnet| subnet.net.contains(&ip)) else {
            return Err(Error::invalid(format!(
                "no configured subnet contains IP address {ip}"
            )));
        };
        if !configured(&subnet.net) {
            return Err(Error::invalid(
                "user-specified IP address is supported only when connecting to networks with user-configured subnets",
            ));
        }
    }
    Ok(())
}

/// Refuses what no network of ours can give.
///
/// # Errors
/// A clear one: nothing of it is ignored.
pub(super) fn check_settings(settings: &wire::EndpointSettings) -> Result<()> {
    let asked = settings.ipam_config.clone().unwrap_or_default();
    address::<Ipv4Addr>(&asked.ipv4_address)
        .map_err(|_| Error::invalid(format!("invalid IPv4 address: {}", asked.ipv4_address)))?;
    address::<Ipv6Addr>(&asked.ipv6_address)
        .map_err(|_| Error::invalid(format!("invalid IPv6 address: {}", asked.ipv6_address)))?;
    if !asked.link_local_ips.is_empty() {
        return Err(unsupported("link-local addresses are"));
    }
    if !settings.driver_opts.is_empty() {
        return Err(unsupported("driver options of endpoints are"));
    }
    mac(&settings.mac_address).map(drop)
}

fn address<T: std::str::FromStr>(text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| Error::invalid(format!("invalid IP address: {text}"));
    text.parse().map(Some).map_err(invalid)
}

fn mac(text: &str) -> Result<Option<Mac>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(Error::from_lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_names_are_its_own_its_aliases_its_id_and_its_host_name() {
        let mut record = Record {
            id: "c0ffee".repeat(10),
            name: "web".to_owned(),
            ..Record::default()
        };
        record.config.hostname = "www".to_owned();
        let names = dns_names(&record, &["www".to_owned(), "shop".to_owned()]);
        assert_eq!(names, ["web", "www", "shop", "c0ffeec0ffee"]);
    }
}
