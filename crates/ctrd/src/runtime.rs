//! What runs a container: its shim, and the options that the shim takes.

use prost_types::Any;

/// The type of [`RuncOptions`].
const RUNC: &str = "containerd.runc.v1.Options";
/// The type of [`GenericOptions`].
const GENERIC: &str = "runtimeoptions.v1.Options";

/// Which shim runs a container, and with which options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// The shim's name, e.g. `io.containerd.runc.v2`, or its absolute path.
    pub name: String,
    /// Its options; `None` for its own defaults.
    pub options: Option<RuntimeOptions>,
}

/// Options of a shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeOptions {
    /// Of the runc shim.
    Runc(RuncOptions),
    /// Of any other.
    Generic(GenericOptions),
}

/// `containerd.runc.v1.Options` (containerd, `api/types/runc/options/oci.proto`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RuncOptions {
    /// Use `chroot` and `MS_MOVE` in place of `pivot_root`.
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    /// Do not make a session keyring for the container.
    #[prost(bool, tag = "2")]
    pub no_new_keyring: bool,
    /// The cgroup to put the shim into.
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    /// The owner of the stdio pipes.
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    /// The group of the stdio pipes.
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    /// The runc binary, by name or path.
    #[prost(string, tag = "6")]
    pub binary_name: String,
    /// runc's state directory.
    #[prost(string, tag = "7")]
    pub root: String,
    /// The criu binary (ignored by current shims).
    #[prost(string, tag = "8")]
    pub criu_path: String,
    /// Cgroups are made by systemd.
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
    /// Where criu puts images.
    #[prost(string, tag = "10")]
    pub criu_image_path: String,
    /// Where criu works.
    #[prost(string, tag = "11")]
    pub criu_work_path: String,
    /// The address of the task API: a Unix socket or vsock.
    #[prost(string, tag = "12")]
    pub task_api_address: String,
    /// The version of the task API: 2 or 3.
    #[prost(uint32, tag = "13")]
    pub task_api_version: u32,
}

/// `runtimeoptions.v1.Options`: what a shim of any kind takes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GenericOptions {
    /// What the configuration is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The configuration's file.
    #[prost(string, tag = "2")]
    pub config_path: String,
    /// The configuration itself.
    #[prost(bytes = "vec", tag = "3")]
    pub config_body: Vec<u8>,
}

impl RuntimeOptions {
    pub(crate) fn to_any(&self) -> Any {
        let (kind, value) = match self {
            RuntimeOptions::Runc(options) => (RUNC, prost::Message::encode_to_vec(options)),
            RuntimeOptions::Generic(options) => (GENERIC, prost::Message::encode_to_vec(options)),
        };
        Any {
            type_url: kind.to_owned(),
            value,
        }
    }
}

/// The OCI runtime that a container's record names; `None` where it names none or is not ours to
/// read.
pub(crate) fn binary_of(options: &Any) -> Option<String> {
    // Some versions put a host before the type's name.
    if options.type_url.rsplit('/').next() != Some(RUNC) {
        return None;
    }
    let options: RuncOptions = prost::Message::decode(options.value.as_slice()).ok()?;
    Some(options.binary_name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_read_again() {
        let options = RuncOptions {
            binary_name: "/data/runtimes/odd.0".into(),
            criu_work_path: "/criu".into(),
            ..RuncOptions::default()
        };
        let mut any = RuntimeOptions::Runc(options).to_any();
        assert_eq!(any.type_url, "containerd.runc.v1.Options");
        // Tag 11, wire type 2.
        assert!(any.value.windows(2).any(|bytes| bytes == [11 << 3 | 2, 5]));
        assert_eq!(binary_of(&any).as_deref(), Some("/data/runtimes/odd.0"));
        any.type_url = "types.containerd.io/containerd.runc.v1.Options".into();
        assert_eq!(binary_of(&any).as_deref(), Some("/data/runtimes/odd.0"));
    }

    #[test]
    fn other_shims_name_no_runtime() {
        let options = GenericOptions {
            config_path: "/etc/shim.toml".into(),
            ..GenericOptions::default()
        };
        let any = RuntimeOptions::Generic(options).to_any();
        assert_eq!(any.type_url, "runtimeoptions.v1.Options");
        assert_eq!(binary_of(&any), None);
    }
}
