//! The client side of the OCI distribution protocol: manifests and blobs over HTTP.
//!
//! One [`Registry`] per daemon holds the [`Rules`] by which hosts are reached, and with them the
//! connection pools; a [`Repository`] is one conversation with one repository under one set of
//! credentials. Which hosts that is, and in what order, says a `hosts.toml` or the mirrors of
//! Docker Hub. Hosts on the loopback interface, and those that the administrator named insecure,
//! may speak plain HTTP; every other host is HTTPS with the system's roots and those of its folder
//! of certificates. Credentials are never logged, and never go to another host than the registry
//! itself and the token server that it names.

mod auth;
mod conversation;
mod download;
mod error;
mod hosts;
mod insecure;
mod limits;
mod login;
mod proxy;
mod refusal;
mod repository;
mod rules;
mod search;
mod transport;
mod trust;
mod upload;

pub use auth::Credentials;
pub use download::Download;
pub use error::{Error, Result};
pub use proxy::Proxies;
pub use repository::{Blob, Manifest, Repository};
pub use rules::{Rules, Settings};
pub use search::Found;
pub use transport::Registry;
pub use upload::{Mounted, Upload};

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
