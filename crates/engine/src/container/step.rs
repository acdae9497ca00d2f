//! What goes into one step of a container's [`State`](super::state::State), and what comes out.

use std::time::Duration;

use super::restart::Exit;
use crate::Error;

/// The number of SIGKILL on every architecture Linux has.
pub(crate) const SIGKILL: u32 = 9;

/// One caller that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// A run of the container's task: the first is 1.
pub(crate) type Generation = u64;

/// How a stop is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopHow {
    /// The first signal.
    pub(crate) signal: u32,
    /// Seconds until SIGKILL follows; `None` for never.
    pub(crate) timeout: Option<u64>,
    /// A user wants it, not the daemon that ends.
    pub(crate) by_user: bool,
}

/// Something that happened or is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Start(Ticket),
    StartDone {
        generation: Generation,
        result: Result<(), Error>,
    },
    Stop(Ticket, StopHow),
    Restart(Ticket, StopHow),
    Kill {
        ticket: Ticket,
        signal: u32,
        /// It is meant to end the container: no restart policy applies.
        ends: bool,
    },
    Pause(Ticket),
    Unpause(Ticket),
    FreezeDone {
        generation: Generation,
        paused: bool,
        result: Result<(), Error>,
    },
    Exited(Generation, Exit),
    TornDown(Generation),
    Timer(Generation, Timer),
    Remove {
        ticket: Ticket,
        force: bool,
    },
    RemoveDone(Result<(), Error>),
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The grace period of a stop is over.
    Kill,
    /// Even SIGKILL did not help in time.
    GiveUp,
    /// The pause before a restart is over.
    Restart,
}

/// Something to carry out, in the order given.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// The start that follows is nobody's request: take the configuration as it is now.
    Capture,
    /// Run the start pipeline for this generation; answer with [`Input::StartDone`].
    Start(Generation),
    /// Stop the start pipeline as soon as it can be.
    CancelStart,
    /// Signal the init, waking it first where it is `frozen`; the ticket gets the RPC's outcome.
    Signal {
        signal: u32,
        frozen: bool,
        ticket: Option<Ticket>,
    },
    /// Freeze or thaw; answer with [`Input::FreezeDone`].
    Freeze { generation: Generation, pause: bool },
    /// Answer with [`Input::Timer`] after so long.
    Arm(Generation, Timer, Duration),
    /// Clean up after the run; answer with [`Input::TornDown`].
    TearDown(Generation),
    /// Remove everything; answer with [`Input::RemoveDone`].
    RemoveAll,
    /// Tell that this happened.
    Announce(Announcement),
    /// Answer a caller.
    Reply(Ticket, Result<Done, Error>),
}

/// What others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// The task runs.
    Start,
    /// The task has ended.
    Die,
    /// A stop has done its work.
    Stop,
    /// A restart has done its work.
    Restart,
    /// A signal is sent.
    Kill(u32),
    /// Frozen.
    Pause,
    /// Thawed.
    Unpause,
    /// Removed.
    Destroy,
}

/// How a caller's wish came out well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Something changed.
    Changed,
    /// It was so already.
    Unchanged,
}
