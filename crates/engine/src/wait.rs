//! Wait: until a container stops, stops the next time, or is removed.

use std::sync::Arc;

use berth_wire as wire;
use tokio::sync::watch;

use crate::container::handle::Handle;
use crate::options::WaitCondition;
use crate::{Error, Result};

/// A wait under way: made at once, so that nothing that happens afterwards is missed.
#[derive(Debug)]
pub struct Waiter {
    handle: Arc<Handle>,
    changes: watch::Receiver<()>,
    condition: WaitCondition,
    exits: u64,
    /// How many removals had failed before.
    failed: u64,
}

impl Waiter {
    pub(crate) fn new(handle: Arc<Handle>, condition: WaitCondition) -> Waiter {
        let changes = handle.changes();
        let view = handle.view();
        let (exits, failed) = (view.run.exits, view.failed_removals.0);
        Waiter { handle, changes, condition, exits, failed }
    }

    /// The exit code, once the condition is met; with a message when the removal that was waited
    /// for has failed. Dropping the future ends the wait.
    ///
    /// # Errors
    /// The daemon has lost the container.
    pub async fn done(mut self) -> Result<wire::WaitResponse> {
        loop {
            let view = self.handle.view();
            let met = match self.condition {
                WaitCondition::NotRunning => !view.run.status.is_running(),
                WaitCondition::NextExit => view.run.exits > self.exits,
                WaitCondition::Removed => view.gone,
            };
            let (failures, reason) = &view.failed_removals;
            let failed = self.condition == WaitCondition::Removed && *failures > self.failed;
            // What is gone will never exit again.
            if met || view.gone || failed {
                let error = failed.then(|| wire::WaitError { message: reason.to_string() });
                let error = error.filter(|_| !view.gone);
                return Ok(wire::WaitResponse { status_code: view.run.exit_code, error });
            }
            let lost = |_| Error::internal(format!("container {} is lost", self.handle.id()));
            self.changes.changed().await.map_err(lost)?;
        }
    }
}
