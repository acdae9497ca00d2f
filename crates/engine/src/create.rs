//! Making a container: 1 RPC (`Snapshots.Prepare`).
//!
//! Everything is checked before anything is made, and what is made is taken back when a later
//! step fails. Options that Berth cannot honour yet are refused here, in the open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use berth_config::Live;
use berth_errdefs::Kind;
use berth_images::{Image, Platform};
use berth_reference::Reference;
use berth_store::Durability;
use berth_volumes::Request;
use berth_wire as wire;
use jiff::Timestamp;
use rand::RngCore;

use crate::container::actor::{Actor, Beginning, Captures, save};
use crate::container::handle::{Handle, View};
use crate::container::record::{Record, RunState, STATE};
use crate::container::state::Phase;
use crate::options::CreateOptions;
use crate::shared::{Shared, blocking};
use crate::stdio::Hub;
use crate::{Error, Result, fault, mounts, names, network, runtimes, volumes};

mod config;

pub(crate) use config::merge;
use config::{fill, join, name_host};

/// Keeps a container's snapshot from containerd's garbage collection.
pub(crate) const GC_ROOT: &str = "containerd.io/gc.root";
/// Tells whose snapshot it is, so that one whose record never came to be can be found.
pub(crate) const OWNER: &str = "io.berth.container";
/// The snapshotter over overlayfs.
const OVERLAY: &str = "overlayfs";
/// The magic number of XFS.
const XFS: i64 = 0x5846_5342;
/// How often a generated name may turn out to be taken.
const NAME_TRIES: u32 = 20;

/// 64 random hexadecimal digits.
pub(crate) fn random_id() -> String {
    loop {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let id = hex::encode(bytes);
        // A short id of digits alone would be taken for a number, as dockerd knows.
        if !id.bytes().take(12).all(|b| b.is_ascii_digit()) {
            return id;
        }
    }
}

/// Makes a container. To be run to its end, whoever asked for it.
pub(crate) async fn create(
    shared: Arc<Shared>,
    config: Captures,
    live: Arc<Live>,
    options: CreateOptions,
    request: wire::CreateRequest,
) -> Result<wire::CreateResponse> {
    shared.open_for_change()?;
    let asked = options
        .name
        .as_deref()
        .map(names::check)
        .transpose()?
        .map(str::to_owned);
    let image = image(&shared, &options, &request.config.image)?;
    let id = random_id();
    let Draft {
        mut record,
        mounts,
        mut warnings,
    } = {
        let (shared, live, image, id) = (shared.clone(), live.clone(), image.clone(), id.clone());
        blocking(move || draft(&shared, &live, &image, id, request)).await?
    };
    record.name = reserve(&shared, asked, &id)?;
    let made = make(&shared, config, &image, record, mounts).await;
    if made.is_err() {
        shared.table.remove(&id);
    }
    made?;
    warnings.dedup();
    Ok(wire::CreateResponse { id, warnings })
}

fn image(shared: &Shared, options: &CreateOptions, name: &str) -> Result<Arc<Image>> {
    if name.is_empty() {
        return Err(Error::invalid(
            "config cannot be empty in order to create a container",
        ));
    }
    let image = shared.images.resolve(name).map_err(Error::from_lower)?;
    if let Some(wanted) = options
        .platform
        .as_deref()
        .filter(|wanted| !wanted.is_empty())
    {
        let asked = wanted;
        let wanted = Platform::parse(asked).map_err(Error::from_lower)?;
        let found = image.platform();
        let shown = Reference::parse(name).map_or_else(
            |_| name.to_owned(),
            |reference| reference.tagged().familiar(),
        );
        if wanted.os != found.os || wanted.architecture != found.architecture {
            return Err(Error::not_found(format!(
                "image with reference {shown} was found but does not provide the specified platform ({asked})"
            )));
        }
    }
    Ok(image)
}

/// A container that is to be made.
struct Draft {
    /// The record as it is to be, all checked, apart from what is mounted.
    record: Record,
    mounts: Vec<Request>,
    /// For the client.
    warnings: Vec<String>,
}

/// What is to be made, all checked. Blocks.
fn draft(
    shared: &Shared,
    live: &Live,
    image: &Image,
    id: String,
    request: wire::CreateRequest,
) -> Result<Draft> {
    let wire::CreateRequest {
        mut config,
        mut host_config,
        mut networking_config,
    } = request;
    merge(&mut config, image.config());
    fill(&mut host_config, live, shared);
    if host_config.network_mode == network::BRIDGE && !live.bridge.enabled {
        // What is asked of the default network is asked of none.
        host_config.network_mode = "none".to_owned();
        for name in [network::BRIDGE, "default"] {
            networking_config.endpoints_config.remove(name);
        }
    }
    // A published port counts as exposed.
    config
        .exposed_ports
        .extend(host_config.port_bindings.keys().cloned());
    let warnings =
        berth_spec::validate::validate_host_config(&mut host_config, &config, &shared.facts)
            .map_err(Error::from_lower)?;
    // Only now: what is wrong is told as that.
    refuse(&host_config, shared.snapshots.name(), &live.user.data_root)?;
    let systemd = live.cgroup_driver == berth_config::CgroupDriver::Systemd;
    berth_spec::validate::validate_cgroup_parent(&host_config.cgroup_parent, systemd)
        .map_err(Error::from_lower)?;
    berth_logs::validate(&host_config.log_config.kind, &host_config.log_config.config)
        .map_err(Error::from_lower)?;
    runtimes::resolve(live, &host_config.runtime)?;
    let mounts = mounts::check(shared, &config, &host_config)?;
    for entry in &host_config.extra_hosts {
        berth_net::hosts::split_extra(entry).map_err(Error::from_lower)?;
    }
    if !config.stop_signal.is_empty() {
        crate::signals::parse(&config.stop_signal)?;
    }
    let mut record = Record {
        created: Timestamp::now(),
        image: image.id().to_string(),
        platform: image.os().to_owned(),
        config,
        host: host_config,
        networking: networking_config,
        snapshotter: shared.snapshots.name().to_owned(),
        id,
        ..Record::default()
    };
    join(shared, &mut record);
    network::settle(shared, &mut record)?;
    name_host(shared, &mut record);
    Ok(Draft {
        record,
        mounts,
        warnings,
    })
}

/// Refuses what there is not yet.
fn refuse(host: &wire::HostConfig, snapshotter: &str, data_root: &Path) -> Result<()> {
    if !host.storage_opt.is_empty() && snapshotter == OVERLAY && !is_xfs(data_root) {
        // Of the host, as for dockerd.
        let reason =
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
        return Err(Error::internal(reason));
    }
    let refused = [
        (!host.storage_opt.is_empty(), "storage options are"),
        (
            !matches!(host.userns_mode.as_str(), "" | "host"),
            "user namespaces are",
        ),
    ];
    match refused.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Error::new(
            Kind::NotImplemented,
            format!("{what} not supported yet"),
        )),
        None => Ok(()),
    }
}

/// Whether what is in `folder` is on the one file system that has quotas for overlay in dockerd.
fn is_xfs(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|system| system.f_type == XFS)
}

fn reserve(shared: &Shared, asked: Option<String>, id: &str) -> Result<String> {
    if let Some(name) = asked {
        shared.table.reserve(&name, id)?;
        return Ok(name);
    }
    for attempt in 0..NAME_TRIES {
        let name = names::generate(attempt);
        if shared.table.reserve(&name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = id.get(..12).unwrap_or(id).to_owned();
    shared.table.reserve(&name, id)?;
    Ok(name)
}

/// Prepares the snapshot, persists, publishes, tells.
async fn make(
    shared: &Arc<Shared>,
    config: Captures,
    image: &Image,
    mut record: Record,
    mounts: Vec<Request>,
) -> Result<()> {
    record.base = image
        .chain_id()
        .map(ToString::to_string)
        .unwrap_or_default();
    record.rootfs = prepare(shared, image, &record).await?;
    fault::point("create:snapshot");
    let record = match mount_and_persist(shared, record, mounts).await {
        Ok(record) => record,
        Err((id, error)) => {
            if let Err(error) = shared.snapshots.remove(&id).await {
                tracing::warn!(%id, %error, "taking back a create: removing the snapshot");
            }
            return Err(error);
        }
    };
    fault::point("create:record");
    let run = RunState::default();
    let view = View::new(record.clone(), run.clone(), None);
    let (handle, mailbox) = Handle::new(view, Hub::new());
    shared.table.insert(handle.clone());
    shared.events.container(&record, "create", &[]);
    let beginning = Beginning {
        record,
        run,
        phase: Phase::Created,
        running: None,
        strays: false,
        cut_off: false,
        rest: None,
        config,
    };
    Actor::begin(shared.clone(), handle, mailbox, beginning);
    Ok(())
}

async fn prepare(
    shared: &Shared,
    image: &Image,
    record: &Record,
) -> Result<Vec<berth_ctrd::Mount>> {
    let lower = |error: berth_images::Error| Error::from_lower(error);
    let Record { id, base, .. } = record;
    shared.images.ensure_unpacked(image).await.map_err(lower)?;
    let now = Timestamp::now().to_string();
    let labels = BTreeMap::from([(GC_ROOT.to_owned(), now), (OWNER.to_owned(), id.to_owned())]);
    match shared.snapshots.prepare(id, base, &labels).await {
        // Removed behind our back: unpack again from the blobs.
        Err(error) if error.is_not_found() => {
            shared.images.unpack(image).await.map_err(lower)?;
            shared
                .snapshots
                .prepare(id, base, &labels)
                .await
                .map_err(Error::from_lower)
        }
        outcome => outcome.map_err(Error::from_lower),
    }
}

/// Makes the volumes, and writes the record that tells of them. On an error neither is left.
async fn mount_and_persist(
    shared: &Arc<Shared>,
    mut record: Record,
    requests: Vec<Request>,
) -> Result<Arc<Record>, (String, Error)> {
    let id = record.id.clone();
    if !requests.is_empty() {
        let (shared, id) = (shared.clone(), id.clone());
        let made = blocking({
            let id = id.clone();
            move || mounts::make(&shared, &id, requests)
        });
        record.mounts = made.await.map_err(|error| (id, error))?;
        fault::point("create:volumes");
    }
    let record = Arc::new(record);
    let made = async {
        volumes::fill(shared, &record).await?;
        persist(shared, &record).await
    };
    if let Err(error) = made.await {
        let (shared, record) = (shared.clone(), record.clone());
        let unmade = blocking(move || {
            mounts::unmake(&shared, &record.id, &record.mounts);
            Ok(())
        });
        let _ = unmade.await;
        return Err((id, error));
    }
    Ok(record)
}

async fn persist(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    save(shared, record).await?;
    fault::point("create:config");
    let (shared, id) = (shared.clone(), record.id.clone());
    blocking(move || {
        let run = RunState::default();
        let saved = shared.records.save(&id, STATE, &run, Durability::Renamed);
        saved.map_err(|error| {
            // A record without its state is half a container.
            let _ = shared.records.remove(&id);
            Error::from_lower(error)
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let host = wire::HostConfig {
            storage_opt: [("size".to_owned(), "1G".to_owned())].into(),
            ..Default::default()
        };
        let refused = |snapshotter| {
            // Never on XFS.
            let error = refuse(&host, snapshotter, Path::new("/proc")).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            refused(OVERLAY),
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        );
        assert_eq!(refused("btrfs"), "storage options are not supported yet");
    }

    #[test]
    fn ids_are_random_and_never_numbers() {
        let id = random_id();
        assert_eq!(id.len(), 64);
        assert_ne!(id, random_id());
    }
}
