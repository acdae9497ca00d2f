//! What [`State::step`](crate::container::state::State::step) asks for, done: what takes time is begun
//! here and comes back to the actor as an [`Outcome`].

use std::collections::HashSet;
use std::time::Duration;

use berth_net::Endpoint;
use berth_volumes::Kind;
use tokio_util::sync::CancellationToken;

use super::{Actor, Outcome, failed_part};
use crate::container::start::{Failure, Starter};
use crate::container::state::{
    Announcement, Done, Effect, Generation, Input, Phase, SIGKILL, Ticket, Timer,
};
use crate::container::{force, remove, teardown};
use crate::network::BRIDGE;
use crate::{Error, Result, fault};

impl Actor {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Capture => {
                fault::point("restart:due");
                self.live = self.config.capture();
            }
            Effect::Start(generation) => {
                if !self.holds_start(generation) {
                    self.start(generation);
                }
            }
            Effect::CancelStart => self.cancel.cancel(),
            Effect::Signal {
                signal,
                frozen,
                ticket,
            } => self.signal(signal, frozen, ticket),
            Effect::Freeze { generation, pause } => self.freeze(generation, pause),
            Effect::Arm(generation, timer, time) => self.arm(generation, timer, time),
            Effect::TearDown(generation) => self.tear_down(generation),
            Effect::RemoveAll => self.remove_all(),
            Effect::Announce(what) => self.announce(what),
            Effect::Reply(ticket, answer) => self.reply(ticket, answer),
        }
    }

    pub(super) fn reply(&mut self, ticket: Ticket, answer: Result<Done>) {
        self.with_volumes.remove(&ticket);
        self.forced.remove(&ticket);
        if let Some(reply) = self.tickets.remove(&ticket) {
            // Whoever asked may have gone away.
            let _ = reply.send(answer);
        }
    }

    pub(super) fn start(&mut self, generation: Generation) {
        self.cancel = CancellationToken::new();
        let starter = Starter {
            shared: self.shared.clone(),
            record: self.record.clone(),
            handle: self.handle.clone(),
            live: self.live.clone(),
            cancel: self.cancel.clone(),
        };
        let task = tokio::spawn(starter.run());
        self.work.push(Box::pin(async move {
            let outcome = task.await.unwrap_or_else(|error| {
                Err(Failure {
                    strays: true,
                    ..failed_part(&error).into()
                })
            });
            Outcome::Started(generation, Box::new(outcome))
        }));
    }

    fn signal(&mut self, signal: u32, frozen: bool, ticket: Option<Ticket>) {
        let Some(task) = self.current.as_ref().map(|run| run.task.clone()) else {
            return self.signalled(ticket, signal, Ok(()));
        };
        let over = self.over.clone();
        fault::point("signal:asked");
        let id = self.record.id.clone();
        if signal == SIGKILL {
            tokio::spawn(force::see_dead(id.clone(), over.clone()));
        }
        self.work.push(Box::pin(async move {
            let send = async {
                teardown::insist(|| task.kill(signal, false)).await?;
                if frozen {
                    teardown::insist(|| task.resume()).await
                } else {
                    Ok(())
                }
            };
            // Tried for longer it could hit the next run.
            let outcome = tokio::select! {
                outcome = send => outcome,
                () = over.cancelled() => Ok(()),
            };
            fault::point("signal:sent");
            if let Err(error) = &outcome
                && signal == SIGKILL
                && !error.is_not_found()
            {
                // Not for want of its runtime does it live on.
                force::end_processes(&id).await;
            }
            Outcome::Signalled(ticket, signal, outcome)
        }));
    }

    fn freeze(&mut self, generation: Generation, pause: bool) {
        let task = self.current.as_ref().map(|run| run.task.clone());
        let id = self.record.id.clone();
        self.work.push(Box::pin(async move {
            let outcome = match &task {
                Some(task) if pause => task.pause().await,
                Some(task) => task.resume().await,
                None => Ok(()),
            };
            fault::point("freeze:done");
            let what = if pause { "pause" } else { "unpause" };
            let result = outcome.map_err(|error| {
                Error::from_lower(error).context(format!("cannot {what} container {id}"))
            });
            Outcome::Input(Input::FreezeDone {
                generation,
                paused: pause,
                result,
            })
        }));
    }

    /// Writes down that what is about to be frozen is to go on after this daemon's death.
    pub(super) async fn will_thaw(&mut self) {
        if let Phase::Running(running) = self.state.phase()
            && running.is_thawed()
        {
            self.run.thaw = true;
            self.commit().await;
        }
    }

    fn arm(&mut self, generation: Generation, timer: Timer, time: Duration) {
        if timer == Timer::Restart {
            fault::point("restart:waiting");
        }
        self.work.push(Box::pin(async move {
            tokio::time::sleep(time).await;
            Outcome::Input(Input::Timer(generation, timer))
        }));
    }

    pub(super) fn tear_down(&mut self, generation: Generation) {
        fault::point("exit:saved");
        if self.rewiring.holds_up(generation) {
            return;
        }
        let Some(run) = self.current.take() else {
            self.work.push(Box::pin(async move {
                Outcome::Input(Input::TornDown(generation))
            }));
            return;
        };
        self.tell_networks("disconnect", &run.endpoints);
        self.tell_volumes("unmount");
        let (shared, record) = (self.shared.clone(), self.record.clone());
        let counted = teardown::Counted::begin(shared.clone());
        let task = tokio::spawn(async move {
            let _counted = counted;
            teardown::tear_down(shared, record, run).await
        });
        self.work.push(Box::pin(async move {
            let errors = task
                .await
                .unwrap_or_else(|error| vec![failed_part(&error).to_string()]);
            Outcome::TornDown(generation, errors)
        }));
    }

    fn remove_all(&mut self) {
        let asked = |for_it: &HashSet<Ticket>| match self.state.phase() {
            Phase::Removing(tickets) => tickets.iter().any(|ticket| for_it.contains(ticket)),
            _ => false,
        };
        let how = remove::How {
            strays: self.strays,
            volumes: asked(&self.with_volumes) || self.record.host.auto_remove,
            force: asked(&self.forced),
        };
        let (shared, record) = (self.shared.clone(), self.record.clone());
        // The second try looks for everything.
        self.strays = true;
        let task = tokio::spawn(remove::remove(shared, record, how));
        self.work.push(Box::pin(async move {
            Outcome::Removed(task.await.unwrap_or_else(|error| Err(failed_part(&error))))
        }));
    }

    fn announce(&self, what: Announcement) {
        let tell = |action: &str, more: &[(&str, String)]| {
            self.shared.events.container(&self.record, action, more);
        };
        match what {
            Announcement::Start => {
                fault::point("run:begun");
                self.tell_networks("connect", &self.run.endpoints);
                self.tell_volumes("mount");
                tell("start", &[]);
            }
            Announcement::Die => {
                let ran = match (self.run.started_at, self.run.finished_at) {
                    (Some(from), Some(to)) => {
                        to.as_second().saturating_sub(from.as_second()).max(0)
                    }
                    _ => 0,
                };
                let exit = self.run.exit_code.to_string();
                tell(
                    "die",
                    &[("execDuration", ran.to_string()), ("exitCode", exit)],
                );
            }
            Announcement::Kill(signal) => tell("kill", &[("signal", signal.to_string())]),
            Announcement::Stop => tell("stop", &[]),
            Announcement::Restart => tell("restart", &[]),
            Announcement::Pause => tell("pause", &[]),
            Announcement::Unpause => tell("unpause", &[]),
            Announcement::Destroy => {
                self.handle.hub().close();
                self.shared.execs.forget(&self.record.id);
                tell("destroy", &[]);
            }
        }
    }

    fn tell_volumes(&self, action: &str) {
        let volumes = self.record.mounts.iter();
        for point in volumes.filter(|point| point.kind == Kind::Volume) {
            let mut told = vec![("container", self.record.id.clone())];
            if action == "mount" {
                let destination = point.destination.display().to_string();
                told.extend([
                    ("destination", destination),
                    ("read/write", (!point.read_only).to_string()),
                    ("propagation", point.propagation.clone()),
                ]);
            }
            self.shared.volumes.tell(&point.name, action, &told);
        }
    }

    pub(super) fn tell_networks(&self, action: &str, endpoints: &[Endpoint]) {
        let events = &self.shared.events;
        for endpoint in endpoints {
            let (id, name) = (&endpoint.network_id, &endpoint.network);
            events.network(action, id, BRIDGE, name, &self.record.id);
        }
    }
}

/// It is not frozen any more, or could not be.
pub(super) fn ends_freeze(input: &Input) -> bool {
    matches!(input, Input::FreezeDone { paused, result, .. } if *paused != result.is_ok())
}
