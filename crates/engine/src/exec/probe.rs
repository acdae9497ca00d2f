//! A health check's probe: an exec that has a time limit, and is forgotten when it is over.

use std::sync::Arc;
use std::time::Duration;

use berth_config::Live;
use berth_ctrd::Process;
use berth_wire as wire;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

use super::{Exec, Execs, Stage};
use crate::attach::Attachment;
use crate::container::handle::Handle;
use crate::container::state::SIGKILL;
use crate::shared::Shared;
use crate::{Error, Result, fault};

/// How much a probe may say, in bytes.
const OUTPUT: usize = 4096;
/// How long the runtime may take to start one: that is not the probe's own time.
const STARTING: Duration = Duration::from_secs(30);
/// How long one that is killed may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its exit code; -1 when it took too long.
    pub(crate) code: i64,
    /// What it wrote, or why there is no code.
    pub(crate) output: String,
}

/// Runs `command` in a container; `None` when `cancel` comes first, with which the probe is killed.
///
/// # Errors
/// It could not be started.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    container: Arc<Handle>,
    command: Vec<String>,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Found>> {
    let request = wire::ExecCreate {
        cmd: command,
        attach_stdout: true,
        attach_stderr: true,
        ..wire::ExecCreate::default()
    };
    let id = super::create(shared, container, request)?;
    let exec = shared.execs.find(&id)?;
    let outcome = see_through(shared, live, &exec, timeout, cancel).await;
    shared.execs.forget_one(&id);
    outcome
}

async fn see_through(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    exec: &Arc<Exec>,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Found>> {
    let mut starting = {
        let (shared, exec) = (shared.clone(), exec.clone());
        tokio::spawn(async move {
            let (attachment, started) =
                super::begin(&shared, live, &exec, &wire::ExecStart::default())?;
            super::outcome(started).await.map(|()| attachment)
        })
    };
    let begun = tokio::select! {
        begun = &mut starting => Some(begun),
        () = tokio::time::sleep(STARTING) => None,
        () = cancel.cancelled() => None,
    };
    let Some(begun) = begun else {
        let late = exec.clone();
        // Started after all, nobody wants it any more.
        tokio::spawn(async move {
            let _ = starting.await;
            late.kill().await;
        });
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let message = "timed out starting health check for container";
        return Err(Error::internal(format!(
            "{message} {}",
            exec.container.id()
        )));
    };
    let failed = |error| Error::internal(format!("a part of the daemon failed: {error}"));
    let attachment = begun.map_err(failed)??;
    fault::point("probe:started");
    let mut said = Said::default();
    tokio::select! {
        () = said.listen(attachment) => {}
        () = tokio::time::sleep(timeout) => {
            exec.kill().await;
            let mut output = format!("Health check exceeded timeout ({})", go_duration(timeout));
            let said = said.text();
            if !said.is_empty() {
                output = format!("{output}: {said}");
            }
            return Ok(Some(Found { code: -1, output }));
        }
        () = cancel.cancelled() => {
            exec.kill().await;
            return Ok(None);
        }
    }
    fault::point("probe:ended");
    match &**exec.stage.load() {
        Stage::Ended { code, .. } => Ok(Some(Found {
            code: *code,
            output: said.text(),
        })),
        _ => Err(Error::internal("healthcheck has no exit code")),
    }
}

impl Execs {
    /// Nobody will ask for this one.
    fn forget_one(&self, id: &str) {
        self.change(|table| drop(table.remove(id)));
    }
}

impl Exec {
    /// Kills it with what it has started, and waits for its end within limits.
    async fn kill(&self) {
        let Stage::Running { pid, process } = &*self.stage.load_full() else {
            return;
        };
        kill_group(*pid, self.container.id());
        let ended = async {
            end(process).await;
            let _ = process.wait().await;
        };
        let _ = tokio::time::timeout(ENDING, ended).await;
    }
}

async fn end(process: &Process) {
    if let Err(error) = process.kill(SIGKILL, false).await
        && !error.is_not_found()
    {
        tracing::warn!(%error, "killing a health check");
    }
}

/// The runtime makes each exec the leader of a group of processes: what a shell has started in it
/// ends too, where otherwise only the shell would. Nothing is signalled but what is in the
/// container's cgroup.
fn kill_group(pid: u32, container: &str) {
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|_| cgroup.contains(container)) {
        // It may have ended just now.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// What a probe has written, up to a limit.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    cut: bool,
}

impl Said {
    async fn listen(&mut self, attachment: Option<Attachment>) {
        let Some(mut attachment) = attachment else {
            return;
        };
        while let Some(chunk) = attachment.output.next().await {
            self.hear(&chunk.bytes);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let room = OUTPUT - self.bytes.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.cut |= taken.len() < bytes.len();
        self.bytes.extend_from_slice(taken);
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.cut {
            true => format!("{text}..."),
            false => text.into_owned(),
        }
    }
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `300ms`.
fn go_duration(time: Duration) -> String {
    let fraction = |whole: u64, part: u64, digits: usize, unit: &str| {
        let part = format!("{part:0digits$}");
        match part.trim_end_matches('0') {
            "" => format!("{whole}{unit}"),
            part => format!("{whole}.{part}{unit}"),
        }
    };
    let (seconds, nanos) = (time.as_secs(), u64::from(time.subsec_nanos()));
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => fraction(nanos / 1_000, nanos % 1_000, 3, "µs"),
            _ => fraction(nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
        };
    }
    let rest = fraction(seconds % 60, nanos, 9, "s");
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        let cases = [
            (1_000_000_000, "1s"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500, "1.5µs"),
            (1_000_000, "1ms"),
        ];
        for (nanos, text) in cases {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn what_is_said_is_cut_and_that_is_told() {
        let mut said = Said::default();
        said.hear(&[b'x'; OUTPUT]);
        assert_eq!(said.text().len(), OUTPUT);
        said.hear(b"y");
        assert!(said.text().ends_with("xx..."));
        assert_eq!(said.text().len(), OUTPUT + 3);
        let mut odd = Said::default();
        odd.hear(b"a\xff");
        assert_eq!(odd.text(), "a\u{fffd}");
    }
}
