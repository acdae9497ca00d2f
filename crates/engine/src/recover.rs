//! What was before: containers on disk, what still runs of them, and what must be cleared away.
//!
//! containerd is the truth for what runs, the records for what is configured; here the two are
//! brought together. A container that runs is adopted as it is. One that ended meanwhile has
//! exited, with its code where containerd still knows it; what is left of its run its actor clears
//! away, so that nothing here waits for a shim or a runtime. A record that cannot be read becomes
//! a dead container, which can be seen and removed. A state that cannot be read is what containerd
//! tells; where that is a running container its places in networks, which nobody knows any more, are
//! given up with their addresses and taken anew.

mod tasks;

use std::collections::HashSet;
use std::sync::Arc;

use berth_config::Live;
use berth_ctrd::{FifoSet, Snapshots, Status as TaskStatus, Streams, TaskInfo};
use berth_errdefs::{Classify, Kind};
use berth_logs::Logger;
use jiff::Timestamp;

use crate::container::actor::{Actor, Beginning, Captures, Rest, UNKNOWN_EXIT, save_state};
use crate::container::handle::{Handle, Rewire, View, Wish};
use crate::container::prepare::open_log;
use crate::container::record::{CONFIG, Record, RunState, STATE, Status};
use crate::container::start::{Started, limited};
use crate::container::state::{Phase, State};
use crate::create::OWNER;
use crate::shared::{Shared, blocking};
use crate::stdio::Hub;
use crate::{Error, Result, autostart, changed, mounts, network, networks, shm, strays, wrappers};

/// What was found on disk of one container.
struct Found {
    record: Record,
    run: RunState,
    /// Its record could not be read: this is a stand-in.
    damaged: bool,
    /// Its state could not be read: it runs if containerd says so.
    lost: bool,
}

/// A container that is back.
struct Back {
    handle: Arc<Handle>,
    /// It was being removed: who asked for that got no answer, and finds it dead. Only what was to
    /// go by itself is taken up again.
    unwanted: bool,
    /// It runs, or what is left of its run is being cleared away.
    busy: bool,
    /// It runs, and which places it has in networks is not known.
    homeless: bool,
}

/// Brings back every container there was.
pub(crate) async fn recover(
    shared: &Arc<Shared>,
    config: &Captures,
    live: &Arc<Live>,
) -> Result<()> {
    let found = {
        let shared = shared.clone();
        blocking(move || load(&shared)).await?
    };
    networks::restore(shared).await;
    let ids = found.iter().map(|found| found.record.id.as_str());
    let tasks = tasks::tasks(&shared.client, ids).await?;
    let mut kept = HashSet::new();
    let (mut doomed, mut wanted, mut homeless) = (Vec::new(), Vec::new(), Vec::new());
    for found in found {
        let task = tasks.get(found.record.id.as_str());
        let Back {
            handle,
            unwanted,
            busy,
            homeless: rejoins,
        } = bring_back(shared, config, found, task).await;
        let view = handle.view();
        if busy {
            kept.insert(view.record.id.clone());
        }
        if rejoins {
            homeless.push(handle.clone());
        }
        if view.run.status.is_running() {
            continue;
        }
        if view.record.host.auto_remove && (unwanted || view.run.generation > 0) {
            // Otherwise it goes by itself once what is left of its run has been cleared away.
            if !busy || unwanted {
                doomed.push(handle);
            }
        } else if autostart::is_wanted(&view) {
            wanted.push(handle);
        }
    }
    sweep(shared, kept).await;
    wrappers::sweep(shared, live).await;
    // Only now: what the others have has been reserved, what was this one's given back.
    for handle in homeless {
        let change = Wish::Rewire(Rewire::Rejoin(live.clone()));
        ask_in_background(handle, change, "joining its networks anew");
    }
    autostart::begin(wanted, live);
    for handle in doomed {
        let removal = Wish::Remove {
            force: false,
            volumes: false,
        };
        ask_in_background(
            handle,
            removal,
            "removing a container that was to be removed",
        );
    }
    Ok(())
}

fn ask_in_background(handle: Arc<Handle>, wish: Wish, what: &'static str) {
    tokio::spawn(async move {
        if let Err(error) = handle.ask(wish).await {
            tracing::warn!(id = %handle.id(), %error, "{what}");
        }
    });
}

fn load(shared: &Shared) -> Result<Vec<Found>> {
    for error in shared.records.sweep() {
        tracing::warn!(%error, "clearing away removed containers");
    }
    let (records, damaged) = shared
        .records
        .load_all::<Record>(CONFIG)
        .map_err(Error::from_lower)?;
    let mut found = Vec::with_capacity(records.len());
    for (id, mut record) in records {
        record.id.clone_from(&id);
        let mut lost = false;
        let run = shared.records.load(&id, STATE).unwrap_or_else(|error| {
            if error.kind() == Kind::NotFound {
                // The daemon died between the two files: it was just made.
                return RunState::default();
            }
            tracing::error!(%id, %error, "the container's state cannot be read: it is as containerd tells");
            lost = true;
            RunState {
                status: Status::Running,
                generation: 1,
                ..RunState::default()
            }
        });
        found.push(Found {
            record,
            run,
            damaged: false,
            lost,
        });
    }
    for damaged in damaged {
        tracing::error!(id = damaged.id, error = %damaged.reason, "a container's record cannot be read: it can only be removed");
        let mut record = Record {
            id: damaged.id,
            snapshotter: shared.snapshots.name().to_owned(),
            ..Record::default()
        };
        record.name = record.short_id().to_owned();
        // So that its snapshot is looked for when it is removed.
        record.rootfs = vec![berth_ctrd::Mount::default()];
        let error = format!("the container's record cannot be read: {}", damaged.reason);
        found.push(Found {
            record,
            run: RunState {
                error,
                ..RunState::default()
            },
            damaged: true,
            lost: false,
        });
    }
    Ok(found)
}

/// Puts one container back into the table, with what runs of it.
async fn bring_back(
    shared: &Arc<Shared>,
    config: &Captures,
    found: Found,
    task: Option<&TaskInfo>,
) -> Back {
    let Found {
        mut record,
        mut run,
        damaged,
        lost,
    } = found;
    name(shared, &mut record);
    let record = Arc::new(record);
    mounts::hold(shared, &record);
    let hub = Hub::new();
    let removed = matches!(run.status, Status::Removing | Status::Dead);
    let expected = run.status.is_running();
    let mut running = None;
    if let Some(task) = task.filter(|task| expected && runs(task)) {
        match adopt(shared, &record, &mut run, task, &hub).await {
            Ok(started) => {
                mounts::adopt(shared, &record);
                run.started_at = Some(started.at);
                running = Some(started);
            }
            Err(error) => {
                tracing::error!(id = %record.id, %error, "a running container could not be taken over");
            }
        }
    }
    let thaw = run.thaw && run.status == Status::Paused;
    run.thaw = thaw;
    let strays =
        running.is_none() && (damaged || removed || expected || run.unsettled || task.is_some());
    let cut_off = run.unsettled && !expected;
    if expected && running.is_none() {
        has_ended(&mut run, task);
    }
    if run.status == Status::Restarting {
        run.status = Status::Exited;
        run.exits += 1;
    }
    if damaged || removed {
        run.status = Status::Dead;
    }
    if strays {
        run.pid = 0;
        run.endpoints.clear();
        run.unsettled = true;
        if let Err(error) = save_state(shared, &record.id, &run).await {
            tracing::warn!(id = %record.id, %error, "saving the state");
        }
    }
    let phase = match run.status {
        Status::Running | Status::Paused => State::running(run.status == Status::Paused),
        Status::Created if strays => State::cut_off(),
        Status::Created => Phase::Created,
        // What was between two runs is started anew, if its policy still wants it.
        Status::Restarting | Status::Exited => State::exited(!strays),
        Status::Removing | Status::Dead => Phase::Dead,
    };
    let rest = match task.filter(|task| expected && task.status == TaskStatus::Stopped) {
        Some(_) if running.is_none() => rest_of(shared, &record, &hub).await,
        _ => None,
    };
    let task = running
        .as_ref()
        .map(|started: &Started| started.task.clone());
    let view = View::new(record.clone(), run.clone(), task);
    let (handle, mailbox) = Handle::new(view, hub);
    shared.table.insert(handle.clone());
    let busy = strays || running.is_some();
    let homeless = lost && running.is_some();
    let beginning = Beginning {
        record,
        run,
        phase,
        running,
        strays,
        cut_off,
        rest,
        config: config.clone(),
    };
    Actor::begin(shared.clone(), handle.clone(), mailbox, beginning);
    if thaw {
        tokio::spawn(thawed(handle.clone()));
    }
    Back {
        handle,
        unwanted: removed && !damaged,
        busy,
        homeless,
    }
}

/// Lets go on what was frozen for a commit that died with its daemon.
async fn thawed(handle: Arc<Handle>) {
    if let Err(error) = handle.ask(Wish::Unpause).await {
        tracing::warn!(id = %handle.id(), %error, "resuming a container that was being committed");
    }
}

/// A shim that does not answer may well have a process.
fn runs(task: &TaskInfo) -> bool {
    matches!(
        task.status,
        TaskStatus::Running | TaskStatus::Paused | TaskStatus::Unknown
    )
}

/// Takes the container's name; after a crash in the middle of a rename two may claim one.
fn name(shared: &Shared, record: &mut Record) {
    if shared.table.reserve(&record.name, &record.id).is_err() {
        let name = record.id.clone();
        tracing::warn!(id = %record.id, name = record.name, "the name is taken: the container is called by its id");
        record.name = name;
        let _ = shared.table.reserve(&record.name, &record.id);
    }
}

/// Takes over what runs: streams, log, network, and the wait for its end.
async fn adopt(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    run: &mut RunState,
    task: &TaskInfo,
    hub: &Arc<Hub>,
) -> Result<Started> {
    // A shim that does not answer tells nothing: what was known stays.
    if task.status != TaskStatus::Unknown {
        run.status = match task.status {
            TaskStatus::Paused => Status::Paused,
            _ => Status::Running,
        };
        run.pid = task.pid;
    }
    let (streams, logger) = {
        let (shared, record) = (shared.clone(), record.clone());
        blocking(move || reopen(&shared, &record)).await?
    };
    let endpoints = adopt_endpoints(shared, record, &run.endpoints).await;
    run.endpoints.clone_from(&endpoints);
    let task = shared.client.container(record.id.as_str()).task(run.pid);
    let mut session = hub.begin(streams, (*task).clone(), logger);
    session.listen();
    strays::see_out(shared, &record.id, &task).await;
    let exit = tokio::spawn({
        let task = task.clone();
        async move { task.wait().await }
    });
    let binary = run.runtime.clone();
    Ok(Started {
        task,
        binary,
        endpoints,
        at: run
            .started_at
            .or_else(|| shared.cgroups.started(run.pid))
            .unwrap_or_else(Timestamp::now),
        exit,
        session,
        mounted: None,
        limited: limited(shared, record, run.pid),
    })
}

/// The streams of what has ended: its shim still has what nobody has read.
async fn rest_of(shared: &Arc<Shared>, record: &Arc<Record>, hub: &Arc<Hub>) -> Option<Rest> {
    let opened = {
        let (shared, record) = (shared.clone(), record.clone());
        blocking(move || {
            let directory = shared.io_dir(&record.id);
            let config = &record.config;
            let fifos = FifoSet::new(&directory, "init", config.open_stdin, config.tty);
            let streams = fifos.open().map_err(Error::from_lower)?;
            let logger = open_log(&shared.files(&record.id)?, &record)?;
            Ok((fifos, streams, logger))
        })
    };
    match opened.await {
        Ok((fifos, streams, logger)) => {
            let task = shared.client.container(record.id.as_str()).task(0);
            let session = hub.begin(streams, (*task).clone(), logger);
            Some(Rest { fifos, session })
        }
        Err(error) => {
            tracing::warn!(id = %record.id, %error, "the last output of a container is lost");
            None
        }
    }
}

/// Takes over its places in networks. One that fails keeps the container from nothing else.
async fn adopt_endpoints(
    shared: &Shared,
    record: &Record,
    endpoints: &[berth_net::Endpoint],
) -> Vec<berth_net::Endpoint> {
    let named = &record.networking.endpoints_config;
    // One that it does not name was being joined or left: that is taken back, or done.
    let (mut endpoints, gone): (Vec<_>, Vec<_>) = endpoints
        .iter()
        .cloned()
        .partition(|endpoint| named.contains_key(&endpoint.network));
    // With it its ports may have been under way: they belong where the container is led out.
    let moving = gone.into_iter().flat_map(|endpoint| endpoint.ports);
    if let Some(leading) = network::leading(&mut endpoints) {
        leading.ports.extend(moving);
    }
    for endpoint in &mut endpoints {
        let aliases = named.get(&endpoint.network);
        let aliases = aliases.map_or(&[][..], |settings| &settings.aliases);
        // It may have been renamed since.
        endpoint.names = network::dns_names(record, aliases);
    }
    // Those with ports first: where one is gone, they are published in what leads out then.
    let (mut with_ports, mut others): (Vec<_>, Vec<_>) = endpoints
        .iter_mut()
        .partition(|endpoint| !endpoint.ports.is_empty());
    let mut lost = Vec::new();
    for endpoint in &mut with_ports {
        if !adopted(shared, record, endpoint).await {
            lost.append(&mut endpoint.ports);
        }
    }
    if let Some(heir) = network::leading(others.iter_mut().map(|endpoint| &mut **endpoint)) {
        heir.ports.append(&mut lost);
    }
    for endpoint in others {
        adopted(shared, record, endpoint).await;
    }
    endpoints
}

async fn adopted(shared: &Shared, record: &Record, endpoint: &berth_net::Endpoint) -> bool {
    let outcome = shared.net.adopt(endpoint).await;
    if let Err(error) = &outcome {
        tracing::error!(id = %record.id, network = endpoint.network, %error, "the network of a running container could not be taken over");
    }
    outcome.is_ok()
}

/// Opens the streams and the log of what runs. It runs on without its log, or with streams that
/// nobody writes to, rather than be ended for the want of them. Blocks.
fn reopen(shared: &Shared, record: &Record) -> Result<(Streams, Option<Logger>)> {
    let directory = shared.io_dir(&record.id);
    let fifos = FifoSet::new(
        &directory,
        "init",
        record.config.open_stdin,
        record.config.tty,
    );
    let streams = fifos.open().or_else(|error| {
        tracing::error!(id = record.id, %error, "the streams of a running container are lost");
        let _ = std::fs::create_dir_all(&directory);
        fifos.create().map_err(Error::from_lower)
    })?;
    let logger = open_log(&shared.files(&record.id)?, record).unwrap_or_else(|error| {
        tracing::error!(id = record.id, %error, "a running container goes on without its log");
        None
    });
    Ok((streams, logger))
}

/// It runs no more: its end is as containerd knows it.
fn has_ended(run: &mut RunState, task: Option<&TaskInfo>) {
    let exit = task
        .filter(|task| task.status == TaskStatus::Stopped)
        .map(|task| task.exit);
    run.status = Status::Exited;
    run.exits += 1;
    run.exit_code = exit.map_or(UNKNOWN_EXIT, |exit| exit.code.into());
    run.finished_at = Some(exit.and_then(|exit| exit.at).unwrap_or_else(Timestamp::now));
}

/// Clears away what belongs to no container.
async fn sweep(shared: &Arc<Shared>, kept: HashSet<String>) {
    {
        let (shared, kept) = (shared.clone(), kept.clone());
        let swept = blocking(move || {
            sweep_files(&shared, &kept);
            Ok(())
        });
        if let Err(error) = swept.await {
            tracing::warn!(%error, "clearing away files of containers that are gone");
        }
    }
    if let Err(error) = shared.net.sweep(kept).await {
        tracing::warn!(%error, "clearing away networks of containers that are gone");
    }
    sweep_snapshots(shared, &shared.snapshots).await;
    // No containers are made any more in what a daemon before used, so nobody has to wait for that.
    let shared = shared.clone();
    tokio::spawn(async move {
        let all = match shared.client.snapshotters().await {
            Ok(all) => all,
            Err(error) => return tracing::warn!(%error, "listing snapshotters"),
        };
        let used = shared.snapshots.name();
        for other in all.iter().filter(|other| other.failure.is_none()) {
            if other.name != used {
                let snapshots = shared.client.snapshots(&other.name);
                sweep_snapshots(&shared, &snapshots).await;
            }
        }
    });
}

/// Removes what is labelled as a container's that there is not.
async fn sweep_snapshots(shared: &Shared, snapshots: &Snapshots) {
    let owned = format!("labels.{OWNER:?}");
    match snapshots.list(Some(&owned)).await {
        Ok(found) => {
            let known = shared.table.load();
            let orphans = found
                .iter()
                .filter(|s| s.labels.get(OWNER) == Some(&s.key) && !known.has(&s.key))
                .filter(|s| !changed::is_in_use(&s.labels));
            for snapshot in orphans {
                mounts::forget(shared, &snapshot.key);
                if let Err(error) = snapshots.remove(&snapshot.key).await {
                    tracing::warn!(key = snapshot.key, %error, "removing a snapshot without a container");
                }
            }
        }
        Err(error) => {
            tracing::warn!(snapshotter = snapshots.name(), %error, "listing snapshots");
        }
    }
}

fn sweep_files(shared: &Shared, kept: &HashSet<String>) {
    let stale = |root: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let stale = entries.filter(|entry| {
            !entry
                .file_name()
                .to_str()
                .is_some_and(|name| kept.contains(name))
        });
        stale.map(|entry| entry.path()).collect()
    };
    for path in stale(&shared.io_root) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "removing stale FIFOs");
        }
    }
    shared
        .volumes
        .active()
        .sweep(|name| shared.volumes.data(name));
    for path in stale(&shared.subpath_root) {
        if let Err(error) = berth_volumes::unpin(&path) {
            tracing::warn!(%error, "removing stale paths of volumes");
        }
    }
    for path in stale(&shared.shm_root) {
        if let Err(error) = shm::unmount(&path) {
            tracing::warn!(%error, "removing stale shared memory");
        }
    }
}
