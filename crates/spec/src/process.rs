//! The container's first process: what it runs, as whom, with what environment and limits.

use berth_wire::{ContainerConfig, Ulimit};
use oci_spec::runtime::{
    BoxBuilder, LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
};

use crate::capabilities::CapSet;
use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::mounts::{INIT_PATH, wants_init};
use crate::security::SecurityOptions;

/// `PATH` of containers whose image says nothing.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The OCI process of the container.
pub(crate) fn build(
    inputs: &Inputs<'_>,
    granted: CapSet,
    security: &SecurityOptions<'_>,
) -> Result<Process> {
    let (config, host) = (inputs.config, inputs.host);
    let mut args = command(config)?;
    if wants_init(inputs) {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let cwd = if config.working_dir.is_empty() {
        "/"
    } else {
        &*config.working_dir
    };
    let no_new_privileges = security
        .no_new_privileges
        .unwrap_or(inputs.no_new_privileges);
    let adjustment = i32::try_from(host.oom_score_adj)
        .map_err(|_| Error::invalid("range for oom score adj is [-1000, 1000]"))?;
    // A process of its own making: the crate's default one has a shell, rlimits and capabilities.
    let mut process = Process::default();
    process
        .set_terminal(Some(config.tty))
        .set_console_size(console_size(inputs))
        .set_user(inputs.user.into())
        .set_args(Some(args))
        .set_env(Some(environment(config, inputs.hostname)))
        .set_cwd(cwd.into())
        .set_capabilities(Some(capabilities(granted)))
        .set_rlimits(rlimits(&host.ulimits, inputs.default_ulimits)?)
        .set_no_new_privileges(Some(no_new_privileges))
        .set_apparmor_profile(security.apparmor(host.privileged, inputs.facts))
        .set_oom_score_adj(Some(adjustment));
    Ok(process)
}

/// The command line: entrypoint and command in one.
///
/// # Errors
/// `no command specified`.
pub fn command(config: &ContainerConfig) -> Result<Vec<String>> {
    let part = |part: &Option<Vec<String>>| part.clone().unwrap_or_default();
    let mut command = part(&config.entrypoint);
    // A lone empty entrypoint is how a client says "not the image's one, and none of mine".
    if command == [""] {
        command.clear();
    }
    command.extend(part(&config.cmd));
    match command.first() {
        Some(_) => Ok(command),
        None => Err(Error::invalid("no command specified")),
    }
}

/// The environment: Docker's own variables, each in its place, replaced by the configuration's of
/// the same name; then the rest of the configuration's in their order. A name without `=` takes a
/// variable of Docker's away. `HOME` is left to the runtime, which reads it from the image.
#[must_use]
pub fn environment(config: &ContainerConfig, hostname: &str) -> Vec<String> {
    environment_of(config, hostname, config.tty)
}

/// [`environment`] of a process with or without a terminal.
pub(crate) fn environment_of(config: &ContainerConfig, hostname: &str, tty: bool) -> Vec<String> {
    let mut own = vec![
        format!("PATH={DEFAULT_PATH}"),
        format!("HOSTNAME={hostname}"),
    ];
    if tty {
        own.push("TERM=xterm".to_owned());
    }
    merge_environment(own, &config.env)
}

/// Lays `changes` over `base` by name: replaces, appends, and takes away (a name without `=`).
/// Also what `docker exec -e` does to its container's environment.
#[must_use]
pub fn merge_environment(base: Vec<String>, changes: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut slots: Vec<Option<String>> = base.into_iter().map(Some).collect();
    let known = slots.len();
    for change in changes {
        let wanted = name(change);
        let place = slots.iter().take(known).position(|slot| {
            slot.as_deref()
                .is_some_and(|variable| name(variable) == wanted)
        });
        match (place, change.contains('=')) {
            (Some(place), true) => slots[place] = Some(change.clone()),
            (Some(place), false) => slots[place] = None,
            (None, true) => slots.push(Some(change.clone())),
            (None, false) => {}
        }
    }
    slots.into_iter().flatten().collect()
}

/// The sets of a container's first process: what is granted is bounding, permitted and effective.
/// Nothing is inheritable (CVE-2022-24769): a program gets it by its own file capabilities only.
pub(crate) fn capabilities(granted: CapSet) -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(granted.to_oci()))
        .set_permitted(Some(granted.to_oci()))
        .set_effective(Some(granted.to_oci()))
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

fn console_size(inputs: &Inputs<'_>) -> Option<oci_spec::runtime::Box> {
    if !inputs.config.tty {
        return None;
    }
    console(inputs.host.console_size)
}

/// A terminal's size: height and width; nothing for 0 by 0.
pub(crate) fn console([height, width]: [u32; 2]) -> Option<oci_spec::runtime::Box> {
    if height == 0 && width == 0 {
        return None;
    }
    BoxBuilder::default()
        .height(u64::from(height))
        .width(u64::from(width))
        .build()
        .ok()
}

/// The container's limits and those of the daemon's that it does not set itself.
fn rlimits(own: &[Ulimit], defaults: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>> {
    let mut defaults: Vec<&Ulimit> = defaults
        .iter()
        .filter(|ulimit| own.iter().all(|o| o.name != ulimit.name))
        .collect();
    defaults.sort_by(|a, b| a.name.cmp(&b.name));
    let limits: Vec<_> = own
        .iter()
        .chain(defaults)
        .map(rlimit)
        .collect::<Result<_>>()?;
    Ok((!limits.is_empty()).then_some(limits))
}

/// One limit as the runtime takes it.
///
/// # Errors
/// The name is unknown, or the soft limit is above the hard one.
pub(crate) fn rlimit(ulimit: &Ulimit) -> Result<PosixRlimit> {
    let kind: PosixRlimitType = match ulimit.name.to_lowercase().as_str() {
        "as" => PosixRlimitType::RlimitAs,
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => {
            return Err(Error::invalid(format!(
                "invalid ulimit type: {}",
                ulimit.name
            )));
        }
    };
    // -1 is "unlimited", which is the largest number when it is taken as unsigned.
    let (soft, hard) = (ulimit.soft.cast_unsigned(), ulimit.hard.cast_unsigned());
    if soft > hard {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            ulimit.soft, ulimit.hard
        )));
    }
    PosixRlimitBuilder::default()
        .typ(kind)
        .soft(soft)
        .hard(hard)
        .build()
        .map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn commands() {
        let with = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            command(&ContainerConfig {
                entrypoint: entrypoint.map(strings),
                cmd: cmd.map(strings),
                ..ContainerConfig::default()
            })
        };
        assert_eq!(
            with(Some(&["a", "b"]), Some(&["c"])).unwrap(),
            ["a", "b", "c"]
        );
        assert_eq!(with(None, Some(&["c"])).unwrap(), ["c"]);
        assert_eq!(with(Some(&[""]), Some(&["c"])).unwrap(), ["c"]);
        assert_eq!(with(Some(&["a"]), None).unwrap(), ["a"]);
        assert_eq!(
            with(None, None).unwrap_err().to_string(),
            "no command specified"
        );
        assert_eq!(
            with(Some(&[""]), Some(&[])).unwrap_err().to_string(),
            "no command specified"
        );
    }

    #[test]
    fn the_environment_keeps_its_order() {
        let config = ContainerConfig {
            env: strings(&["Z=1", "PATH=/bin", "A=2", "TERM", "B", "Z=3"]),
            tty: true,
            ..ContainerConfig::default()
        };
        assert_eq!(
            environment(&config, "h"),
            ["PATH=/bin", "HOSTNAME=h", "Z=1", "A=2", "Z=3"]
        );
    }

    #[test]
    fn ulimits() {
        let ulimit = |name: &str, soft, hard| Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        };
        let own = [ulimit("nofile", 1, 2)];
        let defaults = [
            ulimit("nproc", 5, -1),
            ulimit("nofile", 9, 9),
            ulimit("core", 0, 0),
        ];
        let limits = rlimits(&own, &defaults).unwrap().unwrap();
        let types: Vec<_> = limits.iter().map(PosixRlimit::typ).collect();
        assert_eq!(
            types,
            [
                PosixRlimitType::RlimitNofile,
                PosixRlimitType::RlimitCore,
                PosixRlimitType::RlimitNproc
            ]
        );
        assert_eq!(limits[2].hard(), u64::MAX);
        let error = |u: Ulimit| rlimit(&u).unwrap_err().to_string();
        assert_eq!(error(ulimit("x", 1, 1)), "invalid ulimit type: x");
        assert_eq!(
            error(ulimit("nofile", 3, 2)),
            "ulimit soft limit must be less than or equal to hard limit: 3 > 2"
        );
    }
}
