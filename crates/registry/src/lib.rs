//! The client side of the OCI distribution protocol: manifests and blobs over HTTP.
//!
//! One [`Registry`] per daemon holds the connection pools; a [`Repository`] is one
//! conversation with one repository under one set of credentials. Hosts on the loopback
//! interface may speak plain HTTP, as dockerd's built-in insecure registries do; every other
//! host is HTTPS with the system's roots. Credentials are never logged, and never follow a
//! redirect to another host.

mod auth;
mod error;
mod repository;
mod transport;

pub use auth::Credentials;
pub use error::{Error, Result};
pub use repository::{Blob, Manifest, Repository};
pub use transport::Registry;

#[cfg(test)]
mod tests;
