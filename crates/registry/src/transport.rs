//! The way to all registries.

use std::fmt;
use std::sync::Arc;

use berth_reference::Reference;

use crate::rules::Rules;
use crate::{Credentials, Repository};

/// The way to all registries. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

/// Tells the rules that hold now. Must not block.
type Source = Box<dyn Fn() -> Arc<Rules> + Send + Sync>;

struct Inner {
    agent: Arc<str>,
    rules: Source,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = &self.agent;
        f.debug_struct("Inner")
            .field("agent", agent)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// `agent` is what we call ourselves, e.g. `docker/29.0.0 …`; `rules` tells how registries are
    /// reached now: each conversation asks once, when it begins. It must not block.
    pub fn new(agent: &str, rules: impl Fn() -> Arc<Rules> + Send + Sync + 'static) -> Registry {
        Registry {
            inner: Arc::new(Inner {
                agent: agent.into(),
                rules: Box::new(rules),
            }),
        }
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
        (self.inner.rules)()
    }

    pub(crate) fn agent(&self) -> Arc<str> {
        self.inner.agent.clone()
    }
}
