//! The way to the configuration for what no request asks for.

use std::sync::Arc;

use berth_config::{ConfigStore, Live};

/// Whoever makes or brings back a container hands this on to its actor, which alone can open it:
/// what works for a request has the configuration of that request, and no way to another.
#[derive(Clone, Debug)]
pub(crate) struct Captures(Arc<ConfigStore>);

impl Captures {
    pub(crate) fn new(store: Arc<ConfigStore>) -> Captures {
        Captures(store)
    }

    /// The configuration as it is now, once for each restart by policy.
    pub(in crate::container::actor) fn capture(&self) -> Arc<Live> {
        self.0.capture()
    }
}
