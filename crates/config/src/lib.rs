//! The daemon's configuration: what the user wrote, what follows from it, and how it changes.
//!
//! ```text
//! defaults ─┐
//! daemon.json ├─ Sources::load ─> Config ── Live::derive ──> Live ── ConfigStore ── capture() ─> Arc<Live>
//! flags ────┘    (conflicts,       (what the    (validates,     (one value,    (one atomic
//!                 unknown keys)     user wrote)   resolves)       both parts)    pointer)
//! ```
//!
//! Every option that dockerd knows stands in [`OPTIONS`], with what Berth does about it: honours
//! it, accepts it without effect and says why, or refuses it. Nothing is ignored in silence.
//!
//! **Architecture Invariant:** what the user wrote ([`Config`]) and what is derived from it are two
//! parts of one value ([`Live`]) behind one pointer; they are replaced together. An operation
//! captures it once, at its edge, and passes it down by reference; nothing below the edge holds
//! the [`ConfigStore`].

mod bridge;
mod config;
mod error;
mod file;
mod host;
mod live;
mod nested;
mod options;
mod pools;
mod proxies;
mod reload;
mod runtime;
mod seccomp;
mod sources;
mod storage;
mod store;
mod tls;
mod values;

pub use bridge::{Bridge, BridgeV6, Mark};
pub use config::{Config, LogFormat, LogLevel, RuntimeConfig, UlimitConfig};
pub use error::{Error, Result};
pub use host::Host;
pub use live::{CgroupDriver, Dns, Facts, Live, LogDefaults, Pulls, Registries, Ulimit};
pub use options::{Flag, OPTIONS, Opt, Shape, Support};
pub use pools::{AddressPool, AddressPoolConfig};
pub use proxies::Proxies;
pub use reload::{Change, Outcome, Reloaded};
pub use runtime::{RUNC_SHIM, Runtime, Runtimes, STOCK_RUNTIME, ShimOptions, Wrapper};
pub use sources::{Map, Sources};
pub use storage::Storage;
pub use store::{ConfigStore, Prepared};
pub use tls::Tls;
pub use values::parse_size;
