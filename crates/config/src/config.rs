//! What the user wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::pools::AddressPoolConfig;
use crate::proxies::Proxies;
use crate::values::{Size, deserialize_size};

/// The options as the user gave them, defaults filled in: flags and `daemon.json` merged.
///
/// The serde names are the keys of Docker's `daemon.json`. Values are as written; what they mean
/// (addresses parsed, runtimes resolved, files read) is in [`crate::Live`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// Where to listen, e.g. `unix:///var/run/docker.sock`, `tcp://127.0.0.1:2375`, `fd://`.
    pub hosts: Vec<String>,
    /// The directory of persistent state.
    pub data_root: PathBuf,
    /// The directory of state that ends with the host's uptime.
    pub exec_root: PathBuf,
    /// The daemon's pidfile; empty for none.
    pub pidfile: PathBuf,
    /// The group that owns Unix sockets: a name or a number.
    pub group: String,
    /// The socket of a containerd to use; empty for one of the daemon's own.
    pub containerd: String,
    /// The containerd namespace of images and containers.
    pub containerd_namespace: String,

    /// Log at debug level and answer `Debug: true` in `/info`.
    pub debug: bool,
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,

    /// The bridge of the default network; empty for `docker0`, `none` for no default network.
    pub bridge: String,
    /// The default bridge's address with prefix length.
    pub bip: String,
    /// The range of the default bridge's subnet that containers get addresses from.
    pub fixed_cidr: String,
    /// Where packets of the default network leave it; empty for the bridge.
    pub default_gateway: String,
    /// The default network has IPv6.
    pub ipv6: bool,
    /// The default bridge's IPv6 address with prefix length.
    pub bip6: String,
    /// The range of the default bridge's IPv6 subnet that containers get addresses from.
    pub fixed_cidr_v6: String,
    /// Where IPv6 packets of the default network leave it; empty for the bridge.
    pub default_gateway_v6: String,
    /// The default network's MTU; 0 for the default.
    pub mtu: i64,
    /// Allow traffic between containers of the default bridge.
    pub icc: bool,
    /// Masquerade what leaves the default bridge.
    pub ip_masq: bool,
    /// Turn on `net.ipv4.ip_forward`.
    pub ip_forward: bool,
    /// Have rules for IPv4.
    pub iptables: bool,
    /// Have rules for IPv6.
    pub ip6tables: bool,
    /// Let others reach published ports at the containers' own addresses.
    pub allow_direct_routing: bool,
    /// Packets of this firewall mark (`mark[/mask]`) reach all ports of containers; empty for none.
    pub bridge_accept_fwmark: String,
    /// Let the daemon itself lead connections to containers where rules cannot.
    pub userland_proxy: bool,
    /// The host address that ports are published on unless a container says.
    pub ip: String,
    /// The addresses that `host-gateway` in `--add-host` means.
    pub host_gateway_ips: Vec<String>,
    /// DNS servers of containers that name none.
    pub dns: Vec<String>,
    /// Resolver options of containers that give none.
    pub dns_opts: Vec<String>,
    /// DNS search domains of containers that name none.
    pub dns_search: Vec<String>,
    /// Where networks get their subnets from unless they say; empty for Docker's own.
    pub default_address_pools: Vec<AddressPoolConfig>,
    /// Options of new networks that do not give them, by driver.
    pub default_network_opts: BTreeMap<String, BTreeMap<String, String>>,

    /// The storage driver asked for; empty for the default.
    pub storage_driver: String,
    /// The storage driver's options, `key=value`.
    pub storage_opts: Vec<String>,
    /// Optional features by name.
    pub features: BTreeMap<String, bool>,
    /// The daemon's labels, `key=value`.
    pub labels: Vec<String>,
    /// Registries to try before Docker Hub.
    pub registry_mirrors: Vec<String>,
    /// Registries that may speak HTTP or have an unknown certificate: hosts or CIDRs.
    pub insecure_registries: Vec<String>,
    /// How many layers are downloaded at a time.
    pub max_concurrent_downloads: i64,
    /// How many layers are uploaded at a time.
    pub max_concurrent_uploads: i64,
    /// How often a layer's download is tried.
    pub max_download_attempts: i64,
    /// The proxy for plain HTTP; empty for the environment's.
    pub http_proxy: String,
    /// The proxy for HTTPS; empty for the environment's.
    pub https_proxy: String,
    /// What is asked without a proxy; empty for the environment's.
    pub no_proxy: String,
    /// The same three in one; a flag, or a key named like it, counts before.
    pub proxies: Proxies,

    /// Containers live on while the daemon is away.
    pub live_restore: bool,
    /// How long containers may take to stop when the daemon ends, in seconds; negative: for ever.
    pub shutdown_timeout: i64,
    /// How long a container may take to stop where it does not say, in seconds; `None`: 10.
    pub default_stop_timeout: Option<i64>,

    /// The name of the runtime of containers that name none.
    pub default_runtime: String,
    /// The administrator's runtimes by name.
    pub runtimes: BTreeMap<String, RuntimeConfig>,
    /// `key=value` options of the runtime; `native.cgroupdriver` is the only key.
    pub exec_opts: Vec<String>,
    /// The parent cgroup of containers that name none.
    pub cgroup_parent: String,
    /// Whether containers get their own IPC namespace, shareable or not.
    pub default_ipc_mode: String,
    /// Whether containers get their own cgroup namespace; empty for the host's custom.
    pub default_cgroupns_mode: String,
    /// The size of `/dev/shm` of containers that give none, in bytes.
    #[serde(deserialize_with = "deserialize_size")]
    pub default_shm_size: Size,
    /// Resource limits of containers that set none of that name.
    pub default_ulimits: BTreeMap<String, UlimitConfig>,
    /// Run an init in containers that say neither yes nor no.
    pub init: bool,
    /// The init binary; empty for `docker-init` from `$PATH`.
    pub init_path: String,
    /// Containers get `no_new_privileges`.
    pub no_new_privileges: bool,
    /// `builtin`, `unconfined`, or a profile's path.
    pub seccomp_profile: String,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// That driver's options.
    pub log_opts: BTreeMap<String, String>,
    /// The daemon's own `oom_score_adj`.
    pub oom_score_adjust: i64,
    /// Folders with descriptions of CDI devices, later ones with precedence; none for the default
    /// ones, a single empty one for none at all.
    pub cdi_spec_dirs: Vec<String>,

    /// Speak TLS on TCP sockets; `None`: as `tlsverify` has it.
    pub tls: Option<bool>,
    /// Ask clients for a certificate; `None`: as `tls` has it. Saying anything turns TLS on.
    pub tlsverify: Option<bool>,
    /// The CA that clients' certificates must be of.
    pub tlscacert: PathBuf,
    /// The daemon's certificate chain.
    pub tlscert: PathBuf,
    /// The daemon's private key.
    pub tlskey: PathBuf,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hosts: Vec::new(),
            data_root: "/var/lib/docker".into(),
            exec_root: "/var/run/docker".into(),
            pidfile: "/var/run/docker.pid".into(),
            group: "docker".into(),
            containerd: String::new(),
            containerd_namespace: "moby".into(),
            debug: false,
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            bridge: String::new(),
            bip: String::new(),
            fixed_cidr: String::new(),
            default_gateway: String::new(),
            ipv6: false,
            bip6: String::new(),
            fixed_cidr_v6: String::new(),
            default_gateway_v6: String::new(),
            mtu: 0,
            icc: true,
            ip_masq: true,
            ip_forward: true,
            iptables: true,
            ip6tables: true,
            allow_direct_routing: false,
            bridge_accept_fwmark: String::new(),
            userland_proxy: true,
            ip: "0.0.0.0".into(),
            host_gateway_ips: Vec::new(),
            dns: Vec::new(),
            dns_opts: Vec::new(),
            dns_search: Vec::new(),
            default_address_pools: Vec::new(),
            default_network_opts: BTreeMap::new(),
            storage_driver: String::new(),
            storage_opts: Vec::new(),
            features: BTreeMap::new(),
            labels: Vec::new(),
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            http_proxy: String::new(),
            https_proxy: String::new(),
            no_proxy: String::new(),
            proxies: Proxies::default(),
            live_restore: false,
            shutdown_timeout: 15,
            default_stop_timeout: None,
            default_runtime: crate::STOCK_RUNTIME.into(),
            runtimes: BTreeMap::new(),
            exec_opts: Vec::new(),
            cgroup_parent: String::new(),
            default_ipc_mode: "private".into(),
            default_cgroupns_mode: String::new(),
            default_shm_size: Size(64 << 20),
            default_ulimits: BTreeMap::new(),
            init: false,
            init_path: String::new(),
            no_new_privileges: false,
            seccomp_profile: "builtin".into(),
            log_driver: "json-file".into(),
            log_opts: BTreeMap::new(),
            oom_score_adjust: 0,
            cdi_spec_dirs: Vec::new(),
            tls: None,
            tlsverify: None,
            tlscacert: PathBuf::new(),
            tlscert: PathBuf::new(),
            tlskey: PathBuf::new(),
        }
    }
}

/// One entry of `runtimes`: `path` with `runtimeArgs`, or `runtimeType` with `options`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeConfig {
    /// The OCI runtime's binary: a path, or a name to look up in `$PATH`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Arguments put before the runtime's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtime_args: Vec<String>,
    /// A containerd shim: a type such as `io.containerd.kata.v2`, or a binary's absolute path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime_type: String,
    /// The shim's options.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// One entry of `default-ulimits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct UlimitConfig {
    /// The limit's name; the entry's key counts where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The hard limit; -1 for none.
    pub hard: i64,
    /// The soft limit; -1 for none.
    pub soft: i64,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What went wrong and was dealt with.
    Warn,
    /// What failed.
    Error,
    /// What ended the daemon.
    Fatal,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// `time=… level=… msg=…`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<LogLevel, String> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(LogLevel::Trace),
            "debug" => Ok(LogLevel::Debug),
            "" | "info" => Ok(LogLevel::Info),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "error" => Ok(LogLevel::Error),
            "fatal" | "panic" => Ok(LogLevel::Fatal),
            _ => Err(format!("invalid logging level: {text}")),
        }
    }
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<LogFormat, String> {
        match text.as_str() {
            "" | "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("invalid log format: {text}")),
        }
    }
}
