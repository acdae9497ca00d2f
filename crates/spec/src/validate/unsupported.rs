//! What Berth does not do yet. It is refused: an option that is ignored in silence would have a
//! container run otherwise than its owner thinks.

use berth_wire::HostConfig;

use crate::error::{Error, Result};

/// Refuses what is not done yet.
pub(super) fn refuse(host: &HostConfig) -> Result<()> {
    let refuse = |what: &str| Err(Error::Unsupported(what.to_owned()));
    if !host.cgroup.is_empty() {
        return refuse("joining another container's cgroup is");
    }
    Ok(())
}
