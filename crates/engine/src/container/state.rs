//! What may happen to a container, as a pure function: no I/O, no clock, no waiting.
//!
//! ```text
//!            Start                StartDone(ok)              Exited           TornDown
//! Created ──────────> Starting ────────────────> Running ────────────> Exited ────────> Exited
//!    ^  ^                │ │                     (paused?)            (unsettled)      (settled)
//!    │  └─StartDone(err)─┘ │                     (stopping?)                              │
//!    │                     │StartDone(err), had run before                                │
//!    │                     └────────────────────────────────────────────> Exited          │
//!    │                                                                                    │
//!    └──────────────────────────────── Start / Remove ────────────────────────────────────┘
//!
//! With a restart policy:
//!
//!           Exited                   TornDown and Timer(Restart)
//! Running ────────> Restarting ────────────────────────────────────> Starting ──> Running
//!                      │  Stop, Kill, Remove(force)                      │ StartDone(err)
//!                      └──────────────────────────────> Exited <─────────┘
//!
//! Remove: Created, Exited, Dead ──> Removing ──RemoveDone(ok)──> Gone
//!                                            └─RemoveDone(err)─> Dead
//! ```
//!
//! Every change of the container is an [`Input`]; [`State::step`] answers with the [`Effect`]s
//! to carry out, in order. An input that cannot be handled yet (a start while the last run is
//! still being torn down) waits in a queue inside the state. Each run has a generation that its
//! results carry, so that what belongs to an earlier run is recognised and ignored.
//!
//! Callers are known by [`Ticket`]s; each ticket is answered exactly once.

mod phase;
mod removal;
mod restarting;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use berth_errdefs::Kind;

pub(crate) use self::phase::Phase;
use self::phase::{Ending, Restarting, Running, Starting, Why};
use super::restart::{Exit, Policy, Restarts};
pub(crate) use super::step::{
    Announcement, Done, Effect, Generation, Input, SIGKILL, StopHow, Ticket, Timer,
};
use crate::Error;

/// The time between SIGKILL and giving up waiting for the exit.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A container's state: what the actor owns.
#[derive(Clone, Debug)]
pub(crate) struct State {
    phase: Phase,
    generation: Generation,
    auto_remove: bool,
    restarts: Restarts,
    /// How error messages call the container: its name and its full id.
    name: String,
    id: String,
    /// Inputs that wait for the present change to end.
    deferred: VecDeque<Input>,
}

impl State {
    /// A container in a phase that a record can hold: created, exited or dead.
    pub(crate) fn new(
        id: &str,
        name: &str,
        phase: Phase,
        generation: Generation,
        auto_remove: bool,
        restarts: Restarts,
    ) -> State {
        State {
            phase,
            generation,
            auto_remove,
            restarts,
            name: name.to_owned(),
            id: id.to_owned(),
            deferred: VecDeque::new(),
        }
    }

    /// The phase of a container that was found running after a restart of the daemon.
    pub(crate) fn running(paused: bool) -> Phase {
        Phase::Running(Running {
            paused,
            ..Running::default()
        })
    }

    /// The phase of a container whose first start an earlier daemon did not finish, and which is
    /// being taken back.
    pub(crate) fn cut_off() -> Phase {
        Phase::Starting(Starting::default())
    }

    /// The phase of a container whose run has ended; `settled` when nothing of it is left.
    pub(crate) fn exited(settled: bool) -> Phase {
        Phase::Exited {
            settled,
            ending: Ending::default(),
        }
    }

    /// Where it stands.
    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The current run, or the last one.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Another restart policy holds from now on.
    pub(crate) fn follow(&mut self, policy: Policy) {
        self.restarts.follow(policy);
    }

    /// What its restart policy makes of it.
    pub(crate) fn restarts(&self) -> &Restarts {
        &self.restarts
    }

    /// The container's name has changed.
    pub(crate) fn rename(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    /// Takes one input and says what to do.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.handle(input, &mut effects);
        // What waited is looked at again each time the state has come to rest.
        let mut waiting = self.deferred.len();
        while waiting > 0 && self.at_rest() {
            let Some(input) = self.deferred.pop_front() else {
                break;
            };
            self.handle(input, &mut effects);
            waiting -= 1;
        }
        effects
    }

    /// True when no change is under way that deferred inputs wait for.
    fn at_rest(&self) -> bool {
        match &self.phase {
            Phase::Starting(_) | Phase::Exited { settled: false, .. } | Phase::Removing(_) => false,
            Phase::Running(running) => running.freezing.is_none(),
            Phase::Created
            | Phase::Exited { settled: true, .. }
            | Phase::Restarting(_)
            | Phase::Dead
            | Phase::Gone => true,
        }
    }

    fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Start(ticket) => self.start(ticket, effects),
            Input::StartDone { generation, result } => self.start_done(generation, result, effects),
            Input::Stop(ticket, how) => self.stop(ticket, how, false, effects),
            Input::Restart(ticket, how) => self.stop(ticket, how, true, effects),
            Input::Kill {
                ticket,
                signal,
                ends,
            } => self.kill(ticket, signal, ends, effects),
            Input::Pause(ticket) => self.freeze(ticket, true, effects),
            Input::Unpause(ticket) => self.freeze(ticket, false, effects),
            Input::FreezeDone {
                generation,
                paused,
                result,
            } => {
                self.freeze_done(generation, paused, result, effects);
            }
            Input::Exited(generation, exit) => self.has_exited(generation, exit, effects),
            Input::TornDown(generation) => self.torn_down(generation, effects),
            Input::Timer(generation, timer) => self.timer(generation, timer, effects),
            Input::Remove { ticket, force } => self.remove(ticket, force, effects),
            Input::RemoveDone(result) => self.remove_done(result, effects),
        }
    }

    fn start(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        let refused = match &self.phase {
            Phase::Created | Phase::Exited { settled: true, .. } => {
                return self.begin_start(vec![ticket], Why::Start, effects);
            }
            Phase::Starting(_) | Phase::Exited { settled: false, .. } => {
                return self.deferred.push_back(Input::Start(ticket));
            }
            Phase::Running(Running { paused: false, .. }) | Phase::Restarting(_) => {
                Ok(Done::Unchanged)
            }
            Phase::Running(_) => Err(Error::conflict(
                "cannot start a paused container, try unpause instead",
            )),
            Phase::Removing(_) | Phase::Dead | Phase::Gone => Err(Error::conflict(
                "container is marked for removal and cannot be started",
            )),
        };
        effects.push(Effect::Reply(ticket, refused));
    }

    fn begin_start(&mut self, tickets: Vec<Ticket>, why: Why, effects: &mut Vec<Effect>) {
        if why != Why::Policy {
            self.restarts.started();
        }
        let ran_before = !matches!(self.phase, Phase::Created);
        self.generation += 1;
        self.phase = Phase::Starting(Starting {
            tickets,
            ran_before,
            why,
        });
        effects.push(Effect::Start(self.generation));
    }

    fn start_done(
        &mut self,
        generation: Generation,
        result: Result<(), Error>,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Starting(starting) = &mut self.phase else {
            return;
        };
        if generation != self.generation {
            return;
        }
        let Starting {
            tickets,
            ran_before,
            why,
        } = mem::take(starting);
        let failed = result.is_err();
        if failed {
            self.phase = if ran_before {
                State::exited(true)
            } else {
                Phase::Created
            };
        } else {
            self.phase = State::running(false);
            effects.push(Effect::Announce(Announcement::Start));
            if why == Why::Restart {
                effects.push(Effect::Announce(Announcement::Restart));
            }
        }
        let reply = |ticket| Effect::Reply(ticket, result.clone().map(|()| Done::Changed));
        effects.extend(tickets.into_iter().map(reply));
        // A removal that waits already takes care of it.
        if failed && self.auto_remove && !self.removal_waits() {
            self.begin_removal(Vec::new(), effects);
        }
    }

    fn removal_waits(&self) -> bool {
        self.deferred
            .iter()
            .any(|input| matches!(input, Input::Remove { .. }))
    }

    fn stop(&mut self, ticket: Ticket, how: StopHow, restart: bool, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Running(running) => {
                let frozen = mem::take(&mut running.paused);
                self.restarts.cancel(how.by_user);
                if restart {
                    running.ending.restart.push(ticket);
                } else {
                    running.ending.stop.push(ticket);
                }
                effects.push(Effect::Announce(Announcement::Kill(how.signal)));
                effects.push(Effect::Signal {
                    signal: how.signal,
                    frozen,
                    ticket: None,
                });
                if let Some(seconds) = how.timeout {
                    let grace = Duration::from_secs(seconds);
                    effects.push(Effect::Arm(self.generation, Timer::Kill, grace));
                }
            }
            // It ended by itself: there is nothing to stop, only to wait for.
            Phase::Starting(_) | Phase::Exited { settled: false, .. } => {
                let input = if restart {
                    Input::Restart(ticket, how)
                } else {
                    Input::Stop(ticket, how)
                };
                self.deferred.push_back(input);
            }
            Phase::Restarting(_) => self.stop_restarting(ticket, how, restart, effects),
            Phase::Created | Phase::Exited { settled: true, .. } if restart => {
                self.begin_start(vec![ticket], Why::Restart, effects);
            }
            Phase::Removing(_) | Phase::Dead | Phase::Gone if restart => {
                let error = "container is marked for removal and cannot be started";
                effects.push(Effect::Reply(ticket, Err(Error::conflict(error))));
            }
            _ => effects.push(Effect::Reply(ticket, Ok(Done::Unchanged))),
        }
    }

    fn kill(&mut self, ticket: Ticket, signal: u32, ends: bool, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Running(running) => {
                let frozen = mem::take(&mut running.paused);
                if ends {
                    self.restarts.cancel(true);
                } else {
                    self.restarts.touched();
                }
                effects.push(Effect::Announce(Announcement::Kill(signal)));
                let mut direct = Some(ticket);
                if signal == SIGKILL {
                    // The caller expects it dead on return.
                    running.ending.kill.push(ticket);
                    running.ending.killed = true;
                    effects.push(Effect::Arm(self.generation, Timer::GiveUp, GIVE_UP));
                    direct = None;
                }
                effects.push(Effect::Signal {
                    signal,
                    frozen,
                    ticket: direct,
                });
            }
            Phase::Restarting(_) => self.kill_restarting(ticket, signal, ends, effects),
            Phase::Starting(_) => self.deferred.push_back(Input::Kill {
                ticket,
                signal,
                ends,
            }),
            _ => effects.push(Effect::Reply(ticket, Err(self.not_running()))),
        }
    }

    fn not_running(&self) -> Error {
        Error::conflict(format!("container {} is not running", self.id))
    }

    fn freeze(&mut self, ticket: Ticket, pause: bool, effects: &mut Vec<Effect>) {
        let refused = match &mut self.phase {
            Phase::Starting(_) => return self.defer_freeze(ticket, pause),
            Phase::Running(running) if running.freezing.is_some() => {
                return self.defer_freeze(ticket, pause);
            }
            Phase::Running(running) if running.paused == pause => {
                let state = if pause {
                    "already paused"
                } else {
                    "not paused"
                };
                let message = format!("Container {} is {state}", self.id);
                let kind = if pause {
                    Kind::Conflict
                } else {
                    Kind::Internal
                };
                Error::new(kind, message)
            }
            Phase::Running(running) => {
                running.freezing = Some(ticket);
                return effects.push(Effect::Freeze {
                    generation: self.generation,
                    pause,
                });
            }
            Phase::Restarting(_) if pause => self.is_restarting(),
            _ if pause => self.not_running(),
            _ => Error::new(
                Kind::Internal,
                format!("Container {} is not paused", self.id),
            ),
        };
        effects.push(Effect::Reply(ticket, Err(refused)));
    }

    fn defer_freeze(&mut self, ticket: Ticket, pause: bool) {
        let input = if pause {
            Input::Pause(ticket)
        } else {
            Input::Unpause(ticket)
        };
        self.deferred.push_back(input);
    }

    fn freeze_done(
        &mut self,
        generation: Generation,
        paused: bool,
        result: Result<(), Error>,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Running(running) = &mut self.phase else {
            return;
        };
        if generation != self.generation {
            return;
        }
        let Some(ticket) = running.freezing.take() else {
            return;
        };
        if result.is_ok() {
            running.paused = paused;
            let what = if paused {
                Announcement::Pause
            } else {
                Announcement::Unpause
            };
            effects.push(Effect::Announce(what));
            // A signal that came first must find it awake.
            if paused && running.ending.awaited() {
                running.paused = false;
                effects.push(Effect::Freeze {
                    generation,
                    pause: false,
                });
            }
        }
        effects.push(Effect::Reply(ticket, result.map(|()| Done::Changed)));
    }

    fn has_exited(&mut self, generation: Generation, exit: Exit, effects: &mut Vec<Effect>) {
        let Phase::Running(running) = &mut self.phase else {
            return;
        };
        if generation != self.generation {
            return;
        }
        let Running {
            freezing, ending, ..
        } = mem::take(running);
        let pause = self.restarts.exited(exit);
        self.phase = match pause {
            Some(_) => Phase::Restarting(Restarting::default()),
            None => Phase::Exited {
                settled: false,
                ending,
            },
        };
        effects.push(Effect::Announce(Announcement::Die));
        if let Some(ticket) = freezing {
            effects.push(Effect::Reply(ticket, Err(self.not_running())));
        }
        effects.push(Effect::TearDown(generation));
        if let Some(pause) = pause {
            effects.push(Effect::Arm(generation, Timer::Restart, pause));
        }
    }

    fn torn_down(&mut self, generation: Generation, effects: &mut Vec<Effect>) {
        if let Phase::Restarting(waiting) = &mut self.phase
            && generation == self.generation
        {
            waiting.settled = true;
            return self.may_go_on(effects);
        }
        let Phase::Exited { settled, ending } = &mut self.phase else {
            return;
        };
        if generation != self.generation || *settled {
            return;
        }
        *settled = true;
        let Ending {
            stop,
            kill,
            restart,
            remove,
            ..
        } = mem::take(ending);
        if !stop.is_empty() || !restart.is_empty() {
            effects.push(Effect::Announce(Announcement::Stop));
        }
        effects.extend(
            stop.into_iter()
                .chain(kill)
                .map(|ticket| Effect::Reply(ticket, Ok(Done::Changed))),
        );
        if !remove.is_empty() {
            let error = || {
                Err(Error::conflict(
                    "container is marked for removal and cannot be started",
                ))
            };
            effects.extend(
                restart
                    .into_iter()
                    .map(|ticket| Effect::Reply(ticket, error())),
            );
            self.begin_removal(remove, effects);
        } else if !restart.is_empty() {
            self.begin_start(restart, Why::Restart, effects);
        } else if self.auto_remove && !self.removal_waits() {
            self.begin_removal(Vec::new(), effects);
        }
    }

    fn timer(&mut self, generation: Generation, timer: Timer, effects: &mut Vec<Effect>) {
        if let Phase::Restarting(waiting) = &mut self.phase
            && (generation, timer) == (self.generation, Timer::Restart)
        {
            waiting.due = true;
            return self.may_go_on(effects);
        }
        let Phase::Running(running) = &mut self.phase else {
            return;
        };
        if generation != self.generation {
            return;
        }
        match timer {
            Timer::Kill if !running.ending.killed => {
                running.ending.killed = true;
                let frozen = mem::take(&mut running.paused);
                effects.push(Effect::Announce(Announcement::Kill(SIGKILL)));
                effects.push(Effect::Signal {
                    signal: SIGKILL,
                    frozen,
                    ticket: None,
                });
                effects.push(Effect::Arm(generation, Timer::GiveUp, GIVE_UP));
            }
            Timer::Kill | Timer::Restart => {}
            Timer::GiveUp => {
                // It goes on running; who comes again may try again.
                running.ending.give_up(&self.name, effects);
            }
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
