//! Containers: containerd's record of what is to run.

use std::sync::Arc;
use std::time::Duration;

use containerd_client::services::v1 as svc;
use prost_types::Any;
use tokio::sync::Semaphore;

use crate::client::CALL;
use crate::content::{Labels, to_labels};
use crate::io::FifoSet;
use crate::runtime::{Runtime, RuntimeOptions, binary_of};
use crate::task::{Status, Task, exit_of};
use crate::{Client, ExitStatus, Mount, Result};

/// How long a shim may take to set up a task; images on slow disks and loaded hosts included.
const CREATE_TASK: Duration = Duration::from_secs(120);
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// What a new container is made of.
#[derive(Clone, Debug, Default)]
pub struct NewContainer {
    /// Its id, unique in the namespace.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// The image's name, for the record only.
    pub image: String,
    /// Its runtime.
    pub runtime: Runtime,
    /// The OCI runtime specification as JSON.
    pub spec: Vec<u8>,
    /// The snapshotter of its root file system.
    pub snapshotter: String,
    /// The key of its writable snapshot.
    pub snapshot: String,
}

/// What containerd knows about one task, from [`Client::list_tasks`].
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The container it belongs to.
    pub container: String,
    /// The process id of its init on the host; 0 when it has none any more.
    pub pid: u32,
    /// What it does.
    pub status: Status,
    /// How it ended, once it is [`Status::Stopped`].
    pub exit: ExitStatus,
}

/// A container in containerd. Holding one means no RPC is needed to use it again.
#[derive(Clone, Debug)]
pub struct Container {
    pub(crate) client: Client,
    pub(crate) id: Arc<str>,
    /// For each exec of it that is being started.
    pub(crate) starts: Arc<Semaphore>,
}

/// How many execs of a container are started at a time. The shim has room for 32 exits that it has
/// not looked at yet, and a start makes two, the runtime's and the process's; beyond that containerd
/// 1.6's may miss one, and a `Tasks.Start` then hangs though its process runs.
const STARTS: usize = 16;

impl Client {
    /// Makes the container's record. 1 RPC (`Containers.Create`).
    ///
    /// # Errors
    /// [`crate::Error::is_already_exists`] when the id is taken.
    pub async fn create_container(&self, new: NewContainer) -> Result<Container> {
        let id: Arc<str> = new.id.as_str().into();
        let runtime = svc::container::Runtime {
            name: new.runtime.name,
            options: new.runtime.options.as_ref().map(RuntimeOptions::to_any),
        };
        let container = svc::Container {
            id: new.id,
            labels: to_labels(&new.labels),
            image: new.image,
            runtime: Some(runtime),
            spec: Some(Any {
                type_url: SPEC_TYPE.to_owned(),
                value: new.spec,
            }),
            snapshotter: new.snapshotter,
            snapshot_key: new.snapshot,
            ..Default::default()
        };
        let mut c = self.containers_client();
        let call = c.create(self.request(svc::CreateContainerRequest {
            container: Some(container),
        }));
        self.call("Containers.Create", CALL, call).await?;
        Ok(self.container(id))
    }

    /// The handle of a container that exists already (made before a restart). No RPC.
    pub fn container(&self, id: impl Into<Arc<str>>) -> Container {
        Container {
            client: self.clone(),
            id: id.into(),
            starts: Arc::new(Semaphore::new(STARTS)),
        }
    }

    /// The ids of all containers of the namespace. 1 RPC (`Containers.List`).
    pub async fn list_containers(&self) -> Result<Vec<String>> {
        let mut c = self.containers_client();
        let call = c.list(self.request(svc::ListContainersRequest::default()));
        let answer = self.call("Containers.List", CALL, call).await?;
        Ok(answer
            .containers
            .into_iter()
            .map(|container| container.id)
            .collect())
    }

    /// The OCI runtimes that containers of the namespace were made with, as far as their shims
    /// are runc's. 1 RPC (`Containers.List`).
    pub async fn runtimes_in_use(&self) -> Result<Vec<String>> {
        let mut c = self.containers_client();
        let call = c.list(self.request(svc::ListContainersRequest::default()));
        let answer = self.call("Containers.List", CALL, call).await?;
        let options = answer
            .containers
            .iter()
            .filter_map(|container| container.runtime.as_ref()?.options.as_ref());
        Ok(options.filter_map(binary_of).collect())
    }

    /// Every task of the namespace, within `limit`. 1 RPC (`Tasks.List`).
    pub async fn list_tasks(&self, limit: Duration) -> Result<Vec<TaskInfo>> {
        let mut c = self.tasks_client();
        let call = c.list(self.limited(limit, svc::ListTasksRequest::default()));
        let answer = self.call("Tasks.List", limit, call).await?;
        Ok(answer.tasks.into_iter().map(TaskInfo::from).collect())
    }

    /// The task of the container `id`, within `limit`. 1 RPC (`Tasks.Get`).
    ///
    /// # Errors
    /// [`crate::Error::is_not_found`] when it has none.
    pub async fn task_info(&self, id: &str, limit: Duration) -> Result<TaskInfo> {
        let mut c = self.tasks_client();
        let request = svc::GetRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        let call = c.get(self.limited(limit, request));
        let answer = self.call("Tasks.Get", limit, call).await?;
        let process = answer.process.ok_or_else(|| crate::Error::Protocol {
            method: "Tasks.Get",
            what: "no process".to_owned(),
        })?;
        Ok(TaskInfo {
            container: id.to_owned(),
            ..process.into()
        })
    }
}

impl From<containerd_client::types::v1::Process> for TaskInfo {
    fn from(process: containerd_client::types::v1::Process) -> TaskInfo {
        TaskInfo {
            status: process.status().into(),
            exit: exit_of(process.exit_status, process.exited_at),
            // containerd 1.6 answers the container's id as `id`.
            container: match process.container_id.as_str() {
                "" => process.id,
                _ => process.container_id,
            },
            pid: process.pid,
        }
    }
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sets up the task: root file system mounted, namespaces made, init process waiting for
    /// [`Task::start`]. The FIFOs of `io` must be open for reading. 1 RPC (`Tasks.Create`).
    ///
    /// # Errors
    /// The runtime's own words, e.g. that the command was not found.
    pub async fn create_task(&self, rootfs: &[Mount], io: &FifoSet) -> Result<Task> {
        let request = svc::CreateTaskRequest {
            container_id: self.id.to_string(),
            rootfs: rootfs.iter().cloned().map(Into::into).collect(),
            stdin: io.stdin_path(),
            stdout: io.stdout_path(),
            stderr: io.stderr_path(),
            terminal: io.terminal(),
            ..Default::default()
        };
        let mut c = self.client.tasks_client();
        let call = c.create(self.client.limited(CREATE_TASK, request));
        let answer = self.client.call("Tasks.Create", CREATE_TASK, call).await?;
        Ok(Task::new(self.clone(), answer.pid))
    }

    /// The handle of the task that runs already (started before a restart), with the process id
    /// that [`Client::list_tasks`] told. No RPC.
    pub fn task(&self, pid: u32) -> Task {
        Task::new(self.clone(), pid)
    }

    /// Deletes the record. 1 RPC (`Containers.Delete`).
    ///
    /// # Errors
    /// [`crate::Error::is_not_found`] when it is gone already.
    pub async fn delete(&self) -> Result<()> {
        let mut c = self.client.containers_client();
        let request = svc::DeleteContainerRequest {
            id: self.id.to_string(),
        };
        self.client
            .call(
                "Containers.Delete",
                CALL,
                c.delete(self.client.request(request)),
            )
            .await?;
        Ok(())
    }
}
