//! Tasks: a container that runs.

use std::ops::Deref;

use containerd_client::services::v1 as svc;
use containerd_client::types::v1 as types;
use jiff::Timestamp;
use prost_types::Any;

use crate::client::CALL;
use crate::content::to_time;
use crate::io::FifoSet;
use crate::{Container, Process, Result};

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit code; 128 + n when signal n ended it.
    pub code: u32,
    /// When it ended; `None` when containerd does not know.
    pub at: Option<Timestamp>,
}

pub(crate) fn exit_of(code: u32, at: Option<prost_types::Timestamp>) -> ExitStatus {
    // Go's zero time travels as the year 1.
    let at = to_time(at).filter(|at| at.as_second() > 0);
    ExitStatus { code, at }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The shim does not answer, or answered something new.
    Unknown,
    /// Set up, not started.
    Created,
    /// Running.
    Running,
    /// Its init has ended.
    Stopped,
    /// Frozen, or on the way there.
    Paused,
}

impl From<types::Status> for Status {
    fn from(status: types::Status) -> Status {
        match status {
            types::Status::Unknown => Status::Unknown,
            types::Status::Created => Status::Created,
            types::Status::Running => Status::Running,
            types::Status::Stopped => Status::Stopped,
            types::Status::Paused | types::Status::Pausing => Status::Paused,
        }
    }
}

/// The task of a container: its init [`Process`] (to which it dereferences) and what concerns
/// the container as a whole. Clones are handles of the same task.
#[derive(Clone, Debug)]
pub struct Task {
    container: Container,
    init: Process,
    pid: u32,
}

impl Task {
    pub(crate) fn new(container: Container, pid: u32) -> Task {
        Task {
            init: Process::new(container.clone(), String::new()),
            container,
            pid,
        }
    }

    /// The container it belongs to.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The init's process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Freezes every process. 1 RPC (`Tasks.Pause`).
    pub async fn pause(&self) -> Result<()> {
        let client = &self.container.client;
        let request = svc::PauseTaskRequest {
            container_id: self.container.id.to_string(),
        };
        let mut c = client.tasks_client();
        client
            .call("Tasks.Pause", CALL, c.pause(client.limited(CALL, request)))
            .await?;
        Ok(())
    }

    /// Lets frozen processes go on. 1 RPC (`Tasks.Resume`).
    pub async fn resume(&self) -> Result<()> {
        let client = &self.container.client;
        let request = svc::ResumeTaskRequest {
            container_id: self.container.id.to_string(),
        };
        let mut c = client.tasks_client();
        client
            .call(
                "Tasks.Resume",
                CALL,
                c.resume(client.limited(CALL, request)),
            )
            .await?;
        Ok(())
    }

    /// Changes its limits to those in `resources`, an OCI `linux.resources` as JSON; what is not in
    /// there stays. 1 RPC (`Tasks.Update`).
    ///
    /// # Errors
    /// The runtime's own words.
    pub async fn update(&self, resources: Vec<u8>) -> Result<()> {
        let client = &self.container.client;
        let request = svc::UpdateTaskRequest {
            container_id: self.container.id.to_string(),
            resources: Some(Any {
                type_url: RESOURCES_TYPE.to_owned(),
                value: resources,
            }),
            ..Default::default()
        };
        let mut c = client.tasks_client();
        client
            .call(
                "Tasks.Update",
                CALL,
                c.update(client.limited(CALL, request)),
            )
            .await?;
        Ok(())
    }

    /// Adds the process `id`, described by an OCI `process` as JSON, to be started with
    /// [`Process::start`]. The FIFOs of `io` must be open for reading. 1 RPC (`Tasks.Exec`).
    ///
    /// # Errors
    /// [`crate::Error::is_already_exists`] when the task has a process of that id.
    pub async fn exec(&self, id: &str, process: Vec<u8>, io: &FifoSet) -> Result<Process> {
        let client = &self.container.client;
        let request = svc::ExecProcessRequest {
            container_id: self.container.id.to_string(),
            exec_id: id.to_owned(),
            stdin: io.stdin_path(),
            stdout: io.stdout_path(),
            stderr: io.stderr_path(),
            terminal: io.terminal(),
            spec: Some(Any {
                type_url: PROCESS_TYPE.to_owned(),
                value: process,
            }),
        };
        let mut c = client.tasks_client();
        client
            .call("Tasks.Exec", CALL, c.exec(client.limited(CALL, request)))
            .await?;
        Ok(Process::new(self.container.clone(), id.to_owned()))
    }

    /// The handle of a process that was added earlier. No RPC.
    pub fn process(&self, id: &str) -> Process {
        Process::new(self.container.clone(), id.to_owned())
    }
}

impl Deref for Task {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.init
    }
}
