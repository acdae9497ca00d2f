//! The client side of the OCI distribution protocol: manifests and blobs over HTTP.
//!
//! One [`Registry`] per daemon holds the connection pools; a [`Repository`] is one
//! conversation with one repository under one set of credentials. Hosts on the loopback
//! interface, and those that the administrator named insecure, may speak plain HTTP; every other
//! host is HTTPS with the system's roots. Docker Hub's mirrors are tried before it. Credentials are never logged, and never follow a
//! redirect to another host.

mod auth;
mod error;
mod insecure;
mod repository;
mod transport;

pub use auth::Credentials;
pub use error::{Error, Result};
pub use repository::{Blob, Manifest, Repository};
pub use transport::{Registry, Rules};

#[cfg(test)]
mod tests;
