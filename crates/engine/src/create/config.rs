//! What a container is to be: the client's wishes, completed by its image, by the daemon's defaults
//! and by the containers whose namespaces it joins.

use berth_config::Live;
use berth_spec::modes::Mode;
use berth_spec::validate::Defaults;
use berth_wire as wire;

use crate::container::record::Record;
use crate::network;
use crate::shared::Shared;

/// Each part of a health check that the client leaves open is the image's.
fn merge_check(own: &mut wire::Healthcheck, image: &wire::Healthcheck) {
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// Fills in from the image what the client leaves open, as dockerd merges them.
pub(crate) fn merge(config: &mut wire::ContainerConfig, image: &wire::ImageConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    config
        .exposed_ports
        .extend(image.exposed_ports.iter().cloned());
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in &image.env {
        if !config.env.iter().any(|own| name(own) == name(variable)) {
            config.env.push(variable.clone());
        }
    }
    for (key, value) in &image.labels {
        config
            .labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    let none = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if none(&config.entrypoint) {
        if none(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // How clients ask for no entrypoint, not even the image's.
    if matches!(config.entrypoint.as_deref(), Some([only]) if only.is_empty()) {
        config.entrypoint = None;
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    config.volumes.extend(image.volumes.iter().cloned());
    if let Some(image) = &image.healthcheck {
        merge_check(config.healthcheck.get_or_insert_default(), image);
    }
}

/// Fills in the daemon's defaults.
pub(super) fn fill(host: &mut wire::HostConfig, live: &Live, shared: &Shared) {
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = network::BRIDGE.to_owned();
    }
    for list in [&mut host.cap_add, &mut host.cap_drop] {
        for capability in list {
            *capability = berth_spec::capabilities::normalise(capability);
        }
    }
    if host.runtime.is_empty() {
        host.runtime
            .clone_from(&live.runtimes.default_runtime().name);
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".to_owned();
    }
    let log = &mut host.log_config;
    if log.kind.is_empty() {
        log.kind.clone_from(&live.logs.driver);
    }
    if log.kind == live.logs.driver {
        for (key, value) in &live.logs.options {
            log.config
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    let defaults = Defaults {
        shm_size: live.shm_size,
        ipc_mode: if live.ipc_shareable {
            "shareable"
        } else {
            "private"
        },
        cgroupns_mode: if live.cgroupns_private {
            "private"
        } else {
            "host"
        },
        systemd_cgroup: live.cgroup_driver == berth_config::CgroupDriver::Systemd,
    };
    berth_spec::validate::fill_defaults(host, &shared.facts, &defaults);
}

/// Names the containers whose namespaces are joined by their ids, which renames do not change.
/// One that there is not is for the start to tell, as in dockerd.
pub(super) fn join(shared: &Shared, record: &mut Record) {
    let host = &mut record.host;
    for mode in [
        &mut host.network_mode,
        &mut host.pid_mode,
        &mut host.ipc_mode,
    ] {
        if let Mode::Container(other) = Mode::of(mode)
            && let Ok(handle) = shared.table.find(other)
        {
            *mode = format!("container:{}", handle.id());
        }
    }
}

/// Gives the container its host name: its own short id, the host's, or that of the container
/// whose network it joins.
pub(super) fn name_host(shared: &Shared, record: &mut Record) {
    let hosts_own = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    if !record.config.hostname.is_empty() {
        return;
    }
    let joined = match Mode::of(&record.host.network_mode) {
        Mode::Container(other) => shared.table.find(other).ok().map(|handle| handle.view()),
        _ => None,
    };
    let hosts = Mode::of(&record.host.network_mode) == Mode::Host
        || Mode::of(&record.host.uts_mode) == Mode::Host;
    if let Some(view) = joined {
        record
            .config
            .hostname
            .clone_from(&view.record.config.hostname);
        record
            .config
            .domainname
            .clone_from(&view.record.config.domainname);
    } else if hosts {
        record.config.hostname = hosts_own();
    } else {
        record.config.hostname = record.short_id().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    fn image() -> wire::ImageConfig {
        wire::ImageConfig {
            entrypoint: words(&["/entry"]),
            cmd: words(&["serve"]),
            env: vec!["PATH=/bin".into(), "A=image".into()],
            user: "www".into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_image_fills_in_what_the_client_leaves_open() {
        let mut config = wire::ContainerConfig {
            env: vec!["A=own".into()],
            ..Default::default()
        };
        merge(&mut config, &image());
        assert_eq!(config.entrypoint, words(&["/entry"]));
        assert_eq!(config.cmd, words(&["serve"]));
        assert_eq!(config.env, ["A=own", "PATH=/bin"]);
        assert_eq!(config.user, "www");
    }

    #[test]
    fn an_entrypoint_of_the_clients_drops_the_images_command() {
        let mut config = wire::ContainerConfig {
            entrypoint: words(&["sh"]),
            ..Default::default()
        };
        merge(&mut config, &image());
        assert_eq!((config.entrypoint, config.cmd), (words(&["sh"]), None));
        let mut config = wire::ContainerConfig {
            cmd: words(&["ls"]),
            ..Default::default()
        };
        merge(&mut config, &image());
        assert_eq!(
            (config.entrypoint, config.cmd),
            (words(&["/entry"]), words(&["ls"]))
        );
        let none = words(&[""]);
        let mut config = wire::ContainerConfig {
            entrypoint: none,
            cmd: words(&["ls", ""]),
            ..Default::default()
        };
        merge(&mut config, &image());
        assert_eq!(config.entrypoint, None);
        let record = Record {
            config,
            ..Record::default()
        };
        assert_eq!(record.command(), ["ls", ""], "an empty argument is one");
    }

    #[test]
    fn health_checks_are_merged_part_by_part() {
        let check = |test: &[&str], interval, retries| wire::Healthcheck {
            test: test.iter().map(|&word| word.to_owned()).collect(),
            interval,
            retries,
            ..Default::default()
        };
        let of_image = check(&["CMD", "probe"], 2_000_000, 4);
        let merged = |own: Option<wire::Healthcheck>| {
            let mut config = wire::ContainerConfig {
                healthcheck: own,
                ..Default::default()
            };
            let image = wire::ImageConfig {
                healthcheck: Some(of_image.clone()),
                ..Default::default()
            };
            merge(&mut config, &image);
            config.healthcheck.expect("a check")
        };
        assert_eq!(merged(None), of_image);
        let own = check(&[], 9_000_000, 0);
        assert_eq!(merged(Some(own)), check(&["CMD", "probe"], 9_000_000, 4));
        let none = merged(Some(check(&["NONE"], 0, 0)));
        assert_eq!(none.test, ["NONE"]);
    }
}
