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
        Waiter {
            handle,
            changes,
            condition,
            exits,
            failed,
        }
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
                WaitCondition::NotRunning => !view.run.status.is_up(),
                WaitCondition::NextExit => view.run.exits > self.exits,
                WaitCondition::Removed => view.gone,
            };
            let (failures, reason) = &view.failed_removals;
            let failed = self.condition == WaitCondition::Removed && *failures > self.failed;
            // What is gone will never exit again.
            if met || view.gone || failed {
                let error = failed.then(|| wire::WaitError {
                    message: reason.to_string(),
                });
                let error = error.filter(|_| !view.gone);
                return Ok(wire::WaitResponse {
                    status_code: view.run.exit_code,
                    error,
                });
            }
            let lost = |_| Error::internal(format!("container {} is lost", self.handle.id()));
            self.changes.changed().await.map_err(lost)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::container::handle::View;
    use crate::container::record::{Record, RunState, Status};
    use crate::stdio::Hub;

    fn view(status: Status, exits: u64, exit_code: i64) -> View {
        let run = RunState {
            status,
            exits,
            exit_code,
            ..RunState::default()
        };
        View::new(Arc::new(Record::default()), run, None)
    }

    /// The answers to a wait that begins at the first view, after each of the others.
    fn answers(
        condition: WaitCondition,
        mut views: Vec<View>,
    ) -> Vec<Option<(i64, Option<String>)>> {
        let (handle, _mailbox) = Handle::new(views.remove(0), Hub::new());
        let mut done = Box::pin(Waiter::new(handle.clone(), condition).done());
        let mut ask = || {
            let answer = done.as_mut().now_or_never()?.expect("not lost");
            Some((answer.status_code, answer.error.map(|error| error.message)))
        };
        let mut seen = vec![ask()];
        for view in views {
            if seen.last().is_some_and(Option::is_some) {
                break;
            }
            handle.publish(view);
            seen.push(ask());
        }
        seen
    }

    #[test]
    fn each_condition_has_its_moment() {
        use Status::{Created, Exited, Running};
        let now = answers(WaitCondition::NotRunning, vec![view(Created, 0, 0)]);
        assert_eq!(now, [Some((0, None))]);
        let run = || vec![view(Running, 0, 0), view(Exited, 1, 7)];
        assert_eq!(
            answers(WaitCondition::NotRunning, run()),
            [None, Some((7, None))]
        );
        let next = vec![view(Exited, 1, 7), view(Running, 1, 0), view(Exited, 2, 9)];
        assert_eq!(
            answers(WaitCondition::NextExit, next),
            [None, None, Some((9, None))]
        );
        let gone = View {
            gone: true,
            ..view(Status::Removing, 1, 7)
        };
        let removed = vec![view(Exited, 1, 7), gone.clone()];
        assert_eq!(
            answers(WaitCondition::Removed, removed),
            [None, Some((7, None))]
        );
        assert_eq!(
            answers(WaitCondition::NextExit, vec![view(Exited, 1, 7), gone]),
            [None, Some((7, None))]
        );
    }

    #[test]
    fn a_run_that_another_follows_ends_no_wait() {
        use Status::{Exited, Restarting, Running};
        let views = || {
            let runs = [(Running, 0), (Restarting, 0), (Running, 0), (Exited, 1)];
            let views = runs.map(|(status, exits)| view(status, exits, 3));
            views.into_iter().collect::<Vec<_>>()
        };
        let end = [None, None, None, Some((3, None))];
        assert_eq!(answers(WaitCondition::NotRunning, views()), end);
        assert_eq!(answers(WaitCondition::NextExit, views()), end);
    }

    #[test]
    fn a_run_that_came_and_went_unseen_is_an_exit() {
        let views = vec![view(Status::Created, 0, 0), view(Status::Exited, 1, 3)];
        assert_eq!(
            answers(WaitCondition::NextExit, views),
            [None, Some((3, None))]
        );
    }

    #[test]
    fn who_waits_for_a_removal_learns_that_it_failed() {
        let dead = |nth, reason: &str| View {
            failed_removals: (nth, reason.into()),
            ..view(Status::Dead, 1, 7)
        };
        let told = answers(
            WaitCondition::Removed,
            vec![view(Status::Exited, 1, 7), dead(1, "disk")],
        );
        assert_eq!(told, [None, Some((7, Some("disk".to_owned())))]);
        // One that had failed before the wait began says nothing of the next attempt.
        let told = answers(
            WaitCondition::Removed,
            vec![dead(1, "disk"), dead(2, "again")],
        );
        assert_eq!(told, [None, Some((7, Some("again".to_owned())))]);
    }
}
