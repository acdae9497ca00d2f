//! Where a container stands, and who waits for what.

use std::mem;

use super::{Effect, Ticket};
use crate::Error;

/// Where the container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Never ran.
    Created,
    /// The start pipeline is at work.
    Starting(Starting),
    /// Its init runs.
    Running(Running),
    /// Its init has ended; `settled` once nothing of the run is left to be cleaned up.
    Exited { settled: bool, ending: Ending },
    /// Its init has ended, and its policy starts it again.
    Restarting(Restarting),
    /// Being removed, for these callers.
    Removing(Vec<Ticket>),
    /// Removal failed half-way; it can be tried again.
    Dead,
    /// Removed: the actor ends.
    Gone,
}

impl Phase {
    /// Nothing is left of the last run.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Phase::Exited { settled, .. } => *settled,
            Phase::Restarting(waiting) => waiting.settled,
            _ => false,
        }
    }
}

/// A start under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starting {
    pub(super) tickets: Vec<Ticket>,
    /// It ran before, so a failed start leaves it exited, not created.
    pub(super) ran_before: bool,
    pub(super) why: Why,
}

/// Why a start is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Why {
    /// A user wants it to run.
    #[default]
    Start,
    /// A user wants it restarted.
    Restart,
    /// Its restart policy.
    Policy,
}

/// The time between two runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarting {
    /// The pause is over.
    pub(super) due: bool,
    /// Nothing of the last run is left to be cleaned up.
    pub(super) settled: bool,
}

impl Starting {
    /// Whether this is not its first run.
    pub(crate) fn ran_before(&self) -> bool {
        self.ran_before
    }

    /// Whether its restart policy starts it.
    pub(crate) fn by_policy(&self) -> bool {
        self.why == Why::Policy
    }
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Running {
    /// Frozen.
    pub(crate) paused: bool,
    /// A pause or unpause is under way.
    pub(super) freezing: Option<Ticket>,
    pub(super) ending: Ending,
}

impl Running {
    /// Neither frozen nor being frozen or thawed.
    pub(crate) fn is_thawed(&self) -> bool {
        !self.paused && self.freezing.is_none()
    }

    /// Whether SIGKILL was sent to it.
    pub(crate) fn is_killed(&self) -> bool {
        self.ending.killed
    }
}

/// Who waits for the end of the run, and what shall follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Callers of stop.
    pub(super) stop: Vec<Ticket>,
    /// Callers of kill with SIGKILL.
    pub(super) kill: Vec<Ticket>,
    /// Callers of restart.
    pub(super) restart: Vec<Ticket>,
    /// Callers of a forced removal.
    pub(super) remove: Vec<Ticket>,
    /// SIGKILL was sent because a time-out passed or a caller asked.
    pub(super) killed: bool,
}

impl Ending {
    /// Whether anybody waits.
    pub(super) fn awaited(&self) -> bool {
        [&self.stop, &self.kill, &self.restart, &self.remove]
            .iter()
            .any(|who| !who.is_empty())
    }

    /// Answers everybody that the end has not come.
    pub(super) fn give_up(&mut self, name: &str, effects: &mut Vec<Effect>) {
        const WHAT: &str = "tried to kill container, but did not receive an exit event";
        let Ending {
            stop,
            kill,
            restart,
            remove,
            ..
        } = mem::take(self);
        let failed = [
            (stop, format!("cannot stop container: {name}: {WHAT}")),
            (kill, WHAT.to_owned()),
            (restart, format!("Cannot restart container {name}: {WHAT}")),
            (
                remove,
                format!("cannot remove container \"{name}\": could not kill: {WHAT}"),
            ),
        ];
        for (tickets, message) in failed {
            let error = Error::internal(message);
            effects.extend(
                tickets
                    .into_iter()
                    .map(|ticket| Effect::Reply(ticket, Err(error.clone()))),
            );
        }
    }
}
