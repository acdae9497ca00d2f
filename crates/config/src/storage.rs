//! Where images and containers are kept: which of containerd's snapshotters.

use std::path::PathBuf;

use crate::{Config, Error, Result};

/// What the storage driver of dockerd's that is best known is with containerd.
const OVERLAY2: &str = "overlay2";
/// The longest name of a snapshotter, as containerd has it.
const NAME: usize = 76;
/// Those that containerd has of its own: no proxy can have their names.
const BUILT_IN: [&str; 8] = [
    "aufs",
    "blockfile",
    "btrfs",
    "devmapper",
    "erofs",
    "native",
    "overlayfs",
    "zfs",
];

/// The snapshotter that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its name in containerd, e.g. `native`; `None`: whichever fits the host best.
    pub snapshotter: Option<String>,
    /// The socket of the process that it is, for the daemon's own containerd to reach it by.
    pub address: Option<PathBuf>,
}

impl Storage {
    pub(crate) fn derive(user: &Config) -> Result<Storage> {
        let snapshotter = match user.storage_driver.as_str() {
            "" => None,
            OVERLAY2 => Some("overlayfs".to_owned()),
            name if is_name(name) => Some(name.to_owned()),
            name => {
                return Err(Error::invalid(format!("invalid storage driver: {name:?}")));
            }
        };
        let mut address = None;
        for option in &user.storage_opts {
            address = Some(socket(user, snapshotter.as_deref(), option)?);
        }
        Ok(Storage {
            snapshotter,
            address,
        })
    }
}

/// The socket that a storage option names: there is no other option.
fn socket(user: &Config, snapshotter: Option<&str>, option: &str) -> Result<PathBuf> {
    let refused = |why: String| Error::Unsupported {
        key: "storage-opts",
        why,
    };
    let Some(("address", address)) = option.split_once('=') else {
        return Err(refused(format!(
            "unknown option {option:?}; there is address=SOCKET, of a storage driver that is a \
             proxy snapshotter"
        )));
    };
    let address = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
    if !address.is_absolute() {
        let address = address.display();
        return Err(refused(format!("{address} is not an absolute path")));
    }
    if !user.containerd.is_empty() {
        return Err(refused(format!(
            "the containerd at {} has to know its proxy snapshotters itself",
            user.containerd
        )));
    }
    match snapshotter {
        None => Err(refused("an address needs a storage-driver".to_owned())),
        Some(own) if BUILT_IN.contains(&own) => {
            Err(refused(format!("containerd has {own} itself")))
        }
        Some(_) => Ok(address),
    }
}

/// What containerd takes for a name: words of letters and digits, with one of `.`, `_` and `-`
/// between two.
fn is_name(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    name.len() <= NAME && name.split(['.', '_', '-']).all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(driver: &str, options: &[&str], containerd: &str) -> Result<Storage, String> {
        let user = Config {
            storage_driver: driver.to_owned(),
            storage_opts: options.iter().map(|&option| option.to_owned()).collect(),
            containerd: containerd.to_owned(),
            ..Config::default()
        };
        Storage::derive(&user).map_err(|error| error.to_string())
    }

    #[test]
    fn a_driver_is_a_snapshotters_name() {
        let of = |driver| storage(driver, &[], "").map(|storage| storage.snapshotter);
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("overlay2"), Ok(Some("overlayfs".to_owned())));
        for name in ["native", "overlayfs", "fuse-overlayfs", "a.b_c"] {
            assert_eq!(of(name), Ok(Some(name.to_owned())));
        }
        for name in ["-", "a/b", "a b", "a\n", "a--b", &"x".repeat(77)] {
            let error = of(name).expect_err(name);
            assert_eq!(error, format!("invalid storage driver: {name:?}"));
        }
    }

    #[test]
    fn an_address_is_for_a_proxy_of_our_own_containerd() {
        for given in ["address=/s", "address=unix:///s"] {
            let storage = storage("odd", &[given], "").expect(given);
            assert_eq!(storage.address, Some("/s".into()));
        }
        for (driver, option, containerd, why) in [
            ("odd", "size=1", "", "unknown option \"size=1\""),
            ("odd", "address=s", "", "s is not an absolute path"),
            ("odd", "address=/s", "/c.sock", "the containerd at /c.sock"),
            ("", "address=/s", "", "an address needs a storage-driver"),
            ("native", "address=/s", "", "containerd has native itself"),
        ] {
            let error = storage(driver, &[option], containerd).expect_err(option);
            assert!(error.contains(why), "{error}");
        }
    }
}
