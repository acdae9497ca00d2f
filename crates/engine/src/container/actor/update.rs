//! Changes to a container's limits and restart policy: one at a time, and never while a start is
//! at work with what the record was.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_cgroups::{DeviceLimit, Limited};
use berth_ctrd::Task;
use berth_errdefs::Kind;
use berth_spec::Devices;
use berth_wire as wire;
use tokio::sync::oneshot;

use super::{Actor, Outcome, failed_part, rewrite};
use crate::container::record::Record;
use crate::container::restart::Policy;
use crate::container::state::{Done, Generation, Phase};
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault};

/// What is asked for, and who asks.
type Asked = (Box<wire::HostConfig>, oneshot::Sender<Result<Done>>);

/// The changes that wait for their turn, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Updates {
    waiting: VecDeque<Asked>,
    under_way: bool,
    /// A start that has to see the outcome.
    pub(super) held: Option<Generation>,
}

/// A change that the runtime has been asked for.
pub(super) struct Update {
    record: Arc<Record>,
    reply: oneshot::Sender<Result<Done>>,
    /// The old limits, for when the new ones cannot be written down.
    back: Option<Limits>,
    outcome: Result<()>,
}

impl Actor {
    pub(super) async fn update(
        &mut self,
        asked: Box<wire::HostConfig>,
        reply: oneshot::Sender<Result<Done>>,
    ) {
        self.updates.waiting.push_back((asked, reply));
        self.next_updates().await;
    }

    /// Whether a start must wait for a change that is under way; it is begun after that.
    pub(super) fn holds_start(&mut self, generation: Generation) -> bool {
        if self.updates.under_way {
            self.updates.held = Some(generation);
        }
        self.updates.under_way
    }

    /// Goes on with the changes that wait, as far as that is possible now.
    pub(super) async fn next_updates(&mut self) {
        while !self.updates.under_way && !matches!(self.state.phase(), Phase::Starting(_)) {
            let Some((asked, reply)) = self.updates.waiting.pop_front() else {
                return;
            };
            if let Err((error, reply)) = self.begin_update(&asked, reply).await {
                let id = &self.record.id;
                let error = error.context(format!("Cannot update container {id}"));
                let _ = reply.send(Err(error));
            }
        }
    }

    async fn begin_update(
        &mut self,
        asked: &wire::HostConfig,
        reply: oneshot::Sender<Result<Done>>,
    ) -> Result<(), (Error, oneshot::Sender<Result<Done>>)> {
        let change = match devices_of(asked).await {
            Ok(devices) => self.change(asked, &devices),
            Err(error) => Err(error),
        };
        let change = match change {
            Ok(change) => change,
            Err(error) => return Err((error, reply)),
        };
        let task = self.current.as_ref().map(|run| run.task.clone());
        let running = matches!(self.state.phase(), Phase::Running(_));
        let (Some(task), Some(new)) = (task.filter(|_| running), change.forth) else {
            self.adopt(change.record, reply, None).await;
            return Ok(());
        };
        self.updates.under_way = true;
        let (shared, id) = (self.shared.clone(), self.record.id.clone());
        let back = change.back.clone();
        let call = tokio::spawn(async move { change_limits(&shared, &id, &task, new, back).await });
        self.work.push(Box::pin(async move {
            let outcome = call.await.unwrap_or_else(|error| Err(failed_part(&error)));
            Outcome::Updated(Update {
                record: change.record,
                reply,
                back: change.back,
                outcome,
            })
        }));
        Ok(())
    }

    /// What the record becomes, and what the runtime has to be told, forth and back.
    fn change(&self, asked: &wire::HostConfig, devices: &Devices) -> Result<Change> {
        if matches!(
            self.state.phase(),
            Phase::Removing(_) | Phase::Dead | Phase::Gone
        ) {
            let message = "container is marked for removal and cannot be \"update\"";
            return Err(Error::conflict(message));
        }
        let lower = |error: berth_spec::Error| Error::from_lower(error);
        let host = berth_spec::update(&self.record.host, asked).map_err(lower)?;
        let limits = |host: &wire::HostConfig| -> Result<Option<Limits>> {
            let resources = berth_spec::encode_update(host, asked, devices).map_err(lower)?;
            Ok(resources.map(|resources| Limits {
                resources,
                devices: device_limits(host, asked, devices),
            }))
        };
        let (forth, back) = (limits(&host)?, limits(&self.record.host)?);
        let record = Record {
            host,
            ..Record::clone(&self.record)
        };
        Ok(Change {
            record: Arc::new(record),
            forth,
            back,
        })
    }

    pub(super) async fn updated(&mut self, update: Update) {
        let Update {
            record,
            reply,
            back,
            outcome,
        } = update;
        self.updates.under_way = false;
        fault::point("update:told");
        match outcome {
            Ok(()) => self.adopt(record, reply, back).await,
            Err(error) => {
                let id = &self.record.id;
                let error = error.context(format!("Cannot update container {id}"));
                let _ = reply.send(Err(error));
            }
        }
        if let Some(generation) = self.updates.held.take() {
            self.start(generation);
        }
        self.next_updates().await;
    }

    /// Persists, publishes, tells and answers. What cannot be persisted has not happened.
    async fn adopt(
        &mut self,
        record: Arc<Record>,
        reply: oneshot::Sender<Result<Done>>,
        back: Option<Limits>,
    ) {
        if let Err(error) = rewrite(&self.shared, &record).await {
            let task = self.current.as_ref().map(|run| run.task.clone());
            if let (Some(task), Some(back)) = (task, back)
                && let Err(error) = impose(&self.shared, &self.record.id, &task, back).await
            {
                tracing::error!(id = %self.record.id, %error, "taking back an update");
            }
            let id = &self.record.id;
            let error = error.context(format!("Cannot update container {id}"));
            let _ = reply.send(Err(error));
            return;
        }
        fault::point("update:saved");
        self.state.follow(Policy::from(&record.host.restart_policy));
        self.record = record;
        self.publish();
        self.shared.events.container(&self.record, "update", &[]);
        let _ = reply.send(Ok(Done::Changed));
    }
}

/// A change, as the record and the runtime take it.
struct Change {
    record: Arc<Record>,
    forth: Option<Limits>,
    back: Option<Limits>,
}

/// What holds for what runs.
#[derive(Clone)]
struct Limits {
    /// OCI resources, for the runtime.
    resources: Vec<u8>,
    /// What the runtime would not change.
    devices: Vec<DeviceLimit>,
}

/// What `host` says of the devices that `asked` names.
fn device_limits(
    host: &wire::HostConfig,
    asked: &wire::HostConfig,
    devices: &Devices,
) -> Vec<DeviceLimit> {
    let mut limits = Vec::new();
    let mut add = |what, path: &str, most: Option<u64>| {
        let limit = devices.block.get(path).map(|&device| DeviceLimit {
            what,
            device,
            most: most.unwrap_or(0),
        });
        limits.extend(limit);
    };
    for (what, asked, own) in [
        (
            Limited::ReadBytes,
            &asked.blkio_device_read_bps,
            &host.blkio_device_read_bps,
        ),
        (
            Limited::WrittenBytes,
            &asked.blkio_device_write_bps,
            &host.blkio_device_write_bps,
        ),
        (
            Limited::Reads,
            &asked.blkio_device_read_iops,
            &host.blkio_device_read_iops,
        ),
        (
            Limited::Writes,
            &asked.blkio_device_write_iops,
            &host.blkio_device_write_iops,
        ),
    ] {
        for device in asked {
            let own = own.iter().find(|own| own.path == device.path);
            add(what, &device.path, own.map(|own| own.rate));
        }
    }
    for device in &asked.blkio_weight_device {
        let mut own = host.blkio_weight_device.iter();
        let own = own.find(|own| own.path == device.path);
        add(
            Limited::Weight,
            &device.path,
            own.map(|own| own.weight.into()),
        );
    }
    limits
}

/// Imposes `new` as a whole, or leaves `old`. A runtime that refuses its part has changed nothing.
async fn change_limits(
    shared: &Shared,
    id: &str,
    task: &Task,
    new: Limits,
    old: Option<Limits>,
) -> Result<()> {
    tell_runtime(task, new.resources).await?;
    let Err(refused) = limit_devices(shared, id, task, new.devices).await else {
        return Ok(());
    };
    if let Some(old) = old
        && let Err(error) = impose(shared, id, task, old).await
    {
        tracing::error!(id, %error, "taking back an update");
    }
    Err(refused)
}

async fn impose(shared: &Shared, id: &str, task: &Task, limits: Limits) -> Result<()> {
    let Limits { resources, devices } = limits;
    tell_runtime(task, resources).await?;
    limit_devices(shared, id, task, devices).await
}

async fn limit_devices(
    shared: &Shared,
    id: &str,
    task: &Task,
    devices: Vec<DeviceLimit>,
) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let (cgroups, pid, id) = (shared.cgroups.clone(), task.pid(), id.to_owned());
    blocking(move || {
        let Ok(group) = cgroups.group(pid, &id) else {
            // It has just ended.
            return Ok(());
        };
        let mut devices = devices.into_iter();
        devices
            .try_for_each(|limit| cgroups.limit_device(&group, limit))
            .map_err(Error::from_lower)
    })
    .await
}

/// The block devices that are named.
async fn devices_of(asked: &wire::HostConfig) -> Result<Devices> {
    let named = berth_spec::block_devices(asked);
    blocking(move || Devices::resolve(&named).map_err(Error::from_lower)).await
}

async fn tell_runtime(task: &Task, resources: Vec<u8>) -> Result<()> {
    match task.update(resources).await {
        // It has just ended: the limits are for its next run.
        Err(error) if !error.is_not_found() => Err(Error::new(Kind::Internal, error.to_string())),
        _ => Ok(()),
    }
}
