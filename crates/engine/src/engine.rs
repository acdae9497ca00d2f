//! [`Engine`]: the face of everything, for the API.

mod images;
mod networks;
mod observe;
mod streams;
mod tree;
mod update;
mod volumes;

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_config::{ConfigStore, Live};
use berth_ctrd::Client;
use berth_images::Images;
use berth_net::Net;
use berth_store::Records;
use berth_wire as wire;
use futures::future::join_all;

use crate::backlog::Spool;
use crate::container::actor::Captures;
use crate::container::handle::{Handle, Wish};
use crate::container::state::{Done, SIGKILL, StopHow};
use crate::events::{EventStream, Events};
use crate::features::Features;
use crate::info::About;
use crate::networks::Networks;
use crate::options::{Changed, CreateOptions, ListOptions, RemoveOptions, StopOptions};
use crate::shared::{Shared, blocking};
use crate::stats::Sampler;
use crate::volumes::Volumes;
use crate::{Error, Result, create, exec, info, inspect, list, names, recover, signals};

/// Seconds between the first signal and SIGKILL where nobody says.
const STOP_TIMEOUT: u64 = 10;

/// How long the end of the daemon waits for what SIGKILL has ended to be cleaned up.
const LAST: Duration = Duration::from_secs(15);

/// What the engine is made of.
#[derive(Debug)]
pub struct Setup {
    /// The containerd that runs the containers.
    pub client: Client,
    /// The images in it.
    pub images: Images,
    /// The networks.
    pub net: Arc<Net>,
    /// Where events are told; the images tell theirs there too.
    pub events: Events,
    /// The configuration.
    pub config: Arc<ConfigStore>,
}

/// A Docker engine. Reads work on published snapshots and never wait; changes go on to their end
/// even when the caller's future is dropped.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    config: Arc<ConfigStore>,
    about: About,
    features: Arc<Features>,
    sampler: Arc<Sampler>,
    /// Containers are being pruned.
    pruning: AtomicBool,
}

impl Engine {
    /// Opens the engine: brings back the containers there were, and takes over what runs.
    ///
    /// # Errors
    /// The state cannot be read, or containerd does not answer.
    pub async fn open(setup: Setup) -> Result<Arc<Engine>> {
        let Setup {
            client,
            images,
            net,
            events,
            config,
        } = setup;
        let live = config.capture();
        let (data_root, exec_root) = (live.user.data_root.clone(), live.user.exec_root.clone());
        let opened = {
            let events = events.clone();
            blocking(move || Opened::open(data_root, exec_root, events)).await?
        };
        let snapshotter = images.snapshotter().to_owned();
        let facts = berth_spec::HostFacts::detect();
        let memory = u64::try_from(facts.mem_total).unwrap_or(0);
        let shared = Arc::new(Shared {
            snapshots: client.snapshots(&snapshotter),
            client: client.clone(),
            images,
            net,
            networks: opened.networks,
            records: opened.records,
            table: crate::table::Table::default(),
            volumes: opened.volumes,
            execs: exec::Execs::default(),
            events,
            facts,
            cgroups: Arc::new(berth_cgroups::Host::detect(memory)),
            io_root: opened.io_root,
            shm_root: opened.shm_root,
            subpath_root: opened.subpath_root,
            spool: Spool::new(live.user.data_root.join("tmp")),
            teardowns: tokio::sync::watch::Sender::new(0),
            runtime: tokio::runtime::Handle::current(),
            closing: false.into(),
        });
        shared.images.refresh().await.map_err(Error::from_lower)?;
        let adopted = shared.images.adopt_leases().await;
        adopted.map_err(Error::from_lower)?;
        recover::recover(&shared, &Captures::new(config.clone()), &live).await?;
        let about = About::look(&client, &live).await;
        follow_containerd(shared.clone());
        let sampler = Sampler::new(shared.cgroups.clone());
        let features = Arc::new(Features::default());
        features.look(&live);
        let engine = Engine {
            shared,
            config,
            about,
            features,
            sampler,
            pruning: false.into(),
        };
        let id = engine.about.id().to_owned();
        engine.shared.events.introduce(id, info::host_name());
        Ok(Arc::new(engine))
    }

    /// Ends the engine: stops every container within `timeout` (`None`: however long they take)
    /// and gives back the networks. With live-restore containers run on and everything stays.
    pub async fn shutdown(&self, timeout: Option<Duration>) {
        let live = self.config.capture();
        let shared = &self.shared;
        shared.closing.store(true, Ordering::Release);
        if !live.user.live_restore {
            let index = shared.table.load();
            // All of them: one may just be starting. Those that do not run answer at once.
            let stops = index
                .all()
                .map(|handle| stop_for_good(&live, handle.clone(), timeout));
            let stops = join_all(stops);
            match timeout {
                Some(timeout) => drop(tokio::time::timeout(timeout + LAST, stops).await),
                None => drop(stops.await),
            }
            let limit = LAST;
            let mut teardowns = shared.teardowns.subscribe();
            let _ = tokio::time::timeout(limit, teardowns.wait_for(|running| *running == 0)).await;
        }
        let keep = shared
            .table
            .load()
            .all()
            .any(|handle| handle.view().run.status.is_running());
        if let Err(error) = shared.net.close(keep).await {
            tracing::warn!(%error, "closing the networks");
        }
    }

    /// The containers that `options` let through, newest first.
    ///
    /// # Errors
    /// A filter that there is not.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<wire::ContainerSummary>> {
        list::list(&self.shared, options)
    }

    /// A container in full.
    ///
    /// # Errors
    /// There is none.
    pub async fn inspect(&self, id: &str, size: bool) -> Result<wire::ContainerInspect> {
        let view = self.shared.table.find(id)?.view();
        let shared = self.shared.clone();
        let sizes = match size {
            true => Some(
                blocking({
                    let (shared, view) = (shared.clone(), view.clone());
                    move || Ok(inspect::sizes(&shared, &view.record))
                })
                .await?,
            ),
            false => None,
        };
        inspect::inspect(&shared, &view, sizes)
    }

    /// Makes a container.
    ///
    /// # Errors
    /// The image is not there, the configuration is wrong or asks for what is not supported yet,
    /// or the name is taken.
    pub async fn create(
        &self,
        options: CreateOptions,
        request: wire::CreateRequest,
    ) -> Result<wire::CreateResponse> {
        let live = self.config.capture();
        // A task of its own: a client that hangs up does not leave half a container.
        let (shared, config) = (self.shared.clone(), Captures::new(self.config.clone()));
        let task = tokio::spawn(create::create(shared, config, live, options, request));
        task.await.unwrap_or_else(|error| {
            Err(Error::internal(format!(
                "a part of the daemon failed: {error}"
            )))
        })
    }

    /// Starts a container.
    ///
    /// # Errors
    /// There is none, it is paused or being removed, or it cannot be started.
    pub async fn start(&self, id: &str) -> Result<Changed> {
        self.shared.open_for_change()?;
        let live = self.config.capture();
        changed(self.shared.table.find(id)?.ask(Wish::Start(live)).await)
    }

    /// Stops a container, and answers when everything it used is free.
    ///
    /// # Errors
    /// There is none, or it does not even end by SIGKILL.
    pub async fn stop(&self, id: &str, options: StopOptions) -> Result<Changed> {
        let live = self.config.capture();
        let handle = self.shared.table.find(id)?;
        let how = how(&live, &handle, &options)?;
        changed(handle.ask(Wish::Stop(how)).await)
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`].
    pub async fn restart(&self, id: &str, options: StopOptions) -> Result<()> {
        self.shared.open_for_change()?;
        let live = self.config.capture();
        let handle = self.shared.table.find(id)?;
        let how = how(&live, &handle, &options)?;
        handle.ask(Wish::Restart(how, live)).await.map(drop)
    }

    /// Sends a signal, SIGKILL unless another is named; with that one waits for the end.
    ///
    /// # Errors
    /// There is no such container or signal, or it does not run.
    pub async fn kill(&self, id: &str, signal: Option<&str>) -> Result<()> {
        let signal = match signal.filter(|signal| !signal.is_empty()) {
            Some(signal) => signals::parse(signal)?,
            None => SIGKILL,
        };
        self.shared
            .table
            .find(id)?
            .ask(Wish::Kill(signal))
            .await
            .map(drop)
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// There is none, it does not run, or is frozen already.
    pub async fn pause(&self, id: &str) -> Result<()> {
        self.shared.table.find(id)?.ask(Wish::Pause).await.map(drop)
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// There is none, or it is not frozen.
    pub async fn unpause(&self, id: &str) -> Result<()> {
        self.shared
            .table
            .find(id)?
            .ask(Wish::Unpause)
            .await
            .map(drop)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// There is none, or the name is malformed or taken.
    pub async fn rename(&self, id: &str, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let handle = self.shared.table.find(id)?;
        let name = names::check(name)?.to_owned();
        handle.ask(Wish::Rename(name)).await.map(drop)
    }

    /// Removes a container and everything that it has.
    ///
    /// # Errors
    /// There is none, it runs and `force` is not set, or a part of it could not be removed: then
    /// it is dead, and removing it can be tried again.
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(id).await;
        }
        self.shared
            .table
            .find(id)?
            .ask(Wish::Remove {
                force: options.force,
                volumes: options.volumes,
            })
            .await
            .map(drop)
    }

    /// What happened since, and what happens.
    ///
    /// # Errors
    /// A filter that there is not.
    pub fn events(
        &self,
        since: Option<jiff::Timestamp>,
        until: Option<jiff::Timestamp>,
        filters: &wire::Filters,
    ) -> Result<EventStream> {
        self.shared.events.stream(since, until, filters)
    }

    /// Tells that the configuration was reloaded or, with an attribute `error`, was not.
    pub fn tell_reload(&self, mut attributes: std::collections::BTreeMap<String, String>) {
        self.features.look(&self.config.capture());
        attributes.insert("name".to_owned(), info::host_name());
        let id = self.about.id().to_owned();
        self.shared
            .events
            .tell("daemon", "reload".to_owned(), id, attributes);
    }

    /// The host has one hierarchy of control groups for all controllers: version 2.
    pub fn has_unified_cgroups(&self) -> bool {
        self.shared.facts.cgroup_version.is_unified()
    }

    /// The daemon and its host as they are.
    pub async fn info(&self) -> wire::Info {
        let live = self.config.capture();
        self.features.look(&live);
        let devices = info::devices(&live).await;
        info::info(&self.shared, &live, &self.about, &self.features, &devices)
    }

    /// The versions of the daemon and its parts.
    pub fn version(&self) -> wire::VersionInfo {
        info::version(&self.shared, &self.about)
    }

    /// The images; to remove one ask [`Engine::image_remove`], which knows the containers.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }
}

fn changed(done: Result<Done>) -> Result<Changed> {
    done.map(|done| match done {
        Done::Changed => Changed::Yes,
        Done::Unchanged => Changed::No,
    })
}

/// How a container is to be stopped: as the caller says, as the container says, or as usual.
fn how(live: &Live, handle: &Handle, options: &StopOptions) -> Result<StopHow> {
    let config = &handle.view().record.config;
    let own = Some(config.stop_signal.as_str()).filter(|signal| !signal.is_empty());
    let asked = options
        .signal
        .as_deref()
        .filter(|signal| !signal.is_empty());
    let signal = signals::parse(asked.or(own).unwrap_or("SIGTERM"))?;
    let timeout = options
        .timeout
        .or(config.stop_timeout)
        .or(live.user.default_stop_timeout);
    let timeout = match timeout {
        Some(seconds) => u64::try_from(seconds).ok(),
        None => Some(STOP_TIMEOUT),
    };
    Ok(StopHow {
        signal,
        timeout,
        by_user: true,
    })
}

/// Stops a container because the daemon ends.
async fn stop_for_good(live: &Live, handle: Arc<Handle>, limit: Option<Duration>) {
    let Ok(mut how) = how(live, &handle, &StopOptions::default()) else {
        return;
    };
    how.by_user = false;
    if let Some(limit) = limit {
        how.timeout = Some(
            how.timeout
                .map_or(limit.as_secs(), |own| own.min(limit.as_secs())),
        );
    }
    if let Err(error) = handle.ask(Wish::Stop(how)).await {
        tracing::warn!(id = %handle.id(), %error, "stopping a container at the end of the daemon");
    }
}

/// What the engine finds in its directories.
struct Opened {
    records: Records,
    networks: Networks,
    volumes: Volumes,
    io_root: PathBuf,
    shm_root: PathBuf,
    subpath_root: PathBuf,
}

impl Opened {
    /// Opens them, and makes those that are missing. Blocks.
    fn open(data_root: PathBuf, exec_root: PathBuf, events: Events) -> Result<Opened> {
        let private = |name: &str| {
            let path = exec_root.join(name);
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path);
            made.map_err(|error| Error::internal(format!("mkdir {}: {error}", path.display())))?;
            Ok::<_, Error>(path)
        };
        Ok(Opened {
            records: Records::open(data_root.join("containers")).map_err(Error::from_lower)?,
            networks: Networks::open(&data_root)?,
            volumes: Volumes::open(data_root.join("volumes"), events)?,
            io_root: private("io")?,
            shm_root: private("shm")?,
            subpath_root: private("subpath")?,
        })
    }
}

/// Passes on what containerd tells of containers.
fn follow_containerd(shared: Arc<Shared>) {
    tokio::spawn(async move {
        let mut events = shared.client.events();
        while let Some(event) = events.recv().await {
            match event {
                berth_ctrd::Event::OutOfMemory { container } => {
                    if let Ok(handle) = shared.table.find(&container) {
                        handle.out_of_memory();
                    }
                }
                // Exits come from waits, which repeat themselves: nothing was lost.
                berth_ctrd::Event::Interrupted => {}
            }
        }
    });
}
