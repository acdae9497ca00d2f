//! Networks of users: made, brought back after a restart, removed. Runs on our threads.

use std::sync::PoisonError;

use ipnet::IpNet;

use crate::attach::Reply;
use crate::bridge::{self, Bridge};
use crate::bridged::Bridged;
use crate::rtnl::{self, Rtnl};
use crate::shared::{Shared, Up};
use crate::threads::Desk;
use crate::{BridgeConfig, Error, NetworkSpec, Result, SubnetRequest, rules, subnets};

/// The subnets that a new network asks for.
#[derive(Clone, Debug, Default)]
pub struct SubnetRequests {
    /// IPv4.
    pub v4: SubnetRequest,
    /// IPv6; `None` for a network without.
    pub v6: Option<SubnetRequest>,
}

impl Shared {
    /// Makes a network: subnets, device, rules. All or nothing, also when nobody waits for the
    /// answer any more.
    pub(crate) fn create_network(
        &self,
        desk: &mut Desk,
        spec: NetworkSpec,
        asked: &SubnetRequests,
        reply: Reply<NetworkSpec>,
    ) {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self
            .settle(desk, spec, asked)
            .and_then(|spec| self.bring_up(desk, spec));
        drop(making);
        let id = made.as_ref().map(|spec| spec.id.clone()).ok();
        if let (Err(Ok(_)), Some(id)) = (reply.send(made), id) {
            let _ = self.take_down(desk, &id);
        }
    }

    /// Brings a network back that an earlier daemon made.
    pub(crate) fn restore_network(&self, desk: &mut Desk, spec: NetworkSpec) -> Result<()> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.up.load().contains_key(&spec.id) {
            return Ok(());
        }
        let others = self.subnets();
        if spec
            .subnets()
            .any(|own| others.iter().any(|other| subnets::overlap(&own.net, other)))
        {
            return Err(Error::PoolOverlap);
        }
        self.bring_up(desk, spec).map(drop)
    }

    /// Removes a network that nobody is in.
    pub(crate) fn remove_network(&self, desk: &mut Desk, id: &str) -> Result<()> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_down(desk, id)
    }

    /// The subnets of all networks.
    fn subnets(&self) -> Vec<IpNet> {
        let up = self.up.load();
        up.values()
            .flat_map(|bridged| bridged.spec.subnets().map(|subnet| subnet.net))
            .collect()
    }

    /// Chooses what is left open.
    fn settle(
        &self,
        desk: &mut Desk,
        mut spec: NetworkSpec,
        asked: &SubnetRequests,
    ) -> Result<NetworkSpec> {
        if spec.bridge.is_empty() {
            spec.bridge = format!("br-{}", spec.id.get(..12).unwrap_or(&spec.id));
        }
        spec.check(&self.config.bridge.table)?;
        let up = self.up.load();
        if let Some(other) = up.values().find(|other| other.spec.bridge == spec.bridge) {
            return Err(Error::BridgeTaken {
                id: spec.id,
                bridge: spec.bridge,
                other: other.spec.id.clone(),
            });
        }
        let others = self.subnets();
        let choose = |request: &SubnetRequest, v6, host: &[IpNet]| {
            subnets::settle(request, v6, &self.pools, &others, host)
        };
        let host = bridge::on_host(&mut desk.host)?;
        spec.v4 = Some(choose(&asked.v4, false, &host)?);
        spec.v6 = match &asked.v6 {
            Some(request) => Some(choose(request, true, &host)?),
            None => None,
        };
        Ok(spec)
    }

    /// Makes the device and the rules of a network that is settled.
    fn bring_up(&self, desk: &mut Desk, spec: NetworkSpec) -> Result<NetworkSpec> {
        spec.check(&self.config.bridge.table)?;
        let config = device(&spec, &self.config.bridge)?;
        let bridge = bridge::set_up(&config, &mut desk.host)?;
        let undo = bridge.clone();
        let up = Bridged::new(spec.clone(), config, bridge).and_then(|bridged| {
            self.enforce(&spec)?;
            self.put_up(bridged);
            Ok(spec)
        });
        if up.is_err() && undo.fresh {
            let _ = desk.host.apply(vec![rtnl::delete_link(&undo.name)]);
        }
        up
    }

    fn take_down(&self, desk: &mut Desk, id: &str) -> Result<()> {
        let bridged = self.bridged(id)?;
        bridged.shut()?;
        if let Err(error) = delete_device(&mut desk.host, &bridged.bridge()) {
            bridged.reopen();
            return Err(error);
        }
        self.up.rcu(|now| {
            let mut next = Up::clone(now);
            next.remove(id);
            next
        });
        // Rules for a bridge that is gone harm nobody, and go with the next change at the latest.
        self.firewall
            .apply(rules::network(&bridged.spec), Vec::new())
    }
}

/// How a network's device is made.
fn device(spec: &NetworkSpec, default: &BridgeConfig) -> Result<BridgeConfig> {
    let address = |subnet: &Option<crate::Subnet>| match subnet {
        Some(subnet) => subnet.address().map(Some),
        None => Ok(None),
    };
    Ok(BridgeConfig {
        name: spec.bridge.clone(),
        address: address(&spec.v4)?.and_then(|net| match net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }),
        address6: address(&spec.v6)?.and_then(|net| match net {
            IpNet::V6(net) => Some(net),
            IpNet::V4(_) => None,
        }),
        mtu: spec.mtu,
        icc: spec.icc,
        masquerade: spec.masquerade,
        disabled: false,
        ..default.clone()
    })
}

/// Deletes a bridge that is ours.
pub(crate) fn delete_device(host: &mut Rtnl, bridge: &Bridge) -> Result<()> {
    if !bridge.ours {
        return Ok(());
    }
    match host.apply(vec![rtnl::delete_link(&bridge.name)]) {
        Err(error) if !rtnl::is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}
