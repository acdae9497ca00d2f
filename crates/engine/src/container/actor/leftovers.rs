//! What an earlier daemon left of a container's run is cleared away by its actor: that may take
//! long, and nobody but who wants this container has to wait for it.

use std::time::Duration;

use berth_ctrd::FifoSet;

use super::{Actor, Outcome, failed_part};
use crate::container::state::{Input, Phase};
use crate::container::teardown;
use crate::stdio::Session;
use crate::{Error, Result};

/// The pause before a state that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(2);

/// The output of a run that ended while there was no daemon, still to be read to its end.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) fifos: FifoSet,
    pub(crate) session: Session,
}

impl Actor {
    /// Ends what containerd has of the container, reads the rest of its output, and gives back what it
    /// held. `cut_off`: what the earlier daemon was at with it may have been a start.
    pub(super) fn clear_leftovers(&mut self, rest: Option<Rest>, cut_off: bool) {
        let (shared, record) = (self.shared.clone(), self.record.clone());
        let counted = teardown::Counted::begin(shared.clone());
        let mounted = self.handle.try_mounted();
        let task = tokio::spawn(async move {
            let (_counted, _mounted) = (counted, mounted);
            let container = shared.client.container(record.id.as_str());
            let mut errors = match cut_off {
                true => teardown::discard_cut_off(&container).await,
                false => teardown::discard(&container).await,
            };
            if let Some(Rest { fifos, session }) = rest {
                fifos.hang_up();
                errors.extend(session.finish().await);
            }
            let netns = teardown::has_netns(&record);
            errors.extend(teardown::release(&shared, &record, Vec::new(), netns, true).await);
            errors
        });
        self.work.push(Box::pin(async move {
            let errors = task.await;
            Outcome::Cleared(errors.unwrap_or_else(|error| vec![failed_part(&error).to_string()]))
        }));
    }

    pub(super) async fn cleared(&mut self, errors: Vec<String>) {
        for error in &errors {
            tracing::warn!(id = %self.record.id, error, "clearing away what was left of a run");
        }
        let generation = self.state.generation();
        let input = match self.state.phase() {
            Phase::Starting(_) => Input::StartDone {
                generation,
                result: Err(Error::internal(
                    "the daemon ended in the middle of the start",
                )),
            },
            Phase::Exited { settled: false, .. } => Input::TornDown(generation),
            // A removal looks for everything itself.
            _ => return,
        };
        self.strays = !errors.is_empty();
        self.apply(input).await;
    }

    /// What could not be written, say because the disk is full, is tried again until it can be, or
    /// has been with a later change.
    pub(super) fn saved(&mut self, outcome: Result<()>) {
        let Err(error) = outcome else {
            self.unsaved = false;
            return;
        };
        if !self.unsaved {
            tracing::error!(id = %self.record.id, %error, "the container's state could not be saved");
        }
        if !std::mem::replace(&mut self.unsaved, true) {
            self.save_later();
        }
    }

    fn save_later(&mut self) {
        self.work.push(Box::pin(async {
            tokio::time::sleep(AGAIN).await;
            Outcome::SaveAgain
        }));
    }

    pub(super) async fn save_again(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        if let Err(error) = self.save_state().await {
            tracing::debug!(id = %self.record.id, %error, "the container's state still cannot be saved");
            self.unsaved = true;
            self.save_later();
        }
    }
}
