//! What containers use, and which processes they have.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// What a container has used as of one moment: `GET /containers/{id}/stats`. Of a container
    /// that does not run all is zero.
    pub struct ContainerStats {
        /// Its name, with a leading `/`.
        name: String = "name" omit;
        /// Its ID.
        id: String = "id" omit;
        /// `linux`.
        os_type: String = "os_type" omit;
        /// When it was looked at.
        read: String = "read" time;
        /// Processor time.
        cpu_stats: CpuStats = "cpu_stats";
        /// Memory.
        memory_stats: MemoryStats = "memory_stats";
        /// What passed its network interfaces, by their names inside.
        networks: BTreeMap<String, NetworkStats> = "networks" omit;
        /// Processes.
        pids_stats: PidsStats = "pids_stats";
        /// Block I/O.
        blkio_stats: BlkioStats = "blkio_stats";
        /// Processors (Windows).
        num_procs: u32 = "num_procs";
        /// Storage (Windows).
        storage_stats: StorageStats = "storage_stats";
        /// When it was looked at before that; never, with the first one.
        preread: String = "preread" time;
        /// Processor time as of then.
        precpu_stats: CpuStats = "precpu_stats";
    }

    /// Processor time.
    pub struct CpuStats {
        /// The container's.
        cpu_usage: CpuUsage = "cpu_usage";
        /// All processors', busy or not, in nanoseconds.
        system_cpu_usage: u64 = "system_cpu_usage" omit;
        /// How many processors are online.
        online_cpus: u32 = "online_cpus" omit;
        /// How often it had to wait because of its quota.
        throttling_data: ThrottlingData = "throttling_data";
    }

    /// A container's processor time, in nanoseconds.
    pub struct CpuUsage {
        /// In all.
        total_usage: u64 = "total_usage";
        /// By processor; with cgroup v1 only.
        percpu_usage: Vec<u64> = "percpu_usage" omit;
        /// In the kernel.
        usage_in_kernelmode: u64 = "usage_in_kernelmode";
        /// In its programs.
        usage_in_usermode: u64 = "usage_in_usermode";
    }

    /// What a processor quota did.
    pub struct ThrottlingData {
        /// Periods that have passed.
        periods: u64 = "periods";
        /// Those in which it had to wait.
        throttled_periods: u64 = "throttled_periods";
        /// How long it waited, in nanoseconds.
        throttled_time: u64 = "throttled_time";
    }

    /// Memory, in bytes.
    pub struct MemoryStats {
        /// In use, caches included.
        usage: u64 = "usage" omit;
        /// The most that was; with cgroup v1 only.
        max_usage: u64 = "max_usage" omit;
        /// The kernel's own figures, which differ between cgroup v1 and v2.
        stats: BTreeMap<String, u64> = "stats" omit;
        /// How often the limit was hit (v1), or the kernel had to kill because of it (v2).
        failcnt: u64 = "failcnt" omit;
        /// The limit; the host's memory when there is none.
        limit: u64 = "limit" omit;
    }

    /// Processes and threads.
    pub struct PidsStats {
        /// How many there are.
        current: u64 = "current" omit;
        /// How many there may be; 0 with cgroup v1, the largest number with v2, when there is no limit.
        limit: u64 = "limit" omit;
    }

    /// Block I/O. With cgroup v2 there is only the first.
    pub struct BlkioStats {
        /// Bytes.
        io_service_bytes_recursive: Option<Vec<BlkioStatEntry>> = "io_service_bytes_recursive";
        /// Operations.
        io_serviced_recursive: Option<Vec<BlkioStatEntry>> = "io_serviced_recursive";
        /// Operations that wait.
        io_queue_recursive: Option<Vec<BlkioStatEntry>> = "io_queue_recursive";
        /// Time that operations took, in nanoseconds.
        io_service_time_recursive: Option<Vec<BlkioStatEntry>> = "io_service_time_recursive";
        /// Time that operations waited, in nanoseconds.
        io_wait_time_recursive: Option<Vec<BlkioStatEntry>> = "io_wait_time_recursive";
        /// Operations that were merged.
        io_merged_recursive: Option<Vec<BlkioStatEntry>> = "io_merged_recursive";
        /// Time that it had the device, in milliseconds.
        io_time_recursive: Option<Vec<BlkioStatEntry>> = "io_time_recursive";
        /// Sectors.
        sectors_recursive: Option<Vec<BlkioStatEntry>> = "sectors_recursive";
    }

    /// A figure of one device.
    pub struct BlkioStatEntry {
        /// The device's major number.
        major: u64 = "major";
        /// The device's minor number.
        minor: u64 = "minor";
        /// The operation: `Read`, `Write` … (v1) or `read`, `write` (v2).
        op: String = "op";
        /// The figure.
        value: u64 = "value";
    }

    /// What passed a network interface.
    pub struct NetworkStats {
        /// Bytes that came in.
        rx_bytes: u64 = "rx_bytes";
        /// Packets that came in.
        rx_packets: u64 = "rx_packets";
        /// Of those that came in, broken ones.
        rx_errors: u64 = "rx_errors";
        /// Of those that came in, the ones that were thrown away.
        rx_dropped: u64 = "rx_dropped";
        /// Bytes that went out.
        tx_bytes: u64 = "tx_bytes";
        /// Packets that went out.
        tx_packets: u64 = "tx_packets";
        /// Of those that were to go out, broken ones.
        tx_errors: u64 = "tx_errors";
        /// Of those that were to go out, the ones that were thrown away.
        tx_dropped: u64 = "tx_dropped";
    }

    /// Storage (Windows): always empty.
    pub struct StorageStats {
    }

    /// A container's processes: `GET /containers/{id}/top`.
    pub struct TopResponse {
        /// One row for each process, as wide as `titles`.
        processes: Vec<Vec<String>> = "Processes" null;
        /// What the columns are called.
        titles: Vec<String> = "Titles";
    }

    /// What pruning containers took away: `POST /containers/prune`.
    pub struct ContainersPruneReport {
        /// The containers, by ID.
        containers_deleted: Vec<String> = "ContainersDeleted" null;
        /// What they had written, in bytes.
        space_reclaimed: u64 = "SpaceReclaimed";
    }
}
