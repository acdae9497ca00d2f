//! Docker's JSON format for seccomp profiles: an OCI filter whose rules carry conditions.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
};
use serde::{Deserialize, Deserializer};

use super::{Host, native_name, parse_arch, syscall};
use crate::error::{Error, Result};

/// A profile as a client sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    default_action: Option<LinuxSeccompAction>,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<ArchEntry>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    listener_path: Option<std::path::PathBuf>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<LinuxSeccompArg>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default, deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Decodes a profile in Docker's JSON format and keeps the rules that apply on `host`.
///
/// `Ok(None)`: the profile has neither a default action nor rules, which turns seccomp off.
///
/// # Errors
/// `Decoding seccomp profile failed: …` and dockerd's complaints about contradicting fields.
pub fn load(json: &str, host: Host<'_>) -> Result<Option<LinuxSeccomp>> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))?;
    let Some(default_action) = profile.default_action else {
        if profile.syscalls.is_empty() {
            return Ok(None);
        }
        return Err(Error::invalid("the seccomp profile has no defaultAction"));
    };
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
             'architectures' or 'archMap'",
        ));
    }
    let mut calls = Vec::new();
    for rule in profile.syscalls {
        if let Some(call) = rule.resolve(host)? {
            calls.push(call);
        }
    }
    let mut names = profile.architectures;
    let own = super::policy::ARCHITECTURES
        .iter()
        .find(|(machine, _)| *machine == host.architecture)
        .and_then(|(_, names)| names.first());
    if let Some(entry) = profile
        .arch_map
        .into_iter()
        .find(|e| Some(&&*e.architecture) == own)
    {
        names.push(entry.architecture);
        names.extend(entry.sub_architectures);
    }
    let architectures = names
        .iter()
        .map(|name| parse_arch(name))
        .collect::<Result<Vec<_>>>()?;
    let mut filter = LinuxSeccomp::default();
    filter
        .set_default_action(default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures((!architectures.is_empty()).then_some(architectures))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_listener_metadata(profile.listener_metadata)
        .set_syscalls((!calls.is_empty()).then_some(calls));
    Ok(Some(filter))
}

impl Rule {
    /// The OCI rule, or `None` where its conditions exclude `host`.
    fn resolve(self, host: Host<'_>) -> Result<Option<oci_spec::runtime::LinuxSyscall>> {
        let names = match (self.name.is_empty(), self.names.is_empty()) {
            (false, false) => {
                return Err(Error::invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either \
                     'name' or 'names'",
                ));
            }
            (false, true) => vec![self.name],
            (true, _) => self.names,
        };
        let excluded = match self.excludes {
            Some(condition) => condition.any(host)?,
            None => false,
        };
        let included = match self.includes {
            Some(condition) => condition.all(host)?,
            None => true,
        };
        Ok((included && !excluded).then(|| syscall(names, self.action, self.errno_ret, self.args)))
    }
}

impl Condition {
    /// Whether one of the parts that are given fits: what excludes a rule.
    fn any(&self, host: Host<'_>) -> Result<bool> {
        Ok(self.fits_architecture(host)
            || self.caps.iter().any(|name| host.granted.contains(name))
            || self.fits_kernel(host)?.unwrap_or(false))
    }

    /// Whether every part that is given fits: what includes a rule.
    fn all(&self, host: Host<'_>) -> Result<bool> {
        Ok((self.arches.is_empty() || self.fits_architecture(host))
            && self.caps.iter().all(|name| host.granted.contains(name))
            && self.fits_kernel(host)?.unwrap_or(true))
    }

    fn fits_architecture(&self, host: Host<'_>) -> bool {
        let native = native_name(host.architecture);
        self.arches.iter().any(|name| name == native)
    }

    fn fits_kernel(&self, host: Host<'_>) -> Result<Option<bool>> {
        let Some(text) = &self.min_kernel else {
            return Ok(None);
        };
        let parsed = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let version: (u32, u32) =
            parsed.ok_or_else(|| Error::invalid(format!("invalid kernel version: {text:?}")))?;
        Ok(Some(host.kernel >= version))
    }
}
