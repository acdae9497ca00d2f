//! Options of the local driver: `docker volume create -o type=… -o device=… -o o=…`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];

/// Which options need which others.
const NEEDS: [(&str, &[&str]); 3] = [
    ("device", &["type"]),
    ("o", &["device", "type"]),
    ("type", &["device"]),
];

/// What is mounted as a volume's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOptions {
    /// The file system's type: `tmpfs`, `nfs`, `none` …
    pub kind: String,
    /// What is mounted: a device, a directory (with `o=bind`), `:/export` …
    pub device: String,
    /// Mount options, separated by commas. May hold a password.
    pub options: String,
}

impl MountOptions {
    /// Reads a volume's driver options. `None`: nothing is mounted, the data is a directory.
    ///
    /// # Errors
    /// [`Error::Invalid`] with dockerd's words for an option that there is not, that lacks another
    /// one, or that asks for a quota.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<MountOptions>> {
        if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Error::invalid(format!("invalid option: {unknown:?}")));
        }
        let get = |name: &str| options.get(name).cloned().unwrap_or_default();
        if get("type") == "cifs" && has_port(&get("device")) {
            return Err(Error::invalid(
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ));
        }
        if let Some(size) = options.get("size")
            && bytes(size)? > 0.0
        {
            return Err(Error::invalid("quota size requested but no quota support"));
        }
        for (option, needed) in NEEDS {
            let lacking = needed.iter().find(|needed| !options.contains_key(**needed));
            if let (true, Some(lacking)) = (options.contains_key(option), lacking) {
                return Err(Error::invalid(format!(
                    "missing required option: {lacking:?}"
                )));
            }
        }
        let parsed = MountOptions {
            kind: get("type"),
            device: get("device"),
            options: get("o"),
        };
        Ok((!parsed.kind.is_empty() || !parsed.device.is_empty()).then_some(parsed))
    }
}

/// Whether `//host:445/share` names a port.
fn has_port(device: &str) -> bool {
    let authority = device.split_once("//").map_or("", |(_, rest)| rest);
    let host = authority.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(']').map_or(host, |(_, port)| port);
    host.contains(':')
}

/// A size as `10m`, `1.5GiB`, `512`.
fn bytes(text: &str) -> Result<f64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..).unwrap_or_default();
    let number: f64 = digits.trim_end().parse().map_err(|_| invalid())?;
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    if number < 0.0 || !number.is_finite() {
        return Err(invalid());
    }
    Ok(number * 1024_f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Option<MountOptions>, String> {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        MountOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_mounted() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[("size", "0")]), Ok(None));
        let tmpfs = parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]);
        let wanted = MountOptions {
            kind: "tmpfs".into(),
            device: "tmpfs".into(),
            options: "size=1m".into(),
        };
        assert_eq!(tmpfs, Ok(Some(wanted)));
    }

    #[test]
    fn refusals_in_dockers_words() {
        for (options, message) in [
            (&[("nosuch", "1")][..], "invalid option: \"nosuch\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "/x")], "missing required option: \"type\""),
            (&[("o", "bind")], "missing required option: \"device\""),
            (
                &[("o", "bind"), ("device", "/x")],
                "missing required option: \"type\"",
            ),
            (
                &[("size", "10m")],
                "quota size requested but no quota support",
            ),
            (&[("size", "big")], "invalid size: 'big'"),
            (
                &[("type", "cifs"), ("device", "//host:445/share")],
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
        ] {
            assert_eq!(parse(options), Err(message.to_owned()), "{options:?}");
        }
        assert!(parse(&[("type", "cifs"), ("device", "//host/share")]).is_ok());
    }
}
