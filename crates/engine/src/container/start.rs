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

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use berth_config::Live;
use berth_ctrd::{Container, ExitStatus, FifoSet, NewContainer, Streams, Task};
use berth_errdefs::Classify;
use berth_logs::{LogConfig, Logger, Subject};
use berth_net::{Endpoint, EndpointRequest};
use berth_spec::modes::Mode;
use berth_spec::rootfs::{LayeredRoot, SnapshotMount};
use berth_spec::{BindMount, Devices, Inputs, User};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::record::{Files, Record};
use super::state::SIGKILL;
use crate::network::{self, Plan};
use crate::shared::{Shared, blocking, runtime_of};
use crate::stdio::{Hub, Session};
use crate::{Error, Result, files, mounts};

/// What a start works with: everything is captured before it begins.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) record: Arc<Record>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) live: Arc<Live>,
    pub(crate) cancel: CancellationToken,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) task: Task,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) exit: JoinHandle<berth_ctrd::Result<ExitStatus>>,
    pub(crate) session: Session,
}

/// Why a container does not run.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The exit code that the container gets.
    pub(crate) code: i64,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, code: 128 }
    }
}

/// What has been made so far, to be taken back.
#[derive(Debug, Default)]
struct Made {
    netns: bool,
    endpoint: Option<Endpoint>,
    fifos: Option<FifoSet>,
    container: Option<Container>,
    task: Option<Task>,
    session: Option<Session>,
}

/// What the blocking part of the preparation gives.
#[derive(Debug)]
struct Prepared {
    spec: Vec<u8>,
    fifos: FifoSet,
    logger: Option<Logger>,
}

impl Starter {
    /// Starts the container; afterwards it runs, or nothing of the attempt is left.
    pub(crate) async fn run(self) -> Result<Started, Failure> {
        let mut made = Made::default();
        let outcome = self.attempt(&mut made).await;
        if outcome.is_err() {
            self.undo(made).await;
        }
        outcome
    }

    async fn attempt(&self, made: &mut Made) -> Result<Started, Failure> {
        let shared = &self.shared;
        let record = &self.record;
        let plan = network::plan(shared, record).map_err(|e| e.context("failed to set up container networking"))?;
        let runtime = runtime_of(&self.live, &record.host.runtime)?;
        made.netns = plan.has_own_netns();
        let netns = async {
            if made.netns {
                shared.net.create_netns(&record.id).await.map_err(Error::from_lower)?;
            }
            Ok::<_, Error>(())
        };
        let prepared = self.prepare(&plan);
        let (netns, prepared) = tokio::join!(netns, prepared);
        let prepared = prepared?;
        made.fifos = Some(prepared.fifos.clone());
        netns?;
        self.check_cancelled()?;

        let streams = prepared.fifos.create().map_err(Error::from_lower)?;
        let new = self.new_container(runtime, prepared.spec);
        let task = self.create_task(new, &prepared.fifos, &mut made.container);
        let (endpoint, task) = tokio::join!(self.connect(&plan), task);
        // What either made must be known before the other's failure is answered.
        let (endpoint, task) = match (endpoint, task) {
            (endpoint, Ok(task)) => {
                made.task = Some(task.clone());
                (endpoint, Ok(task))
            }
            outcome => outcome,
        };
        made.endpoint = endpoint?;
        let task = task?;
        let session = self.begin(streams, &task, prepared.logger);
        made.session = Some(session);
        self.check_cancelled()?;
        self.write_hosts(&plan, made.endpoint.as_ref()).await?;

        let exit = tokio::spawn({
            let task = task.clone();
            async move { task.wait().await }
        });
        if let Err(error) = task.start().await {
            exit.abort();
            return Err(runtime_failure(error, "failed to start task for container"));
        }
        let session = made.session.take();
        let session = session.ok_or_else(|| Error::internal("the streams are gone"))?;
        Ok(Started { task, endpoint: made.endpoint.take(), exit, session })
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            let message = "the start was cancelled: the container is being removed";
            return Err(Error::new(berth_errdefs::Kind::Cancelled, message));
        }
        Ok(())
    }

    /// Everything that reads and writes files: on a thread where blocking is allowed.
    async fn prepare(&self, plan: &Plan) -> Result<Prepared> {
        let (shared, record, live) = (self.shared.clone(), self.record.clone(), self.live.clone());
        let sources = FileSources::of(plan, &shared, &record)?;
        let netns = match plan {
            Plan::Host => None,
            Plan::Joined { netns, .. } => Some(netns.clone()),
            Plan::None | Plan::Bridge(_) => Some(shared.net.netns_path(&record.id)),
        };
        let pidns = match Mode::of(&record.host.pid_mode) {
            Mode::Container(other) => {
                let view = network::running(&shared, other, "PID")?;
                Some(PathBuf::from(format!("/proc/{}/ns/pid", view.run.pid)))
            }
            _ => None,
        };
        blocking(move || {
            let files = shared.files(&record.id)?;
            if let FileSources::Own { host_network } = &sources {
                files::write_resolv_conf(&files, &record, &live, *host_network)?;
                files::write_hostname(&files, &record)?;
                files::write_hosts(&files, &record, &live, &shared, *host_network, None)?;
            }
            let spec = build_spec(&shared, &record, &live, &sources, netns.as_deref(), pidns.as_deref())?;
            let directory = shared.io_dir(&record.id);
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|e| Error::internal(format!("mkdir {}: {e}", directory.display())))?;
            let fifos = FifoSet::new(&directory, "init", record.config.open_stdin, record.config.tty);
            Ok(Prepared { spec, fifos, logger: open_log(&files, &record)? })
        })
        .await
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

    async fn create_task(
        &self,
        new: NewContainer,
        fifos: &FifoSet,
        made: &mut Option<Container>,
    ) -> Result<Task, Failure> {
        let client = &self.shared.client;
        let mut created = client.create_container(new.clone()).await;
        if created.as_ref().is_err_and(berth_ctrd::Error::is_already_exists) {
            // What a crash left behind: its task is not ours, so nothing of it is wanted.
            super::teardown::discard(&client.container(new.id.as_str())).await;
            created = client.create_container(new).await;
        }
        let container = created.map_err(Error::from_lower)?;
        *made = Some(container.clone());
        let task = container.create_task(&self.record.rootfs, fifos).await;
        task.map_err(|error| runtime_failure(error, "failed to create task for container"))
    }

    async fn connect(&self, plan: &Plan) -> Result<Option<Endpoint>> {
        let Plan::Bridge(wanted) = plan else { return Ok(None) };
        let net = &self.shared.net;
        let request = || EndpointRequest {
            id: self.record.id.clone(),
            netns: net.netns_path(&self.record.id),
            mac: wanted.mac,
            ip: None,
            publish: wanted.publish.clone(),
        };
        let mut outcome = net.connect(request()).await;
        if matches!(outcome, Err(berth_net::Error::PortAllocated { .. })) && self.others_torn_down().await {
            outcome = net.connect(request()).await;
        }
        outcome.map(Some).map_err(|error| {
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
                error.context(format!("driver failed programming external connectivity on endpoint {name} ({id})"))
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
        let limit = std::time::Duration::from_secs(5);
        let _ = tokio::time::timeout(limit, teardowns.wait_for(|running| *running == 0)).await;
        true
    }

    fn begin(&self, streams: Streams, task: &Task, logger: Option<Logger>) -> Session {
        self.hub.begin(streams, (**task).clone(), logger)
    }

    /// Completes `/etc/hosts` with the address, in place: the file is mounted already.
    async fn write_hosts(&self, plan: &Plan, endpoint: Option<&Endpoint>) -> Result<()> {
        let (Plan::Bridge(_), Some(endpoint)) = (plan, endpoint) else { return Ok(()) };
        let ip = endpoint.ip;
        let (shared, record, live) = (self.shared.clone(), self.record.clone(), self.live.clone());
        blocking(move || {
            let files = shared.files(&record.id)?;
            files::write_hosts(&files, &record, &live, &shared, false, Some(ip.into()))
        })
        .await
    }

    /// Takes back what was made. Goes on after errors: the start's own is the one to tell.
    async fn undo(&self, made: Made) {
        let shared = &self.shared;
        if let Some(task) = &made.task {
            let _ = task.kill(SIGKILL, true).await;
            let _ = task.wait().await;
            if let Err(error) = task.delete().await {
                tracing::warn!(id = %self.record.id, %error, "taking back a start: deleting the task");
            }
        }
        if let Some(container) = &made.container
            && let Err(error) = container.delete().await
        {
            tracing::warn!(id = %self.record.id, %error, "taking back a start: deleting the container");
        }
        match made.session {
            Some(session) => drop(session.finish().await),
            None => self.hub.end(),
        }
        let fifos = made.fifos.is_some();
        let errors = super::teardown::release(shared, &self.record, made.endpoint, made.netns, fifos).await;
        for error in errors {
            tracing::warn!(id = %self.record.id, error, "taking back a start");
        }
    }
}

/// Whose hosts, resolv.conf and hostname files the container shows.
#[derive(Debug)]
enum FileSources {
    /// Its own.
    Own { host_network: bool },
    /// Those of the container whose network it joined.
    Of(Files),
}

impl FileSources {
    fn of(plan: &Plan, shared: &Shared, _record: &Record) -> Result<FileSources> {
        Ok(match plan {
            Plan::Joined { of, .. } => FileSources::Of(shared.files(&of.record.id)?),
            plan => FileSources::Own { host_network: matches!(plan, Plan::Host) },
        })
    }

    fn mounts(&self, own: &Files, readonly: bool) -> Vec<BindMount> {
        let files = match self {
            FileSources::Own { .. } => own,
            FileSources::Of(others) => others,
        };
        let places = [
            (files.resolv_conf(), "/etc/resolv.conf"),
            (files.hostname(), "/etc/hostname"),
            (files.hosts(), "/etc/hosts"),
        ];
        let mount = |(source, destination): (PathBuf, &str)| BindMount {
            source,
            destination: destination.into(),
            readonly,
            ..Default::default()
        };
        places.into_iter().filter(|(source, _)| source.exists()).map(mount).collect()
    }
}

fn build_spec(
    shared: &Shared,
    record: &Record,
    live: &Live,
    sources: &FileSources,
    netns: Option<&std::path::Path>,
    pidns: Option<&std::path::Path>,
) -> Result<Vec<u8>> {
    let own = shared.files(&record.id)?;
    let binds = mounts::binds(&record.host)?;
    mounts::ensure_sources(&binds)?;
    let mut all: Vec<_> = binds.into_iter().map(|bind| bind.mount).collect();
    for mount in sources.mounts(&own, record.host.readonly_rootfs) {
        // A client's own mount in that place wins.
        if !all.iter().any(|bind| bind.destination == mount.destination) {
            all.push(mount);
        }
    }
    let spec = specification(shared, record, live, &all, netns, pidns)?;
    berth_spec::encode(&spec).map_err(Error::from_lower)
}

/// The specification of a container with these bind mounts. Blocks: looks the user up in the
/// image and the devices on the host.
pub(crate) fn specification(
    shared: &Shared,
    record: &Record,
    live: &Live,
    mounts: &[BindMount],
    netns: Option<&std::path::Path>,
    pidns: Option<&std::path::Path>,
) -> Result<berth_spec::Spec> {
    let user = resolve_user(record)?;
    let devices = Devices::resolve(&record.host).map_err(Error::from_lower)?;
    let ulimits: Vec<_> = live.ulimits.iter().map(|limit| berth_wire::Ulimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    }).collect();
    let init = files::init_binary(live);
    let inputs = Inputs {
        id: &record.id,
        config: &record.config,
        host: &record.host,
        hostname: record.hostname(),
        domainname: &record.config.domainname,
        user: &user,
        netns,
        pidns,
        ipcns: None,
        shm: None,
        mounts,
        devices: &devices,
        facts: &shared.facts,
        init_default: live.user.init,
        init_binary: init.as_deref(),
        cgroup_parent: &live.user.cgroup_parent,
        systemd_cgroup: live.cgroup_driver == berth_config::CgroupDriver::Systemd,
        no_new_privileges: live.user.no_new_privileges,
        default_ulimits: &ulimits,
        seccomp_default: live.seccomp.as_deref(),
        rootfs_path: "rootfs",
    };
    berth_spec::build(&inputs).map_err(Error::from_lower)
}

/// The user, looked up in the image without mounting it.
fn resolve_user(record: &Record) -> Result<User> {
    let layers: Vec<_> = record
        .rootfs
        .iter()
        .map(|mount| SnapshotMount { kind: &mount.kind, source: &mount.source, options: &mount.options })
        .collect();
    let root = LayeredRoot::new(&layers).map_err(Error::from_lower)?;
    User::resolve(&record.config.user, &record.host.group_add, &root).map_err(Error::from_lower)
}

pub(crate) fn open_log(files: &Files, record: &Record) -> Result<Option<Logger>> {
    let wanted = &record.host.log_config;
    let config = LogConfig::parse(&wanted.kind, &wanted.config).map_err(Error::from_lower)?;
    if config == LogConfig::None {
        return Ok(None);
    }
    let subject = Subject {
        id: &record.id,
        name: &record.name,
        image_id: &record.image,
        image_name: &record.config.image,
        command: record.command(),
        env: &record.config.env,
        labels: Some(&record.config.labels),
    };
    let logger = Logger::open(&config, &files.log(&record.id), &subject);
    logger.map(Some).map_err(|error| {
        Error::from_lower(error).context("failed to initialize logging driver")
    })
}

/// What the runtime said, and the exit code that a shell would give for it.
fn runtime_failure(error: berth_ctrd::Error, what: &str) -> Failure {
    let message = error.to_string();
    let has = |words: &str| message.to_lowercase().contains(words);
    let code = if has("executable file not found") || has("no such file or directory") || has("system cannot find the file specified") {
        127
    } else if has("permission denied") || has("not a directory") || has("is a directory") || has("exec format error") {
        126
    } else {
        128
    };
    let lower = Error::from_lower(error);
    let error = if code == 128 { lower } else { Error::invalid(lower.to_string()) };
    let mut error = error.context(what);
    if has("not a directory") {
        error = Error::new(error.kind(), format!(
            "{error}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
             specified host path exists and is the expected type"
        ));
    }
    Failure { error, code }
}
