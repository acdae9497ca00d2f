//! Counting containerd's RPCs through its own metrics.

use std::collections::BTreeMap;

use crate::{Daemon, Place, Request};

/// The counters of `grpc_server_started_total` at one moment, and how many calls of each method were
/// answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcCounter {
    started: BTreeMap<String, u64>,
    answered: BTreeMap<String, u64>,
}

/// Calls that last: they are answered when something happens.
const LASTING: [&str; 2] = ["Tasks.Wait", "Events.Subscribe"];

/// What was called between two moments: `Service.Method` → count. Events' subscriptions are in
/// it as well; the metrics themselves are no RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget(pub BTreeMap<String, u64>);

impl RpcCounter {
    /// Reads the counters. The daemon must have been started with
    /// [`Containerd::Metered`](crate::Containerd::Metered).
    #[track_caller]
    pub fn read(daemon: &Daemon) -> RpcCounter {
        let stream = daemon
            .sandbox()
            .connect(Place::Inside, Daemon::METRICS.parse().expect("an address"))
            .expect("containerd answers at its metrics address");
        let response = Request::over(stream, "GET", "/v1/metrics").header("Connection", "close");
        let text = response.send().is(200).text();
        let count = |metric: &str| {
            let mut all = BTreeMap::new();
            // Answers are counted by their codes.
            for (method, count) in text.lines().filter_map(|line| counter(metric, line)) {
                *all.entry(method).or_insert(0) += count;
            }
            all
        };
        RpcCounter {
            started: count("started"),
            answered: count("handled"),
        }
    }

    /// Whether each call has been answered, but for those that last.
    pub fn is_idle(&self) -> bool {
        let started = self.started.iter();
        let mut open = started.filter(|(method, count)| self.answered.get(*method) != Some(*count));
        open.all(|(method, _)| LASTING.contains(&method.as_str()))
    }

    /// Runs `work` and tells what it called.
    #[track_caller]
    pub fn during<T>(daemon: &Daemon, work: impl FnOnce() -> T) -> (T, Budget) {
        let before = RpcCounter::read(daemon);
        let result = work();
        (result, before.since(daemon))
    }

    /// What was called since this was read.
    #[track_caller]
    pub fn since(&self, daemon: &Daemon) -> Budget {
        let now = RpcCounter::read(daemon);
        let calls = now.started.into_iter().filter_map(|(method, count)| {
            let more = count - self.started.get(&method).copied().unwrap_or(0);
            (more > 0).then_some((method, more))
        });
        Budget(calls.collect())
    }
}

impl Budget {
    /// All calls together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How often one method was called.
    pub fn of(&self, method: &str) -> u64 {
        self.0.get(method).copied().unwrap_or(0)
    }

    /// Fails the test when there were more than `budget` calls.
    #[track_caller]
    pub fn at_most(&self, budget: u64, what: &str) {
        assert!(
            self.total() <= budget,
            "{what}: {} RPCs, budget {budget}: {self}",
            self.total()
        );
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls: Vec<_> = self
            .0
            .iter()
            .map(|(name, count)| format!("{name}×{count}"))
            .collect();
        f.write_str(&calls.join(" "))
    }
}

/// `grpc_server_started_total{grpc_method="Create",grpc_service="containerd.services.tasks.v1.Tasks",…} 3`
fn counter(metric: &str, line: &str) -> Option<(String, u64)> {
    let rest = line.strip_prefix("grpc_server_")?.strip_prefix(metric)?;
    let rest = rest.strip_prefix("_total{")?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let label = |name: &str| {
        let (_, after) = labels.split_once(&format!("{name}=\""))?;
        Some(after.split_once('"')?.0.to_owned())
    };
    let service = label("grpc_service")?;
    let service = service.rsplit('.').next().unwrap_or(&service).to_owned();
    // Prometheus writes large counts as 1e+06.
    let count = value.trim().parse::<f64>().ok()? as u64;
    (count > 0).then(|| {
        (
            format!("{service}.{}", label("grpc_method").unwrap_or_default()),
            count,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn a_line_of_the_metrics() {
        let line = "grpc_server_started_total{grpc_method=\"Create\",grpc_service=\
                    \"containerd.services.tasks.v1.Tasks\",grpc_type=\"unary\"} 3";
        let create = Some(("Tasks.Create".to_owned(), 3));
        assert_eq!(counter("started", line), create);
        assert_eq!(counter("handled", line), None);
        let line = line.replace("started", "handled");
        assert_eq!(counter("handled", &line), create);
    }
}
