//! Properties of [`State::step`] over arbitrary histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const HOW: StopHow = StopHow {
    signal: 15,
    timeout: Some(10),
    by_user: true,
};
const FAILED: Exit = Exit {
    code: 1,
    ran: Duration::ZERO,
};

/// What the world outside may do next: callers' wishes, and results of effects that are open.
#[derive(Clone, Debug)]
enum Move {
    Start,
    Stop,
    Restart,
    /// A signal, which may be meant to end it.
    Kill(u32, bool),
    Pause,
    Unpause,
    Remove(bool),
    /// Complete the n-th open effect, well or badly.
    Complete(usize, bool),
    /// The process ends by itself with this code, if one runs.
    Exit(i64),
    /// A result of an earlier run arrives late.
    Stale(u8),
}

/// A container goes by itself or comes back by itself, not both.
fn policies() -> impl Strategy<Value = (bool, Policy)> {
    prop_oneof![
        Just((false, Policy::No)),
        Just((true, Policy::No)),
        Just((false, Policy::Always)),
        Just((false, Policy::UnlessStopped)),
        prop::option::of(1..4u64).prop_map(|most| (false, Policy::OnFailure(most))),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::Start),
        2 => Just(Move::Stop),
        2 => Just(Move::Restart),
        1 => prop_oneof![Just((9, true)), Just((15, true)), Just((1, false))]
            .prop_map(|(signal, ends)| Move::Kill(signal, ends)),
        1 => Just(Move::Pause),
        1 => Just(Move::Unpause),
        2 => any::<bool>().prop_map(Move::Remove),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(n, ok)| Move::Complete(n, ok)),
        3 => (0..2i64).prop_map(Move::Exit),
        1 => any::<u8>().prop_map(Move::Stale),
    ]
}

/// Plays the actor: keeps what is open and checks the rules at every effect.
struct World {
    state: State,
    open: Vec<Input>,
    asked: u64,
    answers: BTreeMap<Ticket, usize>,
    torn: BTreeMap<Generation, usize>,
    starts: usize,
    alive: Option<Generation>,
    policy: Policy,
    /// Ended from outside, and not started since: nothing may follow by policy.
    ended: bool,
    /// The exit that the present pause follows.
    last: Option<Exit>,
    /// The start that comes next is the policy's.
    by_policy: bool,
    restarts: u64,
}

impl World {
    fn new(auto_remove: bool, policy: Policy) -> World {
        let restarts = Restarts::new(policy, 0, false);
        World {
            state: State::new("id", "name", Phase::Created, 0, auto_remove, restarts),
            open: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
            torn: BTreeMap::new(),
            starts: 0,
            alive: None,
            policy,
            ended: false,
            last: None,
            by_policy: false,
            restarts: 0,
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.asked += 1;
        self.answers.insert(Ticket(self.asked), 0);
        Ticket(self.asked)
    }

    fn feed(&mut self, input: Input) {
        for effect in self.state.step(input) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Capture => {
                assert!(!self.ended, "what was ended from outside stays ended");
                assert!(!self.tearing_down(), "the last run has been cleared away");
                let last = self.last.take().expect("an end that it follows");
                let wanted = match self.policy {
                    Policy::No => false,
                    Policy::OnFailure(most) => {
                        last.code != 0 && most.is_none_or(|most| self.restarts < most)
                    }
                    Policy::Always | Policy::UnlessStopped => true,
                };
                assert!(wanted, "{:?} after {last:?}", self.policy);
                self.by_policy = true;
                self.restarts += 1;
                assert_eq!(self.state.restarts().count(), self.restarts);
            }
            Effect::Start(generation) => {
                if !mem::take(&mut self.by_policy) {
                    self.ended = false;
                    self.restarts = 0;
                }
                assert_eq!(self.starts, 0, "one start at a time");
                assert_eq!(self.alive, None, "nothing runs when a start begins");
                self.starts += 1;
                self.open.push(Input::StartDone {
                    generation,
                    result: Ok(()),
                });
            }
            Effect::CancelStart => assert_eq!(self.starts, 1, "there is a start to cancel"),
            Effect::Signal { ticket, .. } => {
                assert!(self.alive.is_some(), "signals go to what runs");
                if let Some(ticket) = ticket {
                    self.answer(ticket);
                }
            }
            Effect::Freeze { generation, pause } => {
                self.open.push(Input::FreezeDone {
                    generation,
                    paused: pause,
                    result: Ok(()),
                });
            }
            Effect::Arm(generation, timer, _) => self.open.push(Input::Timer(generation, timer)),
            Effect::TearDown(generation) => {
                let count = self.torn.entry(generation).or_default();
                *count += 1;
                assert_eq!(*count, 1, "one teardown a run");
                self.open.push(Input::TornDown(generation));
            }
            Effect::RemoveAll => {
                assert_eq!(self.alive, None, "nothing runs when it is removed");
                assert!(
                    !self.tearing_down(),
                    "nothing is being torn down when it is removed"
                );
                self.open.push(Input::RemoveDone(Ok(())));
            }
            Effect::Announce(_) => {}
            Effect::Reply(ticket, _) => self.answer(ticket),
        }
    }

    fn answer(&mut self, ticket: Ticket) {
        let count = self
            .answers
            .get_mut(&ticket)
            .expect("a ticket that was given out");
        *count += 1;
        assert_eq!(*count, 1, "answered once");
    }

    fn is_up(&self) -> bool {
        let phase = self.state.phase();
        matches!(phase, Phase::Running(_) | Phase::Restarting(_))
    }

    fn tearing_down(&self) -> bool {
        self.open
            .iter()
            .any(|input| matches!(input, Input::TornDown(_)))
    }

    fn complete(&mut self, index: usize, ok: bool) {
        if self.open.is_empty() {
            return;
        }
        let input = match self.open.remove(index % self.open.len()) {
            Input::StartDone { generation, .. } => {
                self.starts -= 1;
                let result = if ok {
                    Ok(())
                } else {
                    Err(Error::internal("start"))
                };
                self.alive = ok.then_some(generation);
                Input::StartDone { generation, result }
            }
            Input::FreezeDone {
                generation, paused, ..
            } => {
                let result = if ok {
                    Ok(())
                } else {
                    Err(Error::internal("freeze"))
                };
                Input::FreezeDone {
                    generation,
                    paused,
                    result,
                }
            }
            Input::RemoveDone(_) if !ok => Input::RemoveDone(Err(Error::internal("remove"))),
            other => other,
        };
        self.feed(input);
    }

    fn play(&mut self, step: Move) {
        match step {
            Move::Start => {
                let ticket = self.ticket();
                self.feed(Input::Start(ticket));
            }
            Move::Stop => {
                let ticket = self.ticket();
                self.ended |= self.is_up();
                self.feed(Input::Stop(ticket, HOW));
            }
            Move::Restart => {
                let ticket = self.ticket();
                self.feed(Input::Restart(ticket, HOW));
            }
            Move::Kill(signal, ends) => {
                let ticket = self.ticket();
                self.ended |= self.is_up() && ends;
                self.feed(Input::Kill {
                    ticket,
                    signal,
                    ends,
                });
            }
            Move::Pause => {
                let ticket = self.ticket();
                self.feed(Input::Pause(ticket));
            }
            Move::Unpause => {
                let ticket = self.ticket();
                self.feed(Input::Unpause(ticket));
            }
            Move::Remove(force) => {
                let ticket = self.ticket();
                self.feed(Input::Remove { ticket, force });
            }
            Move::Complete(index, ok) => self.complete(index, ok),
            Move::Exit(code) => {
                if let Some(generation) = self.alive.take() {
                    let exit = Exit { code, ..FAILED };
                    self.last = Some(exit);
                    self.feed(Input::Exited(generation, exit));
                }
            }
            Move::Stale(what) => self.stale(what),
        }
    }

    fn stale(&mut self, what: u8) {
        let Some(generation) = self.state.generation().checked_sub(1) else {
            return;
        };
        let before = self.state.phase().clone();
        let effects = self.state.step(match what % 5 {
            0 => Input::Exited(generation, FAILED),
            1 => Input::TornDown(generation),
            2 => Input::StartDone {
                generation,
                result: Ok(()),
            },
            3 => Input::Timer(generation, Timer::Restart),
            _ => Input::Timer(generation, Timer::Kill),
        });
        assert!(
            effects.is_empty(),
            "a stale result does nothing: {effects:?}"
        );
        assert_eq!(self.state.phase(), &before);
    }

    /// Lets everything come to its end: what is open completes, what runs exits.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.alive.is_some() {
                // Or it would be started again for ever.
                self.play(Move::Kill(SIGKILL, true));
                self.play(Move::Exit(0));
            } else if !self.open.is_empty() {
                self.complete(0, true);
            } else {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_history_keeps_the_rules(
        (auto_remove, policy) in policies(),
        history in prop::collection::vec(moves(), 0..60),
    ) {
        let mut world = World::new(auto_remove, policy);
        for step in history {
            world.play(step);
        }
        world.settle();
        for (ticket, count) in &world.answers {
            prop_assert_eq!(*count, 1, "{:?} was answered {} times", ticket, count);
        }
        prop_assert!(world.state.deferred.is_empty());
        let resting = matches!(
            world.state.phase(),
            Phase::Created | Phase::Exited { settled: true, .. } | Phase::Dead | Phase::Gone
        );
        prop_assert!(resting, "{:?}", world.state.phase());
    }
}

#[path = "state_rules.rs"]
mod rules;
