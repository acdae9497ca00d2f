//! The networks that there are: the predefined ones, and those of users, which are records.

mod create;
mod ipam;
mod remove;
mod show;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_config::Live;
use berth_net::{Network, NetworkSpec};
use berth_store::Records;
use berth_wire as wire;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub(crate) use self::create::create;
pub(crate) use self::remove::{prune, remove};
pub(crate) use self::show::{inspect, list};
use crate::shared::{Shared, blocking};
use crate::{Error, Result};

/// The folder of all records under the data root.
const FOLDER: &str = "network";
/// The file of a [`Record`] in its folder.
const FILE: &str = "network.json";

/// What is kept of a user's network on disk. Never changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) attachable: bool,
    /// Driver options, as the user gave them and as the daemon's defaults add to them.
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Options of the address management.
    pub(crate) ipam_options: BTreeMap<String, String>,
    /// The subnets as the user gave them.
    pub(crate) asked: Vec<wire::IpamConfig>,
    pub(crate) spec: NetworkSpec,
}

/// The users' networks by name, as one value behind one pointer.
#[derive(Debug)]
pub(crate) struct Networks {
    records: Records,
    by_name: ArcSwap<BTreeMap<String, Arc<Record>>>,
    /// Held while one is made or removed; readers never wait for it, nor does a container.
    changing: Mutex<()>,
}

impl Networks {
    /// The networks whose records are under the data root; what cannot be read is told and left out.
    /// Blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn open(data_root: &Path) -> Result<Networks> {
        let records = Records::open(data_root.join(FOLDER)).map_err(Error::from_lower)?;
        for error in records.sweep() {
            tracing::warn!(%error, "clearing away removed networks");
        }
        let (loaded, damaged) = records
            .load_all::<Record>(FILE)
            .map_err(Error::from_lower)?;
        for damaged in damaged {
            let path = damaged.path.display();
            tracing::error!(id = damaged.id, %path, error = %damaged.reason, "a network's record cannot be read: the network is gone");
        }
        let by_name = loaded
            .into_iter()
            .map(|(_, record)| (record.name.clone(), Arc::new(record)))
            .collect();
        Ok(Networks {
            records,
            by_name: ArcSwap::from_pointee(by_name),
            changing: Mutex::default(),
        })
    }

    /// All of them, as of now.
    pub(crate) fn load(&self) -> Arc<BTreeMap<String, Arc<Record>>> {
        self.by_name.load_full()
    }

    fn change(&self, change: impl Fn(&mut BTreeMap<String, Arc<Record>>)) {
        self.by_name.rcu(|now| {
            let mut next = BTreeMap::clone(now);
            change(&mut next);
            next
        });
    }
}

/// The subnets of the users' networks that [`Engine::open`](crate::Engine::open) will bring back.
///
/// # Errors
/// The records' folder cannot be read.
pub async fn kept_subnets(live: &Live) -> Result<Vec<IpNet>> {
    let root = live.user.data_root.join(FOLDER);
    blocking(move || {
        let records = Records::open(root).map_err(Error::from_lower)?;
        let (kept, _) = records
            .load_all::<Record>(FILE)
            .map_err(Error::from_lower)?;
        let specs = kept.iter().map(|(_, record)| &record.spec);
        Ok(specs
            .flat_map(|spec| spec.subnets().map(|subnet| subnet.net))
            .collect())
    })
    .await
}

/// Brings back the users' networks, before the containers in them. One that does not come back
/// keeps nobody from starting: who wants it is told.
pub(crate) async fn restore(shared: &Shared) {
    for record in shared.networks.load().values() {
        if let Err(error) = shared.net.restore_network(record.spec.clone()).await {
            tracing::error!(name = record.name, %error, "a network could not be brought back");
        }
    }
}

/// A network, of whichever kind.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Predefined(Network),
    Users(Arc<Record>),
}

impl Found {
    pub(crate) fn id(&self) -> &str {
        match self {
            Found::Predefined(network) => &network.id,
            Found::Users(record) => &record.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Found::Predefined(network) => network.name,
            Found::Users(record) => &record.name,
        }
    }

    pub(crate) fn driver(&self) -> &str {
        match self {
            Found::Predefined(network) => network.driver,
            Found::Users(_) => "bridge",
        }
    }

    /// No way out.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Found::Users(record) if record.spec.internal)
    }

    /// Made by a user.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self, Found::Users(_))
    }
}

/// All networks, the predefined ones first.
pub(crate) fn all(shared: &Shared) -> Vec<Found> {
    let predefined = shared.net.networks().into_iter().map(Found::Predefined);
    let users = shared.networks.load();
    let users = users.values().cloned().map(Found::Users);
    predefined.chain(users).collect()
}

/// The network that a full id, a name, or the beginning of an id means: in this order.
///
/// # Errors
/// There is none, or several.
pub(crate) fn find(shared: &Shared, term: &str) -> Result<Found> {
    let all = all(shared);
    let exact = all.iter().find(|network| network.id() == term);
    if let Some(found) = exact.or_else(|| all.iter().find(|network| network.name() == term)) {
        return Ok(found.clone());
    }
    let matching: Vec<_> = all
        .iter()
        .filter(|network| !term.is_empty() && network.id().starts_with(term))
        .collect();
    match matching.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Error::not_found(format!("network {term} not found"))),
        several => Err(Error::invalid(format!(
            "network {term} is ambiguous ({} matches found based on ID prefix)",
            several.len()
        ))),
    }
}

/// Tells that something happened to a network.
fn tell(shared: &Shared, action: &str, record: &Record) {
    let attributes = [("name", record.name.as_str()), ("type", "bridge")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    shared.events.tell(
        "network",
        action.to_owned(),
        record.id.clone(),
        attributes.into(),
    );
}
