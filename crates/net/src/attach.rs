//! Connecting and disconnecting a container: the steps that run on our threads.

use std::collections::HashSet;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::bridge::{port_settings, sysctl};
use crate::rtnl::{self, Rtnl, Veth};
use crate::rules;
use crate::shared::{Bridged, Lease, Shared};
use crate::threads::{Desk, Join};
use crate::{
    Endpoint, EndpointRequest, Error, Mac, Proto, Result, conntrack, firewall, netns, networks,
    reap,
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

impl Shared {
    /// Connects a container: leases first, then interface and rules at the same time. On any
    /// failure, and when nobody waits for the answer any more, all of it is undone.
    pub(crate) fn connect(
        self: &Arc<Self>,
        desk: &mut Desk,
        request: &EndpointRequest,
        reply: Reply<Endpoint>,
    ) {
        let prepared = self.bridged().and_then(|bridged| {
            netns::check_id(&request.id)?;
            let namespace = netns::open(&request.netns)?;
            let endpoint = self.lease(bridged, request)?;
            Ok((bridged, namespace, endpoint))
        });
        let (bridged, namespace, endpoint) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let elements = rules::elements(&endpoint);
        let steps = if elements.is_empty() { 1 } else { 2 };
        let shared = Arc::clone(self);
        let published = Arc::clone(&endpoint);
        let join = Join::new(steps, move |errors| {
            shared.connected(published, errors, reply)
        });
        if !elements.is_empty() {
            let done = self.then_forget_flows(&endpoint, false, Arc::clone(&join));
            bridged.firewall.change(Vec::new(), elements, done);
        }
        join.arrive(self.plug_in(bridged, desk, &namespace, &endpoint));
    }

    /// Takes an endpoint down; `done` gets the failures. Does not block.
    pub(crate) fn disconnect(
        self: &Arc<Self>,
        endpoint: Arc<Endpoint>,
        done: impl FnOnce(Vec<Error>) + Send + 'static,
    ) {
        let Some(bridged) = &self.bridged else {
            done(vec![Error::BridgeDisabled]);
            return;
        };
        let elements = rules::elements(&endpoint);
        let steps = if elements.is_empty() { 1 } else { 2 };
        let shared = Arc::clone(self);
        let id = endpoint.endpoint_id.clone();
        let join = Join::new(steps, move |errors| {
            shared.forget(&id);
            done(errors);
        });
        if !elements.is_empty() {
            let done = self.then_forget_flows(&endpoint, true, Arc::clone(&join));
            bridged.firewall.change(elements, Vec::new(), done);
        }
        let name = endpoint.host_ifname.clone();
        bridged
            .reaper
            .delete(name, Box::new(move |result| join.arrive(result)));
    }

    /// After a change of rules: makes UDP flows follow it, then arrives.
    fn then_forget_flows(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        gone: bool,
        join: Arc<Join>,
    ) -> firewall::Done {
        let shared = Arc::clone(self);
        let endpoint = Arc::clone(endpoint);
        Box::new(move |result| {
            if endpoint.ports.iter().all(|port| port.proto != Proto::Udp) {
                return join.arrive(result);
            }
            shared.threads.run(move |_| {
                if let Err(error) = conntrack::forget(&endpoint, gone) {
                    // The container works all the same; only old flows miss it for a while.
                    tracing::warn!(%error, "UDP flows may go astray");
                }
                join.arrive(result);
            });
        })
    }

    /// Takes over an endpoint whose container ran on while the daemon was away.
    pub(crate) fn adopt(self: &Arc<Self>, desk: &mut Desk, endpoint: Endpoint, reply: Reply<()>) {
        let endpoint = Arc::new(endpoint);
        let adopted = self.bridged().and_then(|bridged| {
            if self.lease_again(bridged, &endpoint)? {
                let attached = self.on_bridge(bridged, &mut desk.host, |host, bridge| {
                    let attach = rtnl::set_controller(&endpoint.host_ifname, bridge.index);
                    host.apply(vec![attach])
                });
                if let Err(error) = attached {
                    bridged.leases().release(&endpoint.endpoint_id);
                    return Err(error);
                }
            }
            Ok(bridged)
        });
        let bridged = match adopted {
            Ok(bridged) => bridged,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.publish(&endpoint);
        let done = Box::new(move |result| {
            let _ = reply.send(result);
        });
        bridged
            .firewall
            .change(Vec::new(), rules::elements(&endpoint), done);
    }

    /// Removes what belongs to containers not in `keep`.
    pub(crate) fn sweep(
        self: &Arc<Self>,
        desk: &mut Desk,
        keep: &HashSet<String>,
        reply: Reply<()>,
    ) {
        let mut errors = Vec::new();
        for endpoint in self
            .endpoints
            .load()
            .values()
            .filter(|e| !keep.contains(&e.container))
        {
            if let Some(bridged) = &self.bridged {
                bridged
                    .firewall
                    .change(rules::elements(endpoint), Vec::new(), Box::new(|_| ()));
            }
            self.forget(&endpoint.endpoint_id);
        }
        match netns::pins(&self.pins) {
            Ok(pins) => errors.extend(
                pins.iter()
                    .filter(|id| !keep.contains(*id))
                    .filter_map(|id| netns::remove(&self.pins.join(id)).err()),
            ),
            Err(error) => errors.push(error),
        }
        errors.extend(self.sweep_links(desk, keep).err());
        let finish = move |mut errors: Vec<Error>, last: Result<()>| {
            errors.extend(last.err());
            let _ = reply.send(Error::collect(errors));
        };
        match &self.bridged {
            // Elements of an earlier run that nobody adopted go with the old table.
            Some(bridged) => bridged
                .firewall
                .rebuild(Box::new(move |last| finish(errors, last))),
            None => finish(errors, Ok(())),
        }
    }

    fn sweep_links(&self, desk: &mut Desk, keep: &HashSet<String>) -> Result<()> {
        let mark = self.mark("");
        let stale = desk.host.links()?.into_iter().filter(|link| {
            let alias = link.alias.as_deref().unwrap_or_default();
            alias
                .strip_prefix(mark.as_str())
                .is_some_and(|container| !keep.contains(container))
        });
        let names: Vec<String> = stale.map(|link| link.name).collect();
        reap::delete_together(&mut desk.host, names.iter().map(String::as_str))
    }

    /// Reserves address and ports and writes the endpoint.
    fn lease(&self, bridged: &Bridged, request: &EndpointRequest) -> Result<Arc<Endpoint>> {
        let mut leases = bridged.leases();
        let ip = match request.ip {
            Some(ip) => leases.pool.take(ip)?,
            None => leases.pool.next()?,
        };
        let ports = match leases.ports.take(&request.publish) {
            Ok(ports) => ports,
            Err(error) => {
                leases.pool.release(ip);
                return Err(error);
            }
        };
        let endpoint_id = networks::new_id();
        let net = bridged.bridge().net;
        let endpoint = Endpoint {
            container: request.id.clone(),
            network_id: self.network_id.clone(),
            ip,
            prefix_len: net.prefix_len(),
            gateway: net.addr(),
            mac: request.mac.unwrap_or_else(|| Mac::of(ip)),
            host_ifname: format!("veth{}", endpoint_id.get(..10).unwrap_or_default()),
            ports: ports.iter().map(|held| held.port.clone()).collect(),
            endpoint_id: endpoint_id.clone(),
        };
        leases.held.insert(endpoint_id, Lease { ip, ports });
        Ok(Arc::new(endpoint))
    }

    /// Reserves what an endpoint had; `false` when it holds it already.
    fn lease_again(&self, bridged: &Bridged, endpoint: &Endpoint) -> Result<bool> {
        let mut leases = bridged.leases();
        if leases.held.contains_key(&endpoint.endpoint_id) {
            return Ok(false);
        }
        let ip = leases.pool.take(IpAddr::V4(endpoint.ip))?;
        let mut ports = Vec::with_capacity(endpoint.ports.len());
        for port in &endpoint.ports {
            match leases.ports.retake(port) {
                Ok(held) => ports.push(held),
                Err(error) => {
                    leases.ports.release(ports);
                    leases.pool.release(ip);
                    return Err(error);
                }
            }
        }
        leases
            .held
            .insert(endpoint.endpoint_id.clone(), Lease { ip, ports });
        Ok(true)
    }

    /// Makes the interface pair and configures the container's end.
    fn plug_in(
        &self,
        bridged: &Bridged,
        desk: &mut Desk,
        namespace: &File,
        endpoint: &Endpoint,
    ) -> Result<()> {
        use std::os::fd::AsFd;
        let net = ipnet::Ipv4Net::new(endpoint.ip, endpoint.prefix_len)
            .map_err(|e| Error::Invalid(e.to_string()))?;
        self.on_bridge(bridged, &mut desk.host, |host, bridge| {
            host.apply(rtnl::add_veth(&Veth {
                host: &endpoint.host_ifname,
                bridge: bridge.index,
                netns: namespace.as_fd(),
                mac: endpoint.mac,
                mtu: self.config.bridge.mtu,
                alias: self.mark(&endpoint.container),
                port: port_settings(self.config.bridge.icc),
            }))
        })?;
        desk.home.visit(namespace, || {
            let mut inside = Rtnl::open()?;
            let index = inside
                .index("eth0")?
                .ok_or_else(|| Error::Invalid("eth0 vanished".into()))?;
            // As Docker does for networks without IPv6. Kernels without IPv6 have no such file.
            let _ = sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
            inside.apply(vec![
                rtnl::add_address(index, net),
                rtnl::set_up(index),
                rtnl::add_default_route(index, endpoint.gateway),
            ])
        })
    }

    fn connected(
        self: &Arc<Self>,
        endpoint: Arc<Endpoint>,
        errors: Vec<Error>,
        reply: Reply<Endpoint>,
    ) {
        if errors.is_empty() {
            self.publish(&endpoint);
            if reply.send(Ok(Endpoint::clone(&endpoint))).is_err() {
                self.disconnect(endpoint, |_| ());
            }
            return;
        }
        // The answer comes last, so that who tries again finds everything free.
        self.disconnect(endpoint, move |_| {
            let _ = reply.send(match Error::collect(errors) {
                Err(error) => Err(error),
                Ok(()) => Err(Error::Closed),
            });
        });
    }
}
