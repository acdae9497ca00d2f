//! Limits of single block devices on what runs, which `runc update` does not know.

use std::path::Path;

use crate::group::{Group, Place};
use crate::host::Host;
use crate::{Error, Result};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Bytes read in a second.
    ReadBytes,
    /// Bytes written in a second.
    WrittenBytes,
    /// Reads in a second.
    Reads,
    /// Writes in a second.
    Writes,
    /// The share beside other cgroups, where the device's scheduler has such.
    Weight,
}

/// The limit of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimit {
    /// What is limited.
    pub what: Limited,
    /// The device's major and minor number.
    pub device: (i64, i64),
    /// How much; 0 for no limit.
    pub most: u64,
}

impl Host {
    /// Limits a device for the group's container, at once. Blocks.
    ///
    /// # Errors
    /// The host has no such limit, or the kernel refuses it.
    pub fn limit_device(&self, group: &Group, limit: DeviceLimit) -> Result<()> {
        let (major, minor) = limit.device;
        match &group.blkio {
            Some(Place::V1(path)) => {
                let text = format!("{major}:{minor} {}", limit.most);
                self.files().write(&v1(self, path, limit.what), &text)
            }
            Some(Place::V2(path)) => {
                let (file, text) = v2(limit);
                self.files()
                    .write(&path.join(file), &format!("{major}:{minor} {text}"))
            }
            None => Err(Error::NotThere { pid: group.pid }),
        }
    }
}

fn v1(host: &Host, group: &Path, what: Limited) -> std::path::PathBuf {
    group.join(match what {
        Limited::ReadBytes => "blkio.throttle.read_bps_device",
        Limited::WrittenBytes => "blkio.throttle.write_bps_device",
        Limited::Reads => "blkio.throttle.read_iops_device",
        Limited::Writes => "blkio.throttle.write_iops_device",
        Limited::Weight if host.files().is_there(&group.join("blkio.weight_device")) => {
            "blkio.weight_device"
        }
        Limited::Weight => "blkio.bfq.weight_device",
    })
}

fn v2(limit: DeviceLimit) -> (&'static str, String) {
    let key = match limit.what {
        Limited::ReadBytes => "rbps",
        Limited::WrittenBytes => "wbps",
        Limited::Reads => "riops",
        Limited::Writes => "wiops",
        Limited::Weight => return ("io.bfq.weight", limit.most.to_string()),
    };
    let most = match limit.most {
        0 => "max".to_owned(),
        most => most.to_string(),
    };
    ("io.max", format!("{key}={most}"))
}
