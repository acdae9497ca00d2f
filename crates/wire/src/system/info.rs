//! The daemon and its host as they are.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// The daemon and its host: `GET /info`.
    pub struct Info {
        /// The daemon's ID.
        id: String = "ID";
        /// How many containers there are.
        containers: i64 = "Containers";
        /// How many of them run.
        containers_running: i64 = "ContainersRunning";
        /// How many of them are paused.
        containers_paused: i64 = "ContainersPaused";
        /// How many of them do not run.
        containers_stopped: i64 = "ContainersStopped";
        /// How many images there are.
        images: i64 = "Images";
        /// The storage driver.
        driver: String = "Driver";
        /// What the storage driver says of itself.
        driver_status: Vec<[String; 2]> = "DriverStatus";
        /// What plugins there are.
        plugins: PluginsInfo = "Plugins";
        /// Memory can be limited.
        memory_limit: bool = "MemoryLimit";
        /// Swap can be limited.
        swap_limit: bool = "SwapLimit";
        /// TCP buffers can be limited.
        kernel_memory_tcp: bool = "KernelMemoryTCP" omit;
        /// The CFS period can be set.
        cpu_cfs_period: bool = "CpuCfsPeriod";
        /// The CFS quota can be set.
        cpu_cfs_quota: bool = "CpuCfsQuota";
        /// CPU shares can be set.
        cpu_shares: bool = "CPUShares";
        /// Processors can be chosen.
        cpu_set: bool = "CPUSet";
        /// Processes can be limited.
        pids_limit: bool = "PidsLimit";
        /// The host forwards IPv4.
        ipv4_forwarding: bool = "IPv4Forwarding";
        /// The daemon logs for debugging.
        debug: bool = "Debug";
        /// How many files the daemon has open.
        n_fd: i64 = "NFd";
        /// The OOM killer can be turned off.
        oom_kill_disable: bool = "OomKillDisable";
        /// How many tasks the daemon runs.
        n_goroutines: i64 = "NGoroutines";
        /// The host's time, RFC 3339.
        system_time: String = "SystemTime";
        /// The default log driver.
        logging_driver: String = "LoggingDriver";
        /// `cgroupfs`, `systemd` or `none`.
        cgroup_driver: String = "CgroupDriver";
        /// `1` or `2`.
        cgroup_version: String = "CgroupVersion" omit;
        /// How many clients listen to events.
        n_events_listener: i64 = "NEventsListener";
        /// The kernel's version.
        kernel_version: String = "KernelVersion";
        /// The distribution's name.
        operating_system: String = "OperatingSystem";
        /// The distribution's version.
        os_version: String = "OSVersion";
        /// `linux`.
        os_type: String = "OSType";
        /// `x86_64`, `aarch64` …
        architecture: String = "Architecture";
        /// Where `docker login` logs in by default.
        index_server_address: String = "IndexServerAddress";
        /// What is configured for registries.
        registry_config: RegistryServiceConfig = "RegistryConfig";
        /// How many processors there are.
        ncpu: i64 = "NCPU";
        /// How much memory there is, in bytes.
        mem_total: i64 = "MemTotal";
        /// Resources of a swarm's node.
        generic_resources: Vec<serde_json::Value> = "GenericResources" null;
        /// Where the daemon keeps its state.
        docker_root_dir: String = "DockerRootDir";
        /// The proxy for HTTP, without credentials.
        http_proxy: String = "HttpProxy";
        /// The proxy for HTTPS, without credentials.
        https_proxy: String = "HttpsProxy";
        /// What needs no proxy.
        no_proxy: String = "NoProxy";
        /// The host's name.
        name: String = "Name";
        /// The daemon's labels.
        labels: Vec<String> = "Labels";
        /// Experimental features are on.
        experimental_build: bool = "ExperimentalBuild";
        /// The daemon's version.
        server_version: String = "ServerVersion";
        /// The runtimes, by name.
        runtimes: BTreeMap<String, Runtime> = "Runtimes";
        /// The default runtime.
        default_runtime: String = "DefaultRuntime";
        /// What is known of a swarm.
        swarm: SwarmInfo = "Swarm";
        /// Containers go on when the daemon ends.
        live_restore_enabled: bool = "LiveRestoreEnabled";
        /// The default isolation (Windows).
        isolation: String = "Isolation";
        /// The init binary.
        init_binary: String = "InitBinary";
        /// containerd's version.
        containerd_commit: Commit = "ContainerdCommit";
        /// runc's version.
        runc_commit: Commit = "RuncCommit";
        /// The init binary's version.
        init_commit: Commit = "InitCommit";
        /// `name=seccomp,profile=builtin`, `name=cgroupns` …
        security_options: Vec<String> = "SecurityOptions";
        /// The product's licence.
        product_license: String = "ProductLicense" omit;
        /// Where networks get their subnets from.
        default_address_pools: Vec<NetworkAddressPool> = "DefaultAddressPools" omit;
        /// What filters packets.
        firewall_backend: Option<FirewallInfo> = "FirewallBackend" omit;
        /// Where the container device interface's specifications are.
        cdi_spec_dirs: Vec<String> = "CDISpecDirs";
        /// Devices that were found.
        discovered_devices: Vec<DeviceInfo> = "DiscoveredDevices" omit;
        /// The node resource interface.
        nri: Option<NriInfo> = "NRI" omit;
        /// The containerd that is used.
        containerd: Option<ContainerdInfo> = "Containerd" omit;
        /// What is not as it should be.
        warnings: Vec<String> = "Warnings" null;
    }

    /// What plugins there are, by name.
    pub struct PluginsInfo {
        /// Of volumes.
        volume: Vec<String> = "Volume" null;
        /// Of networks.
        network: Vec<String> = "Network" null;
        /// Of authorisation.
        authorization: Vec<String> = "Authorization" null;
        /// Of logs.
        log: Vec<String> = "Log" null;
    }

    /// What is configured for registries.
    pub struct RegistryServiceConfig {
        /// Networks whose registries need no TLS.
        insecure_registry_cidrs: Vec<String> = "InsecureRegistryCIDRs";
        /// Registries that something is known of.
        index_configs: BTreeMap<String, IndexInfo> = "IndexConfigs";
        /// Mirrors of Docker Hub.
        mirrors: Vec<String> = "Mirrors";
    }

    /// What is known of a registry.
    pub struct IndexInfo {
        /// Its name.
        name: String = "Name";
        /// Its mirrors.
        mirrors: Vec<String> = "Mirrors";
        /// It is spoken to with TLS.
        secure: bool = "Secure";
        /// It is Docker Hub.
        official: bool = "Official";
    }

    /// A runtime.
    pub struct Runtime {
        /// Its binary.
        path: String = "path" omit;
        /// Its arguments.
        runtime_args: Vec<String> = "runtimeArgs" omit;
        /// The shim: `io.containerd.runc.v2`.
        kind: String = "runtimeType" omit;
        /// Options of the shim.
        options: BTreeMap<String, serde_json::Value> = "options" omit;
        /// What it says of itself: its features as JSON text.
        status: BTreeMap<String, String> = "status" omit;
    }

    /// The version of a part.
    pub struct Commit {
        /// The commit or version.
        id: String = "ID";
    }

    /// What is known of a swarm.
    pub struct SwarmInfo {
        /// The node's ID.
        node_id: String = "NodeID";
        /// The node's address.
        node_addr: String = "NodeAddr";
        /// `inactive` for an engine that is in no swarm.
        local_node_state: String = "LocalNodeState";
        /// It is a manager.
        control_available: bool = "ControlAvailable";
        /// What is wrong.
        error: String = "Error";
        /// The managers.
        remote_managers: Vec<serde_json::Value> = "RemoteManagers" null;
    }

    /// Where networks get their subnets from.
    pub struct NetworkAddressPool {
        /// The pool.
        base: String = "Base";
        /// The length of a subnet's prefix, in bits.
        size: i64 = "Size";
    }

    /// What filters packets.
    pub struct FirewallInfo {
        /// `nftables`, `iptables` …
        driver: String = "Driver";
        /// What it says of itself.
        info: Vec<[String; 2]> = "Info" omit;
    }

    /// A device that was found.
    pub struct DeviceInfo {
        /// Who found it: `cdi`.
        source: String = "Source";
        /// Its name.
        id: String = "ID";
    }

    /// The node resource interface.
    pub struct NriInfo {
        /// What it says of itself.
        info: Vec<[String; 2]> = "Info";
    }

    /// The containerd that is used.
    pub struct ContainerdInfo {
        /// Its socket.
        address: String = "Address" omit;
        /// The namespaces in it.
        namespaces: ContainerdNamespaces = "Namespaces";
    }

    /// The namespaces in containerd.
    pub struct ContainerdNamespaces {
        /// Of containers.
        containers: String = "Containers";
        /// Of plugins.
        plugins: String = "Plugins";
    }
}
