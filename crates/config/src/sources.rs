//! Where the configuration comes from, and how the places are merged.
//!
//! A place is a JSON object with the keys of `daemon.json`; a later place replaces an earlier
//! one's value key by key: defaults, file, flags. So a key that leaves the file falls back to
//! what it would be without it.

use std::path::PathBuf;

use serde_json::Value;

use crate::file::Content;
use crate::options::{self, OPTIONS, Opt, Shape};
use crate::{Config, Error, Facts, Live, Result, file, pools};

/// Options by their keys in `daemon.json`.
pub type Map = serde_json::Map<String, Value>;

/// The places that the configuration is merged from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What holds where nobody says otherwise and dockerd's default is not ours.
    pub defaults: Map,
    /// What was given on the command line, by the file's keys.
    pub flags: Map,
    /// The configuration file.
    pub file: PathBuf,
    /// The file was asked for: it must be there.
    pub file_required: bool,
}

impl Sources {
    /// Reads the file, merges all places and derives the live configuration.
    ///
    /// # Errors
    /// Each in one line, in dockerd's words where it has them.
    pub fn load(&self, facts: Facts) -> Result<Live> {
        self.derive(&self.read()?, facts)
    }

    /// The live configuration with `text` in place of the file's.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub fn load_text(&self, text: &str, facts: Facts) -> Result<Live> {
        let file = file::parse(text).map_err(|error| self.blame_file(error))?;
        self.derive(&file, facts)
    }

    /// The file's content. A file that is not there and need not be is empty.
    pub(crate) fn read(&self) -> Result<Content> {
        match file::load(&self.file) {
            Ok(content) => Ok(content),
            Err(error) if error.is_missing_file() && !self.file_required => Ok(Content::default()),
            Err(error) => Err(self.blame_file(error)),
        }
    }

    /// The live configuration with `file` as the file's content.
    pub(crate) fn derive(&self, content: &Content, facts: Facts) -> Result<Live> {
        let live = self.merge(&content.options, facts)?;
        Ok(Live {
            ignored: content.ignored.clone(),
            ..live
        })
    }

    fn merge(&self, file: &Map, facts: Facts) -> Result<Live> {
        if file.is_empty() {
            return Live::derive(decode(&[&self.defaults, &self.flags])?, facts);
        }
        known(file)
            .and_then(|()| self.conflicts(file))
            .map_err(|error| self.blame_file(error))?;
        let merged = decode(&[&self.defaults, file, &self.flags])
            .and_then(|config| Live::derive(config, facts));
        merged.map_err(|error| {
            // Whose fault it is: only what is whole can be right, so only then the file is looked at
            // by itself.
            let whose = self.check_alone(file, facts).err();
            self.blame_file(whose.unwrap_or_else(|| Error::Merged(Box::new(error))))
        })
    }

    /// Checks the file without the flags, as far as it can stand alone: what it names (a runtime,
    /// a certificate) may be the flags'.
    fn check_alone(&self, file: &Map, facts: Facts) -> Result<()> {
        let alone = |config| Config {
            default_runtime: String::new(),
            tls: None,
            tlsverify: None,
            ..config
        };
        decode(&[&self.defaults, file])
            .and_then(|config| Live::derive(alone(config), facts))
            .map_err(|error| Error::FromFile(Box::new(error)))?;
        Ok(())
    }

    /// Keys given as a flag and in the file. Runtimes may be: they add up.
    fn conflicts(&self, file: &Map) -> Result<()> {
        let both = OPTIONS.iter().filter(|opt| opt.shape != Shape::Runtimes);
        let mut both: Vec<_> = both
            .filter_map(|opt| {
                let flag = self.flags.get(opt.key)?;
                // Proxies may be given in a structure of their own.
                let inner = || file.get("proxies")?.get(opt.key);
                let file = file.get(opt.key).or_else(inner)?;
                let name = opt.flag.map_or(opt.key, |flag| flag.long);
                Some((name, show_conflict(opt, flag, file)))
            })
            .collect();
        if both.is_empty() {
            return Ok(());
        }
        both.sort();
        Err(Error::Conflicts(
            both.into_iter().map(|(_, text)| text).collect(),
        ))
    }

    fn blame_file(&self, error: Error) -> Error {
        Error::File {
            path: self.file.clone(),
            source: Box::new(error),
        }
    }
}

fn known(file: &Map) -> Result<()> {
    // As for dockerd, what is in `proxies` are options as if they stood beside it.
    let proxies = file.get("proxies").and_then(Value::as_object);
    let keys = file.keys().chain(proxies.into_iter().flat_map(Map::keys));
    let unknown = keys.filter(|key| options::find(key).is_none());
    let mut unknown: Vec<_> = unknown.cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort();
    Err(Error::UnknownKeys(unknown))
}

/// Merges places and reads the result. Refused options are found here.
fn decode(places: &[&Map]) -> Result<Config> {
    let mut merged = Map::new();
    for (key, value) in places.iter().flat_map(|place| place.iter()) {
        match (merged.get_mut(key), value) {
            // `null` says nothing.
            (_, Value::Null) => {}
            (Some(Value::Object(before)), Value::Object(more)) if key == "runtimes" => {
                add_runtimes(before, more)?;
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    for opt in OPTIONS {
        if let Some(value) = merged.get(opt.key) {
            opt.admit(value)?;
        }
    }
    match serde_json::from_value(Value::Object(merged.clone())) {
        Ok(config) => Ok(config),
        Err(error) => Err(locate(&merged, &error)),
    }
}

fn add_runtimes(before: &mut Map, more: &Map) -> Result<()> {
    for (name, runtime) in more {
        if before.insert(name.clone(), runtime.clone()).is_some() {
            return Err(Error::invalid(format!(
                "runtime '{name}' was already defined"
            )));
        }
    }
    Ok(())
}

/// Names the key whose value has the wrong type: serde does not say.
fn locate(merged: &Map, error: &serde_json::Error) -> Error {
    for (key, value) in merged {
        let one = Map::from_iter([(key.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<Config>(Value::Object(one)) {
            return Error::invalid(format!("invalid value for {key}: {error}"));
        }
    }
    Error::invalid(error.to_string())
}

fn show_conflict(opt: &Opt, flag: &Value, file: &Value) -> String {
    let key = opt.key;
    // Proxy URLs may hold passwords.
    if key.ends_with("-proxy") {
        return key.to_owned();
    }
    let flag = match opt.shape {
        Shape::Pools => pools::show(flag),
        _ => show(flag),
    };
    format!("{key}: (from flag: {flag}, from file: {})", show(file))
}

/// A value as Go prints it: `[a b]`, `map[k:v]`.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests;
