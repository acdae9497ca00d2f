//! The thread that deletes interfaces.
//!
//! Deleting one keeps the kernel waiting for tens of milliseconds (it lets all readers of the
//! device finish), and as long for a whole group. So all that come while one deletion runs go
//! together into the next.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::rtnl::{self, Rtnl};
use crate::{Error, Result};

/// Interfaces are put into this link group right before they are deleted. Nobody else's number.
const GROUP: u32 = 0x6265_7274;

/// Called on the thread when the interface is gone. Must not block.
pub(crate) type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Reaper {
    orders: Mutex<Option<Sender<(String, Done)>>>,
}

impl Reaper {
    /// Starts the thread in the caller's network namespace. It ends with [`end`](Self::end) or the [`Reaper`].
    pub(crate) fn start() -> Result<(Self, JoinHandle<()>)> {
        let (orders, inbox) = channel();
        let mut host = Rtnl::open()?;
        let thread = std::thread::Builder::new()
            .name("net-reap".into())
            .spawn(move || serve(&inbox, &mut host))
            .map_err(|source| Error::io("start thread", "net-reap", source))?;
        Ok((
            Self {
                orders: Mutex::new(Some(orders)),
            },
            thread,
        ))
    }

    /// Deletes an interface; one that is gone is fine.
    pub(crate) fn delete(&self, name: String, done: Done) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match orders.as_ref() {
            Some(orders) => orders.send((name, done)).err().map(|refused| refused.0.1),
            None => Some(done),
        };
        drop(orders);
        if let Some(done) = refused {
            done(Err(Error::Closed));
        }
    }

    /// Lets the thread finish what it has and end.
    pub(crate) fn end(&self) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

fn serve(inbox: &Receiver<(String, Done)>, host: &mut Rtnl) {
    while let Ok(first) = inbox.recv() {
        let mut orders = vec![first];
        orders.extend(inbox.try_iter());
        if let [_, _, ..] = orders.as_slice() {
            // Whatever fails here shows below, where each interface is deleted by its name.
            let _ = delete_together(host, orders.iter().map(|(name, _)| name.as_str()));
        }
        for (name, done) in orders {
            done(delete(host, &name));
        }
    }
}

/// Deletes several interfaces in the time of one; those that are gone are fine.
pub(crate) fn delete_together<'a>(
    host: &mut Rtnl,
    names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let marks: Vec<_> = names.map(|name| rtnl::set_group(name, GROUP)).collect();
    if marks.is_empty() {
        return Ok(());
    }
    unless_gone(host.apply(marks))?;
    unless_gone(host.apply(vec![rtnl::delete_group(GROUP)]))
}

fn unless_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if !rtnl::is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes one interface; one that is gone is fine.
fn delete(host: &mut Rtnl, name: &str) -> Result<()> {
    unless_gone(host.apply(vec![rtnl::delete_link(name)]))
}
