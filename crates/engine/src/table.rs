//! The containers by id and by name, as one value behind one pointer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::container::handle::Handle;
use crate::{Error, Result};

/// Who a name belongs to: a container's full id.
type Owner = Arc<str>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    by_id: BTreeMap<Arc<str>, Arc<Handle>>,
    by_name: HashMap<String, Owner>,
}

impl Index {
    /// Every container, in the order of ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.by_id.values()
    }

    /// Whether there is a container of this full id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The container that a full id, a name (with or without its slash), or the beginning of an
    /// id means: in this order, as dockerd looks.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Handle>> {
        let unknown = || Error::not_found(format!("No such container: {text}"));
        if text.is_empty() {
            return Err(Error::invalid("no container name or ID supplied"));
        }
        if let Some(handle) = self.by_id.get(text) {
            return Ok(handle.clone());
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(handle) = self.by_name.get(name).and_then(|id| self.by_id.get(id)) {
            return Ok(handle.clone());
        }
        let mut matching = self
            .by_id
            .range::<str, _>((std::ops::Bound::Included(text), std::ops::Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some((_, handle)), None) => Ok(handle.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "Multiple IDs found with provided prefix: {text}"
            ))),
            (None, _) => Err(unknown()),
        }
    }
}

/// The one place where containers are added, renamed and taken out.
#[derive(Debug, Default)]
pub(crate) struct Table {
    index: ArcSwap<Index>,
    /// Held while the index is replaced; readers never wait for it.
    writing: Mutex<()>,
}

impl Table {
    /// All containers as of now.
    pub(crate) fn load(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// See [`Index::find`].
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Handle>> {
        self.index.load().find(text)
    }

    /// Takes a name for the container `id`, which need not be in the table yet.
    ///
    /// # Errors
    /// Another container has it.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        self.change(|index| match index.by_name.get(name) {
            Some(owner) if &**owner != id => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \
                 \"{owner}\". You have to remove (or rename) that container to be able to reuse \
                 that name."
            ))),
            _ => {
                index.by_name.insert(name.to_owned(), id.into());
                Ok(())
            }
        })
    }

    /// Gives a name free, if it is the container's.
    pub(crate) fn release(&self, name: &str, id: &str) {
        self.change(|index| {
            if index.by_name.get(name).is_some_and(|owner| &**owner == id) {
                index.by_name.remove(name);
            }
        });
    }

    pub(crate) fn insert(&self, handle: Arc<Handle>) {
        self.change(|index| index.by_id.insert(handle.id().clone(), handle));
    }

    /// Takes the container and all its names out.
    pub(crate) fn remove(&self, id: &str) {
        self.change(|index| {
            index.by_id.remove(id);
            index.by_name.retain(|_, owner| &**owner != id);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = Index::clone(&self.index.load());
        let outcome = change(&mut index);
        self.index.store(Arc::new(index));
        outcome
    }
}
