//! What a container is started with: from its runtime's name to what containerd is told.
//!
//! The name is resolved at each start, in the configuration that the start captured. What runs
//! already never asks: the shim keeps what it was started with, and so does the wrapper script,
//! whose name tells its content.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use berth_config::{Live, Runtime, ShimOptions};
use berth_ctrd::{GenericOptions, RuncOptions, RuntimeOptions};
use serde_json::{Map, Value};

use crate::shared::blocking;
use crate::{Error, Result};

/// What containerd is told of the runtime that `name` means, once all about it is known to be
/// right. Blocks, where it has arguments.
///
/// # Errors
/// There is no such runtime, it has an option of the wrong type, or its binary is not there.
pub(crate) fn resolve(live: &Live, name: &str) -> Result<berth_ctrd::Runtime> {
    let runtime = live.runtimes.get(name).map_err(Error::from_lower)?;
    if runtime.wrapper.is_some() {
        preflight(&runtime)?;
    }
    told(&runtime)
}

/// Checks the options of all configured runtimes for their shims.
///
/// # Errors
/// One of the wrong type.
pub fn check_runtimes(live: &Live) -> Result<()> {
    live.runtimes
        .iter()
        .try_for_each(|runtime| told(runtime).map(drop))
}

/// Whether an option is known, if its value is of the right type.
type Knows = fn(&str, &Value) -> Result<bool, String>;

/// The options that shims do not know, as `runtimes.x.options.Colour`, sorted: as with dockerd they
/// mean nothing.
pub fn ignored_options(live: &Live) -> Vec<String> {
    let mut ignored = Vec::new();
    for runtime in live.runtimes.iter() {
        let (more, knows): (_, Knows) = match &runtime.options {
            ShimOptions::Runc { more, .. } => (more, |name, value| {
                set_runc(&mut RuncOptions::default(), name, value)
            }),
            ShimOptions::Generic(more) => (more, |name, value| {
                set_generic(&mut GenericOptions::default(), name, value)
            }),
            ShimOptions::None => continue,
        };
        let names = more
            .iter()
            .filter(|(name, value)| knows(name, value) == Ok(false));
        ignored.extend(names.map(|(name, _)| format!("runtimes.{}.options.{name}", runtime.name)));
    }
    ignored.sort();
    ignored
}

/// As [`resolve`], with the wrapper script in its place: whoever has taken it away meanwhile, no
/// start goes without.
///
/// # Errors
/// Those of [`resolve`], or the script cannot be written.
pub(crate) async fn ready(live: &Arc<Live>, name: &str) -> Result<berth_ctrd::Runtime> {
    let runtime = live.runtimes.get(name).map_err(Error::from_lower)?;
    if runtime.wrapper.is_none() {
        return told(&runtime);
    }
    blocking(move || {
        preflight(&runtime)?;
        if let Some(wrapper) = &runtime.wrapper {
            wrapper.write().map_err(Error::from_lower)?;
        }
        told(&runtime)
    })
    .await
}

/// The binary that an OCI runtime's shim runs, where there is one.
pub(crate) fn binary(runtime: &berth_ctrd::Runtime) -> &str {
    match &runtime.options {
        Some(RuntimeOptions::Runc(options)) => &options.binary_name,
        _ => "",
    }
}

fn told(runtime: &Runtime) -> Result<berth_ctrd::Runtime> {
    let wrong = |error: String| Error::invalid(format!("runtime {}: {error}", runtime.name));
    let options = match &runtime.options {
        ShimOptions::Runc {
            binary_name,
            root,
            systemd_cgroup,
            more,
        } => {
            let mut options = RuncOptions {
                binary_name: binary_name.clone(),
                root: root.to_string_lossy().into_owned(),
                systemd_cgroup: *systemd_cgroup,
                ..RuncOptions::default()
            };
            for (name, value) in more {
                set_runc(&mut options, name, value).map_err(wrong)?;
            }
            Some(RuntimeOptions::Runc(options))
        }
        ShimOptions::Generic(more) => Some(RuntimeOptions::Generic(generic(more).map_err(wrong)?)),
        ShimOptions::None => None,
    };
    Ok(berth_ctrd::Runtime {
        name: runtime.shim.clone(),
        options,
    })
}

/// Sets one of runc's options by the name that dockerd knows it by; `false` for a name that means
/// nothing.
fn set_runc(options: &mut RuncOptions, name: &str, value: &Value) -> Result<bool, String> {
    // dockerd's decoder does not mind case.
    match name.to_ascii_lowercase().as_str() {
        "nopivotroot" => options.no_pivot_root = boolean(name, value)?,
        "nonewkeyring" => options.no_new_keyring = boolean(name, value)?,
        "shimcgroup" => options.shim_cgroup = text(name, value)?,
        "iouid" => options.io_uid = number(name, value)?,
        "iogid" => options.io_gid = number(name, value)?,
        "binaryname" => options.binary_name = text(name, value)?,
        "root" => options.root = text(name, value)?,
        "criupath" => options.criu_path = text(name, value)?,
        "systemdcgroup" => options.systemd_cgroup = boolean(name, value)?,
        "criuimagepath" => options.criu_image_path = text(name, value)?,
        "criuworkpath" => options.criu_work_path = text(name, value)?,
        "taskapiaddress" => options.task_api_address = text(name, value)?,
        "taskapiversion" => options.task_api_version = number(name, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The same for any other shim.
fn set_generic(options: &mut GenericOptions, name: &str, value: &Value) -> Result<bool, String> {
    match name.to_ascii_lowercase().as_str() {
        "typeurl" => options.type_url = text(name, value)?,
        "configpath" => options.config_path = text(name, value)?,
        "configbody" => options.config_body = bytes(name, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn generic(more: &Map<String, Value>) -> Result<GenericOptions, String> {
    let mut options = GenericOptions::default();
    for (name, value) in more {
        set_generic(&mut options, name, value)?;
    }
    Ok(options)
}

fn wrong(name: &str, wanted: &str) -> String {
    format!("invalid value for option {name}: {wanted} expected")
}

fn boolean(name: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong(name, "true or false"))
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| wrong(name, "a string"))
}

fn number(name: &str, value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| wrong(name, "a number from 0 to 4294967295"))
}

/// Bytes, as text or as numbers.
fn bytes(name: &str, value: &Value) -> Result<Vec<u8>, String> {
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes = match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Array(values) => values.iter().map(byte).collect(),
        _ => None,
    };
    bytes.ok_or_else(|| wrong(name, "a string or an array of bytes"))
}

/// The binary behind a wrapper script is there: else the script's name would be in the error, which
/// the administrator does not know.
fn preflight(runtime: &Runtime) -> Result<()> {
    look_up(&runtime.path).map(drop).map_err(|why| {
        let path = &runtime.path;
        Error::invalid(format!(
            "error while looking up the specified runtime path: exec: {path:?}: {why}"
        ))
    })
}

/// Finds a program as a shell does; why not, in Go's words.
pub(crate) fn look_up(program: &str) -> Result<std::path::PathBuf, String> {
    if program.contains('/') {
        return match executable(Path::new(program)) {
            Ok(()) => Ok(program.into()),
            Err(why) => Err(why),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|place| place.join(program));
    let found = places.find(|place| place.is_absolute() && executable(place).is_ok());
    found.ok_or_else(|| "executable file not found in $PATH".to_owned())
}

fn executable(path: &Path) -> Result<(), String> {
    let data = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("stat {}: no such file or directory", path.display())
        }
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    })?;
    if data.is_dir() {
        return Err("is a directory".to_owned());
    }
    match data.permissions().mode() & 0o111 {
        0 => Err("permission denied".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "runtimes_tests.rs"]
mod tests;
