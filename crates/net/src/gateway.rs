//! Which of a container's networks leads out.

use std::sync::Arc;

use crate::rtnl::{self, Rtnl};
use crate::shared::Shared;
use crate::threads::Desk;
use crate::{Endpoint, Result, netns};

impl Shared {
    /// Whether a new endpoint is to have its container's default routes, IPv4 and IPv6.
    pub(crate) fn leads(&self, endpoint: &Endpoint) -> (bool, bool) {
        let others = self.of(&endpoint.container);
        let best = |out: fn(&Endpoint) -> bool| {
            let rivals = others.iter().filter(|other| out(other));
            out(endpoint)
                && rivals
                    .into_iter()
                    .all(|other| other.rank() < endpoint.rank())
        };
        (best(out4), best(out6))
    }

    /// After an endpoint of a running container is gone: the best of the others leads out.
    pub(crate) fn reroute(&self, desk: &mut Desk, container: &str) -> Result<()> {
        let endpoints = self.of(container);
        let best = |out: fn(&Endpoint) -> bool| {
            let leading = endpoints.iter().filter(|endpoint| out(endpoint));
            leading.max_by(|one, other| one.rank().cmp(&other.rank()))
        };
        let (best4, best6) = (best(out4), best(out6));
        if best4.is_none() && best6.is_none() {
            return Ok(());
        }
        let namespace = netns::open(&self.pins.join(container))?;
        desk.home.visit(&namespace, || {
            let mut inside = Rtnl::open()?;
            let mut requests = Vec::new();
            let gateway4 = best4.and_then(|e| Some((e, e.gateway?.into())));
            let gateway6 = best6.and_then(|e| Some((e, e.v6.as_ref()?.gateway?.into())));
            for (endpoint, gateway) in gateway4.into_iter().chain(gateway6) {
                if let Some(index) = inside.index(&endpoint.ifname)? {
                    requests.push(rtnl::set_default_route(index, gateway));
                }
            }
            inside.apply(requests)
        })
    }

    /// The endpoints of a container, as readers see them.
    pub(crate) fn of(&self, container: &str) -> Vec<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let of = |endpoint: &&Arc<Endpoint>| endpoint.container == container;
        endpoints.values().filter(of).cloned().collect()
    }
}

fn out4(endpoint: &Endpoint) -> bool {
    endpoint.gateway.is_some()
}

fn out6(endpoint: &Endpoint) -> bool {
    endpoint.v6.as_ref().is_some_and(|v6| v6.gateway.is_some())
}
