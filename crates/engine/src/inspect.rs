//! A container in full, from its published view: no RPC, nothing to wait for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use berth_spec::modes::Mode;
use berth_wire as wire;
use jiff::Timestamp;

use crate::container::handle::View;
use crate::container::health::Health;
use crate::container::record::{Record, Status};
use crate::shared::Shared;
use crate::{Result, mounts, network, networks, tree};

/// What a container takes on disk, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// What it has written; with a snapshotter that copies its image for it, that copy as well.
    pub(crate) rw: i64,
    /// That and its image.
    pub(crate) root_fs: i64,
}

/// Adds up what a container has written. Blocks; what cannot be read counts nothing.
pub(crate) fn sizes(shared: &Shared, record: &Record) -> Sizes {
    let rw = match tree::written(record) {
        Some(written) => tree_size(&written),
        None => tree::mounted(shared, record).map_or(0, |view| tree_size(&view.path())),
    };
    let image = shared
        .images
        .all()
        .into_iter()
        .find(|image| image.id().to_string() == record.image);
    Sizes {
        rw,
        root_fs: rw + image.map_or(0, |image| image.size()),
    }
}

fn tree_size(root: &Path) -> i64 {
    let mut total = 0;
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            // Of the entry itself: symbolic links are not followed.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                waiting.push(entry.path());
            } else {
                total += i64::try_from(data.len()).unwrap_or(0);
            }
        }
    }
    total
}

pub(crate) fn inspect(
    shared: &Shared,
    view: &View,
    sizes: Option<Sizes>,
) -> Result<wire::ContainerInspect> {
    let record = &view.record;
    let files = shared.files(&record.id)?;
    let mut command = record.command().into_iter().map(str::to_owned);
    let shown = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let made = |path: std::path::PathBuf| {
        if path.exists() {
            shown(path)
        } else {
            String::new()
        }
    };
    let snapshot = wire::SnapshotStorage {
        name: record.snapshotter.clone(),
    };
    let logs = record.host.log_config.kind == berth_logs::Driver::JsonFile.as_str();
    Ok(wire::ContainerInspect {
        id: record.id.clone(),
        created: wire::rfc3339_nano(record.created),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        state: state(view),
        image: record.image.clone(),
        resolv_conf_path: made(files.resolv_conf()),
        hostname_path: made(files.hostname()),
        hosts_path: made(files.hosts()),
        log_path: if logs {
            made(files.log(record))
        } else {
            String::new()
        },
        name: format!("/{}", record.name),
        restart_count: i64::try_from(view.run.restarts).unwrap_or(i64::MAX),
        driver: record.snapshotter.clone(),
        platform: record.platform.clone(),
        app_armor_profile: String::new(),
        exec_ids: shared.execs.of(&record.id),
        host_config: record.host.clone(),
        storage: Some(wire::Storage {
            root_fs: Some(wire::RootFsStorage {
                snapshot: Some(snapshot),
            }),
        }),
        size_rw: sizes.map(|sizes| sizes.rw),
        size_root_fs: sizes.map(|sizes| sizes.root_fs),
        mounts: mounts::shown(record),
        config: record.config.clone(),
        network_settings: network_settings(shared, view),
        ..Default::default()
    })
}

fn state(view: &View) -> wire::State {
    let run = &view.run;
    let time = |time: Option<Timestamp>| {
        time.map_or_else(|| wire::ZERO_TIME.to_owned(), wire::rfc3339_nano)
    };
    wire::State {
        status: run.status.as_str().to_owned(),
        running: run.status.is_up(),
        paused: run.status == Status::Paused,
        restarting: run.status == Status::Restarting,
        oom_killed: run.oom_killed,
        dead: run.status == Status::Dead,
        pid: run.pid.into(),
        exit_code: run.exit_code,
        error: run.error.clone(),
        started_at: time(run.started_at),
        finished_at: time(run.finished_at),
        health: run.health.as_ref().map(Health::shown),
    }
}

fn network_settings(shared: &Shared, view: &View) -> wire::NetworkSettings {
    let record = &view.record;
    let running = view.run.status.is_running();
    let netns = match Mode::of(&record.host.network_mode) {
        Mode::Host => "/var/run/docker/netns/default".to_owned(),
        Mode::Container(_) => String::new(),
        _ => shared
            .net
            .netns_path(&record.id)
            .to_string_lossy()
            .into_owned(),
    };
    wire::NetworkSettings {
        sandbox_id: if running {
            record.id.clone()
        } else {
            String::new()
        },
        sandbox_key: if running { netns } else { String::new() },
        ports: ports(view),
        networks: networks(shared, view),
    }
}

/// The published ports with their bindings, and the exposed ones without any.
fn ports(view: &View) -> wire::PortMap {
    let mut ports = wire::PortMap::new();
    if view.endpoints().is_empty() {
        return ports;
    }
    for port in &view.record.config.exposed_ports {
        let with_proto = if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        };
        ports.entry(with_proto).or_default();
    }
    for port in view.ports() {
        let key = format!("{}/{}", port.container_port, port.proto);
        ports.entry(key).or_default().push(wire::PortBinding {
            host_ip: port.host_ip.to_string(),
            host_port: port.host_port.to_string(),
        });
    }
    ports
}

/// The networks that a container is in.
pub(crate) fn networks(shared: &Shared, view: &View) -> BTreeMap<String, wire::EndpointSettings> {
    let record = &view.record;
    let asked = record.networking.endpoints_config.iter();
    let settings =
        asked.map(|(name, asked)| (name.clone(), endpoint_settings(shared, view, name, asked)));
    settings.collect()
}

/// What a container asked for in a network, and what came of it.
fn endpoint_settings(
    shared: &Shared,
    view: &View,
    name: &str,
    asked: &wire::EndpointSettings,
) -> wire::EndpointSettings {
    let mut settings = asked.clone();
    let mut endpoints = view.endpoints().iter();
    let endpoint = endpoints.find(|endpoint| endpoint.network == name);
    if view.run.generation > 0
        && let Ok(network) = networks::find(shared, name)
    {
        network.id().clone_into(&mut settings.network_id);
        if network.is_users() {
            settings.dns_names = network::dns_names(&view.record, &asked.aliases);
        }
    }
    let Some(endpoint) = endpoint else {
        return settings;
    };
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    settings.network_id.clone_from(&endpoint.network_id);
    settings.endpoint_id.clone_from(&endpoint.endpoint_id);
    settings.gateway = text(endpoint.gateway.map(IpAddr::V4));
    settings.ip_address = endpoint.ip.to_string();
    settings.ip_prefix_len = endpoint.prefix_len.into();
    settings.mac_address = endpoint.mac.to_string();
    if let Some(v6) = &endpoint.v6 {
        settings.ipv6_gateway = text(v6.gateway.map(IpAddr::V6));
        settings.global_ipv6_address = v6.ip.to_string();
        settings.global_ipv6_prefix_len = v6.prefix_len.into();
    }
    settings
}
