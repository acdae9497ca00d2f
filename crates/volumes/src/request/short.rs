//! `-v [source:]destination[:options]`.

use super::{Request, absolute, clean, invalid_config, target, volume_mode};
use crate::{Error, Kind, MountPoint, Result, request::PROPAGATIONS};

/// The options behind the second colon.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mode<'a> {
    pub(super) read_only: bool,
    /// Read-only with everything below it, or not at all.
    pub(super) recursive: bool,
    pub(super) propagation: Option<&'a str>,
    pub(super) nocopy: bool,
}

impl<'a> Mode<'a> {
    /// Reads them; each kind may be given once. `None`: they are none.
    pub(super) fn parse(text: &'a str) -> Option<Mode<'a>> {
        let mut mode = Mode::default();
        let (mut access, mut label, mut copy, mut consistency) = (0, 0, 0, 0);
        for option in text.split(',').filter(|_| !text.is_empty()) {
            match option {
                "ro" | "rw" | "rro" => {
                    access += 1;
                    mode.read_only = option != "rw";
                    mode.recursive = option == "rro";
                }
                // Without SELinux there is nothing to label, as in dockerd.
                "z" | "Z" => label += 1,
                "nocopy" => copy += 1,
                "consistent" | "cached" | "delegated" => consistency += 1,
                known if PROPAGATIONS.contains(&known) => {
                    if mode.propagation.replace(known).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        mode.nocopy = copy > 0;
        [access, label, copy, consistency]
            .iter()
            .all(|count| *count < 2)
            .then_some(mode)
    }
}

pub(super) fn parse(text: &str, driver: &str) -> Result<Request> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<_> = text.splitn(4, ':').collect();
    let (source, destination, options) = match parts[..] {
        ["", ..] => return Err(invalid()),
        [destination] => ("", destination, ""),
        // A place and options, but no source.
        [_, second] if Mode::parse(second).is_some() => return Err(invalid()),
        [source, destination] => (source, destination, ""),
        [source, destination, options] => (source, destination, options),
        _ => return Err(invalid()),
    };
    let mode =
        Mode::parse(options).ok_or_else(|| Error::invalid(format!("invalid mode: {options}")))?;
    let point = point(source, destination, options, &mode, driver)
        .map_err(|error| Error::invalid(format!("{}: {error}", invalid())))?;
    Ok(Request {
        point,
        ..Request::default()
    })
}

fn point(
    source: &str,
    destination: &str,
    options: &str,
    mode: &Mode<'_>,
    driver: &str,
) -> Result<MountPoint> {
    let kind = if source.starts_with('/') {
        Kind::Bind
    } else {
        Kind::Volume
    };
    let config = |what: String| invalid_config(kind.as_str(), what);
    let extra = |field: &str| Err(config(format!("field {field} must not be specified")));
    let common = MountPoint {
        kind,
        destination: target(destination).map_err(config)?,
        read_only: mode.read_only,
        read_only_force_recursive: mode.recursive,
        ..MountPoint::default()
    };
    if kind == Kind::Bind {
        if mode.nocopy {
            return extra("VolumeOptions");
        }
        absolute(source).map_err(config)?;
        return Ok(MountPoint {
            source: clean(source),
            mode: options.to_owned(),
            propagation: mode.propagation.unwrap_or("rprivate").to_owned(),
            create_source: true,
            ..common
        });
    }
    if mode.propagation.is_some() {
        return extra("BindOptions");
    }
    if source.is_empty() && mode.read_only {
        return Err(config(
            "must not set ReadOnly mode when using anonymous volumes".to_owned(),
        ));
    }
    Ok(MountPoint {
        name: source.to_owned(),
        driver: driver.to_owned(),
        named: !source.is_empty(),
        mode: volume_mode(options),
        copy: !mode.nocopy,
        ..common
    })
}
