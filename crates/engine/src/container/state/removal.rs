//! The way out of every phase: removal.

use std::mem;

use super::phase::{Phase, Running};
use super::{Announcement, Done, Effect, GIVE_UP, Input, SIGKILL, State, Ticket, Timer};
use crate::Error;

impl State {
    pub(super) fn remove(&mut self, ticket: Ticket, force: bool, effects: &mut Vec<Effect>) {
        let refused = match &mut self.phase {
            Phase::Created | Phase::Exited { settled: true, .. } | Phase::Dead => {
                return self.begin_removal(vec![ticket], effects);
            }
            Phase::Exited {
                settled: false,
                ending,
            } => {
                return ending.remove.push(ticket);
            }
            Phase::Starting(_) => {
                if force {
                    effects.push(Effect::CancelStart);
                }
                return self.deferred.push_back(Input::Remove { ticket, force });
            }
            Phase::Running(running) if force => {
                let frozen = mem::take(&mut running.paused);
                running.ending.remove.push(ticket);
                running.ending.killed = true;
                self.restarts.cancel(true);
                effects.push(Effect::Announce(Announcement::Kill(SIGKILL)));
                effects.push(Effect::Signal {
                    signal: SIGKILL,
                    frozen,
                    ticket: None,
                });
                return effects.push(Effect::Arm(self.generation, Timer::GiveUp, GIVE_UP));
            }
            Phase::Running(Running { paused: true, .. }) => Error::conflict(format!(
                "cannot remove container \"{}\": container is paused and must be unpaused first",
                self.name
            )),
            Phase::Running(_) => Error::conflict(format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                self.name
            )),
            Phase::Restarting(_) => return self.remove_restarting(ticket, force, effects),
            Phase::Removing(_) => Error::conflict(format!(
                "removal of container {} is already in progress",
                self.name
            )),
            Phase::Gone => Error::not_found(format!("No such container: {}", self.id)),
        };
        effects.push(Effect::Reply(ticket, Err(refused)));
    }

    pub(super) fn begin_removal(&mut self, tickets: Vec<Ticket>, effects: &mut Vec<Effect>) {
        self.phase = Phase::Removing(tickets);
        effects.push(Effect::RemoveAll);
    }

    pub(super) fn remove_done(&mut self, result: Result<(), Error>, effects: &mut Vec<Effect>) {
        let Phase::Removing(tickets) = &mut self.phase else {
            return;
        };
        let tickets = mem::take(tickets);
        self.phase = match &result {
            Ok(()) => Phase::Gone,
            Err(_) => Phase::Dead,
        };
        if result.is_ok() {
            effects.push(Effect::Announce(Announcement::Destroy));
        }
        let reply = |ticket| Effect::Reply(ticket, result.clone().map(|()| Done::Changed));
        effects.extend(tickets.into_iter().map(reply));
    }
}
