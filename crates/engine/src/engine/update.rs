//! `docker update`.

use berth_wire as wire;

use super::Engine;
use crate::container::handle::Wish;
use crate::{Error, Result};

/// What is told of limits that some runtimes set at a start only.
const DEVICES: &str = "Block I/O limits of devices hold from the next start on, unless the runtime \
    can change them while the container runs.";

impl Engine {
    /// Changes a container's limits and its restart policy, whether it runs or not: what `asked`
    /// leaves at its default stays. Returns warnings.
    ///
    /// # Errors
    /// There is no such container, it is being removed, what is asked for is wrong or does not go
    /// together with what it has, or the runtime refuses it: then nothing has changed.
    pub async fn update(&self, id: &str, mut asked: wire::HostConfig) -> Result<Vec<String>> {
        let facts = &self.shared.facts;
        let mut warnings =
            berth_spec::validate_update(&mut asked, facts).map_err(Error::from_lower)?;
        let handle = self.shared.table.find(id)?;
        let of_devices = berth_spec::block_devices(&asked) != wire::HostConfig::default();
        if of_devices && handle.view().run.status.is_running() {
            warnings.push(DEVICES.to_owned());
        }
        handle.ask(Wish::Update(Box::new(asked))).await?;
        Ok(warnings)
    }
}
