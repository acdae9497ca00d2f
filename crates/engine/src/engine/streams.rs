//! What containers and execs write, what is typed into them, and their ends, for the API.

use berth_wire as wire;

use super::Engine;
use crate::attach::{self, Attachment};
use crate::logs::{self, LogStream};
use crate::options::{AttachOptions, LogOptions, WaitCondition};
use crate::shared::blocking;
use crate::wait::Waiter;
use crate::{Error, Result, exec};

impl Engine {
    /// Sets the size of a container's terminal, in characters.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub async fn resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let view = self.shared.table.find(id)?.view();
        let not_running =
            || Error::conflict(format!("container {} is not running", view.record.id));
        let task = view.task.as_ref().ok_or_else(not_running)?;
        task.resize(width, height)
            .await
            .map_err(|error| match error.is_not_found() {
                true => not_running(),
                false => Error::from_lower(error),
            })?;
        let size = [("height", height.to_string()), ("width", width.to_string())];
        self.shared.events.container(&view.record, "resize", &size);
        Ok(())
    }

    /// Waits for a container; what happens after this call is not missed.
    ///
    /// # Errors
    /// There is none.
    pub fn wait(&self, id: &str, condition: WaitCondition) -> Result<Waiter> {
        Ok(Waiter::new(self.shared.table.find(id)?, condition))
    }

    /// Attaches to a container's standard streams.
    ///
    /// # Errors
    /// There is none, it is paused, or the detach keys are none.
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attachment> {
        let handle = self.shared.table.find(id)?;
        let shared = self.shared.clone();
        blocking(move || attach::attach(&shared, &handle, &options)).await
    }

    /// Reads a container's log.
    ///
    /// # Errors
    /// There is none, its log driver does not keep anything, or no stream is asked for.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream> {
        let handle = self.shared.table.find(id)?;
        logs::read(&self.shared, &handle, options).await
    }

    /// Makes an exec; its id.
    ///
    /// # Errors
    /// The container does not run, or the command is empty.
    pub fn exec_create(&self, container: &str, request: wire::ExecCreate) -> Result<String> {
        exec::create(&self.shared, self.shared.table.find(container)?, request)
    }

    /// Starts an exec; `Some` unless detached.
    ///
    /// # Errors
    /// There is none, its container does not run, or it was started before.
    pub async fn exec_start(
        &self,
        exec: &str,
        request: wire::ExecStart,
    ) -> Result<Option<Attachment>> {
        exec::start(&self.shared, self.config.capture(), exec, &request).await
    }

    /// An exec in full.
    ///
    /// # Errors
    /// There is none.
    pub fn exec_inspect(&self, exec: &str) -> Result<wire::ExecInspect> {
        exec::inspect(&self.shared, exec)
    }

    /// Sets the size of an exec's terminal, in characters.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<()> {
        exec::resize(&self.shared, exec, height, width).await
    }
}
