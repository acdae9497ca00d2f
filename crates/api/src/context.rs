//! What a handler gets to see of its request.

use std::sync::Arc;

use berth_engine::Engine;
use berth_wire::{ApiVersion, Filters};
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::connection::Session;
use crate::query::Query;
use crate::reply::{self, Response};
use crate::{Error, Result, body, version};

/// A request that found its handler.
pub(crate) struct Ctx {
    pub(crate) engine: Arc<Engine>,
    /// The API version that the client speaks.
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) session: Session,
    /// Cancelled when the server ends: open-ended streams end then.
    pub(crate) cancel: CancellationToken,
    /// The path's variables.
    pub(crate) params: Vec<(&'static str, String)>,
}

impl Ctx {
    /// The value of a variable of the path; empty if the pattern has no such variable.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_str())
            .unwrap_or_default()
    }

    /// The container, exec, image or network that the path names.
    pub(crate) fn id(&self) -> &str {
        self.param("id")
    }

    /// Whether the client speaks `1.minor` or newer.
    pub(crate) fn since(&self, minor: u16) -> bool {
        version::at_least(self.version, 1, minor)
    }

    /// The `filters` parameter.
    ///
    /// # Errors
    /// It is no filter, in dockerd's words.
    pub(crate) fn filters(&self) -> Result<Filters> {
        Filters::from_json(self.query.get("filters")).map_err(|e| Error::invalid(e.to_string()))
    }

    /// A JSON answer in the shape that the client's API version knows.
    ///
    /// # Errors
    /// The value can't be told in JSON: a mistake of ours.
    pub(crate) fn gated<T: Serialize + ?Sized>(
        &self,
        value: &T,
        gate: fn(&mut serde_json::Value, ApiVersion),
    ) -> Result<Response> {
        let bytes = reply::encode_gated(value, gate, self.version)?;
        Ok(reply::full(StatusCode::OK, reply::JSON, bytes))
    }

    /// The JSON body, if the request has a body. The rest of the request stays.
    ///
    /// # Errors
    /// Those of [`body::json`].
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        body::json(&self.headers, &mut self.body).await
    }

    /// The JSON body.
    ///
    /// # Errors
    /// Those of [`body::required_json`].
    pub(crate) async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        body::required_json(&self.headers, &mut self.body).await
    }
}
