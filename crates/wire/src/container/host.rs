//! How a container lives on this host.

use std::collections::BTreeMap;

use super::mount::MountRequest;
use super::resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
use crate::network::PortMap;
use crate::object::object;

object! {
    /// How a container lives on this host: Docker's `HostConfig` with its `Resources`.
    pub struct HostConfig {
        /// Bind mounts and volumes: `source:destination[:options]`.
        binds: Vec<String> = "Binds" null;
        /// The file that the client writes the ID into; of no meaning here.
        container_id_file: String = "ContainerIDFile";
        /// Where its output is logged.
        log_config: LogConfig = "LogConfig";
        /// `bridge`, `host`, `none`, `container:ID`, `default` or a network's name.
        network_mode: String = "NetworkMode";
        /// Ports of the container and where on the host they are published.
        port_bindings: PortMap = "PortBindings";
        /// What happens when it exits.
        restart_policy: RestartPolicy = "RestartPolicy";
        /// It is removed when it exits.
        auto_remove: bool = "AutoRemove";
        /// The driver of the volumes that `binds` makes.
        volume_driver: String = "VolumeDriver";
        /// Containers whose volumes it has too: `container[:ro]`.
        volumes_from: Vec<String> = "VolumesFrom" null;
        /// The terminal's first size: height and width, in characters.
        console_size: [u32; 2] = "ConsoleSize";
        /// Annotations that the runtime gets.
        annotations: BTreeMap<String, String> = "Annotations" omit;
        /// Capabilities beside the default ones.
        cap_add: Vec<String> = "CapAdd" null;
        /// Default capabilities that it does not have.
        cap_drop: Vec<String> = "CapDrop" null;
        /// `private`, `host`, or empty for the daemon's default.
        cgroupns_mode: String = "CgroupnsMode";
        /// Name servers.
        dns: Vec<String> = "Dns";
        /// Options of the resolver.
        dns_options: Vec<String> = "DnsOptions";
        /// Search domains.
        dns_search: Vec<String> = "DnsSearch";
        /// Lines of `/etc/hosts`: `name:address`.
        extra_hosts: Vec<String> = "ExtraHosts" null;
        /// Groups beside the user's own.
        group_add: Vec<String> = "GroupAdd" null;
        /// `none`, `private`, `shareable`, `container:ID`, `host`, or empty for the daemon's default.
        ipc_mode: String = "IpcMode";
        /// The cgroup of another container (`container:ID`).
        cgroup: String = "Cgroup";
        /// Links to other containers: `container:alias`.
        links: Vec<String> = "Links" null;
        /// How likely the kernel is to kill it when memory is short, -1000 to 1000.
        oom_score_adj: i64 = "OomScoreAdj";
        /// `host`, `container:ID`, or empty for one of its own.
        pid_mode: String = "PidMode";
        /// It may do all that root on the host may.
        privileged: bool = "Privileged";
        /// Each exposed port is published on a random one.
        publish_all_ports: bool = "PublishAllPorts";
        /// Its root filesystem cannot be written to.
        readonly_rootfs: bool = "ReadonlyRootfs";
        /// `seccomp=…`, `apparmor=…`, `label=…`, `no-new-privileges` …
        security_opt: Vec<String> = "SecurityOpt" null;
        /// Options of the storage driver.
        storage_opt: BTreeMap<String, String> = "StorageOpt" omit;
        /// Where a tmpfs is mounted, and its options.
        tmpfs: BTreeMap<String, String> = "Tmpfs" omit;
        /// `host` or empty.
        uts_mode: String = "UTSMode";
        /// `host` or empty.
        userns_mode: String = "UsernsMode";
        /// The size of `/dev/shm`, in bytes; 0 for the daemon's default.
        shm_size: i64 = "ShmSize";
        /// Kernel parameters of its namespaces.
        sysctls: BTreeMap<String, String> = "Sysctls" omit;
        /// The runtime; empty for the daemon's default.
        runtime: String = "Runtime" omit;
        /// The isolation (Windows).
        isolation: String = "Isolation";
        /// The weight against other containers when processors are short; 0 for the kernel's.
        cpu_shares: i64 = "CpuShares";
        /// The memory limit, in bytes; 0 for none.
        memory: i64 = "Memory";
        /// Processors it may use, in billionths of one.
        nano_cpus: i64 = "NanoCpus";
        /// The cgroup above its own; empty for the daemon's default.
        cgroup_parent: String = "CgroupParent";
        /// The block I/O weight, 10 to 1000; 0 for the kernel's.
        blkio_weight: u16 = "BlkioWeight";
        /// The block I/O weight of single devices.
        blkio_weight_device: Vec<WeightDevice> = "BlkioWeightDevice" ;
        /// Limits of reading, in bytes a second.
        blkio_device_read_bps: Vec<ThrottleDevice> = "BlkioDeviceReadBps";
        /// Limits of writing, in bytes a second.
        blkio_device_write_bps: Vec<ThrottleDevice> = "BlkioDeviceWriteBps";
        /// Limits of reading, in operations a second.
        blkio_device_read_iops: Vec<ThrottleDevice> = "BlkioDeviceReadIOps";
        /// Limits of writing, in operations a second.
        blkio_device_write_iops: Vec<ThrottleDevice> = "BlkioDeviceWriteIOps";
        /// The CFS period, in microseconds.
        cpu_period: i64 = "CpuPeriod";
        /// The CFS quota, in microseconds a period.
        cpu_quota: i64 = "CpuQuota";
        /// The real-time period, in microseconds.
        cpu_realtime_period: i64 = "CpuRealtimePeriod";
        /// The real-time runtime, in microseconds a period.
        cpu_realtime_runtime: i64 = "CpuRealtimeRuntime";
        /// The processors it may use: `0-2,7`.
        cpuset_cpus: String = "CpusetCpus";
        /// The memory nodes it may use: `0-2,7`.
        cpuset_mems: String = "CpusetMems";
        /// Host devices it sees.
        devices: Vec<DeviceMapping> = "Devices";
        /// Rules of the device cgroup: `c 42:* rmw`.
        device_cgroup_rules: Vec<String> = "DeviceCgroupRules" null;
        /// Devices of drivers, such as GPUs.
        device_requests: Vec<DeviceRequest> = "DeviceRequests" null;
        /// The kernel memory limit, in bytes; gone from the API with 1.42.
        kernel_memory: i64 = "KernelMemory" omit;
        /// The limit of TCP buffers, in bytes.
        kernel_memory_tcp: i64 = "KernelMemoryTCP" omit;
        /// The memory limit when memory is short, in bytes.
        memory_reservation: i64 = "MemoryReservation";
        /// The limit of memory and swap together, in bytes; -1 for none.
        memory_swap: i64 = "MemorySwap";
        /// How eagerly it is swapped, 0 to 100.
        memory_swappiness: Option<i64> = "MemorySwappiness";
        /// The kernel does not kill it at its memory limit.
        oom_kill_disable: Option<bool> = "OomKillDisable";
        /// How many processes it may have; 0 and below for no limit.
        pids_limit: Option<i64> = "PidsLimit";
        /// Resource limits of its processes.
        ulimits: Vec<Ulimit> = "Ulimits";
        /// Processors (Windows).
        cpu_count: i64 = "CpuCount";
        /// Share of the processors, in per cent (Windows).
        cpu_percent: i64 = "CpuPercent";
        /// I/O operations a second (Windows).
        io_maximum_iops: u64 = "IOMaximumIOps";
        /// I/O bytes a second (Windows).
        io_maximum_bandwidth: u64 = "IOMaximumBandwidth";
        /// Mounts in their long form.
        mounts: Vec<MountRequest> = "Mounts" omit;
        /// Paths it cannot see; `None` for the default ones.
        masked_paths: Option<Vec<String>> = "MaskedPaths";
        /// Paths it cannot write to; `None` for the default ones.
        readonly_paths: Option<Vec<String>> = "ReadonlyPaths";
        /// An init process runs in it; `None` for the daemon's default.
        init: Option<bool> = "Init" omit;
    }

    /// Where a container's output is logged.
    pub struct LogConfig {
        /// The driver; empty for the daemon's default.
        kind: String = "Type";
        /// The driver's options.
        config: BTreeMap<String, String> = "Config";
    }

    /// What happens when a container exits.
    pub struct RestartPolicy {
        /// `no` or empty, `always`, `unless-stopped` or `on-failure`.
        name: String = "Name";
        /// With `on-failure`: how often at most; 0 for no limit.
        maximum_retry_count: i64 = "MaximumRetryCount";
    }
}
