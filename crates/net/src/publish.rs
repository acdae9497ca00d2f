//! Published ports change the endpoint while their container runs: it has joined or left the
//! network that leads out.

use std::sync::Arc;

use crate::attach::Reply;
use crate::shared::{Endpoints, Shared};
use crate::threads::Join;
use crate::{Endpoint, Error, Publish, PublishedPort, Result};

impl Shared {
    /// Publishes a container's ports at `to`, and no more at `from`, in one change of the rules.
    pub(crate) fn shift_ports(
        self: &Arc<Self>,
        from: Option<&Endpoint>,
        to: &Endpoint,
        publish: &[Publish],
        reply: Reply<Endpoint>,
    ) {
        let ports = match self.lease_anew(from, to, publish) {
            Ok(ports) => ports,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let after = Arc::new(Endpoint {
            ports,
            ..to.clone()
        });
        self.show_ports(from, &after);
        let gone = from.map(|from| self.elements(from)).unwrap_or_default();
        let new = self.elements(&after);
        let (shared, published) = (Arc::clone(self), Arc::clone(&after));
        let join = Join::new(1, move |errors| {
            let result = Error::collect(errors);
            if result.is_err() {
                shared.host_ports().release(&published.endpoint_id);
                shared.show_ports(
                    None,
                    &Endpoint {
                        ports: Vec::new(),
                        ..Endpoint::clone(&published)
                    },
                );
            }
            let _ = reply.send(result.map(|()| Endpoint::clone(&published)));
        });
        let done = self.then_forget_flows(&after, false, join);
        self.firewall.change(gone, new, done);
    }

    /// Takes the ports for `to`, in exchange for those of `from`, which keeps them if that fails.
    fn lease_anew(
        &self,
        from: Option<&Endpoint>,
        to: &Endpoint,
        publish: &[Publish],
    ) -> Result<Vec<PublishedPort>> {
        let before = from.map_or(&[][..], |from| &from.ports);
        let bind_ip = self.bridged(&to.network_id)?.spec.bind_ip;
        let publish = at_the_same_ports(publish, before);
        let wanted = self.reach(to.v6.is_some()).spread(&publish, bind_ip)?;
        let mut host_ports = self.host_ports();
        let held = from.and_then(|from| host_ports.held.remove(&from.endpoint_id));
        match host_ports.ports.exchange(held.unwrap_or_default(), &wanted) {
            Ok(mut held) => {
                for port in &mut held {
                    port.lead(self.resolvers.runtime(), to.proxied());
                }
                let ports = held.iter().map(|held| held.port.clone()).collect();
                host_ports.held.insert(to.endpoint_id.clone(), held);
                Ok(ports)
            }
            Err((error, mut held)) => {
                if let Some(from) = from {
                    for port in &mut held {
                        port.lead(self.resolvers.runtime(), from.proxied());
                    }
                    host_ports.held.insert(from.endpoint_id.clone(), held);
                }
                Err(error)
            }
        }
    }

    /// Lets readers see where the ports are now, of endpoints that are there still.
    fn show_ports(&self, from: Option<&Endpoint>, to: &Endpoint) {
        self.endpoints.rcu(|now| {
            let mut next = Endpoints::clone(now);
            if let Some(from) = from.and_then(|from| next.get_mut(&from.endpoint_id)) {
                Arc::make_mut(from).ports.clear();
            }
            if let Some(endpoint) = next.get_mut(&to.endpoint_id) {
                Arc::make_mut(endpoint).ports.clone_from(&to.ports);
            }
            next
        });
    }
}

/// Requests that leave the host port open, at the ports that they have had.
fn at_the_same_ports(publish: &[Publish], before: &[PublishedPort]) -> Vec<Publish> {
    let mut used = Vec::new();
    let keep = |request: &Publish| {
        let same = before.iter().find(|port| {
            let open = request.host_ports.as_ref();
            (port.container_port, port.proto) == (request.container_port, request.proto)
                && request.host_ip.is_none_or(|ip| ip == port.host_ip)
                && open.is_none_or(|range| range.contains(&port.host_port))
                && !used.contains(&(port.host_ip, port.host_port, port.proto))
        });
        let mut request = request.clone();
        if let Some(port) = same {
            // The same port at the other family's address is the same request's.
            let twins = before.iter().filter(|twin| {
                (twin.host_port, twin.proto) == (port.host_port, port.proto)
                    && request.host_ip.is_none_or(|ip| ip == twin.host_ip)
            });
            used.extend(twins.map(|twin| (twin.host_ip, twin.host_port, twin.proto)));
            request.host_ports = Some(port.host_port..=port.host_port);
        }
        request
    };
    publish.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proto;

    #[test]
    fn ports_that_were_chosen_stay_the_same() {
        let had = |ip: &str, host_port, container_port| PublishedPort {
            host_ip: ip.parse().unwrap(),
            host_port,
            container_port,
            proto: Proto::Tcp,
        };
        let before = [
            had("0.0.0.0", 49153, 80),
            had("::", 49153, 80),
            had("0.0.0.0", 49154, 80),
            had("::", 49154, 80),
            had("127.0.0.1", 8005, 81),
        ];
        let ask = |ip: Option<&str>, host_ports, container_port| Publish {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports,
            container_port,
            proto: Proto::Tcp,
        };
        let asked = [
            ask(None, None, 80),
            ask(None, None, 80),
            ask(Some("127.0.0.1"), Some(8000..=8010), 81),
            ask(None, Some(9000..=9000), 82),
            ask(None, None, 83),
        ];
        let kept = at_the_same_ports(&asked, &before);
        let kept: Vec<_> = kept.into_iter().map(|request| request.host_ports).collect();
        let exactly = |port| Some(port..=port);
        assert_eq!(
            kept,
            [
                exactly(49153),
                exactly(49154),
                exactly(8005),
                exactly(9000),
                None
            ]
        );
    }
}
