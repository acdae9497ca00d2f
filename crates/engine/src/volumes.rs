//! The volumes there are and who uses them, as one value behind one pointer; and their records.
//!
//! A volume is a folder, `<data-root>/volumes/<name>/`, with its data (`_data`) and its record. It
//! comes and goes in one step (see [`Records`]), so a crash leaves no half one. Who uses it is not
//! written down: the containers' records tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use berth_errdefs::{Classify, Kind};
use berth_store::{Quarantined, Records};
use berth_volumes::{ANONYMOUS, DATA, DRIVER, MountOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::create::random_id;
use crate::events::Events;
use crate::{Error, Result, fault};

mod active;
mod adopted;
mod attach;
mod fill;
mod list;
mod prune;

pub(crate) use active::Active;
pub(crate) use attach::{Loan, attach, detach, source};
pub(crate) use fill::{Filling, fill};
pub(crate) use list::{inspect, list};
pub(crate) use prune::prune;

/// The file of the [`Record`].
const RECORD: &str = "volume.json";

/// What is kept of a volume on disk. Never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) created: Timestamp,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// The container that it was made for; empty when a client asked for it.
    pub(crate) container: String,
}

/// A volume as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) record: Record,
    /// What is mounted as its data while it is used; `None`: the data is a directory.
    pub(crate) mount: Option<MountOptions>,
    /// The containers that have it, whether they run or not.
    pub(crate) users: BTreeSet<String>,
    /// Why its record cannot be read: it can only be seen and removed.
    pub(crate) damaged: Option<String>,
}

impl Volume {
    /// Nobody gave it a name.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.record.labels.contains_key(ANONYMOUS)
    }
}

/// All volumes by name.
pub(crate) type Index = BTreeMap<String, Arc<Volume>>;

/// A volume that somebody wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Empty: one is made up.
    pub(crate) name: String,
    /// Empty: the default one.
    pub(crate) driver: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// The container that uses it from now on.
    pub(crate) container: Option<String>,
}

impl Wanted {
    /// Checks what can be checked before anything is made.
    ///
    /// # Errors
    /// dockerd's words, with what was to be done before them.
    pub(crate) fn check(&self) -> Result<Option<MountOptions>> {
        self.parse()
            .map_err(|error| error.context(format!("create {}", self.name)))
    }

    fn parse(&self) -> Result<Option<MountOptions>> {
        let Wanted { name, driver, .. } = self;
        if !matches!(driver.as_str(), "" | DRIVER) {
            return Err(Error::not_found(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        if !name.is_empty() {
            berth_volumes::check_name(name).map_err(Error::from_lower)?;
        }
        MountOptions::parse(&self.options).map_err(Error::from_lower)
    }
}

/// The one place where volumes are made and removed.
#[derive(Debug)]
pub(crate) struct Volumes {
    records: Records,
    index: ArcSwap<Index>,
    /// Held while the index is replaced; readers never wait for it.
    writing: Mutex<()>,
    active: Active,
    filling: Filling,
    pruning: AtomicBool,
    events: Events,
}

impl Volumes {
    /// Opens the volumes in `root`. Blocks. What is damaged is told, and stops nothing.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn open(root: PathBuf, events: Events) -> Result<Volumes> {
        let records = Records::open_named(root).map_err(Error::from_lower)?;
        for error in records.sweep() {
            tracing::warn!(%error, "clearing away removed volumes");
        }
        let (loaded, damaged) = records
            .load_all::<Record>(RECORD)
            .map_err(Error::from_lower)?;
        let mut index = Index::new();
        for (name, record) in loaded {
            let (mount, damaged) = match MountOptions::parse(&record.options) {
                Ok(mount) => (mount, None),
                Err(error) => (None, Some(error.to_string())),
            };
            index.insert(name.clone(), volume(name, record, mount, damaged));
        }
        for Quarantined { id, reason, .. } in damaged {
            let found = adopted::look(&records, &id, reason);
            index.extend(found.map(|volume| (id, volume)));
        }
        let active = Active::look(records.root(), &index)?;
        Ok(Volumes {
            records,
            index: ArcSwap::from_pointee(index),
            writing: Mutex::default(),
            active,
            filling: Filling::default(),
            pruning: AtomicBool::new(false),
            events,
        })
    }

    /// All volumes as of now.
    pub(crate) fn load(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Volume>> {
        let found = self.index.load().get(name).cloned();
        found.ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    /// Where a volume's data is on the host.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.records.root().join(name).join(DATA)
    }

    /// What is mounted, and for whom.
    pub(crate) fn active(&self) -> &Active {
        &self.active
    }

    /// Makes a volume, or finds the one that there is. Blocks.
    ///
    /// # Errors
    /// Those of [`Wanted::check`]; the disk's.
    pub(crate) fn create(&self, wanted: Wanted) -> Result<Arc<Volume>> {
        let mount = wanted.check()?;
        let Wanted {
            name,
            mut labels,
            options,
            container,
            ..
        } = wanted;
        let anonymous = name.is_empty();
        let name = if anonymous { random_id() } else { name };
        if anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let _writing = self.write();
        if let Some(there) = self.index.load().get(&name) {
            return Ok(match &container {
                Some(container) => self.add_user(there, container),
                None => there.clone(),
            });
        }
        let record = Record {
            created: Timestamp::now(),
            labels,
            options,
            container: container.clone().unwrap_or_default(),
        };
        let fill = |folder: &std::path::Path| make_data(&folder.join(DATA));
        let made = self.records.make(&name, RECORD, &record, fill);
        made.map_err(|error| Error::from_lower(error).context(format!("create {name}")))?;
        fault::point("volume:made");
        let mut volume = Volume::clone(&volume(name, record, mount, None));
        volume.users.extend(container);
        let volume = self.publish(volume);
        self.tell(&volume.name, "create", &[]);
        Ok(volume)
    }

    /// Has `container` use a volume that there is.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn hold(&self, name: &str, container: &str) -> Result<()> {
        let _writing = self.write();
        let volume = self.find(name)?;
        self.add_user(&volume, container);
        Ok(())
    }

    /// Ends `container`'s use of the volumes. Those of `doomed` go, unless others use them.
    /// Blocks. Goes on after an error and returns all of them.
    pub(crate) fn release(
        &self,
        container: &str,
        volumes: &[&str],
        doomed: &[&str],
    ) -> Vec<String> {
        let writing = self.write();
        for name in volumes {
            if let Some(volume) = self.index.load().get(*name) {
                let mut volume = Volume::clone(volume);
                volume.users.remove(container);
                self.publish(volume);
            }
        }
        drop(writing);
        let removals = doomed.iter().map(|name| self.remove(name, false));
        removals
            .filter_map(Result::err)
            .filter(|error| !matches!(error.kind(), Kind::NotFound | Kind::Conflict))
            .map(|error| error.to_string())
            .collect()
    }

    /// Removes a volume and its data. With `force` one that there is not is fine. Blocks.
    ///
    /// # Errors
    /// There is none, containers use it, or its data cannot be removed.
    pub(crate) fn remove(&self, name: &str, force: bool) -> Result<()> {
        let writing = self.write();
        let volume = match self.find(name) {
            Err(_) if force => return Ok(()),
            found => found?,
        };
        if !volume.users.is_empty() {
            let users: Vec<_> = volume.users.iter().map(String::as_str).collect();
            return Err(Error::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        let failed = |error: Error| error.context(format!("remove {name}"));
        self.active.clear(name, &self.data(name)).map_err(failed)?;
        self.records
            .withdraw(name)
            .map_err(|error| failed(Error::from_lower(error)))?;
        fault::point("volume:removed");
        let mut index = Index::clone(&self.index.load());
        index.remove(name);
        self.index.store(Arc::new(index));
        drop(writing);
        self.tell(name, "destroy", &[]);
        // May take long: nobody waits for it but who asked.
        self.records
            .delete_withdrawn(name)
            .map_err(|error| failed(Error::from_lower(error)))
    }

    /// Tells something of a volume.
    pub(crate) fn tell(&self, name: &str, action: &str, more: &[(&str, String)]) {
        let mut attributes: BTreeMap<String, String> = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        if !name.is_empty() {
            attributes.insert("driver".to_owned(), DRIVER.to_owned());
        }
        self.events
            .tell("volume", action.to_owned(), name.to_owned(), attributes);
    }

    fn add_user(&self, volume: &Arc<Volume>, container: &str) -> Arc<Volume> {
        let mut volume = Volume::clone(volume);
        volume.users.insert(container.to_owned());
        self.publish(volume)
    }

    /// To be called while writing.
    fn publish(&self, volume: Volume) -> Arc<Volume> {
        let volume = Arc::new(volume);
        let mut index = Index::clone(&self.index.load());
        index.insert(volume.name.clone(), volume.clone());
        self.index.store(Arc::new(index));
        volume
    }

    fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn volume(
    name: String,
    record: Record,
    mount: Option<MountOptions>,
    damaged: Option<String>,
) -> Arc<Volume> {
    Arc::new(Volume {
        name,
        record,
        mount,
        users: BTreeSet::new(),
        damaged,
    })
}

/// Makes the folder of the data, mode 0755 whatever the umask.
fn make_data(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
