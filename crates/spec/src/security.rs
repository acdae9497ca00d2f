//! `--security-opt`.

use oci_spec::runtime::LinuxSeccomp;

use crate::capabilities::CapSet;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::inputs::Inputs;
use crate::seccomp;

/// Docker's default AppArmor profile.
const APPARMOR_DEFAULT: &str = "docker-default";

/// What no profile at all is called.
const UNCONFINED: &str = "unconfined";

/// The security options of a container, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityOptions<'a> {
    /// `no-new-privileges`, when it is given.
    pub no_new_privileges: Option<bool>,
    /// `seccomp=`: `unconfined`, `builtin` or a profile's JSON.
    pub seccomp: Option<&'a str>,
    /// `apparmor=`: a profile's name or `unconfined`.
    pub apparmor: Option<&'a str>,
    /// `writable-cgroups`, when it is given.
    pub writable_cgroups: Option<bool>,
}

impl<'a> SecurityOptions<'a> {
    /// Decodes a list of options. `label=…` and `disable` belong to SELinux: where it is off, as
    /// here, dockerd takes and ignores them, and so do we.
    ///
    /// `systempaths=unconfined` never arrives: clients turn it into empty `MaskedPaths` and
    /// `ReadonlyPaths`, and dockerd knows no such option.
    ///
    /// # Errors
    /// `invalid --security-opt 1: "x"` for an option without a value that needs one,
    /// `invalid --security-opt 2: "x"` for an unknown name or a bad value.
    pub fn parse(options: &'a [String]) -> Result<SecurityOptions<'a>> {
        let mut parsed = SecurityOptions::default();
        for option in options {
            let unknown =
                |stage: u8| Error::invalid(format!("invalid --security-opt {stage}: {option:?}"));
            match option.as_str() {
                "no-new-privileges" => parsed.no_new_privileges = Some(true),
                "writable-cgroups" => parsed.writable_cgroups = Some(true),
                "disable" => {}
                text => {
                    let (key, value) = text
                        .split_once('=')
                        .or_else(|| text.split_once(':'))
                        .ok_or_else(|| unknown(1))?;
                    let flag = || parse_bool(value).ok_or_else(|| unknown(2));
                    match key {
                        "label" => {}
                        "apparmor" => parsed.apparmor = Some(value),
                        "seccomp" => parsed.seccomp = Some(value),
                        "no-new-privileges" => parsed.no_new_privileges = Some(flag()?),
                        "writable-cgroups" => parsed.writable_cgroups = Some(flag()?),
                        _ => return Err(unknown(2)),
                    }
                }
            }
        }
        Ok(parsed)
    }

    /// The seccomp filter: the one that is asked for, else the daemon's, else the built-in one;
    /// none for a privileged container that asks for nothing.
    ///
    /// # Errors
    /// The profile is malformed, or the kernel cannot filter and a profile is asked for.
    pub(crate) fn seccomp(
        &self,
        inputs: &Inputs<'_>,
        granted: CapSet,
    ) -> Result<Option<LinuxSeccomp>> {
        let asked = self.seccomp.filter(|profile| !profile.is_empty());
        if asked == Some(UNCONFINED) || (asked.is_none() && inputs.host.privileged) {
            return Ok(None);
        }
        if !inputs.facts.seccomp {
            return match asked {
                None => Ok(None),
                Some(_) => Err(Error::Host(
                    "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"
                        .to_owned(),
                )),
            };
        }
        let host = seccomp::Host {
            architecture: &inputs.facts.architecture,
            kernel: inputs.facts.kernel,
            granted,
        };
        match asked.or(inputs.seccomp_default) {
            None | Some("builtin") => seccomp::default(host).map(Some),
            Some(UNCONFINED) => Ok(None),
            Some(json) => seccomp::load(json, host),
        }
    }

    /// The AppArmor profile, where the host has AppArmor. The default one is named only when it is
    /// loaded: a profile that does not exist keeps a container from starting.
    pub(crate) fn apparmor(&self, privileged: bool, facts: &HostFacts) -> Option<String> {
        if !facts.apparmor {
            return None;
        }
        match self.apparmor.filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None if privileged => Some(UNCONFINED.to_owned()),
            None => facts.apparmor_default.then(|| APPARMOR_DEFAULT.to_owned()),
        }
    }
}

/// A truth value as Go's `strconv.ParseBool` takes it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_apart() {
        let options = [
            "no-new-privileges",
            "seccomp=unconfined",
            "apparmor:my",
            "label=disable",
        ]
        .map(str::to_owned);
        let parsed = SecurityOptions::parse(&options).unwrap();
        assert_eq!(parsed.no_new_privileges, Some(true));
        assert_eq!(parsed.seccomp, Some("unconfined"));
        assert_eq!(parsed.apparmor, Some("my"));
        let options = [
            "no-new-privileges:false".to_owned(),
            "writable-cgroups=1".to_owned(),
        ];
        let parsed = SecurityOptions::parse(&options).unwrap();
        assert_eq!(parsed.no_new_privileges, Some(false));
        assert_eq!(parsed.writable_cgroups, Some(true));
    }

    #[test]
    fn unknown_options_have_dockers_words() {
        let error = |option: &str| {
            SecurityOptions::parse(&[option.to_owned()])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("x"), "invalid --security-opt 1: \"x\"");
        assert_eq!(error("x=y"), "invalid --security-opt 2: \"x=y\"");
        assert_eq!(
            error("no-new-privileges=maybe"),
            "invalid --security-opt 2: \"no-new-privileges=maybe\""
        );
    }
}
