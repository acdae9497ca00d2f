//! A container as it is, in full.

use std::collections::BTreeMap;

use super::{ContainerConfig, HostConfig};
use crate::image::OciDescriptor;
use crate::network::{EndpointSettings, PortMap};
use crate::object::object;

object! {
    /// A container in full: `GET /containers/{id}/json`.
    pub struct ContainerInspect {
        /// Its ID.
        id: String = "Id";
        /// When it was created, RFC 3339.
        created: String = "Created" time;
        /// The program it runs.
        path: String = "Path";
        /// The program's arguments.
        args: Vec<String> = "Args";
        /// What it is doing.
        state: State = "State";
        /// The image's ID.
        image: String = "Image";
        /// The host's file that it sees as `/etc/resolv.conf`.
        resolv_conf_path: String = "ResolvConfPath";
        /// The host's file that it sees as `/etc/hostname`.
        hostname_path: String = "HostnamePath";
        /// The host's file that it sees as `/etc/hosts`.
        hosts_path: String = "HostsPath";
        /// Its log file, if its driver has one.
        log_path: String = "LogPath";
        /// Its name, with a leading `/`.
        name: String = "Name";
        /// How often it was restarted by its policy.
        restart_count: i64 = "RestartCount";
        /// The storage driver.
        driver: String = "Driver";
        /// The operating system: `linux`.
        platform: String = "Platform";
        /// SELinux' label of its files.
        mount_label: String = "MountLabel";
        /// SELinux' label of its processes.
        process_label: String = "ProcessLabel";
        /// Its AppArmor profile.
        app_armor_profile: String = "AppArmorProfile";
        /// Its execs that are not over yet.
        exec_ids: Vec<String> = "ExecIDs" null;
        /// How it lives on this host.
        host_config: HostConfig = "HostConfig";
        /// The storage driver's data; `None` with a snapshotter, where `storage` tells it.
        graph_driver: Option<DriverData> = "GraphDriver" omit;
        /// Where its root filesystem is.
        storage: Option<Storage> = "Storage" omit;
        /// The size of what it wrote, in bytes, if asked for.
        size_rw: Option<i64> = "SizeRw" omit;
        /// The size of its root filesystem, in bytes, if asked for.
        size_root_fs: Option<i64> = "SizeRootFs" omit;
        /// The manifest of the image's platform that it was made of.
        image_manifest_descriptor: Option<OciDescriptor> = "ImageManifestDescriptor" omit;
        /// What is mounted in it.
        mounts: Vec<MountPoint> = "Mounts";
        /// What it runs.
        config: ContainerConfig = "Config";
        /// Its networks as they are.
        network_settings: NetworkSettings = "NetworkSettings";
    }

    /// What a container is doing.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        status: String = "Status";
        /// It runs; also when it is paused or restarts.
        running: bool = "Running";
        /// It is paused.
        paused: bool = "Paused";
        /// It waits to be started again.
        restarting: bool = "Restarting";
        /// The kernel killed a process of it as memory was short.
        oom_killed: bool = "OOMKilled";
        /// It could not be removed.
        dead: bool = "Dead";
        /// Its process ID on the host; 0 when it does not run.
        pid: i64 = "Pid";
        /// How it ended last.
        exit_code: i64 = "ExitCode";
        /// Why it could not be started.
        error: String = "Error";
        /// When it was started last, RFC 3339.
        started_at: String = "StartedAt" time;
        /// When it ended last, RFC 3339.
        finished_at: String = "FinishedAt" time;
        /// Its health, if it is checked.
        health: Option<Health> = "Health" omit;
    }

    /// A container's health.
    pub struct Health {
        /// `starting`, `healthy`, `unhealthy` or `none`.
        status: String = "Status";
        /// How many checks failed in a row.
        failing_streak: i64 = "FailingStreak";
        /// The last checks, the oldest first.
        log: Vec<HealthcheckResult> = "Log";
    }

    /// One check of a container's health.
    pub struct HealthcheckResult {
        /// When it began, RFC 3339.
        start: String = "Start" time;
        /// When it ended, RFC 3339.
        end: String = "End" time;
        /// 0 healthy, 1 unhealthy.
        exit_code: i64 = "ExitCode";
        /// What it said.
        output: String = "Output";
    }

    /// A container's networks as they are.
    pub struct NetworkSettings {
        /// The sandbox's ID.
        sandbox_id: String = "SandboxID";
        /// The network namespace's file.
        sandbox_key: String = "SandboxKey";
        /// Exposed ports, and where they are published.
        ports: PortMap = "Ports";
        /// By network name.
        networks: BTreeMap<String, EndpointSettings> = "Networks";
    }

    /// A mount as it is.
    pub struct MountPoint {
        /// `bind`, `volume`, `tmpfs` …
        kind: String = "Type" omit;
        /// The volume's name.
        name: String = "Name" omit;
        /// The path on the host.
        source: String = "Source";
        /// The path in the container.
        destination: String = "Destination";
        /// The volume's driver.
        driver: String = "Driver" omit;
        /// The options that were given: `ro,z`.
        mode: String = "Mode";
        /// It can be written to.
        rw: bool = "RW";
        /// How mounts pass through it.
        propagation: String = "Propagation";
    }

    /// A storage driver and its data.
    pub struct DriverData {
        /// The driver's data.
        data: BTreeMap<String, String> = "Data" null;
        /// The driver.
        name: String = "Name";
    }

    /// Where a container's root filesystem is.
    pub struct Storage {
        /// The root filesystem.
        root_fs: Option<RootFsStorage> = "RootFS" omit;
    }

    /// Where a root filesystem is.
    pub struct RootFsStorage {
        /// With a snapshotter.
        snapshot: Option<SnapshotStorage> = "Snapshot" omit;
    }

    /// A root filesystem of a snapshotter's.
    pub struct SnapshotStorage {
        /// The snapshotter.
        name: String = "Name" omit;
    }
}
