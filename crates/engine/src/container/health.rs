//! A container's health: what its checks have shown. Pure; the actor lets the probes run.

use std::collections::VecDeque;
use std::time::Duration;

use berth_wire as wire;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The time between probes, and what one may take, where nobody says.
const USUAL: Duration = Duration::from_secs(30);
/// The time between probes in the start period, where nobody says.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// How many failures in a row make it unhealthy, where nobody says.
const RETRIES: u64 = 3;
/// How many probes are remembered.
const REMEMBERED: usize = 5;

/// How a container's health is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How long one probe may take once it runs.
    pub(crate) timeout: Duration,
    interval: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u64,
}

impl Check {
    /// The check that a configuration asks for, if it asks for one.
    pub(crate) fn of(config: &wire::ContainerConfig) -> Option<Check> {
        let check = config.healthcheck.as_ref()?;
        let (kind, words) = check.test.split_first()?;
        let mut command = match kind.as_str() {
            "CMD" => Vec::new(),
            "CMD-SHELL" => match config.shell.as_deref() {
                None | Some([]) => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                Some(shell) => shell.to_vec(),
            },
            _ => return None,
        };
        command.extend_from_slice(words);
        let or = |nanoseconds: i64, usual| match u64::try_from(nanoseconds) {
            Ok(given) if given > 0 => Duration::from_nanos(given),
            _ => usual,
        };
        Some(Check {
            command,
            timeout: or(check.timeout, USUAL),
            interval: or(check.interval, USUAL),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: match u64::try_from(check.retries) {
                Ok(given) if given > 0 => given,
                _ => RETRIES,
            },
        })
    }

    /// The pause before the next probe of what has run for so long.
    pub(crate) fn pause(&self, health: &Health, ran: Duration) -> Duration {
        if ran < self.start_period && health.status == Verdict::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// What is thought of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// No probe has told yet.
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Verdict {
    /// Docker's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Starting => "starting",
            Verdict::Healthy => "healthy",
            Verdict::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// 0 is healthy; -1 where there is no exit code.
    pub(crate) code: i64,
    pub(crate) output: String,
}

/// What the probes have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    pub(crate) status: Verdict,
    /// How many probes have failed in a row.
    pub(crate) streak: u64,
    /// The last probes, the oldest first.
    pub(crate) log: VecDeque<Probe>,
}

impl Health {
    /// A run begins, of which nothing is known. What is remembered stays.
    pub(crate) fn begin(&mut self) {
        self.status = Verdict::Starting;
        self.streak = 0;
    }

    /// Nobody looks any more: clients of Docker take that for ill.
    pub(crate) fn suspend(&mut self) {
        self.status = Verdict::Unhealthy;
    }

    /// Takes a probe of a run that began at `started`.
    pub(crate) fn take(&mut self, check: &Check, started: Timestamp, probe: Probe) {
        if probe.code == 0 {
            self.streak = 0;
            self.status = Verdict::Healthy;
        } else {
            let ran = Duration::try_from(probe.start.duration_since(started)).unwrap_or_default();
            let forgiven = self.status == Verdict::Starting && ran < check.start_period;
            if !forgiven {
                self.streak += 1;
                if self.streak >= check.retries {
                    self.status = Verdict::Unhealthy;
                }
            }
        }
        while self.log.len() >= REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(probe);
    }

    /// As clients see it.
    pub(crate) fn shown(&self) -> wire::Health {
        let probe = |probe: &Probe| wire::HealthcheckResult {
            start: wire::rfc3339_nano(probe.start),
            end: wire::rfc3339_nano(probe.end),
            exit_code: probe.code,
            output: probe.output.clone(),
        };
        wire::Health {
            status: self.status.as_str().to_owned(),
            failing_streak: self.failing_streak(),
            log: self.log.iter().map(probe).collect(),
        }
    }

    /// [`streak`](Health::streak) as it travels.
    pub(crate) fn failing_streak(&self) -> i64 {
        i64::try_from(self.streak).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn config(test: &[&str]) -> wire::ContainerConfig {
        wire::ContainerConfig {
            healthcheck: Some(wire::Healthcheck {
                test: words(test),
                start_period: 10_000_000_000,
                retries: 2,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn check() -> Check {
        Check::of(&config(&["CMD", "true"])).expect("a check")
    }

    /// A probe that began so many seconds after the start.
    fn probe(second: i64, code: i64) -> Probe {
        Probe {
            start: Timestamp::from_second(second).expect("a time"),
            code,
            ..Probe::default()
        }
    }

    fn after(probes: &[(i64, i64)]) -> Health {
        let mut health = Health::default();
        for (second, code) in probes {
            health.take(&check(), Timestamp::UNIX_EPOCH, probe(*second, *code));
        }
        health
    }

    #[test]
    fn commands_of_each_kind() {
        let command = |config: &wire::ContainerConfig| Check::of(config).map(|check| check.command);
        assert_eq!(
            command(&config(&["CMD", "a", "b c"])),
            Some(words(&["a", "b c"]))
        );
        let shell = words(&["/bin/sh", "-c", "a && b"]);
        assert_eq!(command(&config(&["CMD-SHELL", "a && b"])), Some(shell));
        let mut own = config(&["CMD-SHELL", "a"]);
        own.shell = Some(words(&["/bin/ash", "-ec"]));
        assert_eq!(command(&own), Some(words(&["/bin/ash", "-ec", "a"])));
        for none in [&["NONE"][..], &[], &["ODD", "a"]] {
            assert_eq!(command(&config(none)), None, "{none:?}");
        }
        assert_eq!(Check::of(&wire::ContainerConfig::default()), None);
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let told = |probes: &[(i64, i64)]| {
            let health = after(probes);
            (health.status, health.streak)
        };
        assert_eq!(told(&[(1, 1), (2, 1), (3, 1)]), (Verdict::Starting, 0));
        assert_eq!(told(&[(10, 1)]), (Verdict::Starting, 1));
        assert_eq!(told(&[(10, 1), (11, -1)]), (Verdict::Unhealthy, 2));
        assert_eq!(told(&[(1, 0), (2, 1)]), (Verdict::Healthy, 1));
        assert_eq!(told(&[(1, 0), (2, 1), (3, 1)]), (Verdict::Unhealthy, 2));
        assert_eq!(told(&[(10, 1), (11, 1), (12, 0)]), (Verdict::Healthy, 0));
    }

    #[test]
    fn pauses_are_short_until_it_is_known() {
        let check = check();
        let second = Duration::from_secs;
        assert_eq!(check.pause(&after(&[]), second(1)), START_INTERVAL);
        assert_eq!(check.pause(&after(&[]), second(10)), USUAL);
        assert_eq!(check.pause(&after(&[(1, 0)]), second(1)), USUAL);
    }

    #[test]
    fn a_new_run_is_judged_anew_and_the_past_is_remembered() {
        let mut health = after(&[(10, 1), (11, 1)]);
        health.begin();
        assert_eq!(
            (health.status, health.streak, health.log.len()),
            (Verdict::Starting, 0, 2)
        );
    }

    proptest! {
        #[test]
        fn a_success_heals_and_the_last_five_are_kept(
            codes in prop::collection::vec(-1i64..3, 1..20),
        ) {
            let mut health = Health::default();
            for (second, code) in codes.iter().enumerate() {
                let second = i64::try_from(second).expect("few");
                health.take(&check(), Timestamp::UNIX_EPOCH, probe(second, *code));
            }
            let kept: Vec<_> = health.log.iter().map(|probe| probe.code).collect();
            let last = codes.len().saturating_sub(REMEMBERED);
            prop_assert_eq!(&kept[..], &codes[last..]);
            if codes.last() == Some(&0) {
                prop_assert_eq!((health.status, health.streak), (Verdict::Healthy, 0));
            }
            prop_assert_eq!(health.status == Verdict::Unhealthy, health.streak >= 2);
        }
    }
}
