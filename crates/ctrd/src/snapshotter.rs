//! Which snapshotters a containerd has.

use std::path::PathBuf;

use containerd_client::services::v1 as svc;

use crate::client::CALL;
use crate::{Client, Result};

/// What containerd calls snapshotters among its plugins.
const KIND: &str = "io.containerd.snapshotter.v1";

/// A snapshotter that containerd was built with or configured for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshotter {
    /// Its name, e.g. `overlayfs`.
    pub name: String,
    /// Why it did not come up, in containerd's words; `None` when it did.
    pub failure: Option<String>,
    /// Where it keeps its files, if it tells.
    pub root: Option<PathBuf>,
    /// It is another process, which containerd asks for the first time when it is needed.
    pub is_proxy: bool,
}

impl Client {
    /// The snapshotters that containerd has, those that did not come up included. 1 RPC.
    pub async fn snapshotters(&self) -> Result<Vec<Snapshotter>> {
        let message = svc::PluginsRequest {
            filters: vec![format!("type=={KIND}")],
        };
        let mut c = svc::introspection_client::IntrospectionClient::new(self.channel());
        let call = c.plugins(self.request(message));
        let answer = self.call("Introspection.Plugins", CALL, call).await?;
        Ok(answer.plugins.into_iter().map(of).collect())
    }
}

fn of(mut plugin: svc::Plugin) -> Snapshotter {
    let skipped = |message: String| match message.strip_suffix(": skip plugin") {
        Some(why) => why.to_owned(),
        None => message,
    };
    Snapshotter {
        name: plugin.id,
        failure: plugin.init_err.map(|status| skipped(status.message)),
        is_proxy: plugin.exports.contains_key("address"),
        root: plugin.exports.remove("root").map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_one_did_not_come_up_is_told_plainly() {
        let plugin = svc::Plugin {
            id: "zfs".into(),
            exports: [("root".to_owned(), "/r".to_owned())].into(),
            init_err: Some(containerd_client::google::rpc::Status {
                message: "/r must be a zfs filesystem: skip plugin".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let expected = Snapshotter {
            name: "zfs".into(),
            failure: Some("/r must be a zfs filesystem".into()),
            root: Some("/r".into()),
            is_proxy: false,
        };
        assert_eq!(of(plugin), expected);
    }
}
