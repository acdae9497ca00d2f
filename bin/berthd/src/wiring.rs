//! Where the parts meet.
use crate::containerd::Containerd;
use berth_config::ConfigStore;
use std::sync::Arc;
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(String);
pub(crate) struct Engine;
pub(crate) async fn open(_c: Arc<ConfigStore>, _d: &Containerd) -> Result<Engine, Error> {
    Ok(Engine)
}
pub(crate) fn server(
    _e: &Engine,
    s: crate::listeners::Socket,
    stop: tokio_util::sync::CancellationToken,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    Ok(async move {
        let _s = s;
        stop.cancelled().await
    })
}
pub(crate) async fn shutdown(_e: &Engine, _t: Option<std::time::Duration>) {}
