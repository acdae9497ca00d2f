//! `--gpus` and CDI devices: requests that a driver is to fulfil. Berth has none, and answers as
//! dockerd does on a host without any.

use std::path::Path;

use berth_wire::{DeviceRequest, HostConfig};

use crate::error::{Error, Result};

/// The driver of the Container Device Interface.
const CDI: &str = "cdi";

/// Where the specifications of CDI devices are.
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Refuses the requests of `host`, at the start, as dockerd does.
///
/// # Errors
/// Docker's words; [`Error::Unsupported`] where the host has CDI devices, which dockerd would give.
pub(crate) fn refuse(host: &HostConfig) -> Result<()> {
    host.device_requests.iter().try_for_each(|request| {
        if request.driver == CDI {
            cdi(request, &CDI_FOLDERS.map(Path::new))
        } else {
            Err(Error::Host(format!(
                "could not select device driver {:?} with capabilities: {}",
                request.driver,
                go_lists(&request.capabilities)
            )))
        }
    })
}

fn cdi(request: &DeviceRequest, folders: &[&Path]) -> Result<()> {
    if request.count != 0 {
        return Err(Error::invalid("unexpected count in CDI device request"));
    }
    if !request.options.is_empty() {
        return Err(Error::invalid("unexpected options in CDI device request"));
    }
    if request.device_ids.is_empty() {
        return Ok(());
    }
    if folders.iter().any(|folder| has_specifications(folder)) {
        return Err(Error::Unsupported("CDI devices are".to_owned()));
    }
    Err(Error::Host(format!(
        "CDI device injection failed: unresolvable CDI devices {}",
        request.device_ids.join(", ")
    )))
}

fn has_specifications(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter_map(|path| path.extension().map(ToOwned::to_owned))
        .any(|extension| extension == "json" || extension == "yaml" || extension == "yml")
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

    fn refused(request: DeviceRequest) -> String {
        let host = HostConfig {
            device_requests: vec![request],
            ..HostConfig::default()
        };
        refuse(&host).unwrap_err().to_string()
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
            refused(request),
            "could not select device driver \"\" with capabilities: [[gpu utility] [tpu]]"
        );
        let request = DeviceRequest {
            driver: "nvidia".to_owned(),
            ..DeviceRequest::default()
        };
        assert_eq!(
            refused(request),
            "could not select device driver \"nvidia\" with capabilities: []"
        );
    }

    #[test]
    fn cdi_devices_are_only_missing_where_the_host_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let request = DeviceRequest {
            driver: CDI.to_owned(),
            device_ids: vec!["a.com/b=c".to_owned(), "a.com/b=d".to_owned()],
            ..DeviceRequest::default()
        };
        let answer = || cdi(&request, &[folder.path()]).unwrap_err().to_string();
        assert_eq!(
            answer(),
            "CDI device injection failed: unresolvable CDI devices a.com/b=c, a.com/b=d"
        );
        std::fs::write(folder.path().join("a.yaml"), "").unwrap();
        assert_eq!(answer(), "CDI devices are not supported yet");
    }
}
