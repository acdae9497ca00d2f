//! Containers in a list.

use std::collections::BTreeMap;

use super::MountPoint;
use crate::image::OciDescriptor;
use crate::network::EndpointSettings;
use crate::object::object;

object! {
    /// A container in a list: `GET /containers/json`.
    pub struct ContainerSummary {
        /// Its ID.
        id: String = "Id";
        /// Its names, each with a leading `/`.
        names: Vec<String> = "Names";
        /// The image, as it was named; its ID when that name is another's now.
        image: String = "Image";
        /// The image's ID.
        image_id: String = "ImageID";
        /// The manifest of the image's platform that it was made of.
        image_manifest_descriptor: Option<OciDescriptor> = "ImageManifestDescriptor" omit;
        /// Its command line.
        command: String = "Command";
        /// When it was created, in seconds since 1970.
        created: i64 = "Created";
        /// Its ports, one for each place where they are published.
        ports: Vec<PortSummary> = "Ports";
        /// The size of what it wrote, in bytes, if asked for.
        size_rw: i64 = "SizeRw" omit;
        /// The size of its root filesystem, in bytes, if asked for.
        size_root_fs: i64 = "SizeRootFs" omit;
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels";
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        state: String = "State";
        /// What it is doing, in words: `Up 5 minutes (healthy)`.
        status: String = "Status";
        /// How it lives on this host, in short.
        host_config: HostConfigSummary = "HostConfig";
        /// Its health, if it is checked.
        health: Option<HealthSummary> = "Health" omit;
        /// Its networks.
        network_settings: NetworkSettingsSummary = "NetworkSettings";
        /// What is mounted in it.
        mounts: Vec<MountPoint> = "Mounts";
    }

    /// A port of a container.
    pub struct PortSummary {
        /// The host's address it is published on; empty when it is not.
        ip: String = "IP" omit;
        /// Its number in the container.
        private_port: u16 = "PrivatePort";
        /// Its number on the host; 0 when it is not published.
        public_port: u16 = "PublicPort" omit;
        /// `tcp`, `udp` or `sctp`.
        kind: String = "Type";
    }

    /// What a list tells of a [`HostConfig`](super::HostConfig).
    pub struct HostConfigSummary {
        /// The network mode.
        network_mode: String = "NetworkMode" omit;
        /// Annotations that the runtime gets.
        annotations: BTreeMap<String, String> = "Annotations" omit;
    }

    /// What a list tells of a container's health.
    pub struct HealthSummary {
        /// `starting`, `healthy`, `unhealthy` or `none`.
        status: String = "Status" omit;
        /// How many checks failed in a row.
        failing_streak: i64 = "FailingStreak";
    }

    /// What a list tells of a container's networks.
    pub struct NetworkSettingsSummary {
        /// By network name.
        networks: BTreeMap<String, EndpointSettings> = "Networks";
    }
}
