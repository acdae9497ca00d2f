//! Health checks, as the actor has them run: one probe at a time, while the container runs and is
//! not frozen. A probe runs as a task of its own, so that one that hangs holds up nothing.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Actor, Outcome, failed_part};
use crate::container::health::{Check, Probe};
use crate::container::state::{Generation, Phase};
use crate::exec::probe;

/// The checks of one run, while they go on.
#[derive(Debug)]
pub(super) struct Checks {
    check: Check,
    cancel: CancellationToken,
}

impl Actor {
    /// Begins or ends the checks as the phase wants them; before what it is is published.
    pub(super) fn attend_health(&mut self) {
        let watched = matches!(self.state.phase(), Phase::Running(running) if !running.paused);
        if !watched {
            if let Some(checks) = self.checks.take() {
                checks.cancel.cancel();
                self.run.health.get_or_insert_default().suspend();
            }
            return;
        }
        let generation = self.state.generation();
        if self.checks.is_some() {
            return;
        }
        let Some(check) = Check::of(&self.record.config) else {
            return;
        };
        let health = self.run.health.get_or_insert_default();
        // Thawed, it is what it was before; in a new run, nothing is known.
        if self.judged != generation {
            self.judged = generation;
            health.begin();
        }
        self.checks = Some(Checks {
            check,
            cancel: CancellationToken::new(),
        });
        self.probe_later();
    }

    /// Has the next probe run after its pause.
    fn probe_later(&mut self) {
        let (Some(Checks { check, cancel }), Some(health)) = (&self.checks, &self.run.health)
        else {
            return;
        };
        let pause = check.pause(health, ran(self.run.started_at, Timestamp::now()));
        let (command, timeout) = (check.command.clone(), check.timeout);
        let (shared, live) = (self.shared.clone(), self.live.clone());
        let (container, cancel) = (self.handle.clone(), cancel.clone());
        let generation = self.state.generation();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => return None,
            }
            let start = Timestamp::now();
            let found = probe::run(&shared, live, container, command, timeout, &cancel).await;
            let (code, output) = match found {
                _ if cancel.is_cancelled() => return None,
                Ok(None) => return None,
                Ok(Some(found)) => (found.code, found.output),
                Err(error) => (-1, error.to_string()),
            };
            Some(Probe {
                start,
                end: Timestamp::now(),
                code,
                output,
            })
        });
        self.work.push(Box::pin(async move {
            let probe = task.await.unwrap_or_else(|error| {
                let now = Timestamp::now();
                let output = failed_part(&error).to_string();
                Some(Probe {
                    start: now,
                    end: now,
                    code: -1,
                    output,
                })
            });
            Outcome::Probed(generation, probe)
        }));
    }

    pub(super) async fn probed(&mut self, generation: Generation, probe: Option<Probe>) {
        let Some(probe) = probe.filter(|_| generation == self.state.generation()) else {
            return;
        };
        let (Some(checks), Some(health)) = (&self.checks, &mut self.run.health) else {
            return;
        };
        let before = health.status;
        let started = self.run.started_at.unwrap_or(probe.start);
        health.take(&checks.check, started, probe);
        let status = health.status;
        if status == before {
            // Worth no write: after a crash of the daemon health is found out anew.
            self.publish();
        } else {
            self.commit().await;
            let action = format!("health_status: {}", status.as_str());
            self.shared.events.container(&self.record, &action, &[]);
        }
        self.probe_later();
    }
}

fn ran(started: Option<Timestamp>, now: Timestamp) -> Duration {
    let started = started.unwrap_or(now);
    Duration::try_from(now.duration_since(started)).unwrap_or_default()
}
