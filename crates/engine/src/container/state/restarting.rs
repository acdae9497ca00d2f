//! Between the runs of a container that its policy starts again.

use std::mem;

use super::phase::{Ending, Phase, Restarting, Why};
use super::{Done, Effect, SIGKILL, State, StopHow, Ticket};
use crate::Error;

impl State {
    /// The pause before the next run is over, or what the last one left has been cleared away: it
    /// begins when both have come to pass.
    pub(super) fn may_go_on(&mut self, effects: &mut Vec<Effect>) {
        let ready = Restarting {
            due: true,
            settled: true,
        };
        if matches!(&self.phase, Phase::Restarting(waiting) if *waiting == ready) {
            effects.push(Effect::Capture);
            self.begin_start(Vec::new(), Why::Policy, effects);
        }
    }

    /// No run follows: it has exited, and who waits for that is answered once it is settled.
    fn no_more(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        let Phase::Restarting(waiting) = mem::replace(&mut self.phase, Phase::Created) else {
            return;
        };
        self.phase = Phase::Exited {
            settled: false,
            ending,
        };
        if waiting.settled {
            self.torn_down(self.generation, effects);
        }
    }

    pub(super) fn stop_restarting(
        &mut self,
        ticket: Ticket,
        how: StopHow,
        restart: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.restarts.cancel(how.by_user);
        let mut ending = Ending::default();
        if restart {
            ending.restart.push(ticket);
        } else {
            ending.stop.push(ticket);
        }
        self.no_more(ending, effects);
    }

    /// There is no process to signal, but its users mean the container.
    pub(super) fn kill_restarting(
        &mut self,
        ticket: Ticket,
        signal: u32,
        ends: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !ends {
            self.restarts.touched();
            return effects.push(Effect::Reply(ticket, Ok(Done::Changed)));
        }
        self.restarts.cancel(true);
        let mut ending = Ending::default();
        if signal == SIGKILL {
            ending.kill.push(ticket);
        } else {
            effects.push(Effect::Reply(ticket, Ok(Done::Changed)));
        }
        self.no_more(ending, effects);
    }

    pub(super) fn remove_restarting(
        &mut self,
        ticket: Ticket,
        force: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !force {
            let message = format!(
                "cannot remove container \"{}\": container is restarting: stop the container before removing or force remove",
                self.name
            );
            return effects.push(Effect::Reply(ticket, Err(Error::conflict(message))));
        }
        self.restarts.cancel(true);
        let ending = Ending {
            remove: vec![ticket],
            ..Ending::default()
        };
        self.no_more(ending, effects);
    }

    pub(super) fn is_restarting(&self) -> Error {
        Error::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            self.id
        ))
    }
}
