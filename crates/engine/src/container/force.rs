//! The last means against a shim or a runtime that does not answer: their processes are killed.
//!
//! A runtime that hangs holds its shim's lock, and a shim that hangs tells no exit. So who wants a
//! container dead must not depend on either. Ending what the shim has started has the shim tell
//! the exit as it was; ending the shim itself has containerd clear up after it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio_util::sync::CancellationToken;

use crate::shared::blocking;

/// How long a container may live on after SIGKILL before what its shim has started is killed.
const PROCESSES: Duration = Duration::from_secs(4);
/// How long after that its shim may go on without telling the exit.
const SHIM: Duration = Duration::from_secs(8);

/// How long a shim that containerd knows nothing of may take to end by itself.
const FORGOTTEN: Duration = Duration::from_secs(1);
/// The pause between two looks for one: doubled each time.
const LOOK: Duration = Duration::from_millis(10);

/// How the programs are called that containerd runs as shims.
const SHIM_NAME: &str = "containerd-shim";

/// Sees to it that the container `id`, to which SIGKILL was sent, ends: `over` tells that it has.
pub(crate) async fn see_dead(id: String, over: CancellationToken) {
    let escalate = async {
        tokio::time::sleep(PROCESSES).await;
        end_processes(&id).await;
        tokio::time::sleep(SHIM).await;
        end_shim(&id).await;
    };
    tokio::select! {
        () = escalate => {}
        () = over.cancelled() => {}
    }
}

/// Kills whatever the shim of the container `id` has started: the container's processes, and
/// runtimes that do not come to an end.
pub(crate) async fn end_processes(id: &str) {
    end(id, false).await;
}

/// Kills the shim of the container `id` with all that it has started.
pub(crate) async fn end_shim(id: &str) {
    end(id, true).await;
}

async fn end(id: &str, shim_too: bool) {
    let id = id.to_owned();
    let ended = blocking(move || {
        for shim in shims(&id) {
            let children = descendants(shim);
            tracing::warn!(
                id,
                shim,
                ?children,
                shim_too,
                "killing what does not answer"
            );
            children.into_iter().for_each(|pid| kill(pid, |_| true));
            if shim_too {
                kill(shim, |pid| is_shim_of(pid, &id));
            }
        }
        Ok(())
    });
    if let Err(error) = ended.await {
        tracing::warn!(%error, "killing what does not answer");
    }
}

/// Ends the shims of the container `id`, of which containerd has no task any more. One whose making
/// was given up half-way waits for a reader of its output that never comes; containerd forgets it
/// after a while and leaves it there. `late` is for how long one may still be to come: who asked
/// for it has died, and containerd may only be about to start it.
pub(crate) async fn end_forgotten_shims(id: &str, late: Duration) {
    let begun = tokio::time::Instant::now();
    let mut pause = LOOK;
    loop {
        let of = id.to_owned();
        let there = blocking(move || Ok(!shims(&of).is_empty())).await;
        let waited = begun.elapsed();
        match there.unwrap_or(false) {
            true if waited >= FORGOTTEN => return end_shim(id).await,
            false if waited >= late => return,
            _ => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(FORGOTTEN / 4);
    }
}

/// The shims of the container `id`.
fn shims(id: &str) -> Vec<i32> {
    processes().filter(|pid| is_shim_of(*pid, id)).collect()
}

fn is_shim_of(pid: i32, id: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    names_shim(&line, id)
}

/// Whether this is the command line of a shim of the container `id`: `…/containerd-shim-… -id ID`,
/// and not one that containerd has clear up after another (`… delete`).
fn names_shim(line: &[u8], id: &str) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let program = words.first().copied().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next();
    name.is_some_and(|name| name.starts_with(SHIM_NAME.as_bytes()))
        && !words.contains(&b"delete".as_slice())
        && words
            .windows(2)
            .any(|pair| matches!(pair, [b"-id" | b"--id", of] if *of == id.as_bytes()))
}

/// All that `root` has started, and what that has started.
fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in processes() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = Vec::new();
    let mut todo = vec![root];
    while let Some(parent) = todo.pop() {
        let mine = children.remove(&parent).unwrap_or_default();
        todo.extend(&mine);
        all.extend(mine);
    }
    all
}

/// The parent's number in the text of `/proc/<pid>/stat`, where a name may hold anything.
fn parent_of(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Kills the process that `is` meant, not one that got its number meanwhile.
fn kill(pid: i32, is: impl Fn(i32) -> bool) {
    let Some(number) = Pid::from_raw(pid) else {
        return;
    };
    let Ok(process): Result<OwnedFd, _> = pidfd_open(number, PidfdFlags::empty()) else {
        return;
    };
    if is(pid) {
        // It may have ended just now.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_command_line() {
        let line = b"/usr/bin/containerd-shim-runc-v2\0-namespace\0moby\0-id\0abc\0-address\0/x\0";
        assert!(names_shim(line, "abc"));
        assert!(!names_shim(line, "ab"));
        assert!(!names_shim(line, "moby"));
        assert!(!names_shim(b"/bin/grep\0-id\0abc\0", "abc"));
        assert!(!names_shim(b"", "abc"));
        let clearing = b"/usr/bin/containerd-shim-runc-v2\0-id\0abc\0-bundle\0/x\0delete\0";
        assert!(!names_shim(clearing, "abc"));
    }

    #[test]
    fn a_name_with_brackets_hides_no_parent() {
        assert_eq!(parent_of("7 (a) b) S 42 7 7 0"), Some(42));
        assert_eq!(parent_of("7 (x"), None);
    }

    #[test]
    fn descendants_are_found_through_those_between() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & sleep 1000 & wait"])
            .spawn()
            .expect("a shell");
        let pid = shell.id() as i32;
        let own = std::process::id() as i32;
        let mut tries = 0;
        let below = loop {
            let below = descendants(pid);
            if below.len() == 2 || tries > 1000 {
                break below;
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(below.len(), 2);
        assert!(below.iter().all(|child| descendants(own).contains(child)));
        below.into_iter().for_each(|pid| kill(pid, |_| true));
        assert!(shell.wait().is_ok());
    }
}
