//! The Container Device Interface: devices that vendors describe in files on the host, asked for by
//! `--device vendor.com/class=name`. What a device is, is what it changes in a container's
//! specification: nodes, mounts, environment, hooks.
//!
//! The official library for Rust brings a command line's parser, a validator for JSON schemas and a
//! cache behind a lock that watches folders. A start reads a few small files instead.

mod edits;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use edits::Edits;
use file::Description;

use crate::error::{Error, Result};

/// No vendor's file is larger, in bytes: those of hosts with many devices have some hundred KiB.
const LARGEST: u64 = 16 << 20;

/// The devices that the files in some folders describe.
#[derive(Debug, Default)]
pub struct Registry {
    files: Vec<Found>,
    /// By qualified name, `vendor.com/class=name`: the file, and which of its devices it is.
    devices: BTreeMap<String, (usize, usize)>,
    problems: Vec<Problem>,
}

/// A file that can be used.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// Which of the folders it is in; a later one's devices take the place of an earlier one's.
    priority: usize,
    description: Description,
}

/// Why a file, or a device in it, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Registry {
    /// Reads the `.json` and `.yaml` files in `folders`, of which later ones have precedence. What
    /// cannot be used is left out and told in [`Registry::problems`]. Blocks.
    #[must_use]
    pub fn scan(folders: &[PathBuf]) -> Registry {
        let mut registry = Registry::default();
        for (priority, folder) in folders.iter().enumerate() {
            for path in registry.list(folder) {
                match read(&path) {
                    Ok(description) => registry.files.push(Found {
                        path,
                        priority,
                        description,
                    }),
                    Err(reason) => {
                        let reason = format!("failed to load CDI Spec {path:?}: {reason}");
                        registry.problems.push(Problem { path, reason });
                    }
                }
            }
        }
        registry.index();
        registry
    }

    /// The files of a folder by name; none where there is no such folder.
    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problems.push(Problem {
                    path: folder.to_owned(),
                    reason: error.to_string(),
                });
                return Vec::new();
            }
        };
        let is_description = |path: &PathBuf| {
            let extension = path.extension().and_then(OsStr::to_str);
            matches!(extension, Some("json" | "yaml")) && !path.is_dir()
        };
        let mut paths: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_description)
            .collect();
        paths.sort();
        paths
    }

    /// Names the devices. Of two of one name in folders of the same precedence neither can be had.
    fn index(&mut self) {
        let mut conflicts = BTreeSet::new();
        for (file, found) in self.files.iter().enumerate() {
            for (device, name) in found.description.names().enumerate() {
                let before = self
                    .devices
                    .get(&name)
                    .and_then(|(file, _)| self.files.get(*file));
                if let Some(before) = before.filter(|before| before.priority == found.priority) {
                    let reason = format!(
                        "conflicting device {name:?} (specs {:?}, {:?})",
                        found.path, before.path
                    );
                    for path in [&found.path, &before.path] {
                        self.problems.push(Problem {
                            path: path.clone(),
                            reason: reason.clone(),
                        });
                    }
                    conflicts.insert(name);
                    continue;
                }
                self.devices.insert(name, (file, device));
            }
        }
        self.devices.retain(|name, _| !conflicts.contains(name));
    }

    /// The devices' qualified names, in order.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// What could not be used, and why.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What the devices of these names change, with what their nodes are on this host. A file's own
    /// edits come once, before those of the first of its devices. Blocks.
    ///
    /// # Errors
    /// `unresolvable CDI devices …` with all that there are not; `failed to inject devices: …` where
    /// a device lacks its node.
    pub fn edits(&self, names: &[String]) -> Result<Edits> {
        let mut missing = Vec::new();
        let mut used = BTreeSet::new();
        let mut edits = Edits::default();
        for name in names {
            let found = self.devices.get(name).and_then(|&(file, device)| {
                let description = &self.files.get(file)?.description;
                Some((file, description, description.device(device)?))
            });
            let Some((file, description, device)) = found else {
                missing.push(name.as_str());
                continue;
            };
            if used.insert(file) {
                edits.add(description.edits()).map_err(not_injected)?;
            }
            edits.add(device).map_err(not_injected)?;
        }
        match missing.is_empty() {
            true => Ok(edits),
            false => Err(Error::Host(format!(
                "unresolvable CDI devices {}",
                missing.join(", ")
            ))),
        }
    }
}

fn not_injected(error: Error) -> Error {
    match error {
        Error::Host(reason) => Error::Host(format!("failed to inject devices: {reason}")),
        error => error,
    }
}

fn read(path: &Path) -> Result<Description, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    // One more, to tell a file that is too large from one that is not.
    let length = file
        .take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if length as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    Description::parse(&text, path.extension() == Some(OsStr::new("json")))
}
