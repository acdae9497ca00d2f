//! What the API asks of networks.

use std::future::Future;

use berth_wire as wire;

use super::Engine;
use crate::container::handle::{Rewire, Wish};
use crate::{Error, Result, networks};

impl Engine {
    /// The networks that `filters` let through.
    ///
    /// # Errors
    /// A filter that there is not.
    pub fn networks(&self, filters: &wire::Filters) -> Result<Vec<wire::NetworkInspect>> {
        networks::list(&self.shared, filters)
    }

    /// A network by name or by (the beginning of) its id.
    ///
    /// # Errors
    /// There is none.
    pub fn network(&self, name: &str) -> Result<wire::NetworkInspect> {
        networks::inspect(&self.shared, name)
    }

    /// Makes a network.
    ///
    /// # Errors
    /// The name is taken, the driver unknown, the subnets wrong or overlapping; what Berth cannot
    /// do.
    pub async fn network_create(
        &self,
        request: wire::NetworkCreateRequest,
    ) -> Result<wire::NetworkCreateResponse> {
        let live = self.config.capture();
        on_its_own(networks::create(self.shared.clone(), live, request)).await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// There is none, it is predefined, or containers are in it.
    pub async fn network_remove(&self, name: &str) -> Result<()> {
        on_its_own(networks::remove(self.shared.clone(), name.to_owned())).await
    }

    /// Removes the networks that nobody uses, that `filters` let through and that were made before
    /// `until`; their names.
    ///
    /// # Errors
    /// A filter that there is not.
    pub async fn network_prune(
        &self,
        filters: wire::Filters,
        until: Option<jiff::Timestamp>,
    ) -> Result<Vec<String>> {
        on_its_own(networks::prune(self.shared.clone(), filters, until)).await
    }

    /// Has a container join a network: at once if it runs, else at its next start.
    ///
    /// # Errors
    /// There is no such network or container, or the one cannot be in the other.
    pub async fn network_connect(
        &self,
        name: &str,
        request: wire::NetworkConnectRequest,
    ) -> Result<()> {
        let live = self.config.capture();
        let network = networks::find(&self.shared, name)?;
        let handle = self.shared.table.find(&request.container)?;
        let settings = Box::new(request.endpoint_config.unwrap_or_default());
        let change = Rewire::Join(network, settings, live);
        handle.ask(Wish::Rewire(change)).await.map(drop)
    }

    /// Has a container leave a network.
    ///
    /// # Errors
    /// There is no such network or container, or the one is not in the other.
    pub async fn network_disconnect(
        &self,
        name: &str,
        request: wire::NetworkDisconnectRequest,
    ) -> Result<()> {
        let handle = self.shared.table.find(&request.container)?;
        let network = match networks::find(&self.shared, name) {
            Ok(network) => network.name().to_owned(),
            // A container may be left in a network that is gone.
            Err(_) if request.force => name.to_owned(),
            Err(error) => return Err(error),
        };
        let force = request.force;
        let change = Rewire::Leave { network, force };
        handle.ask(Wish::Rewire(change)).await.map(drop)
    }
}

impl Engine {
    /// Removes a link: `container/alias`.
    ///
    /// # Errors
    /// There is no such container, or it has no such link.
    pub(super) async fn remove_link(&self, name: &str) -> Result<()> {
        let (container, alias) =
            name.trim_start_matches('/')
                .rsplit_once('/')
                .ok_or_else(|| {
                    Error::invalid("Conflict, cannot remove the default link name of the container")
                })?;
        let live = self.config.capture();
        let change = Rewire::Unlink(alias.to_owned(), live);
        let handle = self.shared.table.find(container)?;
        handle.ask(Wish::Rewire(change)).await.map(drop)
    }
}

/// Lets a change go on when the client hangs up.
async fn on_its_own<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        Err(Error::internal(format!(
            "a part of the daemon failed: {error}"
        )))
    })
}
