//! Ports of containers and of the host.

use std::collections::BTreeMap;

use crate::object::object;

/// Ports of a container (`80/tcp`) and where they are published. A port that is exposed and not
/// published has an empty list, which is `null` in JSON.
pub type PortMap = BTreeMap<String, Vec<PortBinding>>;

object! {
    /// Where on the host a port is published.
    pub struct PortBinding {
        /// The address; empty for all.
        host_ip: String = "HostIp";
        /// The port, or a range to choose from; empty for a random one.
        host_port: String = "HostPort";
    }
}
