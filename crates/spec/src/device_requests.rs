//! `--gpus` and CDI devices: requests that a driver is to fulfil. The one driver that there is, is
//! that of the Container Device Interface; a GPU that is asked for otherwise nobody gives, as with a
//! dockerd without the vendors' hooks.

use std::path::PathBuf;

use berth_wire::{DeviceRequest, HostConfig};

use crate::cdi::{Edits, Registry};
use crate::error::{Error, Result};

/// The driver of the Container Device Interface.
const CDI: &str = "cdi";

/// What the requests of `host` change in its container's specification, at a start. `folders` have
/// the descriptions of CDI devices; `None` where the driver is turned off. Reads them only when a
/// device is asked for; blocks.
///
/// # Errors
/// Docker's words: no driver fulfils a request, or there is no such device.
pub fn fulfil(host: &HostConfig, folders: Option<&[PathBuf]>) -> Result<Edits> {
    let mut edits = Edits::default();
    for request in &host.device_requests {
        match folders {
            Some(folders) if request.driver == CDI => edits.join(cdi(request, folders)?),
            _ => return Err(nobody(request)),
        }
    }
    Ok(edits)
}

fn nobody(request: &DeviceRequest) -> Error {
    Error::Host(format!(
        "could not select device driver {:?} with capabilities: {}",
        request.driver,
        go_lists(&request.capabilities)
    ))
}

fn cdi(request: &DeviceRequest, folders: &[PathBuf]) -> Result<Edits> {
    if folders.is_empty() {
        let reason = "CDI device injection failed: no CDI specification directories specified";
        return Err(Error::Host(reason.to_owned()));
    }
    if request.count != 0 {
        return Err(Error::invalid("unexpected count in CDI device request"));
    }
    if !request.options.is_empty() {
        return Err(Error::invalid("unexpected options in CDI device request"));
    }
    if request.device_ids.is_empty() {
        return Ok(Edits::default());
    }
    let edits = Registry::scan(folders).edits(&request.device_ids);
    edits.map_err(|error| match error {
        Error::Host(reason) => Error::Host(format!("CDI device injection failed: {reason}")),
        error => error,
    })
}

/// Lists of lists as Go prints them: `[[gpu nvidia]]`.
fn go_lists(lists: &[Vec<String>]) -> String {
    let lists: Vec<_> = lists
        .iter()
        .map(|list| format!("[{}]", list.join(" ")))
        .collect();
    format!("[{}]", lists.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: DeviceRequest, folders: Option<&[PathBuf]>) -> String {
        let host = HostConfig {
            device_requests: vec![request],
            ..HostConfig::default()
        };
        fulfil(&host, folders).unwrap_err().to_string()
    }

    #[test]
    fn there_is_no_driver() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let request = DeviceRequest {
            count: -1,
            capabilities: vec![words(&["gpu", "utility"]), words(&["tpu"])],
            ..DeviceRequest::default()
        };
        assert_eq!(
            refused(request, Some(&[])),
            "could not select device driver \"\" with capabilities: [[gpu utility] [tpu]]"
        );
        let request = DeviceRequest {
            driver: "nvidia".to_owned(),
            ..DeviceRequest::default()
        };
        assert_eq!(
            refused(request, Some(&[])),
            "could not select device driver \"nvidia\" with capabilities: []"
        );
    }

    #[test]
    fn cdi_devices_that_cannot_be_had() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        let request = DeviceRequest {
            driver: CDI.to_owned(),
            device_ids: vec!["a.com/b=c".to_owned(), "a.com/b=d".to_owned()],
            ..DeviceRequest::default()
        };
        let missing = "CDI device injection failed: unresolvable CDI devices a.com/b=c, a.com/b=d";
        assert_eq!(refused(request.clone(), Some(&folders)), missing);
        assert_eq!(
            refused(request.clone(), Some(&[])),
            "CDI device injection failed: no CDI specification directories specified"
        );
        assert_eq!(
            refused(request.clone(), None),
            "could not select device driver \"cdi\" with capabilities: []"
        );
        let counted = DeviceRequest {
            count: 1,
            ..request
        };
        assert_eq!(
            refused(counted, Some(&folders)),
            "unexpected count in CDI device request"
        );
    }
}
