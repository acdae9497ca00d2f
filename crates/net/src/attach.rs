//! Connecting and disconnecting a container: the steps that run on our threads.

use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::oneshot;

use crate::bridge::{port_settings, sysctl};
use crate::bridged::Bridged;
use crate::rtnl::{self, Rtnl, Veth};
use crate::shared::Shared;
use crate::threads::{Desk, Join};
use crate::{
    Endpoint, EndpointRequest, Error, Mac, Proto, Publish, Result, V6, conntrack, firewall, netns,
    networks,
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
        let prepared = self.bridged(&request.network).and_then(|bridged| {
            netns::check_id(&request.id)?;
            let namespace = netns::open(&request.netns)?;
            let endpoint = self.lease(&bridged, request)?;
            Ok((bridged, namespace, endpoint))
        });
        let (bridged, namespace, endpoint) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let elements = self.elements(&endpoint);
        let steps = if elements.is_empty() { 1 } else { 2 };
        let shared = Arc::clone(self);
        let published = Arc::clone(&endpoint);
        let join = Join::new(steps, move |errors| {
            shared.connected(published, errors, reply)
        });
        if !elements.is_empty() {
            let done = self.then_forget_flows(&endpoint, false, Arc::clone(&join));
            self.firewall.change(Vec::new(), elements, done);
        }
        let plugged = self.plug_in(&bridged, desk, &namespace, &endpoint);
        join.arrive(plugged.and_then(|()| self.resolve(desk, namespace, &endpoint)));
    }

    /// Takes an endpoint down; `done` gets the failures. Does not block.
    pub(crate) fn disconnect(
        self: &Arc<Self>,
        endpoint: Arc<Endpoint>,
        done: impl FnOnce(Vec<Error>) + Send + 'static,
    ) {
        let elements = self.elements(&endpoint);
        let steps = if elements.is_empty() { 1 } else { 2 };
        let shared = Arc::clone(self);
        let gone = Arc::clone(&endpoint);
        let join = Join::new(steps, move |errors| {
            shared.forget(&gone);
            done(errors);
        });
        if !elements.is_empty() {
            let done = self.then_forget_flows(&endpoint, true, Arc::clone(&join));
            self.firewall.change(elements, Vec::new(), done);
        }
        let name = endpoint.host_ifname.clone();
        self.reaper
            .delete(name, Box::new(move |result| join.arrive(result)));
    }

    /// After a change of rules: makes UDP flows follow it, then arrives.
    pub(crate) fn then_forget_flows(
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
        let adopted = self.bridged(&endpoint.network_id).and_then(|bridged| {
            if self.lease_again(&bridged, &endpoint)? {
                let attached = self.on_bridge(&bridged, &mut desk.host, |host, bridge| {
                    let attach = rtnl::set_controller(&endpoint.host_ifname, bridge.index);
                    host.apply(vec![attach])
                });
                if let Err(error) = attached {
                    self.forget(&endpoint);
                    return Err(error);
                }
            }
            Ok(())
        });
        if let Err(error) = adopted {
            let _ = reply.send(Err(error));
            return;
        }
        self.publish(&endpoint);
        let resolved = netns::open(&self.pins.join(&endpoint.container))
            .and_then(|namespace| self.resolve(desk, namespace, &endpoint));
        let done = Box::new(move |result: Result<()>| {
            let _ = reply.send(result.and(resolved));
        });
        self.firewall
            .change(Vec::new(), self.elements(&endpoint), done);
    }

    /// Reserves addresses and ports and writes the endpoint.
    fn lease(&self, bridged: &Bridged, request: &EndpointRequest) -> Result<Arc<Endpoint>> {
        let endpoint_id = networks::new_id();
        let spec = &bridged.spec;
        let taken = bridged.lease(&endpoint_id, request)?;
        let (first, second) = taken;
        let to = second.unwrap_or(first);
        let ports = match self.lease_ports(&endpoint_id, (spec.bind_ip, to), &request.publish) {
            Ok(ports) => ports,
            Err(error) => {
                bridged.release(&endpoint_id);
                return Err(error);
            }
        };
        let (IpAddr::V4(ip), v6) = taken else {
            return Err(Error::Invalid("no IPv4 address".into()));
        };
        let gateway = |subnet: &Option<crate::Subnet>| {
            let subnet = subnet.as_ref().filter(|_| !spec.internal)?;
            Some(subnet.default_gateway.unwrap_or(subnet.gateway))
        };
        let prefix = |subnet: &Option<crate::Subnet>| {
            subnet.as_ref().map_or(0, |subnet| subnet.net.prefix_len())
        };
        let v6 = v6.and_then(|ip| match ip {
            IpAddr::V6(ip) => Some(V6 {
                ip,
                prefix_len: prefix(&spec.v6),
                gateway: gateway(&spec.v6).and_then(|ip| match ip {
                    IpAddr::V6(ip) => Some(ip),
                    IpAddr::V4(_) => None,
                }),
            }),
            IpAddr::V4(_) => None,
        });
        Ok(Arc::new(Endpoint {
            container: request.id.clone(),
            network_id: spec.id.clone(),
            network: spec.name.clone(),
            ip,
            prefix_len: prefix(&spec.v4),
            gateway: gateway(&spec.v4).and_then(|ip| match ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            }),
            v6,
            mac: request.mac.unwrap_or_else(|| Mac::of(ip)),
            host_ifname: format!("veth{}", endpoint_id.get(..10).unwrap_or_default()),
            ifname: self.free_ifname(&request.id, &spec.ifname_prefix),
            ports,
            priority: request.priority,
            names: request.names.clone(),
            links: request.links.clone(),
            upstream: request.upstream.clone(),
            endpoint_id,
        }))
    }

    /// Takes host ports for an endpoint whose network has `bind_ip` and which the proxy reaches
    /// at `to`.
    fn lease_ports(
        &self,
        endpoint_id: &str,
        (bind_ip, to): (IpAddr, IpAddr),
        publish: &[Publish],
    ) -> Result<Vec<crate::PublishedPort>> {
        if publish.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = self.reach(to.is_ipv6()).spread(publish, bind_ip)?;
        let mut host_ports = self.host_ports();
        let mut held = host_ports.ports.take(&wanted)?;
        for port in &mut held {
            port.lead(self.resolvers.runtime(), to);
        }
        let ports = held.iter().map(|held| held.port.clone()).collect();
        host_ports.held.insert(endpoint_id.to_owned(), held);
        Ok(ports)
    }

    /// The first interface name that the container has not. One container's connects come one
    /// after the other.
    fn free_ifname(&self, container: &str, prefix: &str) -> String {
        let endpoints = self.endpoints.load();
        let names: Vec<&str> = endpoints
            .values()
            .filter(|endpoint| endpoint.container == container)
            .map(|endpoint| endpoint.ifname.as_str())
            .collect();
        (0..=names.len())
            .map(|number| format!("{prefix}{number}"))
            .find(|name| !names.contains(&name.as_str()))
            .unwrap_or_else(|| format!("{prefix}{}", names.len()))
    }

    /// Reserves what an endpoint had; `false` when it holds it already.
    fn lease_again(&self, bridged: &Bridged, endpoint: &Endpoint) -> Result<bool> {
        if !bridged.lease_again(endpoint)? {
            return Ok(false);
        }
        let mut host_ports = self.host_ports();
        let mut held = Vec::with_capacity(endpoint.ports.len());
        for port in &endpoint.ports {
            match host_ports.ports.retake(port) {
                Ok(mut port) => {
                    port.lead(self.resolvers.runtime(), endpoint.proxied());
                    held.push(port);
                }
                Err(error) => {
                    host_ports.ports.release(held);
                    bridged.release(&endpoint.endpoint_id);
                    return Err(error);
                }
            }
        }
        host_ports.held.insert(endpoint.endpoint_id.clone(), held);
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
        self.on_bridge(bridged, &mut desk.host, |host, bridge| {
            host.apply(rtnl::add_veth(&Veth {
                host: &endpoint.host_ifname,
                peer: &endpoint.ifname,
                bridge: bridge.index,
                netns: namespace.as_fd(),
                mac: endpoint.mac,
                mtu: bridged.spec.mtu,
                alias: self.mark(&endpoint.container, &bridged.spec.bridge),
                port: port_settings(bridged.spec.icc),
            }))
        })?;
        let leads = self.leads(endpoint);
        desk.home
            .visit(namespace, || configure_inside(endpoint, leads))
    }

    /// Has the container's questions answered, where the network has DNS.
    fn resolve(
        self: &Arc<Self>,
        desk: &mut Desk,
        namespace: File,
        endpoint: &Endpoint,
    ) -> Result<()> {
        match &endpoint.upstream {
            Some(upstream) => self.serve_dns(desk, namespace, &endpoint.container, upstream),
            None => Ok(()),
        }
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

/// Gives the container's end its addresses and, if it leads out, the default routes.
fn configure_inside(endpoint: &Endpoint, (leads4, leads6): (bool, bool)) -> Result<()> {
    let invalid = |e: ipnet::PrefixLenError| Error::Invalid(e.to_string());
    let mut inside = Rtnl::open()?;
    let name = &endpoint.ifname;
    let index = inside
        .index(name)?
        .ok_or_else(|| Error::Invalid(format!("{name} vanished")))?;
    // As Docker does for networks without IPv6. Kernels without IPv6 have no such file.
    let off = format!("net/ipv6/conf/{name}/disable_ipv6");
    match &endpoint.v6 {
        None => drop(sysctl(&off, "1")),
        Some(_) => sysctl(&off, "0")?,
    }
    let net = Ipv4Net::new(endpoint.ip, endpoint.prefix_len).map_err(invalid)?;
    let mut requests = vec![
        rtnl::add_address(index, IpNet::V4(net)),
        rtnl::set_up(index),
    ];
    if let Some(gateway) = endpoint.gateway.filter(|_| leads4) {
        requests.push(rtnl::set_default_route(index, gateway.into()));
    }
    if let Some(v6) = &endpoint.v6 {
        let net = Ipv6Net::new(v6.ip, v6.prefix_len).map_err(invalid)?;
        requests.insert(1, rtnl::add_address(index, IpNet::V6(net)));
        if let Some(gateway) = v6.gateway.filter(|_| leads6) {
            requests.push(rtnl::set_default_route(index, gateway.into()));
        }
    }
    inside.apply(requests)
}
