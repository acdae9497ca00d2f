//! Images in a real containerd and from a real registry, both of the tests' own. Needs root,
//! containerd, docker-registry, busybox-static and openssl.

#![allow(clippy::unwrap_used)]

mod host;
mod pull;
mod store;

use std::sync::Arc;

use berth_images::{InUse, Usage};
use berth_reference::Digest;

fn unused() -> InUse {
    Arc::new(|_: &Digest| Usage::default())
}
