//! The start of a container, as data flows:
//!
//! ```text
//! ┌ network namespace ─ veth, address, ports ──────────────────────────┐
//! ┤                  └──────────────┐                                  ├ hosts ─ Start
//! └ files, FIFOs, log, user, spec ─ Containers.Create ─ Tasks.Create ──┘
//!                                                       └ Tasks.Wait
//! ```
//!
//! What was made is taken back when a later part fails; the answer comes after that.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_cgroups::Group;
use berth_config::Live;
use berth_ctrd::{Container, ExitStatus, FifoSet, NewContainer, Task};
use berth_errdefs::{Classify, Kind};
use berth_net::{Endpoint, Upstream};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::force;
use super::handle::{Handle, Mounted};
use super::prepare::{self, Prepared, Surroundings};
use super::record::Record;
use crate::network::{self, Plan, Wanted};
use crate::shared::{Shared, blocking};
use crate::stdio::Session;
use crate::{Error, Result, fault, files, runtimes, volumes};

/// How often a start is begun that containerd's end cuts off.
const ATTEMPTS: u32 = 3;
/// How long the runtime may go on with a start that is cancelled.
const HASTE: Duration = Duration::from_secs(2);
/// How long copies into the container are waited for before it is started.
const COPIES: Duration = Duration::from_secs(30);
/// How long containerd may take to see that the runtime was killed.
const ENDING: Duration = Duration::from_secs(5);

/// What a start works with: everything is captured before it begins.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) record: Arc<Record>,
    pub(crate) handle: Arc<Handle>,
    pub(crate) live: Arc<Live>,
    pub(crate) cancel: CancellationToken,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) task: Task,
    /// See [`RunState::runtime`](super::record::RunState::runtime).
    pub(crate) binary: String,
    pub(crate) endpoints: Vec<Endpoint>,
    /// When it was let run: never later than its end.
    pub(crate) at: Timestamp,
    pub(crate) exit: JoinHandle<berth_ctrd::Result<ExitStatus>>,
    pub(crate) session: Session,
    /// Held until the run has been torn down.
    pub(crate) mounted: Option<Mounted>,
    /// Its control group, where it has a limit of memory.
    pub(crate) limited: Option<Group>,
}

/// The control group of a container that may run out of memory, by its init, which must be there
/// still. Reads a file of `/proc`.
pub(crate) fn limited(shared: &Shared, record: &Record, pid: u32) -> Option<Group> {
    if record.host.memory <= 0 {
        return None;
    }
    shared.cgroups.group(pid, &record.id).ok()
}

/// Why a container does not run.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The exit code that the container gets.
    pub(crate) code: i64,
    /// Not all of the attempt could be taken back.
    pub(crate) strays: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            error,
            code: 128,
            strays: false,
        }
    }
}

/// What has been made so far, to be taken back.
#[derive(Debug, Default)]
struct Made {
    netns: bool,
    endpoints: Vec<Endpoint>,
    /// What containerd was asked to make; whether it has is not always known.
    container: Option<Container>,
    session: Option<Session>,
}

impl Starter {
    /// Starts the container; afterwards it runs, or nothing of the attempt is left.
    pub(crate) async fn run(self) -> Result<Started, Failure> {
        let mounted = Some(self.mounted().await?);
        let mut attempts = 0;
        loop {
            let mut made = Made::default();
            let failure = match self.attempt(&mut made).await {
                Ok(started) => return Ok(Started { mounted, ..started }),
                Err(failure) => failure,
            };
            // Waits for containerd, as far as there is something to take back.
            let strays = self.undo(made).await;
            attempts += 1;
            if strays || attempts == ATTEMPTS || !self.is_cut_off(&failure) {
                return Err(Failure { strays, ..failure });
            }
            tracing::info!(id = %self.record.id, "containerd went away during a start: it is begun again");
        }
    }

    /// Waits for those who copy files into the container.
    async fn mounted(&self) -> Result<Mounted> {
        tokio::select! {
            outcome = tokio::time::timeout(COPIES, self.handle.mounted()) => outcome.map_err(|_| {
                let name = &self.record.name;
                Error::conflict(format!("files are being copied into container /{name}"))
            }),
            () = self.cancel.cancelled() => Err(cancelled()),
        }
    }

    /// Whether the start failed because containerd went away, which it does not do for long.
    fn is_cut_off(&self, failure: &Failure) -> bool {
        failure.error.kind() == Kind::Unavailable
            && self.shared.open_for_change().is_ok()
            && !self.cancel.is_cancelled()
    }

    async fn attempt(&self, made: &mut Made) -> Result<Started, Failure> {
        let shared = &self.shared;
        let record = &self.record;
        shared.open_for_change()?;
        let plan = network::plan(shared, record)?;
        let runtime = runtimes::ready(&self.live, &record.host.runtime).await?;
        let binary = runtimes::binary(&runtime).to_owned();
        made.netns = plan.has_own_netns();
        let netns = async {
            if made.netns {
                shared
                    .net
                    .create_netns(&record.id)
                    .await
                    .map_err(Error::from_lower)?;
            }
            Ok::<_, Error>(())
        };
        let prepared = self.prepare(&plan);
        let (netns, prepared) = tokio::join!(netns, prepared);
        let Prepared {
            spec,
            fifos,
            streams,
            logger,
        } = prepared?;
        netns?;
        self.check_cancelled()?;

        fault::point("start:prepared");
        made.container = Some(shared.client.container(record.id.as_str()));
        let task = self.create_task(self.new_container(runtime, spec), &fifos);
        let connected = self.connect(&plan, &mut made.endpoints);
        let (connected, task) = tokio::join!(connected, self.unless_cancelled(task));
        connected?;
        let task = task??;
        made.session = Some(self.handle.hub().begin(streams, (*task).clone(), logger));
        self.check_cancelled()?;
        self.write_hosts(&plan, &made.endpoints).await?;

        fault::point("start:made");
        let exit = tokio::spawn({
            let task = task.clone();
            async move { task.wait().await }
        });
        // Once it runs it may be gone at once.
        let limited = limited(shared, record, task.pid());
        let at = Timestamp::now();
        if let Err(error) = self.unless_cancelled(task.start()).await? {
            exit.abort();
            return Err(runtime_failure(error, "failed to start task for container"));
        }
        fault::point("start:started");
        let session = made.session.take();
        let mut session = session.ok_or_else(|| Error::internal("the streams are gone"))?;
        session.listen();
        Ok(Started {
            task,
            binary,
            at,
            endpoints: std::mem::take(&mut made.endpoints),
            exit,
            session,
            mounted: None,
            limited,
        })
    }

    fn check_cancelled(&self) -> Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(cancelled()),
            false => Ok(()),
        }
    }

    /// Waits for the runtime. When nobody wants the container any more, what hangs is killed: then
    /// the runtime has failed.
    async fn unless_cancelled<T>(&self, call: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(call);
        tokio::select! {
            outcome = &mut call => return Ok(outcome),
            () = self.cancel.cancelled() => {}
        }
        // Most often it is done by now.
        for pause in [HASTE, ENDING] {
            if let Ok(outcome) = tokio::time::timeout(pause, &mut call).await {
                return Ok(outcome);
            }
            force::end_processes(&self.record.id).await;
        }
        Err(cancelled())
    }

    /// Everything that reads and writes files: on a thread where blocking is allowed.
    async fn prepare(&self, plan: &Plan) -> Result<Prepared> {
        let (shared, record, live) = (self.shared.clone(), self.record.clone(), self.live.clone());
        let surroundings = Surroundings::of(plan, &shared, &record)?;
        volumes::attach(&shared, &record).await?;
        fault::point("start:volumes");
        blocking(move || prepare::prepare(&shared, &record, &live, &surroundings)).await
    }

    fn new_container(&self, runtime: berth_ctrd::Runtime, spec: Vec<u8>) -> NewContainer {
        NewContainer {
            id: self.record.id.clone(),
            image: self.record.config.image.clone(),
            runtime,
            spec,
            snapshotter: self.record.snapshotter.clone(),
            snapshot: self.record.id.clone(),
            ..Default::default()
        }
    }

    async fn create_task(&self, new: NewContainer, fifos: &FifoSet) -> Result<Task, Failure> {
        let client = &self.shared.client;
        let mut created = client.create_container(new.clone()).await;
        if created
            .as_ref()
            .is_err_and(berth_ctrd::Error::is_already_exists)
        {
            // What a crash left behind: its task is not ours, so nothing of it is wanted.
            for error in super::teardown::discard(&client.container(new.id.as_str())).await {
                tracing::warn!(
                    id = new.id,
                    error,
                    "discarding what was left of a container"
                );
            }
            created = client.create_container(new).await;
        }
        let container = created.map_err(Error::from_lower)?;
        fault::point("start:container");
        let task = container.create_task(&self.record.rootfs, fifos).await;
        fault::point("start:task");
        task.map_err(|error| runtime_failure(error, "failed to create task for container"))
    }

    /// Joins the networks one after the other; what was joined is in `made` however it ends.
    async fn connect(&self, plan: &Plan, made: &mut Vec<Endpoint>) -> Result<()> {
        let Plan::Bridges(wanted) = plan else {
            return Ok(());
        };
        let upstream = match plan.has_dns() {
            true => files::upstream(&self.record, &self.live).await?,
            false => Upstream::default(),
        };
        for wanted in wanted {
            made.push(self.join(wanted, &upstream).await?);
        }
        Ok(())
    }

    async fn join(&self, wanted: &Wanted, upstream: &Upstream) -> Result<Endpoint> {
        let net = &self.shared.net;
        let request = network::request(&self.shared, &self.record, wanted, upstream);
        let mut outcome = net.connect(request.clone()).await;
        if matches!(outcome, Err(berth_net::Error::PortAllocated { .. }))
            && self.others_torn_down().await
        {
            outcome = net.connect(request).await;
        }
        fault::point("start:network");
        outcome.map_err(|error| {
            let publishing = matches!(
                error,
                berth_net::Error::PortAllocated { .. }
                    | berth_net::Error::PortsExhausted
                    | berth_net::Error::PortBind { .. }
            );
            let error = Error::from_lower(error);
            let error = if publishing {
                let name = &self.record.name;
                let id = &self.record.id;
                error.context(format!(
                    "driver failed programming external connectivity on endpoint {name} ({id})"
                ))
            } else {
                error
            };
            error.context("failed to set up container networking")
        })
    }

    /// A port may belong to a container that has just ended: its client was told so before the
    /// port was free. Waits until what is being torn down is gone; false if nothing was.
    async fn others_torn_down(&self) -> bool {
        let mut teardowns = self.shared.teardowns.subscribe();
        if *teardowns.borrow() == 0 {
            return false;
        }
        let limit = Duration::from_secs(5);
        let _ = tokio::time::timeout(limit, teardowns.wait_for(|running| *running == 0)).await;
        true
    }

    /// Completes `/etc/hosts` with the addresses, in place: the file is mounted already.
    async fn write_hosts(&self, plan: &Plan, endpoints: &[Endpoint]) -> Result<()> {
        if !matches!(plan, Plan::Bridges(_)) || endpoints.is_empty() {
            return Ok(());
        }
        files::complete_hosts(&self.shared, &self.record, &self.live, endpoints).await
    }

    /// Takes back what was made. Goes on after errors: the start's own is the one to tell. True
    /// when something is left.
    async fn undo(&self, made: Made) -> bool {
        let mut errors = Vec::new();
        if let Some(container) = &made.container {
            errors.extend(super::teardown::discard(container).await);
        }
        match made.session {
            Some(session) => errors.extend(session.finish().await),
            None => self.handle.hub().end(),
        }
        let released =
            super::teardown::release(&self.shared, &self.record, made.endpoints, made.netns, true);
        errors.extend(released.await);
        for error in &errors {
            tracing::warn!(id = %self.record.id, error, "taking back a start");
        }
        !errors.is_empty()
    }
}

fn cancelled() -> Error {
    let message = "the start was cancelled: the container is being removed";
    Error::new(Kind::Cancelled, message)
}

/// What the runtime said, and the exit code that a shell would give for it.
fn runtime_failure(error: berth_ctrd::Error, what: &str) -> Failure {
    let message = error.to_string();
    let has = |words: &str| message.to_lowercase().contains(words);
    let code = if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied")
        || has("not a directory")
        || has("is a directory")
        || has("exec format error")
    {
        126
    } else {
        128
    };
    let lower = Error::from_lower(error);
    let error = if code == 128 {
        lower
    } else {
        Error::invalid(lower.to_string())
    };
    let mut error = error.context(what);
    if has("not a directory") {
        error = Error::new(
            error.kind(),
            format!(
                "{error}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
             specified host path exists and is the expected type"
            ),
        );
    }
    Failure {
        error,
        code,
        strays: false,
    }
}
