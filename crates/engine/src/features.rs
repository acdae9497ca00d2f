//! What OCI runtimes say of themselves, `<binary> features`, for `/info`.
//!
//! Asking runs a program of the administrator's, which may take long or for ever. So it is asked
//! in the background, at the start and when the configuration has been replaced; readers take what
//! is known. An answer is good for as long as the binary is the same file.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use berth_config::{Live, Runtime, ShimOptions};
use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;

use crate::runtimes::look_up;
use crate::shared::blocking;

/// The key in a runtime's status, as Docker names it.
pub(crate) const KEY: &str = "org.opencontainers.runtime-spec.features";
/// How long a runtime may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may be, in bytes; runc's has 6,000.
const LONGEST: u64 = 1 << 20;
/// How many are asked at a time.
const AT_ONCE: usize = 2;
/// How many answers are kept that the configuration does not ask for any more.
const KEPT: usize = 256;

/// What is run, without the word `features`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Program {
    path: String,
    args: Vec<String>,
}

/// Which file it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    size: u64,
}

#[derive(Clone, Debug)]
struct Known {
    identity: Identity,
    /// JSON text.
    answer: Arc<str>,
}

/// What is known of runtimes.
#[derive(Debug, Default)]
pub(crate) struct Features {
    known: ArcSwap<HashMap<Program, Known>>,
    /// Which are being asked, and whether they are to be asked again afterwards: the file may have
    /// been replaced since.
    asked: Mutex<HashMap<Program, bool>>,
    /// The configuration whose runtimes were asked last.
    looked: ArcSwapOption<Live>,
}

impl Features {
    /// What a runtime says of itself, as JSON text; `None` while that is not known. Never waits.
    pub(crate) fn of(&self, runtime: &Runtime) -> Option<Arc<str>> {
        let known = self.known.load();
        known
            .get(&program(runtime)?)
            .map(|known| known.answer.clone())
    }

    /// Asks the runtimes of a configuration that were not asked yet, in the background.
    pub(crate) fn look(self: &Arc<Self>, live: &Arc<Live>) {
        let before = self.looked.swap(Some(live.clone()));
        if before.is_some_and(|before| Arc::ptr_eq(&before, live)) {
            return;
        }
        let programs: HashSet<_> = live
            .runtimes
            .iter()
            .filter_map(|runtime| program(runtime))
            .collect();
        self.forget(&programs);
        let features = self.clone();
        tokio::spawn(futures::stream::iter(programs).for_each_concurrent(
            AT_ONCE,
            move |program| {
                let features = features.clone();
                async move { features.ask(program).await }
            },
        ));
    }

    async fn ask(&self, program: Program) {
        let Some(mut turn) = Turn::take(self, &program) else {
            return;
        };
        loop {
            self.ask_now(&program).await;
            if !turn.again() {
                return;
            }
        }
    }

    async fn ask_now(&self, program: &Program) {
        let path = program.path.clone();
        let Ok(Some(identity)) = blocking(move || Ok(identify(&path))).await else {
            return;
        };
        if self
            .known
            .load()
            .get(program)
            .is_some_and(|known| known.identity == identity)
        {
            return;
        }
        let answer = match tokio::time::timeout(PATIENCE, run(&identity.path, &program.args)).await
        {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                return tracing::debug!(
                    path = program.path,
                    why,
                    "a runtime does not tell its features"
                );
            }
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                return tracing::warn!(
                    path = program.path,
                    seconds,
                    "a runtime did not tell its features in time"
                );
            }
        };
        self.change(|known| {
            drop(known.insert(
                program.clone(),
                Known {
                    identity: identity.clone(),
                    answer: answer.clone(),
                },
            ))
        });
    }

    fn forget(&self, wanted: &HashSet<Program>) {
        if self.known.load().len() > KEPT {
            self.change(|known| known.retain(|program, _| wanted.contains(program)));
        }
    }

    fn change(&self, change: impl Fn(&mut HashMap<Program, Known>)) {
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            change(&mut known);
            known
        });
    }
}

/// The right to ask one program, which nobody else has meanwhile.
struct Turn<'a> {
    features: &'a Features,
    program: &'a Program,
    over: bool,
}

impl<'a> Turn<'a> {
    /// `None` while another asks, who is told to do it again.
    fn take(features: &'a Features, program: &'a Program) -> Option<Turn<'a>> {
        let mut asked = features
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(again) = asked.get_mut(program) {
            *again = true;
            return None;
        }
        asked.insert(program.clone(), false);
        Some(Turn {
            features,
            program,
            over: false,
        })
    }

    /// Whether somebody came meanwhile; if not, the turn is over.
    fn again(&mut self) -> bool {
        let mut asked = self
            .features
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let again = asked.get_mut(self.program).is_some_and(std::mem::take);
        if !again {
            asked.remove(self.program);
            self.over = true;
        }
        again
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut asked = self
            .features
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asked.remove(self.program);
    }
}

/// What to ask; `None` for shims, which are no OCI runtimes.
fn program(runtime: &Runtime) -> Option<Program> {
    let ShimOptions::Runc { binary_name, .. } = &runtime.options else {
        return None;
    };
    let path = match runtime.path.as_str() {
        "" => binary_name.clone(),
        path => path.to_owned(),
    };
    Some(Program {
        path,
        args: runtime.args.clone(),
    })
}

fn identify(program: &str) -> Option<Identity> {
    let path = look_up(program).ok()?;
    let data = std::fs::metadata(&path).ok()?;
    Some(Identity {
        path,
        modified: (data.mtime(), data.mtime_nsec()),
        size: data.size(),
    })
}

/// Kills a program with all that it has started, unless it came to its end.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Not waited for yet, so the number is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(path: &std::path::Path, args: &[String]) -> Result<Arc<str>, String> {
    let mut command = tokio::process::Command::new(path);
    command.args(args).arg("features").current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let raw = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(raw.and_then(Pid::from_raw));
    let mut text = Vec::new();
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let read = stdout.take(LONGEST + 1).read_to_end(&mut text).await;
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > LONGEST {
        return Err("its answer has no end".to_owned());
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    group.0 = None;
    if !status.success() {
        return Err(status.to_string());
    }
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text)
        .map_err(|error| format!("its answer is no JSON object: {error}"))?;
    let text = serde_json::to_string(&json).map_err(|error| error.to_string())?;
    Ok(text.into())
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
