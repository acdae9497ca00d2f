//! The thread that owns our nftables table.
//!
//! Changes that come while a batch runs go together into the next one, so that a hundred
//! containers starting at once cost a few batches, and a single one waits for nobody.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::rules::{self, Element, Elements, Key, Target};
use crate::{Error, Policy, Result};

/// The most that one batch holds.
const BATCH: usize = 4096;
/// How long nft may take; it needs milliseconds.
const NFT_LIMIT: Duration = Duration::from_secs(20);

/// Called on the firewall's thread when a change is in force or was refused. Must not block.
pub(crate) type Done = Box<dyn FnOnce(Result<()>) + Send>;

enum Order {
    Change {
        gone: Vec<Element>,
        new: Vec<Element>,
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
    /// Starts the thread, in the caller's network namespace; with `now` the static rules are put
    /// in place first, else with the first change.
    pub(crate) fn start(
        table: String,
        policy: Policy,
        now: bool,
    ) -> Result<(Self, JoinHandle<()>)> {
        let off = !policy.v4 && !policy.v6;
        if off && let Err(error) = nft(&rules::remove(&table)) {
            // Without nftables there cannot be a table of an earlier daemon, either.
            tracing::debug!(%error, table, "no nftables table is removed");
        }
        let now = now && !off;
        if now && let Err(error) = nft(&rules::table(&table, &policy, false, &Elements::new())) {
            // A table of an older layout stands in the way.
            tracing::info!(%error, table, "rebuilding the nftables table");
            nft(&rules::table(&table, &policy, true, &Elements::new()))?;
        }
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("net-nft".into())
            .spawn(move || {
                Table {
                    name: table,
                    policy,
                    elements: Elements::new(),
                    written: now,
                }
                .serve(&inbox)
            })
            .map_err(|source| Error::io("start thread", "net-nft", source))?;
        Ok((Self { orders }, thread))
    }

    /// Takes elements out and puts elements in. Elements to take out that meanwhile lead
    /// elsewhere stay.
    pub(crate) fn change(&self, gone: Vec<Element>, new: Vec<Element>, done: Done) {
        self.send(Order::Change { gone, new, done });
    }

    /// As [`change`](Self::change), and waits until it is in force. Not from the thread itself.
    ///
    /// Errors: [`Error::Nft`], [`Error::Timeout`], [`Error::Closed`].
    pub(crate) fn apply(&self, gone: Vec<Element>, new: Vec<Element>) -> Result<()> {
        let (reply, answer) = channel();
        self.change(gone, new, Box::new(move |result| drop(reply.send(result))));
        // A batch that is under way comes first.
        match answer.recv_timeout(2 * NFT_LIMIT) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout {
                what: "changing rules",
                seconds: 2 * NFT_LIMIT.as_secs(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Closed),
        }
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
    name: String,
    policy: Policy,
    elements: Elements,
    /// Whether the kernel has the table at all.
    written: bool,
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
                done(if remove && self.written {
                    nft(&rules::remove(&self.name))
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
        gone: &[Element],
        new: &[Element],
        before: &mut BTreeMap<Key, Option<Option<Target>>>,
    ) {
        for (key, target) in gone {
            let old = self.elements.get(key).copied();
            before.entry(key.clone()).or_insert(old);
            if old.as_ref() == Some(target) {
                self.elements.remove(key);
            }
        }
        for (key, target) in new {
            let old = self.elements.insert(key.clone(), *target);
            before.entry(key.clone()).or_insert(old);
        }
    }

    /// Tells the kernel what differs from `before`; everything, should it disagree (somebody
    /// flushed or changed the table). What cannot be brought about is forgotten again.
    fn bring_about(
        &mut self,
        before: &BTreeMap<Key, Option<Option<Target>>>,
        rebuild: bool,
    ) -> Result<()> {
        if !self.policy.v4 && !self.policy.v6 {
            return Ok(());
        }
        let mut gone = Vec::new();
        let mut new = Vec::new();
        for (key, old) in before {
            let now = self.elements.get(key);
            if old.as_ref() == now {
                continue;
            }
            if old.is_some() {
                gone.push(key.clone());
            }
            if let Some(now) = now {
                new.push((key.clone(), *now));
            }
        }
        if !rebuild {
            if gone.is_empty() && new.is_empty() {
                return Ok(());
            }
            if self.written {
                match nft(&rules::change(&self.name, &gone, &new)) {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        tracing::warn!(%error, table = self.name, "rebuilding the nftables table");
                    }
                }
            }
        }
        if !self.written && self.elements.is_empty() {
            return Ok(());
        }
        let result = nft(&rules::table(
            &self.name,
            &self.policy,
            true,
            &self.elements,
        ));
        if result.is_err() {
            for (key, _) in &new {
                self.elements.remove(key);
            }
        }
        self.written |= result.is_ok();
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
