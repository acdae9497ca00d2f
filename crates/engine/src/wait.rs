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
}

impl Waiter {
    pub(crate) fn new(handle: Arc<Handle>, condition: WaitCondition) -> Waiter {
        let changes = handle.changes();
        let exits = handle.view().run.exits;
        Waiter { handle, changes, condition, exits }
    }

    /// The exit code, once the condition is met. Dropping the future ends the wait.
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
            // What is gone will never exit again.
            if met || view.gone {
                return Ok(wire::WaitResponse { status_code: view.run.exit_code, error: None });
            }
            let lost = |_| Error::internal(format!("container {} is lost", self.handle.id()));
            self.changes.changed().await.map_err(lost)?;
        }
    }
}
