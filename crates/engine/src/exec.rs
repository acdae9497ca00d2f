//! Exec: one more process in a container that runs.
//!
//! An exec is made (known by its id, nothing runs), started once, and ends. Its own task sees it
//! through; readers see the published state. It ends with its container at the latest, and is
//! forgotten when that is removed.

pub(crate) mod probe;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use berth_config::Live;
use berth_ctrd::{FifoSet, Process, Task};
use berth_wire as wire;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::attach::{Attachment, DetachKeys, Input, Output};
use crate::container::handle::{Handle, View};
use crate::container::prepare;
use crate::container::record::{Record, Status};
use crate::shared::{Shared, blocking};
use crate::stdio::{Chunk, Hub, Session};
use crate::{Error, Result};

/// How long an ended exec is remembered, for who asks for its exit code.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The exit code of what SIGKILL ended.
const KILLED: i64 = 128 + 9;

/// The execs by id, as one value behind one pointer.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    table: ArcSwap<HashMap<String, Arc<Exec>>>,
    writing: Mutex<()>,
}

/// Where an exec stands.
#[derive(Clone, Debug)]
enum Stage {
    Created,
    Starting,
    Running { pid: u32, process: Process },
    Ended { code: i64, at: Instant },
}

impl Stage {
    fn ended(code: i64) -> Arc<Stage> {
        Arc::new(Stage::Ended {
            code,
            at: Instant::now(),
        })
    }

    /// Whether whoever wanted to know its end has had the time to ask.
    fn is_forgettable(&self, now: Instant) -> bool {
        matches!(self, Stage::Ended { at, .. } if now.duration_since(*at) > REMEMBERED)
    }
}

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    container: Arc<Handle>,
    request: wire::ExecCreate,
    hub: Arc<Hub>,
    stage: ArcSwap<Stage>,
}

impl Execs {
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let unknown = || Error::not_found(format!("No such exec instance: {id}"));
        self.table.load().get(id).cloned().ok_or_else(unknown)
    }

    fn insert(&self, exec: Arc<Exec>) {
        self.change(|table| {
            let now = Instant::now();
            table.retain(|_, other| !other.stage.load().is_forgettable(now));
            table.insert(exec.id.clone(), exec);
        });
    }

    /// The container has stopped, and its execs with it: killed, unless they had ended.
    pub(crate) fn end_all(&self, container: &str) {
        let table = self.table.load();
        for exec in table
            .values()
            .filter(|exec| &**exec.container.id() == container)
        {
            exec.stage.rcu(|stage| match &**stage {
                Stage::Ended { .. } => stage.clone(),
                _ => Stage::ended(KILLED),
            });
        }
    }

    /// The container is no more, nor are its execs.
    pub(crate) fn forget(&self, container: &str) {
        if self
            .table
            .load()
            .values()
            .any(|exec| &**exec.container.id() == container)
        {
            self.change(|table| table.retain(|_, exec| &**exec.container.id() != container));
        }
    }

    /// The ids of a container's execs that have not ended.
    pub(crate) fn of(&self, container: &str) -> Vec<String> {
        let table = self.table.load();
        let mine = table.values().filter(|exec| {
            &**exec.container.id() == container
                && !matches!(**exec.stage.load(), Stage::Ended { .. })
        });
        let mut ids: Vec<_> = mine.map(|exec| exec.id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Arc<Exec>>)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = HashMap::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }
}

/// Refuses a container in which nothing can be executed.
fn check(view: &View) -> Result<Task> {
    let id = &view.record.id;
    match (view.run.status, &view.task) {
        (Status::Paused, _) => Err(Error::conflict(format!(
            "Container {} is paused, unpause the container before exec",
            view.record.name
        ))),
        (Status::Restarting, _) => Err(Error::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        ))),
        (Status::Running, Some(task)) => Ok(task.clone()),
        _ => Err(Error::conflict(format!("container {id} is not running"))),
    }
}

/// Makes an exec; nothing runs yet. The new id.
pub(crate) fn create(
    shared: &Shared,
    container: Arc<Handle>,
    request: wire::ExecCreate,
) -> Result<String> {
    let view = container.view();
    check(&view)?;
    if request.cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            request.working_dir
        )));
    }
    DetachKeys::parse(Some(&request.detach_keys))?;
    let id = crate::create::random_id();
    let exec = Arc::new(Exec {
        id: id.clone(),
        container,
        request,
        hub: Hub::new(),
        stage: ArcSwap::from_pointee(Stage::Created),
    });
    exec.tell(shared, &view.record, "exec_create", true, &[]);
    shared.execs.insert(exec);
    Ok(id)
}

/// Starts an exec. A client that does not detach gets the streams, and a failed start told there.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    id: &str,
    request: &wire::ExecStart,
) -> Result<Option<Attachment>> {
    let exec = shared.execs.find(id)?;
    let tty = exec.request.tty;
    let (attachment, outcome) = begin(shared, live, &exec, request).await?;
    match (attachment, outcome) {
        (attachment, Ok(())) => Ok(attachment),
        (None, Err(error)) => Err(error),
        // The client has asked for a stream: it reads there what went wrong.
        (Some(_), Err(error)) => {
            let chunk = Chunk {
                stream: wire::stdcopy::Stream::Stdout,
                bytes: Bytes::from(format!("{error}\r\n")),
            };
            Ok(Some(Attachment {
                tty,
                output: Output::just(chunk),
                input: None,
            }))
        }
    }
}

/// Starts an exec: the streams, unless the client detaches, and how that went.
async fn begin(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    exec: &Arc<Exec>,
    request: &wire::ExecStart,
) -> Result<(Option<Attachment>, Result<()>)> {
    let view = exec.container.view();
    let task = check(&view)?;
    exec.claim()?;
    let wanted = &exec.request;
    let tty = wanted.tty;
    let attachment = (!request.detach).then(|| {
        let (output, keyboard) = exec
            .hub
            .attach(wanted.attach_stdout || tty, wanted.attach_stderr);
        let keys = DetachKeys::parse(Some(&wanted.detach_keys)).ok();
        let input = wanted
            .attach_stdin
            .then(|| Input::new(keyboard, keys.filter(|_| tty), true));
        Attachment {
            tty,
            output: Output::live(output),
            input,
        }
    });
    let (told, started) = oneshot::channel();
    let size = request.console_size.or(wanted.console_size);
    let run = Run {
        shared: shared.clone(),
        live,
        exec: exec.clone(),
        view,
        task,
        size,
    };
    tokio::spawn(run.see_through(told));
    let outcome = started
        .await
        .unwrap_or_else(|_| Err(Error::internal("the exec's task failed")));
    Ok((attachment, outcome))
}

/// What `GET /exec/{id}/json` answers.
pub(crate) fn inspect(shared: &Shared, id: &str) -> Result<wire::ExecInspect> {
    let exec = shared.execs.find(id)?;
    let stage = exec.stage.load();
    let (running, exit_code, pid) = match &**stage {
        Stage::Created => (false, None, 0),
        Stage::Starting => (true, None, 0),
        Stage::Running { pid, .. } => (true, None, i64::from(*pid)),
        Stage::Ended { code, .. } => (false, Some(*code), 0),
    };
    let request = &exec.request;
    let mut words = request.cmd.iter().cloned();
    Ok(wire::ExecInspect {
        id: exec.id.clone(),
        running,
        exit_code,
        process_config: wire::ProcessConfig {
            tty: request.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: Some(request.privileged),
            user: request.user.clone(),
        },
        open_stdin: request.attach_stdin,
        open_stderr: request.attach_stderr,
        open_stdout: request.attach_stdout,
        can_remove: exit_code.is_some(),
        container_id: exec.container.id().to_string(),
        detach_keys: request.detach_keys.clone(),
        pid,
    })
}

/// Sets the size of an exec's terminal.
pub(crate) async fn resize(shared: &Shared, id: &str, height: u16, width: u16) -> Result<()> {
    let exec = shared.execs.find(id)?;
    let process = match &**exec.stage.load() {
        Stage::Running { process, .. } => process.clone(),
        _ => return Err(Error::conflict(format!("exec {id} is not running"))),
    };
    process
        .resize(width, height)
        .await
        .map_err(Error::from_lower)
}

impl Exec {
    /// Takes the right to start it.
    fn claim(&self) -> Result<()> {
        let before = self.stage.rcu(|stage| match &**stage {
            Stage::Created => Arc::new(Stage::Starting),
            _ => stage.clone(),
        });
        match &*before {
            Stage::Created => Ok(()),
            Stage::Starting | Stage::Running { .. } => Err(Error::conflict(format!(
                "exec {} is already running",
                self.id
            ))),
            Stage::Ended { .. } => {
                Err(Error::conflict(format!("exec {} has already run", self.id)))
            }
        }
    }

    fn tell(
        &self,
        shared: &Shared,
        record: &Record,
        action: &str,
        command: bool,
        more: &[(&str, String)],
    ) {
        let action = match command {
            true => format!("{action}: {}", self.request.cmd.join(" ")),
            false => action.to_owned(),
        };
        let mut attributes = vec![("execID", self.id.clone())];
        attributes.extend_from_slice(more);
        shared.events.container(record, &action, &attributes);
    }
}

/// One exec being run.
struct Run {
    shared: Arc<Shared>,
    live: Arc<Live>,
    exec: Arc<Exec>,
    view: Arc<View>,
    task: Task,
    size: Option<[u32; 2]>,
}

impl Run {
    /// Starts it, says how that went, and stays until it has ended.
    async fn see_through(self, told: oneshot::Sender<Result<()>>) {
        let exec = &self.exec;
        let terminal = exec.request.tty;
        let stdin = exec.request.attach_stdin;
        let fifos = FifoSet::new(
            &self.shared.io_dir(&self.view.record.id),
            &exec.id,
            stdin,
            terminal,
        );
        match self.begin(&fifos).await {
            Ok((process, session)) => {
                let _ = told.send(Ok(()));
                self.end(process, session).await;
            }
            Err((error, code)) => {
                exec.stage.store(Stage::ended(code));
                exec.hub.end();
                let _ = told.send(Err(error));
            }
        }
        if let Err(error) = fifos.remove() {
            tracing::debug!(%error, "removing the FIFOs of an exec");
        }
    }

    async fn begin(&self, fifos: &FifoSet) -> Result<(Process, Session), (Error, i64)> {
        let plain = |error: Error| (error, 126);
        let spec = self.process_spec().await.map_err(plain)?;
        let streams = fifos.create().map_err(Error::from_lower).map_err(plain)?;
        let exec = &self.exec;
        let process = self
            .task
            .exec(&exec.id, spec, fifos)
            .await
            .map_err(failure)?;
        let session = exec.hub.begin(streams, process.clone(), None);
        match process.start().await {
            Ok(pid) => {
                let running = Stage::Running {
                    pid,
                    process: process.clone(),
                };
                exec.stage.store(Arc::new(running));
                exec.tell(&self.shared, &self.view.record, "exec_start", true, &[]);
                Ok((process, session))
            }
            Err(error) => {
                let _ = process.delete().await;
                session.abandon();
                Err(failure(error))
            }
        }
    }

    async fn end(&self, process: Process, session: Session) {
        let code = match process.wait().await {
            Ok(exit) => i64::from(exit.code),
            // Gone with its container.
            Err(error) if error.is_not_found() => KILLED,
            Err(error) => {
                tracing::debug!(exec = self.exec.id, %error, "waiting for an exec");
                crate::container::actor::UNKNOWN_EXIT
            }
        };
        // Ended before its streams end: who reads to the end finds the exit code. And before the
        // shim has deleted it: nobody has to wait for that.
        self.exec.stage.store(Stage::ended(code));
        let (deleted, errors) = tokio::join!(process.delete(), session.finish());
        if let Err(error) = deleted
            && !error.is_not_found()
        {
            tracing::warn!(exec = self.exec.id, %error, "deleting an exec");
        }
        for error in errors {
            tracing::warn!(exec = self.exec.id, error, "ending an exec");
        }
        let exit = [("exitCode", code.to_string())];
        self.exec
            .tell(&self.shared, &self.view.record, "exec_die", false, &exit);
    }

    /// The process as the OCI describes it: the container's own, with what the client changes.
    async fn process_spec(&self) -> Result<Vec<u8>> {
        let (shared, live, view, exec) = (
            self.shared.clone(),
            self.live.clone(),
            self.view.clone(),
            self.exec.clone(),
        );
        let size = self.size;
        blocking(move || prepare::exec_process(&shared, &view.record, &live, &exec.request, size))
            .await
    }
}

/// The runtime's words, and the exit code that goes with them.
fn failure(error: berth_ctrd::Error) -> (Error, i64) {
    let message = error.to_string();
    let missing = message.contains("executable file not found")
        || message.contains("no such file or directory");
    let code = if missing { 127 } else { 126 };
    (Error::invalid(message), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_exec_can_be_asked_for_its_exit_code_for_a_while() {
        let ended = Stage::ended(3);
        let now = Instant::now();
        assert!(!ended.is_forgettable(now));
        assert!(ended.is_forgettable(now + REMEMBERED + Duration::from_secs(1)));
        assert!(!Stage::Created.is_forgettable(now + 2 * REMEMBERED));
    }
}
