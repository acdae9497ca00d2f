//! What a reload does, key by key, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::options::{OPTIONS, Opt, Support};
use crate::sources::show;
use crate::{Live, Map, Sources, tls};

/// What becomes of one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its new value is live.
    Applied,
    /// It says what it said before.
    Unchanged,
    /// Its value is another one, which only a restart brings.
    NeedsRestart,
    /// Its value is another one, which means nothing to Berth, for this reason.
    WithoutEffect(&'static str),
}

/// One option in a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The option's key in `daemon.json`.
    pub key: &'static str,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Its values before and after; `None` where they are not to be shown or are the same.
    pub values: Option<(Value, Value)>,
}

/// What a reload did, or would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// The options that the user says something about, or did, in the order of `--help`.
    pub changes: Vec<Change>,
    /// The configuration after it.
    pub live: Arc<Live>,
}

impl Reloaded {
    /// The keys of this outcome.
    pub fn keys(&self, outcome: Outcome) -> Vec<&'static str> {
        let of = self
            .changes
            .iter()
            .filter(|change| change.outcome == outcome);
        of.map(|change| change.key).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(false))
    }
}

impl Change {
    /// The change in one line; `dry` for one that is not made.
    pub fn line(&self, dry: bool) -> String {
        let word = match self.outcome {
            Outcome::Applied if dry => "to be applied",
            Outcome::Applied => "applied",
            Outcome::Unchanged => "unchanged",
            Outcome::NeedsRestart => "needs restart",
            Outcome::WithoutEffect(_) => "no effect",
        };
        let more = match (&self.outcome, &self.values) {
            (Outcome::WithoutEffect(why), _) => (*why).to_owned(),
            (_, Some((before, after))) => format!("{} -> {}", said(before), said(after)),
            (Outcome::Unchanged, None) => String::new(),
            (_, None) => "(new content)".to_owned(),
        };
        format!("{:<26} {word:<13} {more}", self.key)
            .trim_end()
            .to_owned()
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "(unset)".to_owned(),
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        value => show(value),
    }
}

/// The two sides of a reload: a file's content and what it leads to.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) file: &'a Map,
    pub(crate) live: &'a Live,
}

/// Compares what runs with what is wanted. `after` is what will be live: `wanted` without what
/// takes a restart.
pub(crate) fn compare(
    sources: &Sources,
    now: Side<'_>,
    wanted: Side<'_>,
    after: &Live,
) -> Vec<Change> {
    let (mut before, mut then) = (values(now), values(wanted));
    let mut changes = Vec::new();
    for opt in OPTIONS {
        let (before, then) = (
            before.remove(opt.key).unwrap_or_default(),
            then.remove(opt.key).unwrap_or_default(),
        );
        let said = |map: &Map| map.contains_key(opt.key);
        let outcome = if before != then || !same_content(opt, now.live, wanted.live) {
            outcome(opt, after)
        } else if said(now.file) || said(wanted.file) || said(&sources.flags) {
            Outcome::Unchanged
        } else {
            continue;
        };
        changes.push(Change {
            key: opt.key,
            outcome,
            values: (before != then).then(|| shown(opt, before, then)),
        });
    }
    changes
}

fn outcome(opt: &Opt, after: &Live) -> Outcome {
    match opt.support {
        Support::Accepted(why) => Outcome::WithoutEffect(why),
        // Certificates are of use only once TLS is on, which takes a restart.
        _ if tls::FILES.contains(&opt.key) && after.tls.is_none() => Outcome::NeedsRestart,
        _ if opt.reloadable => Outcome::Applied,
        _ => Outcome::NeedsRestart,
    }
}

/// All options' values: as they were understood, else as they were written.
fn values(side: Side<'_>) -> Map {
    let mut values = side.file.clone();
    if let Ok(Value::Object(understood)) = serde_json::to_value(&side.live.user) {
        values.extend(understood);
    }
    values
}

/// Whether the file that an option names, if it names one, contains the same.
fn same_content(opt: &Opt, before: &Live, then: &Live) -> bool {
    match (opt.key, &before.tls, &then.tls) {
        ("seccomp-profile", ..) => before.seccomp == then.seccomp,
        (key, Some(before), Some(then)) => before.same_content(then, key),
        _ => true,
    }
}

/// Values as they may be shown: proxies and log drivers' options may hold secrets.
fn shown(opt: &Opt, before: Value, then: Value) -> (Value, Value) {
    if opt.key.ends_with("-proxy") || opt.key == "proxies" || opt.key == "log-opts" {
        return (Value::from("(hidden)"), Value::from("(hidden)"));
    }
    (before, then)
}

impl Live {
    /// The attributes of the event of a reload, one for each of dockerd's reloadable settings.
    pub fn reload_attributes(&self) -> BTreeMap<String, String> {
        let user = &self.user;
        let list = |items: &[String]| Value::from(items).to_string();
        let features = serde_json::json!(user.features);
        let runtimes = user.runtimes.iter();
        let runtimes: Vec<_> = runtimes
            .map(|(name, it)| format!("{name}:{}", it.path))
            .collect();
        let word = |yes, no, is| if is { yes } else { no };
        [
            ("runtimes", runtimes.join(" ")),
            (
                "default-runtime",
                self.runtimes.default_runtime().name.clone(),
            ),
            ("default-shm-size", self.shm_size.to_string()),
            (
                "default-ipc-mode",
                word("shareable", "private", self.ipc_shareable).to_owned(),
            ),
            (
                "default-cgroupns-mode",
                word("private", "host", self.cgroupns_private).to_owned(),
            ),
            ("debug", user.debug.to_string()),
            ("max-concurrent-downloads", self.pulls.downloads.to_string()),
            ("max-concurrent-uploads", self.pulls.uploads.to_string()),
            ("max-download-attempts", self.pulls.attempts.to_string()),
            ("shutdown-timeout", user.shutdown_timeout.to_string()),
            (
                "default-stop-timeout",
                user.default_stop_timeout
                    .map_or_else(String::new, |seconds| seconds.to_string()),
            ),
            ("features", show(&features)),
            ("labels", list(&self.labels)),
            ("insecure-registries", list(&self.registries.insecure)),
            ("registry-mirrors", list(&self.registries.mirrors)),
            ("live-restore", user.live_restore.to_string()),
            ("network-diagnostic-port", "0".to_owned()),
            ("authorization-plugins", "[]".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_attributes_are_dockerds() {
        let user = serde_json::json!({
            "labels": ["b=2", "a=1"], "features": {"x": true}, "debug": true, "shutdown-timeout": 7,
            "runtimes": {"odd": {"path": "/odd"}, "b": {"path": "/b"}}, "default-runtime": "odd",
        });
        let user = serde_json::from_value(user).unwrap();
        let live = Live::derive(user, crate::Facts::default()).unwrap();
        let attributes = live.reload_attributes();
        for (key, value) in [
            ("labels", r#"["a=1","b=2"]"#),
            ("features", "map[x:true]"),
            ("debug", "true"),
            ("runtimes", "b:/b odd:/odd"),
            ("default-runtime", "odd"),
            ("default-shm-size", "67108864"),
            ("registry-mirrors", "[]"),
            ("shutdown-timeout", "7"),
            ("live-restore", "false"),
        ] {
            assert_eq!(attributes[key], value, "{key}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let opt = crate::options::find("log-opts").unwrap();
        let values = shown(opt, "secret".into(), Value::Null);
        let change = Change {
            key: opt.key,
            outcome: Outcome::Applied,
            values: Some(values),
        };
        assert!(!change.to_string().contains("secret"));
    }
}
