//! The live configuration: what the user wrote and what follows from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::proxies::Proxies;
use crate::tls::{self, Tls};
use crate::values::{check_domain, check_label, check_ulimit};
use crate::{AddressPool, Bridge, Config, Error, Host, Result, Runtimes, Storage, pools, seccomp};

/// What the host is like, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Cgroups are v2 only.
    pub unified_cgroups: bool,
    /// systemd is PID 1's doing.
    pub systemd: bool,
}

impl Facts {
    /// Looks at this host.
    pub fn detect() -> Facts {
        Facts {
            unified_cgroups: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            systemd: Path::new("/run/systemd/system").is_dir(),
        }
    }
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The runtime, through the file system.
    Cgroupfs,
    /// systemd.
    Systemd,
}

impl CgroupDriver {
    /// The driver's name in `/info` and `exec-opts`.
    pub fn name(self) -> &'static str {
        match self {
            CgroupDriver::Cgroupfs => "cgroupfs",
            CgroupDriver::Systemd => "systemd",
        }
    }
}

/// Name resolution of containers that ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers; empty: the host's.
    pub servers: Vec<IpAddr>,
    /// Resolver options; empty: the host's.
    pub options: Vec<String>,
    /// Search domains; empty: the host's; `.`: none.
    pub search: Vec<String>,
}

/// Logging of containers that ask for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDefaults {
    /// A driver's name; whether there is such a one is for `berth-logs` to say.
    pub driver: String,
    /// The driver's options; likewise.
    pub options: BTreeMap<String, String>,
}

/// A resource limit that containers get unless they set one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Its name, e.g. `nofile`.
    pub name: String,
    /// The soft limit; -1 for none.
    pub soft: i64,
    /// The hard limit; -1 for none.
    pub hard: i64,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// Base URLs to try before Docker Hub, each ending in `/`.
    pub mirrors: Vec<String>,
    /// Hosts (with port, where given) or CIDRs that may speak HTTP or have an unknown certificate.
    pub insecure: Vec<String>,
    /// The proxies on the way.
    pub proxies: Proxies,
}

/// Limits of pulls and pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulls {
    /// Layers downloaded at a time, over all pulls.
    pub downloads: usize,
    /// Layers uploaded at a time, over all pushes.
    pub uploads: usize,
    /// Tries of one layer's download.
    pub attempts: usize,
}

/// One configuration, whole: never changed, only replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// What the user wrote.
    pub user: Config,
    /// Keys inside of the file's options that mean nothing, as `runtimes.x.colour`: dockerd passes
    /// over them, too.
    pub ignored: Vec<String>,
    /// Where to listen; at least one.
    pub hosts: Vec<Host>,
    /// The runtimes.
    pub runtimes: Runtimes,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// The default network.
    pub bridge: Bridge,
    /// Where networks get their subnets from, in the order given; empty: Docker's own pools.
    pub address_pools: Vec<AddressPool>,
    /// Default name resolution.
    pub dns: Dns,
    /// What `host-gateway` means; empty: the default bridge's address.
    pub host_gateway_ips: Vec<IpAddr>,
    /// Default logging.
    pub logs: LogDefaults,
    /// Default resource limits, by name.
    pub ulimits: Vec<Ulimit>,
    /// The daemon's labels, each key once, sorted.
    pub labels: Vec<String>,
    /// The size of `/dev/shm`, in bytes.
    pub shm_size: i64,
    /// The default of `--ipc` is `shareable` (else `private`).
    pub ipc_shareable: bool,
    /// The default of `--cgroupns` is `private` (else `host`).
    pub cgroupns_private: bool,
    /// The default seccomp profile: JSON text, `unconfined`, or `None` for the built-in one.
    pub seccomp: Option<String>,
    /// The folders with descriptions of CDI devices; `None` where that feature is turned off.
    pub cdi_spec_dirs: Option<Vec<PathBuf>>,
    /// The way to registries.
    pub registries: Registries,
    /// Limits of pulls and pushes.
    pub pulls: Pulls,
    /// Where images and containers are kept.
    pub storage: Storage,
    /// How long containers may take to stop when the daemon ends; `None`: for ever.
    pub shutdown_timeout: Option<Duration>,
    /// TLS on TCP sockets, where it is on.
    pub tls: Option<Tls>,
}

impl Live {
    /// Validates what the user wrote and derives the rest. Reads the seccomp profile
    /// and the certificates, nothing else.
    ///
    /// # Errors
    /// Any value that its option does not take.
    pub fn derive(user: Config, facts: Facts) -> Result<Live> {
        let cgroup_driver = cgroup_driver(&user, facts)?;
        check(&user)?;
        Ok(Live {
            ignored: Vec::new(),
            hosts: hosts(&user)?,
            runtimes: Runtimes::derive(&user, cgroup_driver == CgroupDriver::Systemd)?,
            cgroup_driver,
            bridge: Bridge::derive(&user)?,
            address_pools: pools::derive(&user)?,
            dns: dns(&user)?,
            host_gateway_ips: addresses(&user.host_gateway_ips)?,
            logs: logs(&user),
            ulimits: ulimits(&user)?,
            labels: labels(&user)?,
            shm_size: user.default_shm_size.0,
            ipc_shareable: ipc_shareable(&user)?,
            cgroupns_private: cgroupns_private(&user, facts)?,
            seccomp: seccomp::load(&user)?,
            cdi_spec_dirs: cdi_spec_dirs(&user)?,
            registries: registries(&user)?,
            pulls: Pulls {
                downloads: positive("max concurrent downloads", user.max_concurrent_downloads)?,
                uploads: positive("max concurrent uploads", user.max_concurrent_uploads)?,
                attempts: positive("max download attempts", user.max_download_attempts)?,
            },
            storage: Storage::derive(&user)?,
            shutdown_timeout: u64::try_from(user.shutdown_timeout)
                .ok()
                .map(Duration::from_secs),
            tls: Tls::load(&user)?,
            user,
        })
    }
}

/// What nothing is derived from.
fn check(user: &Config) -> Result<()> {
    if user.features.get("containerd-snapshotter") == Some(&false) {
        let why = "\"containerd-snapshotter\" cannot be turned off".to_owned();
        return Err(Error::Unsupported {
            key: "features",
            why,
        });
    }
    for (key, root) in [
        ("data-root", &user.data_root),
        ("exec-root", &user.exec_root),
    ] {
        if !root.is_absolute() {
            let message = format!("invalid {key} {}: must be an absolute path", root.display());
            return Err(Error::invalid(message));
        }
    }
    if user.containerd_namespace.is_empty() {
        return Err(Error::invalid("the containerd namespace cannot be empty"));
    }
    if !(-1000..=1000).contains(&user.oom_score_adjust) {
        let message = format!("invalid oom-score-adjust: {}", user.oom_score_adjust);
        return Err(Error::invalid(message));
    }
    if user
        .default_stop_timeout
        .is_some_and(|seconds| seconds < -1)
    {
        return Err(Error::invalid(
            "invalid default-stop-timeout: must not be below -1",
        ));
    }
    Ok(())
}

/// Where descriptions of CDI devices are looked for when nothing is said.
const CDI_SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

fn cdi_spec_dirs(user: &Config) -> Result<Option<Vec<PathBuf>>> {
    if user.features.get("cdi") == Some(&false) {
        return Ok(None);
    }
    let dirs: Vec<_> = match user.cdi_spec_dirs.as_slice() {
        [] => CDI_SPEC_DIRS.map(PathBuf::from).to_vec(),
        [none] if none.is_empty() => Vec::new(),
        given => given.iter().map(PathBuf::from).collect(),
    };
    if let Some(dir) = dirs.iter().find(|dir| !dir.is_absolute()) {
        let message = format!("invalid cdi-spec-dirs {dir:?}: must be an absolute path");
        return Err(Error::invalid(message));
    }
    Ok(Some(dirs))
}

fn hosts(user: &Config) -> Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for text in &user.hosts {
        let host = Host::parse(text, tls::is_on(user))?;
        // A host named twice is one listener.
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        hosts.push(Host::Unix(Host::DEFAULT_SOCKET.into()));
    }
    Ok(hosts)
}

fn cgroup_driver(user: &Config, facts: Facts) -> Result<CgroupDriver> {
    let mut driver = match facts {
        Facts {
            unified_cgroups: true,
            systemd: true,
        } => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    };
    for option in &user.exec_opts {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        driver = match (key.trim(), value.trim()) {
            ("native.cgroupdriver", "cgroupfs") => CgroupDriver::Cgroupfs,
            ("native.cgroupdriver", "systemd") => CgroupDriver::Systemd,
            ("native.cgroupdriver", other) => {
                let message = format!("native.cgroupdriver option {other} not supported");
                return Err(Error::invalid(message));
            }
            (other, _) => {
                return Err(Error::invalid(format!(
                    "invalid exec-opt: unknown option {other}"
                )));
            }
        };
    }
    if driver == CgroupDriver::Systemd && !user.cgroup_parent.is_empty() {
        let slice = user.cgroup_parent.strip_suffix(".slice");
        if slice.is_none_or(str::is_empty) {
            return Err(Error::invalid(
                "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
            ));
        }
    }
    Ok(driver)
}

fn addresses(texts: &[String]) -> Result<Vec<IpAddr>> {
    let parse = |text: &String| {
        let parsed = text.trim().parse();
        parsed.map_err(|_| Error::invalid(format!("IP address is not correctly formatted: {text}")))
    };
    texts.iter().map(parse).collect()
}

fn dns(user: &Config) -> Result<Dns> {
    let search = user.dns_search.iter().map(|domain| check_domain(domain));
    Ok(Dns {
        servers: addresses(&user.dns)?,
        options: user.dns_opts.clone(),
        search: search.collect::<Result<_>>()?,
    })
}

fn logs(user: &Config) -> LogDefaults {
    let driver = match user.log_driver.as_str() {
        "" => "json-file",
        driver => driver,
    };
    LogDefaults {
        driver: driver.to_owned(),
        options: user.log_opts.clone(),
    }
}

fn ulimits(user: &Config) -> Result<Vec<Ulimit>> {
    let mut ulimits = Vec::new();
    for (key, limit) in &user.default_ulimits {
        let name = if limit.name.is_empty() {
            key
        } else {
            &limit.name
        };
        check_ulimit(name, limit.soft, limit.hard)?;
        ulimits.push(Ulimit {
            name: name.clone(),
            soft: limit.soft,
            hard: limit.hard,
        });
    }
    Ok(ulimits)
}

/// Each key once: the same label twice is one, two values for a key are an error.
fn labels(user: &Config) -> Result<Vec<String>> {
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for label in &user.labels {
        let (key, value) = check_label(label)?;
        match labels.insert(key, value) {
            Some(before) if before != value => {
                let message = format!("conflict labels for {key}={value} and {key}={before}");
                return Err(Error::invalid(message));
            }
            _ => {}
        }
    }
    Ok(labels
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect())
}

fn ipc_shareable(user: &Config) -> Result<bool> {
    match user.default_ipc_mode.as_str() {
        "" | "private" => Ok(false),
        "shareable" => Ok(true),
        mode @ ("host" | "none") => Err(Error::invalid(format!(
            "IPC mode \"{mode}\" is not supported as default value; use \"shareable\" or \"private\""
        ))),
        mode => Err(Error::invalid(format!(
            "default IPC mode setting ({mode}) is invalid; use \"shareable\" or \"private\""
        ))),
    }
}

fn cgroupns_private(user: &Config, facts: Facts) -> Result<bool> {
    match user.default_cgroupns_mode.as_str() {
        "" => Ok(facts.unified_cgroups),
        "private" => Ok(true),
        "host" => Ok(false),
        mode => Err(Error::invalid(format!(
            "default cgroup namespace mode ({mode}) is invalid; use \"host\" or \"private\""
        ))),
    }
}

fn registries(user: &Config) -> Result<Registries> {
    let mirrors = user
        .registry_mirrors
        .iter()
        .map(|mirror| check_mirror(mirror));
    let insecure = user
        .insecure_registries
        .iter()
        .map(|registry| check_registry(registry));
    Ok(Registries {
        mirrors: mirrors.collect::<Result<_>>()?,
        insecure: insecure.collect::<Result<_>>()?,
        proxies: Proxies::derive(user)?,
    })
}

fn check_mirror(mirror: &str) -> Result<String> {
    let wrong = |why: String| Err(Error::invalid(format!("invalid mirror: {why}")));
    let Some((scheme, rest)) = mirror.trim().split_once("://") else {
        return wrong(format!(
            "no scheme specified for \"{mirror}\": must use either 'https://' or 'http://'"
        ));
    };
    if !matches!(scheme, "http" | "https") {
        return wrong(format!(
            "unsupported scheme \"{scheme}\" in \"{mirror}\": must use either 'https://' or 'http://'"
        ));
    }
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.starts_with('/') {
        return wrong(format!("\"{mirror}\" has no host"));
    }
    if rest.contains(['?', '#']) {
        return wrong(format!("query or fragment at end of the URI \"{mirror}\""));
    }
    if rest.contains('@') {
        // The value may hold a password: it is not repeated.
        return wrong("username/password not allowed in URI".to_owned());
    }
    Ok(format!("{scheme}://{rest}/"))
}

fn check_registry(registry: &str) -> Result<String> {
    let host = registry.trim();
    // Docker takes URLs too and drops the scheme.
    let host = host
        .strip_prefix("https://")
        .or_else(|| host.strip_prefix("http://"))
        .unwrap_or(host);
    let host = host.trim_end_matches('/');
    let is_cidr = host.parse::<ipnet::IpNet>().is_ok();
    let bad = host.is_empty() || host.starts_with('-') || host.ends_with('-');
    if bad || (!is_cidr && host.contains('/')) || host.contains(char::is_whitespace) {
        return Err(Error::invalid(format!(
            "insecure registry {registry} is not valid: invalid host \"{host}\""
        )));
    }
    Ok(host.to_owned())
}

fn positive(what: &str, number: i64) -> Result<usize> {
    match usize::try_from(number) {
        // dockerd takes 0 for the default.
        Ok(0) => Ok(match what {
            "max concurrent downloads" => 3,
            _ => 5,
        }),
        Ok(number) => Ok(number.min(1 << 16)),
        Err(_) => Err(Error::invalid(format!("invalid {what}: {number}"))),
    }
}
