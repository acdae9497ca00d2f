//! The thread that owns our nftables table.
//!
//! Changes that come while a batch runs go together into the next one, so that a hundred
//! containers starting at once cost a few batches, and a single one waits for nobody.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::rules::{self, Elements, Key, Layout, Target};
use crate::{Error, Result};

/// The most that one batch holds.
const BATCH: usize = 4096;
/// How long nft may take; it needs milliseconds.
const NFT_LIMIT: Duration = Duration::from_secs(20);

/// Called on the firewall's thread when a change is in force or was refused. Must not block.
pub(crate) type Done = Box<dyn FnOnce(Result<()>) + Send>;

enum Order {
    Change {
        gone: Vec<(Key, Target)>,
        new: Vec<(Key, Target)>,
        done: Done,
    },
    Rebuild(Done),
    End {
        remove: bool,
        done: Done,
    },
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Firewall {
    orders: Sender<Order>,
}

impl Firewall {
    /// Puts the static rules in place and starts the thread, in the caller's network namespace.
    pub(crate) fn start(layout: Layout) -> Result<(Self, JoinHandle<()>)> {
        if let Err(error) = nft(&rules::table(&layout, false, &Elements::new())) {
            // A table of an older layout stands in the way.
            tracing::info!(%error, table = layout.table, "rebuilding the nftables table");
            nft(&rules::table(&layout, true, &Elements::new()))?;
        }
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("net-nft".into())
            .spawn(move || {
                Table {
                    layout,
                    elements: Elements::new(),
                }
                .serve(&inbox)
            })
            .map_err(|source| Error::io("start thread", "net-nft", source))?;
        Ok((Self { orders }, thread))
    }

    /// Takes elements out and puts elements in. Elements to take out that meanwhile lead
    /// elsewhere stay.
    pub(crate) fn change(&self, gone: Vec<(Key, Target)>, new: Vec<(Key, Target)>, done: Done) {
        self.send(Order::Change { gone, new, done });
    }

    /// Makes the table anew from what we know.
    pub(crate) fn rebuild(&self, done: Done) {
        self.send(Order::Rebuild(done));
    }

    /// Ends the thread, removing the table or leaving it.
    pub(crate) fn end(&self, remove: bool, done: Done) {
        self.send(Order::End { remove, done });
    }

    fn send(&self, order: Order) {
        if let Err(refused) = self.orders.send(order) {
            match refused.0 {
                Order::Change { done, .. } | Order::Rebuild(done) | Order::End { done, .. } => {
                    done(Err(Error::Closed));
                }
            }
        }
    }
}

/// What the thread knows: the truth that the kernel's table is made to follow.
struct Table {
    layout: Layout,
    elements: Elements,
}

impl Table {
    fn serve(mut self, inbox: &Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let mut orders = vec![first];
            orders.extend(inbox.try_iter().take(BATCH));
            let mut before = BTreeMap::new();
            let mut rebuild = false;
            let mut waiting = Vec::with_capacity(orders.len());
            let mut end = None;
            for order in orders {
                match order {
                    Order::Change { gone, new, done } => {
                        self.note(&gone, &new, &mut before);
                        waiting.push(done);
                    }
                    Order::Rebuild(done) => {
                        rebuild = true;
                        waiting.push(done);
                    }
                    Order::End { remove, done } => end = Some((remove, done)),
                }
            }
            let result = self.bring_about(&before, rebuild);
            for done in waiting {
                done(result.as_ref().map(|_| ()).map_err(again));
            }
            if let Some((remove, done)) = end {
                done(if remove {
                    nft(&rules::remove(&self.layout))
                } else {
                    Ok(())
                });
                return;
            }
        }
    }

    /// Enters a change and remembers in `before` what was there.
    fn note(
        &mut self,
        gone: &[(Key, Target)],
        new: &[(Key, Target)],
        before: &mut BTreeMap<Key, Option<Target>>,
    ) {
        for (key, target) in gone {
            let old = self.elements.get(key).copied();
            before.entry(*key).or_insert(old);
            if old == Some(*target) {
                self.elements.remove(key);
            }
        }
        for (key, target) in new {
            let old = self.elements.insert(*key, *target);
            before.entry(*key).or_insert(old);
        }
    }

    /// Tells the kernel what differs from `before`; everything, should it disagree (somebody
    /// flushed or changed the table). What cannot be brought about is forgotten again.
    fn bring_about(&mut self, before: &BTreeMap<Key, Option<Target>>, rebuild: bool) -> Result<()> {
        let mut gone = Vec::new();
        let mut new = Vec::new();
        for (key, old) in before {
            let now = self.elements.get(key);
            if old.as_ref() == now {
                continue;
            }
            if old.is_some() {
                gone.push(*key);
            }
            if let Some(now) = now {
                new.push((*key, *now));
            }
        }
        if !rebuild {
            if gone.is_empty() && new.is_empty() {
                return Ok(());
            }
            match nft(&rules::change(&self.layout, &gone, &new)) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, table = self.layout.table, "rebuilding the nftables table");
                }
            }
        }
        let result = nft(&rules::table(&self.layout, true, &self.elements));
        if result.is_err() {
            for (key, _) in &new {
                self.elements.remove(key);
            }
        }
        result
    }
}

/// The same failure for one more waiter.
fn again(error: &Error) -> Error {
    match error {
        Error::Timeout { what, seconds } => Error::Timeout {
            what,
            seconds: *seconds,
        },
        other => Error::Nft(match other {
            Error::Nft(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}

/// Runs one script: all of it takes effect or nothing.
pub(crate) fn nft(script: &str) -> Result<()> {
    // A file in memory: a pipe could fill up while nobody reads.
    let memory = memfd_create("berth-nft", MemfdFlags::CLOEXEC)
        .map_err(|errno| Error::Nft(format!("memfd: {errno}")))?;
    let mut input = std::fs::File::from(memory);
    let fill = |input: &mut std::fs::File| {
        input.write_all(script.as_bytes())?;
        std::io::Seek::rewind(input)
    };
    fill(&mut input).map_err(|error| Error::Nft(format!("memfd: {error}")))?;
    let run = |program: &str| {
        let input = input.try_clone()?;
        Command::new(program)
            .args(["-f", "-"])
            .stdin(Stdio::from(input))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let child = match run("nft") {
        // A PATH without the system's programs.
        Err(error) if error.kind() == ErrorKind::NotFound => run("/usr/sbin/nft"),
        other => other,
    };
    let child = child.map_err(|error| Error::Nft(format!("cannot run nft: {error}")))?;
    let child = within_limit(child)?;
    let output = child
        .wait_with_output()
        .map_err(|error| Error::Nft(format!("cannot wait for nft: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::Nft(
        text.lines()
            .next()
            .unwrap_or("failed without a word")
            .trim()
            .to_owned(),
    ))
}

/// The child once it has exited; killed when it takes too long.
fn within_limit(mut child: Child) -> Result<Child> {
    let limit = Timespec {
        tv_sec: NFT_LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    let exited = Pid::from_raw(child.id() as i32)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .and_then(|fd| poll(&mut [PollFd::new(&fd.as_fd(), PollFlags::IN)], Some(&limit)));
    match exited {
        Ok(0) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::Timeout {
                what: "nft",
                seconds: NFT_LIMIT.as_secs(),
            })
        }
        // Without a pidfd (or interrupted) the plain wait has to do.
        _ => Ok(child),
    }
}
