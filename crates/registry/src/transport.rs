//! The way to all registries.

use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_reference::Reference;

use crate::rules::Rules;
use crate::{Credentials, Repository};

/// The way to all registries. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    agent: Arc<str>,
    rules: ArcSwap<Rules>,
}

impl Registry {
    /// Without rules; `agent` is what we call ourselves, e.g. `docker/29.0.0 …`.
    pub fn new(agent: &str) -> Registry {
        Registry {
            inner: Arc::new(Inner {
                agent: agent.into(),
                rules: ArcSwap::default(),
            }),
        }
    }

    /// From now on registries are reached by these rules. Conversations under way keep those that
    /// they began with.
    pub fn set_rules(&self, rules: Rules) {
        self.inner.rules.store(Arc::new(rules));
    }

    /// A conversation about what the repository that `reference` names has. No request is made.
    pub fn repository(&self, reference: &Reference, auth: Option<Credentials>) -> Repository {
        let scopes = vec![format!("repository:{}:pull", reference.path())];
        Repository::new(self.rules(), self.agent(), reference, auth, scopes, false)
    }

    /// A conversation about what the repository that `reference` names is to have. Blobs can be
    /// mounted from `sources`, which are paths of repositories on the same registry. No request is
    /// made.
    pub fn target(
        &self,
        reference: &Reference,
        auth: Option<Credentials>,
        sources: &[String],
    ) -> Repository {
        let mut scopes = vec![format!("repository:{}:pull,push", reference.path())];
        let others = sources.iter().filter(|path| *path != reference.path());
        scopes.extend(others.map(|path| format!("repository:{path}:pull")));
        Repository::new(self.rules(), self.agent(), reference, auth, scopes, true)
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.inner.rules.load_full()
    }

    pub(crate) fn agent(&self) -> Arc<str> {
        self.inner.agent.clone()
    }
}
