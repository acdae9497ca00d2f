//! One process of a task: its init, or one that `exec` added.

use std::time::Duration;

use containerd_client::services::v1 as svc;

use crate::client::CALL;
use crate::task::{Status, exit_of};
use crate::{Container, Error, ExitStatus, Result};

/// Waits have no end of their own: the caller cancels them by dropping the future.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The pause before asking again after containerd went away: doubled each time up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How many odd failures of a wait are forgiven.
const FAILURES: u32 = 5;

/// A process inside a task. Clones are handles of the same process.
#[derive(Clone, Debug)]
pub struct Process {
    container: Container,
    /// Empty for the task's init.
    exec: String,
}

impl Process {
    pub(crate) fn new(container: Container, exec: String) -> Process {
        Process { container, exec }
    }

    /// Lets it run; the process id on the host. 1 RPC (`Tasks.Start`). Waits its turn where many
    /// execs of the container are started.
    ///
    /// # Errors
    /// The runtime's own words, e.g. that the command was not found. [`Error::Timeout`], also when
    /// its turn does not come.
    pub async fn start(&self) -> Result<u32> {
        const METHOD: &str = "Tasks.Start";
        let client = &self.container.client;
        let _turn = match self.exec.is_empty() {
            true => None,
            false => {
                let turn = tokio::time::timeout(CALL, self.container.starts.acquire());
                let timeout = |_| Error::Timeout {
                    method: METHOD,
                    seconds: CALL.as_secs(),
                };
                turn.await.map_err(timeout)?.ok()
            }
        };
        let request = svc::StartRequest {
            container_id: self.container(),
            exec_id: self.exec.clone(),
        };
        let mut c = client.tasks_client();
        let answer = client
            .call(METHOD, CALL, c.start(client.limited(CALL, request)))
            .await?;
        Ok(answer.pid)
    }

    /// Waits until it has ended, across restarts of containerd. 1 RPC (`Tasks.Wait`) each time
    /// containerd is there to be asked.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when containerd does not know the process.
    pub async fn wait(&self) -> Result<ExitStatus> {
        let client = &self.container.client;
        let mut pause = RETRY.0;
        let mut failures = 0;
        loop {
            let request = svc::WaitRequest {
                container_id: self.container(),
                exec_id: self.exec.clone(),
            };
            let mut c = client.tasks_client();
            match client
                .call("Tasks.Wait", FOREVER, c.wait(client.request(request)))
                .await
            {
                Ok(answer) => return Ok(exit_of(answer.exit_status, answer.exited_at)),
                // Shutting down, containerd cancels the waits it holds.
                Err(error) if error.is_unreachable() || error.is_cancelled() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                // A shim that dies under a wait is reported as an odd failure first, and as what
                // it is (not found) by the next one.
                Err(error) if !error.is_not_found() && failures < FAILURES => {
                    failures += 1;
                    tokio::time::sleep(RETRY.0).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What it does. 1 RPC (`Tasks.Get`).
    ///
    /// # Errors
    /// [`Error::is_not_found`] when containerd does not know the process.
    pub async fn status(&self) -> Result<Status> {
        let client = &self.container.client;
        let request = svc::GetRequest {
            container_id: self.container(),
            exec_id: self.exec.clone(),
        };
        let mut c = client.tasks_client();
        let answer = client
            .call("Tasks.Get", CALL, c.get(client.limited(CALL, request)))
            .await?;
        let status = answer.process.map(|process| process.status());
        Ok(status.map_or(Status::Unknown, Status::from))
    }

    /// Sends `signal` (its number); with `all` to every process of the container. 1 RPC
    /// (`Tasks.Kill`).
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it has ended.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<()> {
        let client = &self.container.client;
        let request = svc::KillRequest {
            container_id: self.container(),
            exec_id: self.exec.clone(),
            signal,
            all,
        };
        let mut c = client.tasks_client();
        client
            .call("Tasks.Kill", CALL, c.kill(client.limited(CALL, request)))
            .await?;
        Ok(())
    }

    /// Sets its terminal's size in characters. 1 RPC (`Tasks.ResizePty`).
    pub async fn resize(&self, width: u16, height: u16) -> Result<()> {
        let client = &self.container.client;
        let request = svc::ResizePtyRequest {
            container_id: self.container(),
            exec_id: self.exec.clone(),
            width: width.into(),
            height: height.into(),
        };
        let mut c = client.tasks_client();
        client
            .call(
                "Tasks.ResizePty",
                CALL,
                c.resize_pty(client.limited(CALL, request)),
            )
            .await?;
        Ok(())
    }

    /// Lets the shim close its end of the process's standard input, so that the process reads
    /// end-of-file once what was written is consumed and our own end is closed. 1 RPC
    /// (`Tasks.CloseIO`).
    pub async fn close_stdin(&self) -> Result<()> {
        let client = &self.container.client;
        let request = svc::CloseIoRequest {
            container_id: self.container(),
            exec_id: self.exec.clone(),
            stdin: true,
        };
        let mut c = client.tasks_client();
        client
            .call(
                "Tasks.CloseIO",
                CALL,
                c.close_io(client.limited(CALL, request)),
            )
            .await?;
        Ok(())
    }

    /// Deletes what the shim holds of an ended process. 1 RPC (`Tasks.DeleteProcess`, for a
    /// task's init `Tasks.Delete`).
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it is gone already.
    pub async fn delete(&self) -> Result<ExitStatus> {
        let client = &self.container.client;
        let mut c = client.tasks_client();
        let answer = if self.exec.is_empty() {
            let request = svc::DeleteTaskRequest {
                container_id: self.container(),
            };
            client
                .call(
                    "Tasks.Delete",
                    CALL,
                    c.delete(client.limited(CALL, request)),
                )
                .await?
        } else {
            let request = svc::DeleteProcessRequest {
                container_id: self.container(),
                exec_id: self.exec.clone(),
            };
            let call = c.delete_process(client.limited(CALL, request));
            client.call("Tasks.DeleteProcess", CALL, call).await?
        };
        Ok(exit_of(answer.exit_status, answer.exited_at))
    }

    fn container(&self) -> String {
        self.container.id.to_string()
    }
}

impl Error {
    fn is_cancelled(&self) -> bool {
        berth_errdefs::Classify::kind(self) == berth_errdefs::Kind::Cancelled
    }
}
