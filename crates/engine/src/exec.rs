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
use berth_errdefs::{Classify, Kind};
use berth_wire as wire;
use tokio::sync::{Notify, oneshot};

use crate::attach::{Attachment, Detach, DetachKeys, Input, Output};
use crate::container::handle::{Handle, View};
use crate::container::prepare;
use crate::container::record::Status;
use crate::container::state::SIGKILL;
use crate::container::teardown;
use crate::shared::{Shared, blocking};
use crate::stdio::{Hub, Session};
use crate::{Error, Result, fault};

/// How long an ended exec is remembered, for who asks for its exit code.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How many ended execs are remembered at most.
const ENDED: usize = 1000;

/// How long who sets the size of a terminal waits for the exec to be started.
const STARTED: Duration = Duration::from_secs(10);

/// How long an exec whose start went wrong may take to end by SIGKILL.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

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
    Running { pid: u32, process: Box<Process> },
    Ended { code: i64, at: Instant },
}

impl Stage {
    fn ended(code: i64) -> Stage {
        Stage::Ended {
            code,
            at: Instant::now(),
        }
    }

    fn ended_at(&self) -> Option<Instant> {
        match self {
            Stage::Ended { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Whether whoever wanted to know its end has had the time to ask, or those that ended since
    /// `oldest` are enough to remember.
    fn is_forgettable(&self, now: Instant, oldest: Option<Instant>) -> bool {
        self.ended_at().is_some_and(|at| {
            now.duration_since(at) > REMEMBERED || oldest.is_some_and(|oldest| at < oldest)
        })
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
    /// Told when it runs or has ended.
    started: Notify,
}

impl Execs {
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let unknown = || Error::not_found(format!("No such exec instance: {id}"));
        self.table.load().get(id).cloned().ok_or_else(unknown)
    }

    fn insert(&self, exec: Arc<Exec>) {
        self.change(|table| {
            let mut ended: Vec<_> = table
                .values()
                .filter_map(|exec| exec.stage.load().ended_at())
                .collect();
            ended.sort_unstable();
            let oldest = ended.len().checked_sub(ENDED).and_then(|n| ended.get(n));
            let oldest = oldest.copied();
            let now = Instant::now();
            table.retain(|_, other| !other.stage.load().is_forgettable(now, oldest));
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
            exec.enter(Stage::ended(KILLED));
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
        started: Notify::new(),
    });
    exec.tell(shared, "exec_create", true, &[]);
    shared.execs.insert(exec);
    Ok(id)
}

/// Starts an exec. A client that does not detach gets the streams at once, so that it has left HTTP
/// before the process writes: some clients lose what comes together with the answer's head. A start
/// that fails is told in the stream.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    id: &str,
    request: &wire::ExecStart,
) -> Result<Option<Attachment>> {
    let exec = shared.execs.find(id)?;
    let (attachment, started) = begin(shared, live, &exec, request)?;
    match attachment {
        Some(mut attachment) => {
            attachment.output.tells(started);
            Ok(Some(attachment))
        }
        None => outcome(started).await.map(|()| None),
    }
}

/// How a start went.
async fn outcome(started: oneshot::Receiver<Result<()>>) -> Result<()> {
    let failed = |_| Err(Error::internal("the exec's task failed"));
    started.await.unwrap_or_else(failed)
}

/// Begins to start an exec: the streams, unless the client detaches, and how that will have gone.
fn begin(
    shared: &Arc<Shared>,
    live: Arc<Live>,
    exec: &Arc<Exec>,
    request: &wire::ExecStart,
) -> Result<(Option<Attachment>, oneshot::Receiver<Result<()>>)> {
    let view = exec.container.view();
    let task = check(&view)?;
    exec.claim()?;
    exec.tell(shared, "exec_start", true, &[]);
    let wanted = &exec.request;
    let tty = wanted.tty;
    let attachment = (!request.detach).then(|| {
        let stdout = wanted.attach_stdout || tty;
        let (output, keyboard) = exec.hub.attach(&shared.spool, stdout, wanted.attach_stderr);
        let keys = DetachKeys::parse(Some(&wanted.detach_keys)).ok();
        let detach = keys.filter(|_| tty).map(|keys| Detach {
            keys,
            events: shared.events.clone(),
            record: view.record.clone(),
            exec: Some(exec.id.clone()),
        });
        let input = wanted
            .attach_stdin
            // From a terminal the docker CLI detaches by going away.
            .then(|| Input::new(keyboard, detach, !tty));
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
    Ok((attachment, started))
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
    let process = exec.process().await?;
    process
        .resize(width, height)
        .await
        .map_err(Error::from_lower)
}

impl Exec {
    /// Goes on to a later stage, unless it has ended with its container.
    fn enter(&self, stage: Stage) {
        let stage = Arc::new(stage);
        self.stage.rcu(|before| match &**before {
            Stage::Ended { .. } => before.clone(),
            _ => stage.clone(),
        });
        self.started.notify_waiters();
    }

    /// Its process, once it runs.
    async fn process(&self) -> Result<Process> {
        let running = async {
            let mut told = std::pin::pin!(self.started.notified());
            loop {
                told.as_mut().enable();
                match &**self.stage.load() {
                    Stage::Running { process, .. } => return Ok(Process::clone(process)),
                    Stage::Ended { .. } => {
                        let message = format!("exec {} is not running", self.id);
                        return Err(Error::conflict(message));
                    }
                    Stage::Created | Stage::Starting => {}
                }
                told.as_mut().await;
                told.set(self.started.notified());
            }
        };
        let late = |_| Error::internal("timeout waiting for exec session ready");
        tokio::time::timeout(STARTED, running).await.map_err(late)?
    }

    /// Takes the right to start it.
    fn claim(&self) -> Result<()> {
        let before = self.stage.rcu(|stage| match &**stage {
            Stage::Created => Arc::new(Stage::Starting),
            _ => stage.clone(),
        });
        match &*before {
            Stage::Created => Ok(()),
            Stage::Starting | Stage::Running { .. } => Err(Error::conflict(format!(
                "exec command {} is already running",
                self.id
            ))),
            Stage::Ended { .. } => Err(Error::conflict(format!(
                "exec command {} has already run",
                self.id
            ))),
        }
    }

    fn tell(&self, shared: &Shared, action: &str, command: bool, more: &[(&str, String)]) {
        let action = match command {
            // dockerd sets the arguments off with a space where there are none, too.
            true => match &self.request.cmd[..] {
                [program] => format!("{action}: {program} "),
                all => format!("{action}: {}", all.join(" ")),
            },
            false => action.to_owned(),
        };
        let mut attributes = vec![("execID", self.id.clone())];
        attributes.extend_from_slice(more);
        // As the container is called now.
        let view = self.container.view();
        shared.events.container(&view.record, &action, &attributes);
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
                exec.enter(Stage::ended(code));
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
        let process = match self.task.exec(&exec.id, spec, fifos).await {
            Ok(process) => process,
            Err(error) => {
                // It may have been added all the same.
                if is_unsure(&error) {
                    tokio::spawn(discard(self.task.process(&exec.id)));
                }
                return Err(failure(error));
            }
        };
        fault::point("exec:added");
        let mut session = exec.hub.begin(streams, process.clone(), None);
        match process.start().await {
            Ok(pid) => {
                let running = Stage::Running {
                    pid,
                    process: Box::new(process.clone()),
                };
                exec.enter(running);
                fault::point("exec:started");
                session.listen();
                Ok((process, session))
            }
            Err(error) => {
                // Or be started all the same.
                match is_unsure(&error) {
                    true => drop(tokio::spawn(discard(process))),
                    false => drop(process.delete().await),
                }
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
        fault::point("exec:ended");
        // Ended before its streams end: who reads to the end finds the exit code. And before the
        // shim has deleted it: nobody has to wait for that.
        // Its own code, also where the end of the container was seen first.
        self.exec.stage.store(Arc::new(Stage::ended(code)));
        self.exec.started.notify_waiters();
        let ((), errors) = tokio::join!(delete(&process), session.finish());
        for error in errors {
            tracing::warn!(exec = self.exec.id, error, "ending an exec");
        }
        let exit = [("exitCode", code.to_string())];
        self.exec.tell(&self.shared, "exec_die", false, &exit);
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

/// Whether what was asked for may still happen.
fn is_unsure(error: &berth_ctrd::Error) -> bool {
    matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable)
}

/// Ends a process of which nobody knows whether it runs, and forgets it.
async fn discard(process: Process) {
    let _ = teardown::insist(|| process.kill(SIGKILL, false)).await;
    let _ = tokio::time::timeout(KILLED_WITHIN, process.wait()).await;
    delete(&process).await;
}

/// Gives back what the shim holds of an exec that has ended, or was never started.
pub(crate) async fn delete(process: &Process) {
    if let Err(error) = teardown::insist(|| process.delete()).await
        && !error.is_not_found()
    {
        tracing::warn!(%error, "deleting an exec");
    }
}

/// The runtime's words, and the exit code that goes with them.
fn failure(error: berth_ctrd::Error) -> (Error, i64) {
    if is_unsure(&error) {
        return (Error::from_lower(error), 126);
    }
    let message = error.to_string();
    let missing = message.contains("executable file not found")
        || message.contains("no such file or directory");
    let code = if missing { 127 } else { 126 };
    (Error::invalid(message), code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::{Record, RunState};

    #[test]
    fn an_ended_exec_can_be_asked_for_its_exit_code_for_a_while() {
        let ended = Stage::ended(3);
        let now = Instant::now();
        assert!(!ended.is_forgettable(now, None));
        let later = now + REMEMBERED + Duration::from_secs(1);
        assert!(ended.is_forgettable(later, None));
        assert!(!Stage::Created.is_forgettable(later, Some(later)));
    }

    #[test]
    fn thousands_of_ended_execs_are_not_remembered() {
        let execs = Execs::default();
        let exec = |id: String| {
            let view = View::new(Arc::new(Record::default()), RunState::default(), None);
            let (container, _mailbox) = Handle::new(view, Hub::new());
            Arc::new(Exec {
                id,
                container,
                request: wire::ExecCreate::default(),
                hub: Hub::new(),
                stage: ArcSwap::from_pointee(Stage::Created),
                started: Notify::new(),
            })
        };
        execs.insert(exec("waits".to_owned()));
        for n in 0..ENDED + 500 {
            let one = exec(n.to_string());
            execs.insert(one.clone());
            one.enter(Stage::ended(0));
        }
        let table = execs.table.load();
        assert!(table.len() <= ENDED + 3, "{}", table.len());
        // The last ones are known, and what has not ended.
        assert!(execs.find("waits").is_ok());
        assert!(execs.find(&(ENDED + 499).to_string()).is_ok());
        let error = execs.find("0").expect_err("forgotten").to_string();
        assert_eq!(error, "No such exec instance: 0");
    }
}
