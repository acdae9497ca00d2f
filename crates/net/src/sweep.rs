//! What earlier daemons left, cleared away.

use std::collections::HashSet;
use std::sync::Arc;

use crate::attach::Reply;
use crate::shared::Shared;
use crate::threads::Desk;
use crate::{Error, Result, bridge, netns, reap, rtnl};

impl Shared {
    /// Removes what belongs to containers not in `keep`, and bridges of networks that there are
    /// not any more.
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
            let gone = self.elements(endpoint);
            self.firewall.change(gone, Vec::new(), Box::new(|_| ()));
            self.forget(endpoint);
        }
        match netns::pins(&self.pins) {
            Ok(pins) => errors.extend(
                pins.iter()
                    .filter(|id| !keep.contains(*id))
                    .filter_map(|id| self.drop_netns(id).err()),
            ),
            Err(error) => errors.push(error),
        }
        errors.extend(self.sweep_links(desk, keep).err());
        errors.extend(self.sweep_bridges(desk).err());
        // Elements of an earlier run that nobody adopted go with the old table.
        self.firewall.rebuild(Box::new(move |last| {
            errors.extend(last.err());
            let _ = reply.send(Error::collect(errors));
        }));
    }

    /// Ends what serves a container's namespace, and removes its pin.
    pub(crate) fn drop_netns(&self, container: &str) -> Result<()> {
        self.resolvers.end(container);
        netns::remove(&self.pins.join(container))
    }

    fn sweep_links(&self, desk: &mut Desk, keep: &HashSet<String>) -> Result<()> {
        let endpoints = self.endpoints.load();
        let taken_over = |link: &str| endpoints.values().any(|e| e.host_ifname == link);
        let (mut stale, mut left) = (Vec::new(), HashSet::new());
        for link in desk.host.links()? {
            let Some((container, _)) = link.alias.as_deref().and_then(|mark| self.marked(mark))
            else {
                continue;
            };
            // What was made just before a crash is no endpoint that anybody knows.
            match keep.contains(container) {
                true if taken_over(&link.name) => continue,
                true => drop(left.insert(container.to_owned())),
                false => {}
            }
            stale.push(link.name);
        }
        let deleted = reap::delete_together(&mut desk.host, stale.iter().map(String::as_str));
        // It may have been what led out.
        let routed = left.iter().map(|container| self.reroute(desk, container));
        let errors = routed.chain([deleted]).filter_map(Result::err).collect();
        Error::collect(errors)
    }

    fn sweep_bridges(&self, desk: &mut Desk) -> Result<()> {
        let mark = bridge::mark(&self.config.bridge);
        let up = self.up.load();
        let known = |name: &str| up.values().any(|network| network.spec.bridge == name);
        let links = desk.host.links()?.into_iter();
        let stale =
            links.filter(|link| link.alias.as_deref() == Some(mark.as_str()) && !known(&link.name));
        let mut errors = Vec::new();
        for link in stale {
            tracing::info!(
                bridge = link.name,
                "removing the bridge of a network that is gone"
            );
            let deleted = desk.host.apply(vec![rtnl::delete_link(&link.name)]);
            errors.extend(deleted.err().filter(|error| !rtnl::is_gone(error)));
        }
        Error::collect(errors)
    }
}
