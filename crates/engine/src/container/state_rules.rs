//! The rules of [`State::step`], one by one.

use super::*;

fn running() -> World {
    let mut world = World::new(false, Policy::No);
    world.play(Move::Start);
    world.complete(0, true);
    assert!(matches!(world.state.phase(), Phase::Running(_)));
    world
}

const GRACE: Duration = Duration::from_secs(10);

fn kill(ticket: u64, signal: u32) -> Input {
    Input::Kill {
        ticket: Ticket(ticket),
        signal,
        ends: true,
    }
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
    assert_eq!(
        replies(&world.state.step(Input::Start(Ticket(7)))),
        ["Unchanged"]
    );
}

#[test]
fn a_start_waits_for_the_teardown_of_the_last_run() {
    let mut world = running();
    world.play(Move::Exit(1));
    assert!(replies(&world.state.step(Input::Start(Ticket(7)))).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Start(2))),
        "{effects:?}"
    );
}

#[test]
fn a_stop_is_answered_when_everything_is_released() {
    let mut world = running();
    let effects = world.state.step(Input::Stop(Ticket(7), HOW));
    assert!(matches!(effects[1], Effect::Signal { signal: 15, .. }));
    assert!(matches!(effects[2], Effect::Arm(1, Timer::Kill, GRACE)));
    assert!(replies(&world.state.step(Input::Exited(1, FAILED))).is_empty());
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed"]);
}

#[test]
fn kill_gets_through_during_a_long_stop() {
    let mut world = running();
    world.state.step(Input::Stop(
        Ticket(7),
        StopHow {
            signal: 15,
            timeout: None,
            by_user: true,
        },
    ));
    let effects = world.state.step(kill(8, SIGKILL));
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::Signal {
            signal: SIGKILL,
            ..
        }
    )));
    world.state.step(Input::Exited(1, FAILED));
    assert_eq!(
        replies(&world.state.step(Input::TornDown(1))),
        ["Changed", "Changed"]
    );
}

#[test]
fn a_passed_grace_period_kills_and_then_gives_up() {
    let mut world = running();
    world.state.step(Input::Stop(Ticket(7), HOW));
    let effects = world.state.step(Input::Timer(1, Timer::Kill));
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::Signal {
            signal: SIGKILL,
            ..
        }
    )));
    assert!(
        world.state.step(Input::Timer(1, Timer::Kill)).is_empty(),
        "killed once"
    );
    let told = replies(&world.state.step(Input::Timer(1, Timer::GiveUp)));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("did not receive an exit event"),
        "{told:?}"
    );
}

#[test]
fn a_stopped_frozen_container_is_woken() {
    let mut world = running();
    world.play(Move::Pause);
    world.complete(0, true);
    let effects = world.state.step(Input::Stop(Ticket(7), HOW));
    assert!(
        matches!(effects[1], Effect::Signal { frozen: true, .. }),
        "{effects:?}"
    );
}

#[test]
fn removal_of_what_runs_needs_force() {
    let mut world = running();
    let told = replies(&world.state.step(Input::Remove {
        ticket: Ticket(7),
        force: false,
    }));
    assert_eq!(
        told,
        [
            "cannot remove container \"name\": container is running: stop the container before removing or force remove"
        ]
    );
    let effects = world.state.step(Input::Remove {
        ticket: Ticket(8),
        force: true,
    });
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::Signal {
            signal: SIGKILL,
            ..
        }
    )));
    world.state.step(Input::Exited(1, FAILED));
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::RemoveAll]), "{effects:?}");
    let told = replies(&world.state.step(Input::Remove {
        ticket: Ticket(9),
        force: true,
    }));
    assert_eq!(told, ["removal of container name is already in progress"]);
}

#[test]
fn a_failed_removal_can_be_tried_again() {
    let mut world = World::new(false, Policy::No);
    world.state.step(Input::Remove {
        ticket: Ticket(7),
        force: false,
    });
    world
        .state
        .step(Input::RemoveDone(Err(Error::internal("disk"))));
    assert_eq!(world.state.phase(), &Phase::Dead);
    let effects = world.state.step(Input::Remove {
        ticket: Ticket(8),
        force: false,
    });
    assert!(matches!(effects[..], [Effect::RemoveAll]));
    assert_eq!(
        replies(&world.state.step(Input::RemoveDone(Ok(())))),
        ["Changed"]
    );
    assert_eq!(world.state.phase(), &Phase::Gone);
}

#[test]
fn a_failed_first_start_leaves_it_created_and_auto_remove_removes_it() {
    let failed = || Input::StartDone {
        generation: 1,
        result: Err(Error::internal("no")),
    };
    let mut plain = World::new(false, Policy::No);
    plain.play(Move::Start);
    assert_eq!(replies(&plain.state.step(failed())), ["no"]);
    assert_eq!(plain.state.phase(), &Phase::Created);
    let mut auto = World::new(true, Policy::No);
    auto.play(Move::Start);
    assert!(matches!(
        auto.state.step(failed())[..],
        [Effect::Reply(..), Effect::RemoveAll]
    ));
}

#[test]
fn killing_what_does_not_run_is_a_conflict_in_dockers_words() {
    let mut world = World::new(false, Policy::No);
    let told = replies(&world.state.step(kill(7, 15)));
    assert_eq!(told, ["container id is not running"]);
}

#[test]
fn stopping_what_has_just_ended_waits_and_changes_nothing() {
    let mut world = running();
    world.play(Move::Exit(1));
    assert!(world.state.step(Input::Stop(Ticket(7), HOW)).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(
        matches!(effects[..], [Effect::Reply(Ticket(7), Ok(Done::Unchanged))]),
        "{effects:?}"
    );
}

#[test]
fn restarting_what_has_just_ended_starts_it_again() {
    let mut world = running();
    world.play(Move::Exit(1));
    assert!(world.state.step(Input::Restart(Ticket(7), HOW)).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::Start(2)]), "{effects:?}");
}

#[test]
fn a_pause_that_comes_between_a_stop_and_its_end_is_undone() {
    let mut world = running();
    world.state.step(Input::Pause(Ticket(7)));
    world.state.step(Input::Stop(Ticket(8), HOW));
    let done = Input::FreezeDone {
        generation: 1,
        paused: true,
        result: Ok(()),
    };
    let effects = world.state.step(done);
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::Freeze { pause: false, .. })),
        "{effects:?}"
    );
    assert_eq!(replies(&effects), ["Changed"]);
    let thawed = Input::FreezeDone {
        generation: 1,
        paused: false,
        result: Ok(()),
    };
    assert!(world.state.step(thawed).is_empty(), "nobody asked for that");
    world.state.step(Input::Exited(1, FAILED));
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed"]);
}

#[test]
fn who_waits_in_vain_for_the_end_is_told_in_dockers_words() {
    let mut world = running();
    world.state.step(Input::Stop(Ticket(7), HOW));
    world.state.step(Input::Restart(Ticket(8), HOW));
    world.state.step(Input::Remove {
        ticket: Ticket(9),
        force: true,
    });
    let what = "tried to kill container, but did not receive an exit event";
    assert_eq!(
        replies(&world.state.step(Input::Timer(1, Timer::GiveUp))),
        [
            format!("cannot stop container: name: {what}"),
            format!("Cannot restart container name: {what}"),
            format!("cannot remove container \"name\": could not kill: {what}"),
        ]
    );
}

/// One that has just failed, and is to be started again after a pause.
fn restarting(policy: Policy) -> World {
    let mut world = World::new(false, policy);
    world.play(Move::Start);
    world.complete(0, true);
    world.play(Move::Exit(1));
    assert!(matches!(world.state.phase(), Phase::Restarting(_)));
    world
}

#[test]
fn a_restart_waits_for_its_pause_and_for_the_teardown() {
    let due = Input::Timer(1, Timer::Restart);
    let mut world = restarting(Policy::Always);
    assert!(world.state.step(due.clone()).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::Capture, Effect::Start(2)]));
    let mut world = restarting(Policy::Always);
    assert!(world.state.step(Input::TornDown(1)).is_empty());
    let effects = world.state.step(due);
    assert!(matches!(effects[..], [Effect::Capture, Effect::Start(2)]));
}

#[test]
fn a_restart_that_fails_is_given_up() {
    let mut world = restarting(Policy::Always);
    world.state.step(Input::TornDown(1));
    world.state.step(Input::Timer(1, Timer::Restart));
    let failed = Input::StartDone {
        generation: 2,
        result: Err(Error::internal("no such runtime")),
    };
    assert!(world.state.step(failed).is_empty());
    assert_eq!(world.state.phase(), &State::exited(true));
}

#[test]
fn a_stop_between_two_runs_ends_it() {
    let mut world = restarting(Policy::Always);
    assert!(world.state.step(Input::Stop(Ticket(7), HOW)).is_empty());
    assert_eq!(replies(&world.state.step(Input::TornDown(1))), ["Changed"]);
    assert!(world.state.step(Input::Timer(1, Timer::Restart)).is_empty());
    let mut world = restarting(Policy::UnlessStopped);
    world.state.step(Input::TornDown(1));
    let effects = world.state.step(Input::Stop(Ticket(7), HOW));
    assert_eq!(replies(&effects), ["Changed"]);
    assert_eq!(world.state.phase(), &State::exited(true));
    assert!(world.state.restarts().stopped());
}

#[test]
fn the_daemons_own_stop_is_no_users() {
    let mut world = restarting(Policy::UnlessStopped);
    let how = StopHow {
        by_user: false,
        ..HOW
    };
    world.state.step(Input::Stop(Ticket(7), how));
    assert!(!world.state.restarts().stopped());
}

#[test]
fn a_kill_between_two_runs_ends_it_unless_the_signal_means_something_else() {
    let mut world = restarting(Policy::Always);
    let other = Input::Kill {
        ticket: Ticket(7),
        signal: 1,
        ends: false,
    };
    assert_eq!(replies(&world.state.step(other)), ["Changed"]);
    assert!(matches!(world.state.phase(), Phase::Restarting(_)));
    world.state.step(Input::TornDown(1));
    assert_eq!(replies(&world.state.step(kill(8, SIGKILL))), ["Changed"]);
    assert_eq!(world.state.phase(), &State::exited(true));
}

#[test]
fn removal_between_two_runs_needs_force() {
    let remove = |ticket, force| Input::Remove {
        ticket: Ticket(ticket),
        force,
    };
    let mut world = restarting(Policy::Always);
    let told = replies(&world.state.step(remove(7, false)));
    assert_eq!(
        told,
        [
            "cannot remove container \"name\": container is restarting: stop the container before removing or force remove"
        ]
    );
    assert!(world.state.step(remove(8, true)).is_empty());
    let effects = world.state.step(Input::TornDown(1));
    assert!(matches!(effects[..], [Effect::RemoveAll]), "{effects:?}");
}

#[test]
fn between_two_runs_it_counts_as_running() {
    let mut world = restarting(Policy::Always);
    let effects = world.state.step(Input::Start(Ticket(7)));
    assert_eq!(replies(&effects), ["Unchanged"]);
    let paused = replies(&world.state.step(Input::Pause(Ticket(8))));
    assert_eq!(
        paused,
        ["Container id is restarting, wait until the container is running"]
    );
}
