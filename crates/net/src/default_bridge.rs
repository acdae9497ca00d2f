//! The default bridge network: which subnets it has, and how it is set up when the daemon starts.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::bridge::{self, Bridge};
use crate::bridged::Bridged;
use crate::networks::{Made, Record};
use crate::rtnl::{self, Rtnl};
use crate::{
    AddressPool, BridgeConfig, Config, Error, NetworkSpec, Result, Subnet, SubnetRequest, rules,
    subnets,
};

/// Sets up the default bridge's device; its network, not joined by anybody yet. What was made is
/// noted in `record`.
///
/// Errors: [`Error::Invalid`] where the configuration contradicts itself or the device,
/// [`Error::NoSubnet`], [`Error::Netlink`], [`Error::Io`].
pub(crate) fn open(config: &Config, pools: &[AddressPool], record: &mut Record) -> Result<Bridged> {
    let settings = &config.bridge;
    rules::check_names(&settings.table, &settings.name)?;
    let mut host = Rtnl::open()?;
    check_there(settings, &mut host)?;
    let chosen = Choice::new(config, pools, record, &mut host)?;
    let settings = BridgeConfig {
        address: Some(chosen.v4(settings)?),
        address6: chosen.v6(settings)?,
        ..settings.clone()
    };
    let bridge = bridge::set_up(&settings, &mut host)?;
    let (name, fresh) = (bridge.name.clone(), bridge.fresh);
    let opened = note(config, record, &bridge, settings.address6)
        .and_then(|()| network(record.bridge_id.clone(), settings, bridge));
    if opened.is_err() && fresh {
        // A start that fails leaves nothing behind.
        let _ = host.apply(vec![rtnl::delete_link(&name)]);
    }
    opened
}

/// Refuses a default bridge of another name than Docker's that is not there: only somebody else can
/// make it, and a name that is mistyped must not become a bridge.
fn check_there(config: &BridgeConfig, host: &mut Rtnl) -> Result<()> {
    if config.name == BridgeConfig::default().name || host.index(&config.name)?.is_some() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "bridge device with non default name {} must be created manually",
        config.name
    )))
}

/// Remembers what was made, so that it is chosen again.
fn note(
    config: &Config,
    record: &mut Record,
    bridge: &Bridge,
    address6: Option<Ipv6Net>,
) -> Result<()> {
    let made = bridge.ours.then(|| Made {
        name: bridge.name.clone(),
        address: bridge.net,
        address6,
    });
    if record.made != made && made.is_some() {
        record.made = made;
        record.save(&config.state_dir)?;
    }
    Ok(())
}

fn network(id: String, settings: BridgeConfig, bridge: Bridge) -> Result<Bridged> {
    let v4 = subnet(
        bridge.net.into(),
        settings.fixed_cidr.map(IpNet::V4),
        settings.gateway.map(IpAddr::V4),
    )?;
    let v6 = settings.address6.map(|net| {
        let range = settings.fixed_cidr6.map(IpNet::V6);
        subnet(net.into(), range, settings.gateway6.map(IpAddr::V6))
    });
    let spec = NetworkSpec {
        id,
        name: "bridge".into(),
        bridge: bridge.name.clone(),
        v4: Some(v4),
        v6: v6.transpose()?,
        icc: settings.icc,
        masquerade: settings.masquerade,
        mtu: settings.mtu,
        bind_ip: settings.default_bind_ip,
        ..NetworkSpec::default()
    };
    spec.check(&settings.table)?;
    Bridged::new(spec, settings, bridge)
}

fn subnet(bridge: IpNet, range: Option<IpNet>, out: Option<IpAddr>) -> Result<Subnet> {
    let net = bridge.trunc();
    if out.is_some_and(|ip| !net.contains(&ip)) {
        return Err(Error::Invalid(
            "default gateway ip must be part of the network".into(),
        ));
    }
    let out = out.filter(|ip| *ip != bridge.addr());
    Ok(Subnet {
        net,
        gateway: bridge.addr(),
        default_gateway: out,
        range,
        reserved: out.into_iter().collect(),
    })
}

/// What the bridge's addresses are chosen from.
struct Choice<'a> {
    pools: &'a [AddressPool],
    /// What an earlier daemon made.
    made: Option<&'a Made>,
    /// Subnets of others: of networks that are to come back, and what the host has or routes.
    taken: Vec<IpNet>,
    /// The addresses that the device has, if it is there.
    found: Vec<IpNet>,
    /// The device is there and was made by somebody else.
    theirs: bool,
}

impl<'a> Choice<'a> {
    fn new(
        config: &'a Config,
        pools: &'a [AddressPool],
        record: &'a Record,
        host: &mut Rtnl,
    ) -> Result<Self> {
        let settings = &config.bridge;
        let index = host.index(&settings.name)?;
        let mut found = Vec::new();
        for (link, net) in host.addresses()? {
            if Some(link) == index {
                found.push(IpNet::V4(net));
            }
        }
        for (link, net) in host.addresses6()? {
            // The kernel gives every bridge one of these.
            if Some(link) == index && !net.addr().is_unicast_link_local() {
                found.push(IpNet::V6(net));
            }
        }
        let mark = bridge::mark(settings);
        let ours = |link: &rtnl::Link| link.alias.as_deref() == Some(mark.as_str());
        let mut links = host.links()?.into_iter();
        let theirs = links.any(|link| link.name == settings.name && !ours(&link));
        let own: Vec<IpNet> = found.iter().map(IpNet::trunc).collect();
        let mut taken = bridge::on_host(host)?;
        taken.retain(|net| !own.contains(net));
        taken.extend(&config.reserved);
        Ok(Self {
            pools,
            made: record
                .made
                .as_ref()
                .filter(|made| made.name == settings.name),
            taken,
            found,
            theirs,
        })
    }

    fn v4(&self, settings: &BridgeConfig) -> Result<Ipv4Net> {
        if let Some(net) = settings.address {
            return Ok(net);
        }
        let made = self.made.map(|made| IpNet::V4(made.address));
        match self.address(false, settings.fixed_cidr.map(IpNet::V4), made)? {
            IpNet::V4(net) => Ok(net),
            IpNet::V6(_) => Err(Error::NoSubnet),
        }
    }

    fn v6(&self, settings: &BridgeConfig) -> Result<Option<Ipv6Net>> {
        if !settings.ipv6 || settings.address6.is_some() {
            return Ok(settings.address6.filter(|_| settings.ipv6));
        }
        let made = self.made.and_then(|made| made.address6).map(IpNet::V6);
        match self.address(true, settings.fixed_cidr6.map(IpNet::V6), made)? {
            IpNet::V6(net) => Ok(Some(net)),
            IpNet::V4(_) => Err(Error::NoSubnet),
        }
    }

    /// The bridge's address of one family: one that the device has, else that of last time while
    /// it is free and of the pools, else in the range for containers, else in a free subnet.
    fn address(&self, v6: bool, range: Option<IpNet>, made: Option<IpNet>) -> Result<IpNet> {
        let holds = |net: &IpNet| range.is_none_or(|range| net.trunc().contains(&range));
        let mut found = self.found.iter().filter(|net| net.addr().is_ipv6() == v6);
        if let Some(net) = found.clone().find(|net| holds(net)) {
            return Ok(*net);
        }
        if let (true, Some(_), Some(range)) = (self.theirs, found.next(), range) {
            let option = if v6 { "fixed-cidr-v6" } else { "fixed-cidr" };
            return Err(Error::Invalid(format!(
                "{option}={range} is outside any subnet implied by addresses on the user-managed \
                 default bridge"
            )));
        }
        let good = |made: &IpNet| {
            let net = made.trunc();
            holds(made)
                && self.pools.iter().any(|pool| pool.has(&net))
                && !self.taken.iter().any(|other| subnets::overlap(&net, other))
        };
        if let Some(made) = made.filter(good) {
            return Ok(made);
        }
        let request = SubnetRequest {
            net: range,
            ..SubnetRequest::default()
        };
        subnets::settle(&request, v6, self.pools, &[], &self.taken)?.address()
    }
}
