//! What to do when the bridge device is gone: somebody deleted it behind our back.
//!
//! Nothing watches for it. Whoever attaches an interface and is refused looks whether the bridge
//! is still the one it was, so that an ordinary connect costs nothing more.

use crate::Result;
use crate::bridge::{self, Bridge, port_settings};
use crate::bridged::Bridged;
use crate::rtnl::{self, Rtnl};
use crate::shared::Shared;

impl Shared {
    /// Does something with the bridge; once more when it was refused because the bridge is gone
    /// and has been made again.
    ///
    /// Errors: those of `work`; [`crate::Error::BridgeGone`]; those of making the bridge.
    pub(crate) fn on_bridge(
        &self,
        bridged: &Bridged,
        host: &mut Rtnl,
        work: impl Fn(&mut Rtnl, &Bridge) -> Result<()>,
    ) -> Result<()> {
        let bridge = bridged.bridge();
        match work(host, &bridge) {
            Err(_) if host.index(&bridge.name)? != Some(bridge.index) => {
                self.repair(bridged, host)?;
                work(host, &bridged.bridge())
            }
            other => other,
        }
    }

    /// Makes the bridge again, unless somebody else of us just has, and attaches to it what was
    /// attached.
    fn repair(&self, bridged: &Bridged, host: &mut Rtnl) -> Result<()> {
        let _alone = bridged.repairing();
        let was = bridged.bridge();
        if host.index(&was.name)? == Some(was.index) {
            return Ok(());
        }
        let bridge = bridge::again(&bridged.config, &was, host)?;
        let index = bridge.index;
        bridged.replace(bridge);
        self.attach_all(bridged, host, index)
    }

    /// Attaches the interfaces of all the network's containers, also of those that are not
    /// published yet.
    fn attach_all(&self, bridged: &Bridged, host: &mut Rtnl, bridge: u32) -> Result<()> {
        let settings = port_settings(bridged.spec.icc);
        for link in host.links()? {
            let alias = link.alias.as_deref().unwrap_or_default();
            if !matches!(self.marked(alias), Some((_, under)) if under == bridged.spec.bridge) {
                continue;
            }
            let mut requests = vec![rtnl::set_controller(&link.name, bridge)];
            requests.extend(rtnl::configure_port(&link.name, &settings));
            match host.apply(requests) {
                // Its container ended meanwhile.
                Err(error) if rtnl::is_gone(&error) => {}
                Err(error) => {
                    // One that cannot be saved must not take the others with it.
                    tracing::warn!(%error, link = link.name, "a container is cut off");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}
