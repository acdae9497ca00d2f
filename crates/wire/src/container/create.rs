//! Create: what is asked for and what is answered.

use serde::de::MapAccess;
use serde::ser::SerializeMap;

use super::{ContainerConfig, HostConfig};
use crate::network::NetworkingConfig;
use crate::object::{Object, Read, Write, as_serde, object};

/// The body of `POST /containers/create`: a [`ContainerConfig`] with two names more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateRequest {
    /// What it is to run.
    pub config: ContainerConfig,
    /// How it lives on this host.
    pub host_config: HostConfig,
    /// The networks it is in.
    pub networking_config: NetworkingConfig,
}

impl Object for CreateRequest {
    fn decode_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        if key.eq_ignore_ascii_case("HostConfig") {
            self.host_config = map.next_value::<Read<HostConfig>>()?.0;
        } else if key.eq_ignore_ascii_case("NetworkingConfig") {
            self.networking_config = map.next_value::<Read<NetworkingConfig>>()?.0;
        } else {
            return self.config.decode_field(key, map);
        }
        Ok(true)
    }

    fn encode_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.config.encode_fields(map)?;
        map.serialize_entry("HostConfig", &Write(&self.host_config))?;
        map.serialize_entry("NetworkingConfig", &Write(&self.networking_config))
    }
}

as_serde!(CreateRequest);

object! {
    /// The answer to a create.
    pub struct CreateResponse {
        /// The container's ID.
        id: String = "Id";
        /// What is not as it was asked for.
        warnings: Vec<String> = "Warnings";
    }
}
