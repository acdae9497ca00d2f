//! The threads that do what may block: netlink, mounts, entering namespaces.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::netns::Home;
use crate::rtnl::Rtnl;
use crate::{Error, Result};

/// The kernel does link changes one after the other anyway; more threads help only with
/// making namespaces.
const THREADS: usize = 3;

/// What a thread has at hand.
pub(crate) struct Desk {
    /// The host's links.
    pub(crate) host: Rtnl,
    /// The host's namespace.
    pub(crate) home: Home,
}

/// Work for a thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The way to the threads.
#[derive(Debug)]
pub(crate) struct Threads {
    jobs: Mutex<Option<Sender<Job>>>,
}

impl Threads {
    /// Starts the threads in the caller's network namespace.
    pub(crate) fn start() -> Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, inbox) = channel::<Job>();
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let inbox = Arc::clone(&inbox);
            let mut desk = Desk {
                host: Rtnl::open()?,
                home: Home::here()?,
            };
            let thread = std::thread::Builder::new()
                .name(format!("net-{number}"))
                .spawn(move || serve(&inbox, &mut desk))
                .map_err(|source| Error::io("start thread", "net", source))?;
            threads.push(thread);
        }
        Ok((
            Self {
                jobs: Mutex::new(Some(jobs)),
            },
            threads,
        ))
    }

    /// Hands a job over. After [`end`](Self::end) it is dropped, and with it its reply channel.
    pub(crate) fn run(&self, job: impl FnOnce(&mut Desk) + Send + 'static) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = jobs.as_ref() {
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Lets the threads finish what they have and end.
    pub(crate) fn end(&self) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

fn serve(inbox: &Mutex<Receiver<Job>>, desk: &mut Desk) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A bug in one job must not take networking from all containers.
        if catch_unwind(AssertUnwindSafe(|| job(desk))).is_err() {
            tracing::error!("a network job panicked");
        }
    }
}

/// Runs `done` with the failures once all of several parallel steps have arrived.
pub(crate) struct Join {
    left: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    errors: Vec<Error>,
    done: Option<Box<dyn FnOnce(Vec<Error>) + Send>>,
}

impl Join {
    /// Waits for `steps` arrivals.
    pub(crate) fn new(steps: usize, done: impl FnOnce(Vec<Error>) + Send + 'static) -> Arc<Self> {
        let state = Mutex::new(State {
            errors: Vec::new(),
            done: Some(Box::new(done)),
        });
        Arc::new(Self {
            left: AtomicUsize::new(steps),
            state,
        })
    }

    /// One step is over.
    pub(crate) fn arrive(&self, result: Result<()>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.errors.extend(result.err());
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let errors = std::mem::take(&mut state.errors);
            let done = state.done.take();
            drop(state);
            if let Some(done) = done {
                done(errors);
            }
        }
    }
}
