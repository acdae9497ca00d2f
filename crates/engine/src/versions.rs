//! The versions of the programs beside us, for `/info` and `/version`.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_config::Live;

use crate::files;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a program says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// The version.
    pub(crate) number: String,
    /// The commit that it was built from; empty where it does not say.
    pub(crate) commit: String,
}

/// What is known by now. Readers never wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    runc: Arc<OnceLock<Version>>,
    init: Arc<OnceLock<Version>>,
}

impl Versions {
    /// Asks runc and the init in the background.
    pub(crate) fn look(live: &Live) -> Versions {
        let versions = Versions::default();
        find(&versions.runc, Some("runc".into()), of_runc);
        find(
            &versions.init,
            files::init_binary(live).map(Into::into),
            of_init,
        );
        versions
    }

    /// runc's, once it has told.
    pub(crate) fn runc(&self) -> Option<&Version> {
        self.runc.get()
    }

    /// The init's, once it has told; `None` also where there is none.
    pub(crate) fn init(&self) -> Option<&Version> {
        self.init.get()
    }
}

fn find(
    into: &Arc<OnceLock<Version>>,
    program: Option<OsString>,
    parse: fn(&str) -> Option<Version>,
) {
    let Some(program) = program else { return };
    let into = into.clone();
    tokio::spawn(async move {
        if let Some(version) = ask(program).await.as_deref().and_then(parse) {
            let _ = into.set(version);
        }
    });
}

async fn ask(program: OsString) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .ok()?
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `runc version 1.1.5`, and in a line of its own `commit: v1.1.5-0-gf19387a6`.
fn of_runc(text: &str) -> Option<Version> {
    let after = |start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start));
        found.map(|value| value.trim().to_owned())
    };
    Some(Version {
        number: after("runc version ")?,
        commit: after("commit:").unwrap_or_default(),
    })
}

/// `tini version 0.19.0 - git.de40ad0`, or without what follows the number.
fn of_init(text: &str) -> Option<Version> {
    let line = text.lines().next()?.strip_prefix("tini version ")?;
    let (number, commit) = line.split_once(" - ").unwrap_or((line, ""));
    Some(Version {
        number: number.trim().to_owned(),
        commit: commit.trim().trim_start_matches("git.").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: &str, commit: &str) -> Option<Version> {
        Some(Version {
            number: number.to_owned(),
            commit: commit.to_owned(),
        })
    }

    #[test]
    fn what_runc_says() {
        let text = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev\ngo: go1.19\n";
        assert_eq!(of_runc(text), version("1.1.5+ds1", "1.1.5+ds1-1"));
        assert_eq!(of_runc("runc version 2\n"), version("2", ""));
        assert_eq!(of_runc("crun version 1.8\n"), None);
    }

    #[test]
    fn what_inits_say() {
        let text = "tini version 0.19.0 - git.de40ad0\n";
        assert_eq!(of_init(text), version("0.19.0", "de40ad0"));
        assert_eq!(of_init("tini version 0.19.0\n"), version("0.19.0", ""));
        assert_eq!(of_init("catatonit 0.2\n"), None);
        assert_eq!(of_init(""), None);
    }
}
