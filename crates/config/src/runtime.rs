//! Runtimes: from their names to what containerd is told.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::{Config, Error, Result, RuntimeConfig};

/// The name of the runtime that is always there.
pub const STOCK_RUNTIME: &str = "runc";
/// containerd's shim for runc and what is called like it; also a stock runtime's name.
pub const RUNC_SHIM: &str = "io.containerd.runc.v2";

/// How much of a runtime's name a file's name has: a digest and a temporary ending come behind, and
/// no file's name has more than 255 bytes.
const MAX_NAME: usize = 128;

/// A runtime, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// Its name, as `HostConfig.Runtime` has it.
    pub name: String,
    /// What is run, as `/info` shows it: the administrator's path; empty for a shim.
    pub path: String,
    /// The administrator's arguments, as `/info` shows them.
    pub args: Vec<String>,
    /// The shim: a type such as `io.containerd.runc.v2`, or a binary's absolute path.
    pub shim: String,
    /// What the shim is told.
    pub options: ShimOptions,
    /// The script that the shim runs in place of `path`, where there are arguments.
    pub wrapper: Option<Wrapper>,
}

/// Options for a shim.
#[derive(Clone, Debug, PartialEq)]
pub enum ShimOptions {
    /// `containerd.runc.v1.Options` of [`RUNC_SHIM`].
    Runc {
        /// The OCI runtime: a path, or a name in `$PATH`.
        binary_name: String,
        /// Where the OCI runtime keeps its state: `<exec-root>/runtime-runc`.
        root: PathBuf,
        /// Cgroups are made by systemd.
        systemd_cgroup: bool,
        /// The administrator's other options, by their names in `containerd.runc.v1.Options`.
        more: serde_json::Map<String, serde_json::Value>,
    },
    /// `runtimeoptions.v1.Options` of any other shim.
    Generic(serde_json::Map<String, serde_json::Value>),
    /// None.
    None,
}

/// A script that runs a runtime with arguments: containerd's runc shim has no option for them.
///
/// Its name tells its content, so it is never rewritten and two contents coexist: what a running
/// container was started with stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapper {
    /// `<data-root>/runtimes/<runtime>.<SHA-256 of the script>`.
    pub path: PathBuf,
    /// The script.
    pub script: String,
}

/// The runtimes that containers can ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtimes {
    by_name: BTreeMap<String, Arc<Runtime>>,
    default: Arc<Runtime>,
}

impl Runtimes {
    pub(crate) fn derive(config: &Config, systemd_cgroup: bool) -> Result<Runtimes> {
        let setup = Setup {
            dir: config.data_root.join("runtimes"),
            root: config.exec_root.join("runtime-runc"),
            systemd_cgroup,
        };
        let mut by_name = BTreeMap::new();
        for stock in [STOCK_RUNTIME, RUNC_SHIM] {
            by_name.insert(stock.to_owned(), Arc::new(setup.runc(stock, STOCK_RUNTIME)));
        }
        for (name, wanted) in &config.runtimes {
            if name == STOCK_RUNTIME {
                return Err(Error::invalid(format!("runtime name '{name}' is reserved")));
            }
            let runtime = setup
                .resolve(name, wanted)
                .map_err(|error| Error::invalid(format!("runtime {name}: {error}")))?;
            by_name.insert(name.clone(), Arc::new(runtime));
        }
        let default = match config.default_runtime.as_str() {
            "" => STOCK_RUNTIME,
            name => name,
        };
        let default = find(&by_name, default).map_err(|_| {
            Error::invalid(format!(
                "specified default runtime '{default}' does not exist"
            ))
        })?;
        Ok(Runtimes { by_name, default })
    }

    /// The runtime that a container means by `name`; empty means the default one. A name that is
    /// not configured but could be a shim's is taken as that.
    ///
    /// # Errors
    /// [`Error::UnknownRuntime`].
    pub fn get(&self, name: &str) -> Result<Arc<Runtime>> {
        match name {
            "" => Ok(self.default.clone()),
            name => find(&self.by_name, name),
        }
    }

    /// The runtime of containers that name none.
    pub fn default_runtime(&self) -> &Arc<Runtime> {
        &self.default
    }

    /// Writes the wrapper scripts that are not there yet. What is there is never touched: a
    /// running container may have been started with it. Blocks.
    ///
    /// # Errors
    /// The system's, with what was being done.
    pub fn write_wrappers(&self) -> Result<()> {
        for wrapper in self
            .by_name
            .values()
            .filter_map(|runtime| runtime.wrapper.as_ref())
        {
            wrapper.write()?;
        }
        Ok(())
    }

    /// All that have a definition, by name; the stock ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Runtime>> {
        self.by_name.values()
    }
}

fn find(by_name: &BTreeMap<String, Arc<Runtime>>, name: &str) -> Result<Arc<Runtime>> {
    if let Some(runtime) = by_name.get(name) {
        return Ok(runtime.clone());
    }
    if !is_permissible_shim(name) {
        return Err(Error::UnknownRuntime(name.to_owned()));
    }
    Ok(Arc::new(Runtime {
        name: name.to_owned(),
        path: String::new(),
        args: Vec::new(),
        shim: name.to_owned(),
        options: ShimOptions::None,
        wrapper: None,
    }))
}

/// Whether a client may name this shim without the administrator having configured it: a type
/// like `io.containerd.kata.v2`, never a path.
fn is_permissible_shim(name: &str) -> bool {
    !name.contains('/') && name.contains('.') && !name.starts_with('.')
}

/// What all runtimes share.
struct Setup {
    dir: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
}

impl Setup {
    fn runc(&self, name: &str, path: &str) -> Runtime {
        Runtime {
            name: name.to_owned(),
            path: path.to_owned(),
            args: Vec::new(),
            shim: RUNC_SHIM.to_owned(),
            options: self.runc_options(path, serde_json::Map::new()),
            wrapper: None,
        }
    }

    fn runc_options(
        &self,
        binary_name: &str,
        more: serde_json::Map<String, serde_json::Value>,
    ) -> ShimOptions {
        ShimOptions::Runc {
            binary_name: binary_name.to_owned(),
            root: self.root.clone(),
            systemd_cgroup: self.systemd_cgroup,
            more,
        }
    }

    fn resolve(&self, name: &str, wanted: &RuntimeConfig) -> Result<Runtime> {
        match (wanted.path.is_empty(), wanted.runtime_type.is_empty()) {
            (true, true) => Err(Error::invalid(
                "either a runtimeType or a path must be configured",
            )),
            (false, false) => Err(Error::invalid(
                "cannot configure both path and runtimeType for the same runtime",
            )),
            (false, true) => self.binary(name, wanted),
            (true, false) => self.shim(name, wanted),
        }
    }

    fn binary(&self, name: &str, wanted: &RuntimeConfig) -> Result<Runtime> {
        if !wanted.options.is_empty() {
            return Err(Error::invalid("options cannot be used with a path runtime"));
        }
        if wanted.runtime_args.is_empty() {
            return Ok(self.runc(name, &wanted.path));
        }
        let wrapper = Wrapper::new(&self.dir, name, &wanted.path, &wanted.runtime_args)?;
        let binary = wrapper.path.to_string_lossy().into_owned();
        Ok(Runtime {
            args: wanted.runtime_args.clone(),
            options: self.runc_options(&binary, serde_json::Map::new()),
            wrapper: Some(wrapper),
            ..self.runc(name, &wanted.path)
        })
    }

    fn shim(&self, name: &str, wanted: &RuntimeConfig) -> Result<Runtime> {
        if !wanted.runtime_args.is_empty() {
            return Err(Error::invalid(
                "args cannot be used with a runtimeType runtime",
            ));
        }
        let options = match wanted.runtime_type.as_str() {
            RUNC_SHIM => self.runc_shim_options(wanted)?,
            _ if wanted.options.is_empty() => ShimOptions::None,
            _ => ShimOptions::Generic(wanted.options.clone()),
        };
        Ok(Runtime {
            name: name.to_owned(),
            path: String::new(),
            args: Vec::new(),
            shim: wanted.runtime_type.clone(),
            options,
            wrapper: None,
        })
    }

    /// The administrator's options for the runc shim, ours where they say nothing.
    fn runc_shim_options(&self, wanted: &RuntimeConfig) -> Result<ShimOptions> {
        let mut more = wanted.options.clone();
        let wrong = |key: &str| Error::invalid(format!("invalid value for option {key}"));
        let binary_name = match more.remove("BinaryName") {
            None => STOCK_RUNTIME.to_owned(),
            Some(serde_json::Value::String(name)) => name,
            Some(_) => return Err(wrong("BinaryName")),
        };
        let root = match more.remove("Root") {
            None => self.root.clone(),
            Some(serde_json::Value::String(root)) => root.into(),
            Some(_) => return Err(wrong("Root")),
        };
        let systemd_cgroup = match more.remove("SystemdCgroup") {
            None => self.systemd_cgroup,
            Some(serde_json::Value::Bool(systemd)) => systemd,
            Some(_) => return Err(wrong("SystemdCgroup")),
        };
        Ok(ShimOptions::Runc {
            binary_name,
            root,
            systemd_cgroup,
            more,
        })
    }
}

/// A runtime's name as part of a file's: what is not plain is written as in URLs, and what is too
/// long is cut off. It is for those who look; the digest tells scripts apart.
fn as_file_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+@".contains(&byte);
    let mut file = String::new();
    for byte in name.bytes() {
        if file.len() >= MAX_NAME {
            break;
        }
        match plain(byte) && !(file.is_empty() && byte == b'.') {
            true => file.push(char::from(byte)),
            false => file.push_str(&format!("%{byte:02X}")),
        }
    }
    file
}

impl Wrapper {
    fn new(dir: &Path, name: &str, path: &str, args: &[String]) -> Result<Wrapper> {
        if path.contains('\0') || args.iter().any(|arg| arg.contains('\0')) {
            return Err(Error::invalid("runtimeArgs cannot contain NUL"));
        }
        let mut script = format!("#!/bin/sh\nexec {}", quote(path));
        for arg in args {
            script.push(' ');
            script.push_str(&quote(arg));
        }
        script.push_str(" \"$@\"\n");
        let digest = hex(&Sha256::digest(script.as_bytes()));
        Ok(Wrapper {
            path: dir.join(format!("{}.{digest}", as_file_name(name))),
            script,
        })
    }

    /// Puts the script in its place. One that is there is never touched. Blocks.
    ///
    /// # Errors
    /// The system's, with what was being done.
    pub fn write(&self) -> Result<()> {
        self.place().map_err(|source| Error::Io {
            what: format!("write {}", self.path.display()),
            source,
        })
    }

    fn place(&self) -> io::Result<()> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        if self.path.exists() {
            return Ok(());
        }
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Under a name of this writer's own, so that nobody runs half a script.
        let serial = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let new = dir.join(format!("{}{serial}", Wrapper::unfinished()));
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o700);
        let mut file = options.open(&new)?;
        file.write_all(self.script.as_bytes())?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&new, &self.path)
    }

    /// How the names of scripts begin that this process is writing. No runtime's name does.
    pub fn unfinished() -> String {
        format!(".new-{}-", std::process::id())
    }
}

/// One word of `sh`, whatever it contains.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
