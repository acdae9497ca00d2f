//! The one place where the live configuration is held and replaced.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::file::Content;
use crate::options::OPTIONS;
use crate::reload::{Side, compare};
use crate::{Facts, Live, Reloaded, Result, Sources};

/// The live configuration behind one atomic pointer.
#[derive(Debug)]
pub struct ConfigStore {
    current: ArcSwap<Current>,
    sources: Sources,
    facts: Facts,
    /// Held by whoever replaces the pointer.
    replacing: Mutex<()>,
}

/// What is live, and the file's content that it was derived from.
#[derive(Debug)]
struct Current {
    live: Arc<Live>,
    file: Content,
}

/// A reload up to the moment that it takes effect; dropped, it never happened.
#[derive(Debug)]
pub struct Prepared {
    base: Arc<Current>,
    next: Current,
    reloaded: Reloaded,
}

impl Prepared {
    /// The configuration that will be live.
    pub fn live(&self) -> &Live {
        &self.next.live
    }

    /// Writes the wrapper scripts that are new, which nobody sees: before the second half, once
    /// nothing can be wrong any more. Blocks.
    ///
    /// # Errors
    /// The system's, with what was being done.
    pub fn write_wrappers(&self) -> Result<()> {
        self.next.live.runtimes.write_wrappers()
    }
}

impl ConfigStore {
    /// Loads the configuration for the first time.
    ///
    /// # Errors
    /// See [`Sources::load`].
    pub fn open(sources: Sources, facts: Facts) -> Result<ConfigStore> {
        let file = sources.read()?;
        let live = Arc::new(sources.derive(&file, facts)?);
        Ok(ConfigStore {
            current: ArcSwap::from_pointee(Current { live, file }),
            sources,
            facts,
            replacing: Mutex::new(()),
        })
    }

    /// Puts in place what the live configuration refers to: runtimes' wrapper scripts. Blocks.
    ///
    /// # Errors
    /// The system's, with what was being done.
    pub fn write_wrappers(&self) -> Result<()> {
        self.current.load().live.runtimes.write_wrappers()
    }

    /// The configuration as it is now. To be called once, at the edge of an operation: what comes
    /// after may differ. Takes no lock.
    pub fn capture(&self) -> Arc<Live> {
        self.current.load().live.clone()
    }

    /// The first half of a reload: reads the file again and checks all of it. Nothing is changed.
    /// Blocks on the file and on what it refers to.
    ///
    /// # Errors
    /// See [`Sources::load`].
    pub fn prepare(&self) -> Result<Prepared> {
        self.plan(&self.sources)
    }

    /// The second half: replaces the live configuration in one step. `None` when it was replaced
    /// since the first half, which then has to be done again. Does not block.
    pub fn commit(&self, prepared: Prepared) -> Option<Reloaded> {
        let _one = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&prepared.base, &self.current.load()) {
            return None;
        }
        self.current.store(Arc::new(prepared.next));
        Some(prepared.reloaded)
    }

    /// Reads the file again and replaces the live configuration in one step, or leaves it as it
    /// is. Options that only a restart can change keep their value. Blocks on the file.
    ///
    /// # Errors
    /// See [`Sources::load`]; nothing has changed then.
    pub fn reload(&self) -> Result<Reloaded> {
        loop {
            let prepared = self.prepare()?;
            prepared.write_wrappers()?;
            if let Some(reloaded) = self.commit(prepared) {
                return Ok(reloaded);
            }
        }
    }

    /// What a reload would do if `file` were the configuration file. Changes nothing. Blocks on
    /// the file.
    ///
    /// # Errors
    /// See [`Sources::load`].
    pub fn diff(&self, file: &Path) -> Result<Reloaded> {
        let sources = Sources {
            file: file.to_owned(),
            file_required: true,
            ..self.sources.clone()
        };
        self.plan(&sources).map(|prepared| prepared.reloaded)
    }

    /// The daemon's own configuration file.
    pub fn file(&self) -> &Path {
        &self.sources.file
    }

    fn plan(&self, sources: &Sources) -> Result<Prepared> {
        let base = self.current.load_full();
        let wanted = sources.read()?;
        // The file must be right as a whole, also in what takes a restart.
        let wanted_live = sources.derive(&wanted, self.facts)?;
        let mut next = wanted.clone();
        for opt in OPTIONS.iter().filter(|opt| !opt.reloadable) {
            match base.file.options.get(opt.key) {
                Some(value) => drop(next.options.insert(opt.key.to_owned(), value.clone())),
                None => drop(next.options.remove(opt.key)),
            }
        }
        let live = match next == wanted {
            true => wanted_live.clone(),
            false => sources.derive(&next, self.facts)?,
        };
        let now = Side {
            file: &base.file.options,
            live: &base.live,
        };
        let then = Side {
            file: &wanted.options,
            live: &wanted_live,
        };
        let changes = compare(sources, now, then, &live);
        let live = Arc::new(live);
        Ok(Prepared {
            next: Current {
                live: live.clone(),
                file: next,
            },
            reloaded: Reloaded { changes, live },
            base,
        })
    }
}

#[cfg(test)]
mod tests;
