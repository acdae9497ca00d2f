//! The predefined networks: bridge, host, none. Their ids are stable over restarts.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// One of the predefined networks, as `docker network inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `bridge`, `host` or `none`.
    pub name: &'static str,
    /// 64 hexadecimal digits, the same after every restart.
    pub id: String,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// When the network was first made.
    pub created: jiff::Timestamp,
    /// The bridge's subnet; `None` for host and none.
    pub subnet: Option<Ipv4Net>,
    /// The bridge's address.
    pub gateway: Option<Ipv4Addr>,
    /// `--fixed-cidr`.
    pub ip_range: Option<Ipv4Net>,
    /// Driver options (`com.docker.network.bridge.name` …).
    pub options: BTreeMap<String, String>,
}
