//! What the daemon starts when it begins: containers whose restart policy wants them to run.

use std::sync::Arc;

use berth_config::Live;
use berth_spec::modes::Mode;
use futures::{StreamExt, stream};

use crate::container::handle::{Handle, View, Wish};
use crate::container::record::Status;
use crate::container::restart::{Policy, Restarts};

/// How many are started at a time: what more would do is wait for containerd.
const AT_A_TIME: usize = 16;

/// Whether a container that was found not running is to run. What never ran is for its user to
/// start first.
pub(crate) fn is_wanted(view: &View) -> bool {
    let run = &view.run;
    let policy = Policy::from(&view.record.host.restart_policy);
    run.status == Status::Exited
        && run.generation > 0
        && Restarts::new(policy, run.restarts, run.stopped).wants(run.exit_code)
}

/// Starts them in the background, as their user would: restarts are counted anew. Those that
/// join another container's namespace come after those that they may join.
pub(crate) fn begin(wanted: Vec<Arc<Handle>>, live: &Arc<Live>) {
    if wanted.is_empty() {
        return;
    }
    let (joining, alone): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|handle| joins(handle));
    let live = live.clone();
    tokio::spawn(async move {
        for wave in [alone, joining] {
            let starts = stream::iter(wave).map(|handle| start(handle, live.clone()));
            starts.buffer_unordered(AT_A_TIME).collect::<()>().await;
        }
    });
}

fn joins(handle: &Handle) -> bool {
    let view = handle.view();
    let host = &view.record.host;
    let modes = [&host.network_mode, &host.pid_mode, &host.ipc_mode];
    let mut modes = modes.iter().map(|mode| Mode::of(mode));
    modes.any(|mode| matches!(mode, Mode::Container(_)))
}

async fn start(handle: Arc<Handle>, live: Arc<Live>) {
    if let Err(error) = handle.ask(Wish::Start(live)).await {
        tracing::error!(id = %handle.id(), %error, "starting a container whose restart policy wants it");
    }
}
