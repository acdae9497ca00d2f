//! Properties of [`State::step`] over arbitrary histories, and the rules one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const HOW: StopHow = StopHow { signal: 15, timeout: Some(10) };

/// What the world outside may do next: callers' wishes, and results of effects that are open.
#[derive(Clone, Debug)]
enum Move {
    Start,
    Stop,
    Restart,
    Kill(u32),
    Pause,
    Unpause,
    Remove(bool),
    /// Complete the n-th open effect, well or badly.
    Complete(usize, bool),
    /// The process ends by itself, if one runs.
    Exit,
    /// A result of an earlier run arrives late.
    Stale(u8),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::Start),
        2 => Just(Move::Stop),
        2 => Just(Move::Restart),
        1 => prop_oneof![Just(9), Just(15), Just(1)].prop_map(Move::Kill),
        1 => Just(Move::Pause),
        1 => Just(Move::Unpause),
        2 => any::<bool>().prop_map(Move::Remove),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(n, ok)| Move::Complete(n, ok)),
        3 => Just(Move::Exit),
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
}

impl World {
    fn new(auto_remove: bool) -> World {
        World {
            state: State::new("id", "name", Phase::Created, 0, auto_remove),
            open: Vec::new(),
            asked: 0,
            answers: BTreeMap::new(),
            torn: BTreeMap::new(),
            starts: 0,
            alive: None,
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
            Effect::Start(generation) => {
                assert_eq!(self.starts, 0, "one start at a time");
                assert_eq!(self.alive, None, "nothing runs when a start begins");
                self.starts += 1;
                self.open.push(Input::StartDone { generation, result: Ok(()) });
            }
            Effect::CancelStart => assert_eq!(self.starts, 1, "there is a start to cancel"),
            Effect::Signal { ticket, .. } => {
                assert!(self.alive.is_some(), "signals go to what runs");
                if let Some(ticket) = ticket {
                    self.answer(ticket);
                }
            }
            Effect::Freeze { generation, pause } => {
                self.open.push(Input::FreezeDone { generation, paused: pause, result: Ok(()) });
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
                assert!(!self.tearing_down(), "nothing is being torn down when it is removed");
                self.open.push(Input::RemoveDone(Ok(())));
            }
            Effect::Announce(_) => {}
            Effect::Reply(ticket, _) => self.answer(ticket),
        }
    }

    fn answer(&mut self, ticket: Ticket) {
        let count = self.answers.get_mut(&ticket).expect("a ticket that was given out");
        *count += 1;
        assert_eq!(*count, 1, "answered once");
    }

    fn tearing_down(&self) -> bool {
        self.open.iter().any(|input| matches!(input, Input::TornDown(_)))
    }

    fn complete(&mut self, index: usize, ok: bool) {
        if self.open.is_empty() {
            return;
        }
        let input = match self.open.remove(index % self.open.len()) {
            Input::StartDone { generation, .. } => {
                self.starts -= 1;
                let result = if ok { Ok(()) } else { Err(Error::internal("start")) };
                self.alive = ok.then_some(generation);
                Input::StartDone { generation, result }
            }
            Input::FreezeDone { generation, paused, .. } => {
                let result = if ok { Ok(()) } else { Err(Error::internal("freeze")) };
                Input::FreezeDone { generation, paused, result }
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
                self.feed(Input::Stop(ticket, HOW));
            }
            Move::Restart => {
                let ticket = self.ticket();
                self.feed(Input::Restart(ticket, HOW));
            }
            Move::Kill(signal) => {
                let ticket = self.ticket();
                self.feed(Input::Kill(ticket, signal));
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
            Move::Exit => {
                if let Some(generation) = self.alive.take() {
                    self.feed(Input::Exited(generation));
                }
            }
            Move::Stale(what) => self.stale(what),
        }
    }

    fn stale(&mut self, what: u8) {
        let Some(generation) = self.state.generation().checked_sub(1) else { return };
        let before = self.state.phase().clone();
        let effects = self.state.step(match what % 4 {
            0 => Input::Exited(generation),
            1 => Input::TornDown(generation),
            2 => Input::StartDone { generation, result: Ok(()) },
            _ => Input::Timer(generation, Timer::Kill),
        });
        assert!(effects.is_empty(), "a stale result does nothing: {effects:?}");
        assert_eq!(self.state.phase(), &before);
    }

    /// Lets everything come to its end: what is open completes, what runs exits.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.alive.is_some() {
                self.play(Move::Exit);
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
        auto_remove in any::<bool>(),
        history in prop::collection::vec(moves(), 0..60),
    ) {
        let mut world = World::new(auto_remove);
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

fn running() -> World {
    let mut world = World::new(false);
    world.play(Move::Start);
    world.complete(0, true);
    assert!(matches!(world.state.phase(), Phase::Running(_)));
    world
}

fn replies(effects: &[Effect]) -> Vec<String> {
    let text = |effect: &Effect| match effect {
        Effect::Reply(_, Ok(done)) => Some(format!("{done:?}")),
        Effect::Reply(_, Err(error)) => Some(error.to_string()),
        _ => None,
    };
    effects.iter().filter_map(text).collect()
}

#[test]
fn starting_what_runs_changes_nothing() {
    let mut world = running();
    assert_eq!(replies(&world.state.step(Input::Start(Ticket(7)))), ["Unchanged"]);
}

#[test]
fn a_start_waits_for_the_teardown_of_the_last_run() {
    let mut world = running();
    world.play(Move::Exit);
    assert!(replies(&world.state.step(Input::Start(Ticket(7)))).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Start(2))), "{effects:?}");
}

#[test]
fn a_stop_is_answered_when_everything_is_released() {
    let mut world = running();
    let effects = world.state.step(Input::Stop(Ticket(7), HOW));
    assert!(matches!(effects[1], Effect::Signal { signal: 15, .. }));
    assert!(matches!(effects[2], Effect::Arm(1, Timer::Kill, 10)));
    assert!(replies(&world.state.step(Input::Exited(1))).is_empty());
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed"]);
}

#[test]
fn kill_gets_through_during_a_long_stop() {
    let mut world = running();
    world.state.step(Input::Stop(Ticket(7), StopHow { signal: 15, timeout: None }));
    let effects = world.state.step(Input::Kill(Ticket(8), SIGKILL));
    assert!(effects.iter().any(|e| matches!(e, Effect::Signal { signal: SIGKILL, .. })));
    world.state.step(Input::Exited(1));
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed", "Changed"]);
}

#[test]
fn a_passed_grace_period_kills_and_then_gives_up() {
    let mut world = running();
    world.state.step(Input::Stop(Ticket(7), HOW));
    let effects = world.state.step(Input::Timer(1, Timer::Kill));
    assert!(effects.iter().any(|e| matches!(e, Effect::Signal { signal: SIGKILL, .. })));
    assert!(world.state.step(Input::Timer(1, Timer::Kill)).is_empty(), "killed once");
    let told = replies(&world.state.step(Input::Timer(1, Timer::GiveUp)));
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("did not receive an exit event"), "{told:?}");
}

#[test]
fn a_stopped_frozen_container_is_woken() {
    let mut world = running();
    world.play(Move::Pause);
    world.complete(0, true);
    let effects = world.state.step(Input::Stop(Ticket(7), HOW));
    assert!(matches!(effects[1], Effect::Signal { frozen: true, .. }), "{effects:?}");
}

#[test]
fn removal_of_what_runs_needs_force() {
    let mut world = running();
    let told = replies(&world.state.step(Input::Remove { ticket: Ticket(7), force: false }));
    assert_eq!(told, [
        "cannot remove container \"/name\": container is running: stop the container before removing or force remove"
    ]);
    let effects = world.state.step(Input::Remove { ticket: Ticket(8), force: true });
    assert!(effects.iter().any(|e| matches!(e, Effect::Signal { signal: SIGKILL, .. })));
    world.state.step(Input::Exited(1));
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::RemoveAll]), "{effects:?}");
    let told = replies(&world.state.step(Input::Remove { ticket: Ticket(9), force: true }));
    assert_eq!(told, ["removal of container name is already in progress"]);
}

#[test]
fn a_failed_removal_can_be_tried_again() {
    let mut world = World::new(false);
    world.state.step(Input::Remove { ticket: Ticket(7), force: false });
    world.state.step(Input::RemoveDone(Err(Error::internal("disk"))));
    assert_eq!(world.state.phase(), &Phase::Dead);
    let effects = world.state.step(Input::Remove { ticket: Ticket(8), force: false });
    assert!(matches!(effects[..], [Effect::RemoveAll]));
    assert_eq!(replies(&world.state.step(Input::RemoveDone(Ok(())))), ["Changed"]);
    assert_eq!(world.state.phase(), &Phase::Gone);
}

#[test]
fn a_failed_first_start_leaves_it_created_and_auto_remove_removes_it() {
    let failed = || Input::StartDone { generation: 1, result: Err(Error::internal("no")) };
    let mut plain = World::new(false);
    plain.play(Move::Start);
    assert_eq!(replies(&plain.state.step(failed())), ["no"]);
    assert_eq!(plain.state.phase(), &Phase::Created);
    let mut auto = World::new(true);
    auto.play(Move::Start);
    assert!(matches!(auto.state.step(failed())[..], [Effect::Reply(..), Effect::RemoveAll]));
}

#[test]
fn killing_what_does_not_run_is_a_conflict_in_dockers_words() {
    let mut world = World::new(false);
    let told = replies(&world.state.step(Input::Kill(Ticket(7), 15)));
    assert_eq!(told, ["container id is not running"]);
}

#[test]
fn stopping_what_has_just_ended_waits_and_changes_nothing() {
    let mut world = running();
    world.play(Move::Exit);
    assert!(world.state.step(Input::Stop(Ticket(7), HOW)).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::Reply(Ticket(7), Ok(Done::Unchanged))]), "{effects:?}");
}

#[test]
fn restarting_what_has_just_ended_starts_it_again() {
    let mut world = running();
    world.play(Move::Exit);
    assert!(world.state.step(Input::Restart(Ticket(7), HOW)).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::Start(2)]), "{effects:?}");
}

#[test]
fn a_pause_that_comes_between_a_stop_and_its_end_is_undone() {
    let mut world = running();
    world.state.step(Input::Pause(Ticket(7)));
    world.state.step(Input::Stop(Ticket(8), HOW));
    let done = Input::FreezeDone { generation: 1, paused: true, result: Ok(()) };
    let effects = world.state.step(done);
    assert!(effects.iter().any(|e| matches!(e, Effect::Freeze { pause: false, .. })), "{effects:?}");
    assert_eq!(replies(&effects), ["Changed"]);
    let thawed = Input::FreezeDone { generation: 1, paused: false, result: Ok(()) };
    assert!(world.state.step(thawed).is_empty(), "nobody asked for that");
    world.state.step(Input::Exited(1));
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed"]);
}

#[test]
fn who_waits_in_vain_for_the_end_is_told_in_dockers_words() {
    let mut world = running();
    world.state.step(Input::Stop(Ticket(7), HOW));
    world.state.step(Input::Restart(Ticket(8), HOW));
    world.state.step(Input::Remove { ticket: Ticket(9), force: true });
    let what = "tried to kill container, but did not receive an exit event";
    assert_eq!(replies(&world.state.step(Input::Timer(1, Timer::GiveUp))), [
        format!("cannot stop container: name: {what}"),
        format!("Cannot restart container name: {what}"),
        format!("cannot remove container \"/name\": could not kill: {what}"),
    ]);
}
