//! The predefined networks: bridge, host, none. Their ids are stable over restarts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::{BridgeConfig, Error, NetworkSpec, Result, Subnet};

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
    /// The bridge's subnets, IPv4 first; none for host and none.
    pub subnets: Vec<Subnet>,
    /// Driver options (`com.docker.network.bridge.name` …).
    pub options: BTreeMap<String, String>,
}

/// What is kept on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) bridge_id: String,
    host_id: String,
    none_id: String,
    created: jiff::Timestamp,
    /// What the host's pool of unique local IPv6 addresses is made from.
    #[serde(default = "random")]
    pub(crate) unique: [u8; 5],
    /// The bridge device that we made, and its address.
    #[serde(default)]
    pub(crate) made: Option<Made>,
}

/// A bridge device of our making, and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) address: Ipv4Net,
    #[serde(default)]
    pub(crate) address6: Option<Ipv6Net>,
}

const FILE: &str = "networks.json";

impl Record {
    /// Reads the record, or makes one and writes it.
    pub(crate) fn load(state_dir: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|e| Error::io("create", state_dir, e))?;
        let path = state_dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::io("decode", &path, e)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let record = Self {
                    bridge_id: new_id(),
                    host_id: new_id(),
                    none_id: new_id(),
                    created: jiff::Timestamp::now(),
                    unique: random(),
                    made: None,
                };
                record.save(state_dir)?;
                Ok(record)
            }
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Writes the record; a crash leaves the old one or the new one.
    pub(crate) fn save(&self, state_dir: &Path) -> Result<()> {
        let path = state_dir.join(FILE);
        let fresh = state_dir.join(format!("{FILE}.new"));
        let bytes = serde_json::to_vec(self).map_err(|e| Error::io("encode", &path, e))?;
        let write = || {
            let mut options = fs::File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|e| Error::io("write", &path, e))
    }

    /// The networks in the order bridge (unless disabled), host, none.
    pub(crate) fn networks(
        &self,
        config: &BridgeConfig,
        bridge: Option<&NetworkSpec>,
    ) -> Vec<Network> {
        let bare = |name, id: &str, driver| Network {
            name,
            id: id.to_owned(),
            driver,
            created: self.created,
            subnets: Vec::new(),
            options: BTreeMap::new(),
        };
        let bridged = bridge.map(|bridge| Network {
            subnets: bridge.subnets().cloned().collect(),
            options: options(config),
            ..bare("bridge", &self.bridge_id, "bridge")
        });
        let rest = [
            bare("host", &self.host_id, "host"),
            bare("none", &self.none_id, "null"),
        ];
        bridged.into_iter().chain(rest).collect()
    }
}

fn options(config: &BridgeConfig) -> BTreeMap<String, String> {
    [
        (
            "com.docker.network.bridge.default_bridge",
            "true".to_owned(),
        ),
        (
            "com.docker.network.bridge.enable_icc",
            config.icc.to_string(),
        ),
        (
            "com.docker.network.bridge.enable_ip_masquerade",
            config.masquerade.to_string(),
        ),
        (
            "com.docker.network.bridge.host_binding_ipv4",
            config.default_bind_ip.to_string(),
        ),
        ("com.docker.network.bridge.name", config.name.clone()),
        ("com.docker.network.driver.mtu", config.mtu.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn random() -> [u8; 5] {
    rand::random()
}

/// An id for a network or an endpoint: 64 random hexadecimal digits.
pub fn new_id() -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
