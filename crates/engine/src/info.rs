//! `docker info` and `docker version`: the daemon and its host as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::{Host, Live};
use berth_ctrd::Client;
use berth_spec::HostFacts;
use berth_spec::cdi::Registry;
use berth_wire as wire;
use jiff::Timestamp;

use crate::container::record::Status;
use crate::features::{self, Features};
use crate::shared::{Shared, blocking};
use crate::versions::{Version, Versions};

/// The Docker Engine whose behaviour this is, for clients that compare versions, with our own
/// behind it.
pub(crate) const SERVER_VERSION: &str = concat!("29.0.0+berth.", env!("CARGO_PKG_VERSION"));
/// The commit that was built; `BERTH_COMMIT` at build time.
const COMMIT: &str = match option_env!("BERTH_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
const INDEX: &str = "https://index.docker.io/v1/";
/// What stands where a program does not tell its commit.
const NOT_KNOWN: &str = "N/A";

/// What does not change while the daemon runs.
#[derive(Debug)]
pub(crate) struct About {
    /// The engine's identity, kept over restarts.
    id: String,
    operating_system: String,
    os_version: String,
    containerd: (String, String),
    containerd_address: String,
    versions: Versions,
}

impl About {
    pub(crate) async fn look(client: &Client, live: &Live) -> About {
        let containerd = client.version().await.unwrap_or_default();
        let data_root = live.user.data_root.clone();
        let local = blocking(move || Ok((identity(&data_root), release()))).await;
        let (id, (operating_system, os_version)) = local.unwrap_or_default();
        let containerd_address = client.socket().to_string_lossy().into_owned();
        About {
            id,
            operating_system,
            os_version,
            containerd,
            containerd_address,
            versions: Versions::look(live),
        }
    }

    /// The engine's identity.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// The host's name.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The engine's identity: made once, then read.
fn identity(data_root: &Path) -> String {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return id.trim().to_owned();
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let id = id.trim().to_owned();
    if let Err(error) = std::fs::write(&path, &id) {
        tracing::warn!(%error, "the engine's identity could not be saved");
    }
    id
}

/// The distribution's name and version.
fn release() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let pretty = field("PRETTY_NAME")
        .or_else(|| field("NAME"))
        .unwrap_or_else(|| "Linux".to_owned());
    (pretty, field("VERSION_ID").unwrap_or_default())
}

/// The daemon as it is; `devices` are those of the CDI that were found.
pub(crate) fn info(
    shared: &Shared,
    live: &Live,
    about: &About,
    features: &Features,
    devices: &Registry,
) -> wire::Info {
    let (running, paused, stopped) = counts(shared);
    let facts = &shared.facts;
    let cgroup = &facts.cgroup;
    wire::Info {
        id: about.id.clone(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images: shared.images.count().try_into().unwrap_or(i64::MAX),
        driver: shared.snapshots.name().to_owned(),
        driver_status: vec![["driver-type".into(), "io.containerd.snapshotter.v1".into()]],
        plugins: plugins(),
        memory_limit: cgroup.memory_limit,
        swap_limit: cgroup.swap_limit,
        cpu_cfs_period: cgroup.cpu_cfs,
        cpu_cfs_quota: cgroup.cpu_cfs,
        cpu_shares: cgroup.cpu_shares,
        cpu_set: cgroup.cpuset,
        pids_limit: cgroup.pids_limit,
        ipv4_forwarding: forwarding(),
        debug: live.user.debug,
        n_fd: open_files(),
        oom_kill_disable: cgroup.oom_kill_disable,
        n_goroutines: tasks(),
        system_time: wire::rfc3339_nano(Timestamp::now()),
        logging_driver: live.logs.driver.clone(),
        cgroup_driver: live.cgroup_driver.name().to_owned(),
        cgroup_version: if facts.cgroup_version.is_unified() {
            "2"
        } else {
            "1"
        }
        .to_owned(),
        n_events_listener: shared.events.listeners().try_into().unwrap_or(i64::MAX),
        kernel_version: facts.kernel_release.clone(),
        operating_system: about.operating_system.clone(),
        os_version: about.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .into_owned(),
        index_server_address: INDEX.to_owned(),
        registry_config: registries(live),
        ncpu: facts.ncpu.into(),
        mem_total: facts.mem_total,
        docker_root_dir: live.user.data_root.to_string_lossy().into_owned(),
        http_proxy: masked(either(&live.registries.proxies.http_proxy, "HTTP_PROXY")),
        https_proxy: masked(either(&live.registries.proxies.https_proxy, "HTTPS_PROXY")),
        no_proxy: either(&live.registries.proxies.no_proxy, "NO_PROXY"),
        name: host_name(),
        labels: live.labels.clone(),
        server_version: SERVER_VERSION.to_owned(),
        runtimes: runtimes(live, features),
        default_runtime: live.runtimes.default_runtime().name.clone(),
        swarm: wire::SwarmInfo {
            local_node_state: "inactive".to_owned(),
            ..Default::default()
        },
        live_restore_enabled: live.user.live_restore,
        init_binary: match live.user.init_path.as_str() {
            "" => "docker-init".to_owned(),
            path => path.to_owned(),
        },
        containerd_commit: wire::Commit {
            id: about.containerd.1.clone(),
        },
        runc_commit: commit(about.versions.runc()),
        init_commit: commit(about.versions.init()),
        security_options: security_options(facts, live),
        default_address_pools: address_pools(live),
        firewall_backend: Some(wire::FirewallInfo {
            driver: "nftables".to_owned(),
            ..Default::default()
        }),
        containerd: Some(wire::ContainerdInfo {
            address: about.containerd_address.clone(),
            namespaces: wire::ContainerdNamespaces {
                containers: shared.client.namespace().to_owned(),
                plugins: String::new(),
            },
        }),
        cdi_spec_dirs: cdi_folders(live)
            .iter()
            .map(|folder| folder.to_string_lossy().into_owned())
            .collect(),
        discovered_devices: devices.devices().map(discovered).collect(),
        warnings: warnings(facts, live, devices),
        ..Default::default()
    }
}

/// The pools that are configured; Docker's own are not shown.
fn address_pools(live: &Live) -> Vec<wire::NetworkAddressPool> {
    let pools = live.address_pools.iter();
    pools
        .map(|pool| wire::NetworkAddressPool {
            base: pool.base.to_string(),
            size: pool.size.into(),
        })
        .collect()
}

/// The folders with descriptions of CDI devices; none where that is turned off.
fn cdi_folders(live: &Live) -> &[PathBuf] {
    live.cdi_spec_dirs.as_deref().unwrap_or_default()
}

/// The CDI's devices on this host.
pub(crate) async fn devices(live: &Live) -> Registry {
    let folders = cdi_folders(live).to_vec();
    blocking(move || Ok(Registry::scan(&folders)))
        .await
        .unwrap_or_default()
}

fn discovered(name: &str) -> wire::DeviceInfo {
    wire::DeviceInfo {
        source: "cdi".to_owned(),
        id: name.to_owned(),
    }
}

fn counts(shared: &Shared) -> (i64, i64, i64) {
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for handle in shared.table.load().all() {
        match handle.view().run.status {
            Status::Running => running += 1,
            Status::Paused => paused += 1,
            _ => stopped += 1,
        }
    }
    (running, paused, stopped)
}

fn plugins() -> wire::PluginsInfo {
    let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    wire::PluginsInfo {
        // Networks of users are of the bridge driver also where there is no default one.
        network: words(&["bridge", "host", "null"]),
        log: words(&["json-file", "local"]),
        volume: words(&[berth_volumes::DRIVER]),
        ..Default::default()
    }
}

fn forwarding() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

fn open_files() -> i64 {
    let count = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    count.try_into().unwrap_or(i64::MAX)
}

/// Tokio's tasks: what goroutines are to dockerd.
fn tasks() -> i64 {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(0, |runtime| {
        runtime
            .metrics()
            .num_alive_tasks()
            .try_into()
            .unwrap_or(i64::MAX)
    })
}

fn registries(live: &Live) -> wire::RegistryServiceConfig {
    let hub = wire::IndexInfo {
        name: "docker.io".to_owned(),
        mirrors: live.registries.mirrors.clone(),
        secure: true,
        official: true,
    };
    let mut insecure_registry_cidrs = ["::1/128", "127.0.0.0/8"].map(str::to_owned).to_vec();
    let mut index_configs = BTreeMap::from([("docker.io".to_owned(), hub)]);
    for name in &live.registries.insecure {
        // A name has no slash.
        if name.contains('/') {
            insecure_registry_cidrs.push(name.clone());
        } else {
            let index = wire::IndexInfo {
                name: name.clone(),
                ..Default::default()
            };
            index_configs.insert(name.clone(), index);
        }
    }
    wire::RegistryServiceConfig {
        insecure_registry_cidrs,
        index_configs,
        mirrors: live.registries.mirrors.clone(),
    }
}

/// What is configured or, where nothing is, what stands in the environment.
fn either(configured: &str, variable: &str) -> String {
    match configured.is_empty() {
        true => std::env::var(variable).unwrap_or_default(),
        false => configured.to_owned(),
    }
}

/// A proxy's address without the password in it.
fn masked(address: String) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address;
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => address,
    }
}

fn runtimes(live: &Live, features: &Features) -> BTreeMap<String, wire::Runtime> {
    let show = |runtime: &Arc<berth_config::Runtime>| {
        let status = features
            .of(runtime)
            .map(|text| (features::KEY.to_owned(), text.to_string()));
        let shim = if runtime.path.is_empty() {
            runtime.shim.clone()
        } else {
            String::new()
        };
        let shown = wire::Runtime {
            path: runtime.path.clone(),
            runtime_args: runtime.args.clone(),
            kind: shim,
            status: status.into_iter().collect(),
            ..Default::default()
        };
        (runtime.name.clone(), shown)
    };
    live.runtimes.iter().map(show).collect()
}

fn security_options(facts: &HostFacts, live: &Live) -> Vec<String> {
    let mut options = Vec::new();
    if facts.apparmor {
        options.push("name=apparmor".to_owned());
    }
    if facts.seccomp {
        let profile = match live.user.seccomp_profile.as_str() {
            "" => "builtin",
            profile => profile,
        };
        options.push(format!("name=seccomp,profile={profile}"));
    }
    if facts.cgroup.namespaces {
        options.push("name=cgroupns".to_owned());
    }
    if live.user.no_new_privileges {
        options.push("name=no-new-privileges".to_owned());
    }
    options
}

fn commit(version: Option<&Version>) -> wire::Commit {
    let id = version.map_or(NOT_KNOWN, |version| version.commit.as_str());
    wire::Commit { id: id.to_owned() }
}

fn warnings(facts: &HostFacts, live: &Live, devices: &Registry) -> Vec<String> {
    let mut warnings = open_doors(live);
    warnings.extend(lacking(facts));
    warnings.extend(devices.problems().iter().map(|problem| {
        let path = problem.path.display();
        format!(
            "CDI: Error associated with spec file {path}: {}",
            problem.reason
        )
    }));
    warnings
}

/// The ways in that are open to whoever can connect.
fn open_doors(live: &Live) -> Vec<String> {
    let how = match &live.tls {
        Some(tls) if tls.verify => return Vec::new(),
        Some(_) => ("https", "TLS client verification"),
        None => ("http", "encryption"),
    };
    let tell = |host: &Host| {
        let host = host.to_string();
        let address = host.strip_prefix("tcp://")?;
        Some(format!(
            "WARNING: API is accessible on {}://{address} without {}: access to it is root access on this host",
            how.0, how.1
        ))
    };
    live.hosts.iter().filter_map(tell).collect()
}

/// What this host cannot do for containers.
fn lacking(facts: &HostFacts) -> Vec<String> {
    let cgroup = &facts.cgroup;
    let missing = [
        (cgroup.memory_limit, "WARNING: No memory limit support"),
        (cgroup.swap_limit, "WARNING: No swap limit support"),
        (cgroup.cpu_cfs, "WARNING: No cpu cfs quota support"),
        (cgroup.cpu_shares, "WARNING: No cpu shares support"),
        (cgroup.cpuset, "WARNING: No cpuset support"),
        (forwarding(), "WARNING: IPv4 forwarding is disabled"),
    ];
    missing
        .into_iter()
        .filter(|(has, _)| !has)
        .map(|(_, warning)| warning.to_owned())
        .collect()
}

pub(crate) fn version(shared: &Shared, about: &About) -> wire::VersionInfo {
    let kernel = &shared.facts.kernel_release;
    let architecture = shared.facts.architecture.clone();
    let component = |name: &str, version: &str, details: &[(&str, &str)]| wire::Component {
        name: name.to_owned(),
        version: version.to_owned(),
        details: details
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let (newest, oldest) = (
        wire::ApiVersion::MAX.to_string(),
        wire::ApiVersion::MIN.to_string(),
    );
    let engine = [
        ("ApiVersion", newest.as_str()),
        ("Arch", &architecture),
        ("BuildTime", ""),
        ("Experimental", "false"),
        ("GitCommit", COMMIT),
        ("GoVersion", ""),
        ("KernelVersion", kernel),
        ("MinAPIVersion", &oldest),
        ("Os", "linux"),
    ];
    let (containerd, containerd_commit) = &about.containerd;
    let mut components = vec![
        component("Engine", SERVER_VERSION, &engine),
        component(
            "containerd",
            containerd,
            &[("GitCommit", containerd_commit)],
        ),
    ];
    for (name, version) in [
        ("runc", about.versions.runc()),
        ("docker-init", about.versions.init()),
    ] {
        if let Some(Version { number, commit }) = version {
            components.push(component(name, number, &[("GitCommit", commit)]));
        }
    }
    wire::VersionInfo {
        platform: wire::PlatformName {
            name: "Berth".to_owned(),
        },
        components,
        version: SERVER_VERSION.to_owned(),
        api_version: newest.clone(),
        min_api_version: oldest.clone(),
        git_commit: COMMIT.to_owned(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: architecture.clone(),
        kernel_version: kernel.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn proxies_are_shown_without_passwords() {
        let shown = super::masked("http://me:secret@proxy:3128".to_owned());
        assert_eq!(shown, "http://xxxxx:xxxxx@proxy:3128");
        assert_eq!(super::masked("http://proxy".to_owned()), "http://proxy");
    }
}
