//! The configuration of the daemon's own containerd.

use std::io;
use std::path::Path;

use berth_config::Storage;

use super::Settings;

/// What the names of snapshotters among plugins begin with.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// What the daemon has no use for, or what would touch the host: CRI and NRI, snapshotters of
/// other file systems (unless one is asked for), `/opt/containerd`, container restarts (ours), tracing. Names that a
/// version of containerd does not know do no harm.
const DISABLED: [&str; 14] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
];

/// The file's text. Version 2 is read by containerd 1.6, 1.7 and 2.x.
pub(super) fn render(settings: &Settings) -> io::Result<String> {
    let Storage {
        snapshotter,
        address: proxy,
    } = &settings.storage;
    let asked = |name: &str| {
        let snapshotter = snapshotter.as_deref();
        snapshotter.is_some_and(|asked| name.strip_prefix(SNAPSHOTTER) == Some(asked))
    };
    let disabled = DISABLED.iter().filter(|name| !asked(name));
    let disabled: Vec<_> = disabled.map(|name| format!("  \"{name}\",\n")).collect();
    let socket = settings.socket();
    let ttrpc = settings.dir.join("containerd.sock.ttrpc");
    let mut text = format!(
        "# Written by berthd at each start of its containerd.\n\
         version = 2\n\
         root = {root}\n\
         state = {state}\n\
         {oom}\
         disabled_plugins = [\n{disabled}]\n\
         \n\
         [grpc]\n  address = {socket}\n  uid = 0\n  gid = 0\n\
         \n\
         [ttrpc]\n  address = {ttrpc}\n  uid = 0\n  gid = 0\n\
         \n\
         [debug]\n  level = \"{level}\"\n  format = \"json\"\n",
        root = quote(&settings.root)?,
        oom = if settings.protected {
            "oom_score = -500\n"
        } else {
            ""
        },
        state = quote(&settings.state())?,
        disabled = disabled.concat(),
        socket = quote(&socket)?,
        ttrpc = quote(&ttrpc)?,
        level = if settings.debug { "debug" } else { "warn" },
    );
    if let Some(address) = &settings.metrics {
        let address = quote(Path::new(address))?;
        text.push_str(&format!(
            "\n[metrics]\n  address = {address}\n  grpc_histogram = true\n"
        ));
    }
    if let (Some(name), Some(proxy)) = (snapshotter, proxy) {
        let (name, address) = (quote(Path::new(name))?, quote(proxy)?);
        text.push_str(&format!(
            "\n[proxy_plugins.{name}]\n  type = \"snapshot\"\n  address = {address}\n"
        ));
    }
    Ok(text)
}

/// A TOML string: JSON's quoting is a subset of it.
fn quote(path: &Path) -> io::Result<String> {
    let text = path.to_str();
    let text = text.ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?;
    Ok(serde_json::Value::from(text).to_string())
}
