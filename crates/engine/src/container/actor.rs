//! The actor that owns one container: takes wishes and results one by one, asks [`State::step`]
//! what to do, and does it. What takes time runs as tasks of their own, so that the actor is
//! always there for the next wish.
//!
//! The order of every change: persist → publish the snapshot → tell the event → reply.

mod captures;
mod effects;
mod health;
mod leftovers;
mod rewire;
mod update;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use berth_config::Live;
use berth_ctrd::ExitStatus;
use berth_store::Durability;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use captures::Captures;
pub(crate) use leftovers::Rest;

use super::handle::{Handle, Message, View, Wish};
use super::health::Probe;
use super::record::{CONFIG, Record, RunState, STATE, Status};
use super::restart::{Exit, Policy, Restarts};
use super::start::{Failure, Started};
use super::state::{Done, Generation, Input, Phase, SIGKILL, State, Ticket};
use super::teardown::Run;
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault, network, signals};

/// The exit code of a container whose end nobody saw.
pub(crate) const UNKNOWN_EXIT: i64 = 255;
/// The exit code of what SIGKILL ended.
const KILLED_EXIT: i64 = 128 + 9;

/// What has come to its end among the things that the actor let run.
enum Outcome {
    Started(Generation, Box<Result<Started, Failure>>),
    Exited(Generation, Option<ExitStatus>),
    TornDown(Generation, Vec<String>),
    Probed(Generation, Option<Probe>),
    Updated(update::Update),
    Signalled(Option<Ticket>, u32, Result<(), berth_ctrd::Error>),
    Removed(Result<()>),
    Rewired(Box<rewire::Outcome>),
    /// What an earlier daemon left has been cleared away, but for these errors.
    Cleared(Vec<String>),
    SaveAgain,
    Input(Input),
}

/// What an actor begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) record: Arc<Record>,
    pub(crate) run: RunState,
    pub(crate) phase: Phase,
    /// What runs already, with the wait for its end.
    pub(crate) running: Option<Started>,
    /// Something of an earlier daemon's run may be left in containerd: it is cleared away.
    pub(crate) strays: bool,
    /// It did not run, but the earlier daemon was at it when it ended: perhaps at a start.
    pub(crate) cut_off: bool,
    /// What is left to be read of a run that has ended meanwhile.
    pub(crate) rest: Option<Rest>,
    /// For what no request asks for: a restart by policy captures the configuration itself.
    pub(crate) config: Captures,
}

pub(crate) struct Actor {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    mailbox: mpsc::Receiver<Message>,
    state: State,
    record: Arc<Record>,
    run: RunState,
    /// The run as readers see it.
    published: RunState,
    config: Captures,
    /// The configuration that the next start works under: the one of the request for it, or the
    /// one that was captured when its policy wanted it.
    live: Arc<Live>,
    current: Option<Run>,
    cancel: CancellationToken,
    /// The present run has ended: what is still to be sent to it comes too late.
    over: CancellationToken,
    /// The present run's, where it has a limit of memory.
    limited: Option<berth_cgroups::Group>,
    updates: update::Updates,
    /// The health checks that go on.
    checks: Option<health::Checks>,
    /// The run whose health is known.
    judged: Generation,
    strays: bool,
    /// The disk has an older state than readers see.
    unsaved: bool,
    failed_removals: (u64, Arc<str>),
    tickets: HashMap<Ticket, oneshot::Sender<Result<Done>>>,
    last_ticket: u64,
    /// Who wants the anonymous volumes removed with the container.
    with_volumes: HashSet<Ticket>,
    /// Who wants it gone even if something of it cannot be reached.
    forced: HashSet<Ticket>,
    work: FuturesUnordered<BoxFuture<'static, Outcome>>,
    rewiring: rewire::Rewiring,
}

impl Actor {
    /// Lets an actor begin; the container can be found once its handle is in the table.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        handle: Arc<Handle>,
        mailbox: mpsc::Receiver<Message>,
        beginning: Beginning,
    ) {
        let Beginning {
            record,
            run,
            phase,
            running,
            strays,
            cut_off,
            rest,
            config,
        } = beginning;
        let policy = Policy::from(&record.host.restart_policy);
        let state = State::new(
            &record.id,
            &record.name,
            phase,
            run.generation,
            record.host.auto_remove,
            Restarts::new(policy, run.restarts, run.stopped),
        );
        let mut actor = Actor {
            shared,
            handle,
            mailbox,
            state,
            record,
            published: run.clone(),
            run,
            live: config.capture(),
            config,
            current: None,
            cancel: CancellationToken::new(),
            over: CancellationToken::new(),
            limited: None,
            updates: update::Updates::default(),
            checks: None,
            judged: 0,
            strays,
            unsaved: false,
            failed_removals: (0, "".into()),
            tickets: HashMap::new(),
            last_ticket: 0,
            with_volumes: HashSet::new(),
            forced: HashSet::new(),
            work: FuturesUnordered::new(),
            rewiring: rewire::Rewiring::default(),
        };
        if let Some(started) = running {
            actor.keep(actor.state.generation(), started);
            actor.attend_health();
            actor.publish();
        }
        if strays {
            actor.clear_leftovers(rest, cut_off);
        }
        tokio::spawn(actor.live());
    }

    async fn live(mut self) {
        while !matches!(self.state.phase(), Phase::Gone) {
            tokio::select! {
                Some(outcome) = self.work.next(), if !self.work.is_empty() => {
                    self.take(outcome).await;
                }
                message = self.mailbox.recv() => match message {
                    Some(Message::Wish(wish, reply)) => self.wish(wish, reply).await,
                    Some(Message::OutOfMemory) => self.out_of_memory().await,
                    None => return,
                },
            }
            self.rewire_next().await;
        }
    }

    async fn wish(&mut self, wish: Wish, reply: oneshot::Sender<Result<Done>>) {
        let wish = match wish {
            Wish::Rename(name) => return drop(reply.send(self.rename(&name).await)),
            Wish::Update(asked) => return self.update(asked, reply).await,
            Wish::Rewire(change) => return self.rewiring.wait(change, reply),
            wish => wish,
        };
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, reply);
        let input = match wish {
            Wish::Start(live) => {
                self.live = live;
                Input::Start(ticket)
            }
            Wish::Restart(how, live) => {
                self.live = live;
                Input::Restart(ticket, how)
            }
            Wish::Stop(how) => Input::Stop(ticket, how),
            Wish::Kill(signal) => Input::Kill {
                ticket,
                signal,
                ends: self.is_meant_to_end(signal),
            },
            Wish::Pause => Input::Pause(ticket),
            Wish::Freeze => {
                self.will_thaw().await;
                Input::Pause(ticket)
            }
            Wish::Unpause => Input::Unpause(ticket),
            Wish::Remove { force, volumes } => {
                if volumes {
                    self.with_volumes.insert(ticket);
                }
                if force {
                    self.forced.insert(ticket);
                }
                Input::Remove { ticket, force }
            }
            Wish::Rename(_) | Wish::Update(_) | Wish::Rewire(_) => return,
        };
        self.apply(input).await;
    }

    /// Whether a user's signal is taken for the wish that the container end. One with a stop
    /// signal of its own may take any other for what it likes.
    fn is_meant_to_end(&self, signal: u32) -> bool {
        let own = &self.record.config.stop_signal;
        signal == SIGKILL || own.is_empty() || signals::parse(own).is_ok_and(|own| own == signal)
    }

    async fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Input(input) => self.apply(input).await,
            Outcome::Cleared(errors) => self.cleared(errors).await,
            Outcome::SaveAgain => self.save_again().await,
            Outcome::Probed(generation, probe) => self.probed(generation, probe).await,
            Outcome::Updated(update) => self.updated(update).await,
            Outcome::Started(generation, outcome) => {
                self.started(generation, *outcome).await;
                self.next_updates().await;
            }
            Outcome::Exited(generation, exit) => self.exited(generation, exit).await,
            Outcome::TornDown(generation, errors) => {
                self.strays |= !errors.is_empty();
                for error in errors {
                    tracing::warn!(id = %self.record.id, error, "cleaning up after a run");
                }
                self.apply(Input::TornDown(generation)).await;
            }
            Outcome::Signalled(ticket, signal, outcome) => self.signalled(ticket, signal, outcome),
            Outcome::Rewired(outcome) => self.rewired(*outcome).await,
            Outcome::Removed(result) => {
                if let Err(error) = &result {
                    tracing::error!(id = %self.record.id, %error, "removing a container");
                    self.failed_removals = (self.failed_removals.0 + 1, error.to_string().into());
                }
                self.apply(Input::RemoveDone(result)).await;
            }
        }
    }

    async fn started(&mut self, generation: Generation, outcome: Result<Started, Failure>) {
        let result = match outcome {
            Ok(started) => {
                self.run.pid = started.task.pid();
                self.run.started_at = Some(started.at);
                self.run.exit_code = 0;
                self.run.error.clear();
                self.run.oom_killed = false;
                self.run.endpoints.clone_from(&started.endpoints);
                self.run.runtime.clone_from(&started.binary);
                // Whatever there was, this run has taken its place.
                self.strays = false;
                self.keep(generation, started);
                Ok(())
            }
            Err(Failure {
                error,
                code,
                strays,
            }) => {
                self.strays |= strays;
                // Given up by its policy it has ended as its last run did.
                if !matches!(self.state.phase(), Phase::Starting(starting) if starting.by_policy())
                {
                    self.run.exit_code = code;
                }
                self.run.error = error.to_string();
                Err(error)
            }
        };
        let joined = result.is_ok() && !self.run.endpoints.is_empty();
        self.apply(Input::StartDone { generation, result }).await;
        if joined {
            let (shared, record, live) =
                (self.shared.clone(), self.record.clone(), self.live.clone());
            tokio::spawn(network::refresh_linked(shared, record, live));
        }
    }

    /// Keeps what runs, and waits for its end.
    fn keep(&mut self, generation: Generation, started: Started) {
        let Started {
            task,
            endpoints,
            exit,
            session,
            mounted,
            limited,
            ..
        } = started;
        self.current = Some(Run {
            task,
            endpoints,
            session: Some(session),
            // Of one that an earlier daemon started nobody has it.
            mounted: mounted.or_else(|| self.handle.try_mounted()),
            lost: false,
        });
        self.over = CancellationToken::new();
        self.limited = limited;
        self.work.push(Box::pin(async move {
            let exit = match exit.await {
                Ok(Ok(exit)) => Some(exit),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the exit of a container was lost");
                    None
                }
                Err(_) => None,
            };
            Outcome::Exited(generation, exit)
        }));
    }

    async fn exited(&mut self, generation: Generation, exit: Option<ExitStatus>) {
        if generation == self.state.generation() && matches!(self.state.phase(), Phase::Running(_))
        {
            fault::point("exit:seen");
            // containerd's word of it may come after that of the end.
            if let Some(group) = self.limited.take()
                && self.shared.cgroups.ran_out_of_memory(&group)
            {
                self.out_of_memory().await;
            }
            let unseen = match self.state.phase() {
                Phase::Running(running) if running.is_killed() => KILLED_EXIT,
                _ => UNKNOWN_EXIT,
            };
            self.run.exit_code = exit.map_or(unseen, |exit| exit.code.into());
            self.run.finished_at =
                Some(exit.and_then(|exit| exit.at).unwrap_or_else(Timestamp::now));
            self.shared.execs.end_all(&self.record.id);
            // Who attaches from now on waits for the next run.
            self.handle.hub().seal();
            self.over.cancel();
            if let Some(run) = &mut self.current {
                run.lost = exit.is_none();
            }
        }
        let ran = match (self.run.started_at, self.run.finished_at) {
            (Some(from), Some(to)) => to.duration_since(from).try_into().unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let code = self.run.exit_code;
        self.apply(Input::Exited(generation, Exit { code, ran }))
            .await;
    }

    fn signalled(
        &mut self,
        ticket: Option<Ticket>,
        signal: u32,
        outcome: Result<(), berth_ctrd::Error>,
    ) {
        let id = &self.record.id;
        match (ticket, outcome) {
            (Some(ticket), outcome) => {
                let answer = match outcome {
                    // It has just ended: what the signal was for has come to pass.
                    Err(error) if !error.is_not_found() => Err(Error::from_lower(error)),
                    _ => Ok(Done::Changed),
                };
                self.reply(ticket, answer);
            }
            (None, Err(error)) if !error.is_not_found() => {
                tracing::warn!(%id, signal, %error, "sending a signal");
            }
            (None, _) => {}
        }
    }

    async fn out_of_memory(&mut self) {
        if matches!(self.state.phase(), Phase::Running(_)) && !self.run.oom_killed {
            self.run.oom_killed = true;
            self.commit().await;
            self.shared.events.container(&self.record, "oom", &[]);
        }
    }

    async fn rename(&mut self, name: &str) -> Result<Done> {
        if matches!(
            self.state.phase(),
            Phase::Removing(_) | Phase::Dead | Phase::Gone
        ) {
            return Err(Error::conflict(
                "container is marked for removal and cannot be renamed",
            ));
        }
        let old = self.record.name.clone();
        if old == name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.shared.table.reserve(name, &self.record.id)?;
        let mut record = Record::clone(&self.record);
        record.name = name.to_owned();
        let record = Arc::new(record);
        if let Err(error) = rewrite(&self.shared, &record).await {
            self.shared.table.release(name, &self.record.id);
            return Err(error);
        }
        fault::point("rename:saved");
        self.record = record;
        self.state.rename(name);
        self.rename_endpoints();
        self.publish();
        self.shared.table.release(&old, &self.record.id);
        self.shared
            .events
            .container(&self.record, "rename", &[("oldName", format!("/{old}"))]);
        Ok(Done::Changed)
    }

    async fn apply(&mut self, input: Input) {
        self.run.thaw &= !effects::ends_freeze(&input);
        let effects = self.state.step(input);
        let phase = self.state.phase();
        self.run.generation = self.state.generation();
        self.run.restarts = self.state.restarts().count();
        self.run.stopped = self.state.restarts().stopped();
        let was_up = self.run.status.is_up();
        self.run.status = status(phase);
        if was_up && !self.run.status.is_up() {
            self.run.exits += 1;
        }
        let under_way = matches!(
            phase,
            Phase::Starting(_)
                | Phase::Running(_)
                | Phase::Restarting(_)
                | Phase::Exited { settled: false, .. }
        );
        self.run.unsettled = under_way || self.strays;
        if !self.run.status.is_running() {
            self.run.pid = 0;
            self.run.thaw = false;
        }
        // The address stays the container's until it has been given back.
        let given_back = self.state.phase().is_settled();
        if given_back {
            self.run.endpoints.clear();
            if !self.strays {
                self.run.runtime.clear();
            }
        }
        self.attend_health();
        if self.run != self.published || matches!(self.state.phase(), Phase::Gone) {
            self.commit().await;
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    /// Persists and publishes what the run has become. A full disk must not hold up what is
    /// happening anyway: what could not be written is told, and made good with the next change.
    async fn commit(&mut self) {
        if !matches!(self.state.phase(), Phase::Gone) {
            let saved = self.save_state().await;
            self.saved(saved);
        }
        self.publish();
    }

    /// Writes what the run is now.
    fn save_state(&self) -> impl Future<Output = Result<()>> + use<> {
        let (shared, record, run) = (self.shared.clone(), self.record.clone(), self.run.clone());
        async move { save_state(&shared, &record.id, &run).await }
    }

    fn publish(&mut self) {
        self.published.clone_from(&self.run);
        let gone = matches!(self.state.phase(), Phase::Gone);
        if gone {
            self.shared.table.remove(&self.record.id);
        }
        let running = self.run.status.is_running();
        let task = self
            .current
            .as_ref()
            .filter(|_| running)
            .map(|run| run.task.clone());
        let view = View::new(self.record.clone(), self.run.clone(), task);
        let failed_removals = self.failed_removals.clone();
        self.handle.publish(View {
            gone,
            failed_removals,
            ..view
        });
    }
}

/// Writes what a container that there is is to be from now on.
async fn rewrite(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    let (shared, record) = (shared.clone(), record.clone());
    let saved = blocking(move || {
        let (records, id) = (&shared.records, &record.id);
        let saved = records.replace(id, CONFIG, &*record, Durability::Synced);
        saved.map_err(Error::from_lower)
    });
    match saved.await? {
        true => Ok(()),
        false => Err(Error::conflict("the container's files are gone")),
    }
}

/// Writes what a new container is to be.
pub(crate) async fn save(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    let (shared, record) = (shared.clone(), record.clone());
    blocking(move || {
        let saved = shared
            .records
            .save(&record.id, CONFIG, &*record, Durability::Synced);
        saved.map_err(Error::from_lower)
    })
    .await
}

/// Writes what became of the container `id`, unless its files are being removed.
pub(crate) async fn save_state(shared: &Arc<Shared>, id: &str, run: &RunState) -> Result<()> {
    let (shared, id, run) = (shared.clone(), id.to_owned(), run.clone());
    blocking(move || {
        let saved = shared
            .records
            .replace(&id, STATE, &run, Durability::Renamed);
        saved.map(drop).map_err(Error::from_lower)
    })
    .await
}

fn status(phase: &Phase) -> Status {
    match phase {
        Phase::Created => Status::Created,
        Phase::Starting(starting) if starting.by_policy() => Status::Restarting,
        Phase::Starting(starting) if starting.ran_before() => Status::Exited,
        Phase::Starting(_) => Status::Created,
        Phase::Running(running) if running.paused => Status::Paused,
        Phase::Running(_) => Status::Running,
        Phase::Restarting(_) => Status::Restarting,
        Phase::Exited { .. } => Status::Exited,
        Phase::Removing(_) | Phase::Gone => Status::Removing,
        Phase::Dead => Status::Dead,
    }
}

fn failed_part(error: &tokio::task::JoinError) -> Error {
    Error::internal(format!("a part of the daemon failed: {error}"))
}
