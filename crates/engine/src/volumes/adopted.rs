//! Folders that have no record of ours: dockerd's volumes, when `berthd` takes its data over, and
//! volumes whose record is damaged.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use berth_store::{Error as StoreError, Records, read_json};
use berth_volumes::{DATA, MountOptions};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Record, Volume, volume};

/// Where dockerd keeps a volume's options.
const OPTIONS: &str = "opts.json";

/// dockerd's options.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Options {
    mount_type: String,
    mount_opts: String,
    mount_device: String,
}

impl Options {
    fn into_map(self) -> BTreeMap<String, String> {
        let all = [
            ("type", self.mount_type),
            ("o", self.mount_opts),
            ("device", self.mount_device),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// What the folder `name` holds, whose record could not be loaded for `reason`; `None`: no volume.
pub(super) fn look(records: &Records, name: &str, reason: StoreError) -> Option<Arc<Volume>> {
    let folder = records.folder(name).ok()?;
    if !folder.join(DATA).is_dir() {
        return None;
    }
    let mut record = Record {
        created: made(&folder),
        ..Record::default()
    };
    if !matches!(reason, StoreError::Missing { .. }) {
        tracing::error!(volume = name, error = %reason, "a volume's record cannot be read: it can only be seen and removed");
        return Some(volume(
            name.to_owned(),
            record,
            None,
            Some(reason.to_string()),
        ));
    }
    let parsed = match read_json::<Options>(&folder.join(OPTIONS)) {
        Ok(options) => {
            record.options = options.into_map();
            MountOptions::parse(&record.options).map_err(|error| error.to_string())
        }
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let (mount, damaged) = match parsed {
        Ok(mount) => (mount, None),
        Err(error) => (None, Some(error)),
    };
    Some(volume(name.to_owned(), record, mount, damaged))
}

fn made(folder: &Path) -> Timestamp {
    let seconds = folder.metadata().map_or(0, |metadata| metadata.ctime());
    Timestamp::from_second(seconds).unwrap_or_default()
}
