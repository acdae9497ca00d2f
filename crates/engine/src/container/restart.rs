//! Whether a container whose run has ended is started again, and after which pause: pure, as the
//! state that it is part of.

use std::time::Duration;

use berth_wire as wire;

/// The pause before the first restart; doubled for each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length was no failure to start: the pauses begin anew.
const LONG_RUN: Duration = Duration::from_secs(10);

/// What the user wants to happen at the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing.
    #[default]
    No,
    /// Started again unless it ended with 0; at most so often, `None` for no limit.
    OnFailure(Option<u64>),
    /// Started again, whatever the end.
    Always,
    /// Started again unless a user stopped it.
    UnlessStopped,
}

impl From<&wire::RestartPolicy> for Policy {
    /// Of a policy that was checked when the container was made.
    fn from(policy: &wire::RestartPolicy) -> Policy {
        match policy.name.as_str() {
            "always" => Policy::Always,
            "unless-stopped" => Policy::UnlessStopped,
            "on-failure" => {
                let most = u64::try_from(policy.maximum_retry_count);
                Policy::OnFailure(most.ok().filter(|most| *most > 0))
            }
            _ => Policy::No,
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i64,
    /// How long the run took.
    pub(crate) ran: Duration,
}

/// The policy, and what counts for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    policy: Policy,
    count: u64,
    stopped: bool,
    /// This run was ended from outside: nothing follows it.
    cancelled: bool,
    /// The pause before the last restart; nothing before the first.
    pause: Option<Duration>,
}

impl Restarts {
    /// As a record tells it: restarted `count` times, and `stopped` by a user.
    pub(crate) fn new(policy: Policy, count: u64, stopped: bool) -> Restarts {
        Restarts {
            policy,
            count,
            stopped,
            ..Restarts::default()
        }
    }

    /// How often the policy has started it since a user did.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// A user stopped it, and has not started it since.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Another policy holds from now on. What is counted stays counted.
    pub(super) fn follow(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Started by a user, or with the daemon: everything begins anew.
    pub(super) fn started(&mut self) {
        *self = Restarts {
            policy: self.policy,
            ..Restarts::default()
        };
    }

    /// The run is ended from outside: by a user, or by the daemon that ends.
    pub(super) fn cancel(&mut self, by_user: bool) {
        self.cancelled = true;
        self.stopped |= by_user;
    }

    /// A user sent a signal that need not be meant to end it.
    pub(super) fn touched(&mut self) {
        self.stopped = true;
    }

    /// The run has ended: the pause after which it is started again, if it is.
    pub(super) fn exited(&mut self, exit: Exit) -> Option<Duration> {
        if self.cancelled || self.policy == Policy::No {
            return None;
        }
        self.pause = Some(match self.pause {
            Some(last) if exit.ran < LONG_RUN => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        });
        if !self.wants(exit.code) {
            return None;
        }
        self.count += 1;
        self.pause
    }

    /// Whether the policy wants it started after it ended with `code`: when its run has ended, and
    /// when the daemon begins.
    pub(crate) fn wants(&self, code: i64) -> bool {
        match self.policy {
            Policy::No => false,
            Policy::Always => true,
            Policy::UnlessStopped => !self.stopped,
            Policy::OnFailure(most) => code != 0 && most.is_none_or(|most| self.count < most),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exit(code: i64, seconds: u64) -> Exit {
        let ran = Duration::from_secs(seconds);
        Exit { code, ran }
    }

    fn pauses(restarts: &mut Restarts, exits: &[Exit]) -> Vec<Option<u128>> {
        let mut pause = |exit: &Exit| restarts.exited(*exit).map(|pause| pause.as_millis());
        exits.iter().map(&mut pause).collect()
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut restarts = Restarts::new(Policy::Always, 0, false);
        let quick = [exit(0, 1); 12];
        let told = pauses(&mut restarts, &quick);
        let wanted = [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
        ];
        assert_eq!(told, wanted.map(Some));
        assert_eq!(
            pauses(&mut restarts, &[exit(0, 10), exit(0, 9)]),
            [Some(100), Some(200)]
        );
        assert_eq!(restarts.count(), 14);
    }

    #[test]
    fn on_failure_counts_and_forgives_success() {
        let mut restarts = Restarts::new(Policy::OnFailure(Some(2)), 0, false);
        let exits = [exit(1, 0), exit(1, 0), exit(1, 0)];
        assert_eq!(pauses(&mut restarts, &exits), [Some(100), Some(200), None]);
        restarts.started();
        assert_eq!(
            pauses(&mut restarts, &[exit(1, 0), exit(0, 0)]),
            [Some(100), None]
        );
        let mut endless = Restarts::new(Policy::OnFailure(None), 1000, false);
        assert!(endless.exited(exit(1, 0)).is_some());
    }

    #[test]
    fn policies_in_dockers_words() {
        let policy = |name: &str, most| {
            Policy::from(&wire::RestartPolicy {
                name: name.to_owned(),
                maximum_retry_count: most,
            })
        };
        assert_eq!(policy("no", 0), Policy::No);
        assert_eq!(policy("", 0), Policy::No);
        assert_eq!(policy("always", 0), Policy::Always);
        assert_eq!(policy("unless-stopped", 0), Policy::UnlessStopped);
        assert_eq!(policy("on-failure", 0), Policy::OnFailure(None));
        assert_eq!(policy("on-failure", 3), Policy::OnFailure(Some(3)));
    }

    #[test]
    fn at_the_daemons_start_only_unless_stopped_asks_who_stopped_it() {
        let wants = |policy, stopped, code| Restarts::new(policy, 0, stopped).wants(code);
        assert!(wants(Policy::Always, true, 0));
        assert!(wants(Policy::UnlessStopped, false, 0));
        assert!(!wants(Policy::UnlessStopped, true, 137));
        assert!(wants(Policy::OnFailure(None), true, 137));
        assert!(!wants(Policy::OnFailure(None), false, 0));
        assert!(!wants(Policy::No, false, 1));
    }

    proptest! {
        #[test]
        fn what_was_ended_from_outside_stays_ended(
            code in 0i64..256, seconds in 0u64..100, by_user: bool, which in 0usize..4,
        ) {
            let policies =
                [Policy::No, Policy::Always, Policy::UnlessStopped, Policy::OnFailure(None)];
            let mut restarts = Restarts::new(policies[which], 0, false);
            restarts.cancel(by_user);
            prop_assert_eq!(restarts.exited(exit(code, seconds)), None);
            prop_assert_eq!(restarts.stopped(), by_user);
            restarts.started();
            prop_assert!(!restarts.stopped());
        }
    }
}
