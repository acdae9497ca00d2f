//! The one place where the live configuration is held and replaced.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::options::OPTIONS;
use crate::{Facts, Live, Map, Result, Sources};

/// The live configuration behind one atomic pointer.
#[derive(Debug)]
pub struct ConfigStore {
    live: ArcSwap<Live>,
    sources: Sources,
    facts: Facts,
    /// The file's content that `live` was derived from; held by whoever replaces it.
    file: Mutex<Map>,
}

/// What a reload did, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new value is live.
    pub applied: Vec<&'static str>,
    /// Keys whose value in the file is another, and which take a restart.
    pub needs_restart: Vec<&'static str>,
}

impl ConfigStore {
    /// Loads the configuration for the first time.
    ///
    /// # Errors
    /// See [`Sources::load`].
    pub fn open(sources: Sources, facts: Facts) -> Result<ConfigStore> {
        let file = sources.read()?;
        let live = sources.derive(&file, facts)?;
        Ok(ConfigStore {
            live: ArcSwap::from_pointee(live),
            sources,
            facts,
            file: Mutex::new(file),
        })
    }

    /// Puts in place what the live configuration refers to: runtimes' wrapper scripts. Blocks.
    ///
    /// # Errors
    /// The system's, with what was being done.
    pub fn prepare(&self) -> Result<()> {
        self.live.load().runtimes.write_wrappers()
    }

    /// The configuration as it is now. To be called once, at the edge of an operation: what comes
    /// after may differ.
    pub fn capture(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Reads the file again and replaces the live configuration in one step, or leaves it as it
    /// is. Options that only a restart can change keep their value. Blocks on the file.
    ///
    /// # Errors
    /// See [`Sources::load`]; nothing has changed then.
    pub fn reload(&self) -> Result<Reloaded> {
        let mut current = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.sources.read()?;
        // The file must be right as a whole, also in what takes a restart.
        self.sources.derive(&wanted, self.facts)?;
        let mut next = current.clone();
        let mut outcome = Reloaded::default();
        for opt in OPTIONS {
            if current.get(opt.key) == wanted.get(opt.key) {
                continue;
            }
            if !opt.reloadable {
                outcome.needs_restart.push(opt.key);
                continue;
            }
            outcome.applied.push(opt.key);
            match wanted.get(opt.key) {
                Some(value) => drop(next.insert(opt.key.to_owned(), value.clone())),
                None => drop(next.remove(opt.key)),
            }
        }
        let live = self.sources.derive(&next, self.facts)?;
        live.runtimes.write_wrappers()?;
        self.live.store(Arc::new(live));
        *current = next;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
