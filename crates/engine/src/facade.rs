#![allow(missing_docs, unused_variables, clippy::unimplemented, dead_code)]
//! TEMPORARY: the agreed public face of the engine, against which `berth-api` is written.
//! The lead is replacing the bodies; signatures stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_wire as wire;
use bytes::Bytes;

use crate::Result;

pub struct Engine { /* private */ }

// ---- options (plain, already parsed by the api crate) ----
#[derive(Clone, Debug, Default)]
pub struct ListOptions { pub all: bool, pub limit: Option<i64>, pub size: bool, pub filters: wire::Filters }
#[derive(Clone, Debug, Default)]
pub struct CreateOptions { pub name: Option<String>, pub platform: Option<String> }
#[derive(Clone, Debug, Default)]
pub struct StopOptions { pub signal: Option<String>, /** seconds; -1 = for ever; None = the container's own */ pub timeout: Option<i64> }
#[derive(Clone, Debug, Default)]
pub struct RemoveOptions { pub force: bool, pub volumes: bool, pub link: bool }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition { NotRunning, NextExit, Removed }
#[derive(Clone, Debug, Default)]
pub struct AttachOptions { pub stdin: bool, pub stdout: bool, pub stderr: bool, pub stream: bool, pub logs: bool, pub detach_keys: Option<String> }
#[derive(Clone, Debug, Default)]
pub struct LogOptions { pub stdout: bool, pub stderr: bool, pub follow: bool, pub since: Option<jiff::Timestamp>, pub until: Option<jiff::Timestamp>, pub tail: Option<u64> }

/// Whether an idempotent change did something (api: 204) or found it done (api: 304).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed { Yes, No }

// ---- streams ----
#[derive(Debug)]
pub struct Chunk { pub stream: wire::stdcopy::Stream, pub bytes: Bytes }

/// What a container or exec writes, for one attached client. Ends with `None`.
#[derive(Debug)]
pub struct Output { _p: () }
impl Output { pub async fn next(&mut self) -> Option<Chunk> { unimplemented!() } }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow { Continue, /** the detach keys were typed: close the connection, the process goes on */ Detached, /** the process no longer reads */ Closed }
/// One attached client's keyboard. Dropping it = the client is gone; `close` = half-close (EOF).
#[derive(Debug)]
pub struct Input { _p: () }
impl Input {
    pub async fn write(&mut self, bytes: Bytes) -> Flow { unimplemented!() }
    pub async fn close(self) { unimplemented!() }
}
#[derive(Debug)]
pub struct Attachment { pub tty: bool, pub output: Output, pub input: Option<Input> }

/// One log line for the client (bytes as written, newline included).
#[derive(Debug)]
pub struct LogLine { pub stream: wire::stdcopy::Stream, pub time: jiff::Timestamp, pub attrs: BTreeMap<String, String>, pub bytes: Bytes }
#[derive(Debug)]
pub struct LogStream { pub tty: bool, _p: () }
impl LogStream { pub async fn next(&mut self) -> Option<Result<LogLine>> { unimplemented!() } }

#[derive(Debug)]
pub struct EventStream { _p: () }
impl EventStream { pub async fn next(&mut self) -> Option<Arc<wire::Event>> { unimplemented!() } }

/// Obtained at once (so that headers go out); resolves when the condition is met.
#[derive(Debug)]
pub struct Waiter { _p: () }
impl Waiter { pub async fn done(self) -> Result<wire::WaitResponse> { unimplemented!() } }

impl Engine {
    // Every `id` is what the client sent: full id, unique prefix, or name with or without leading `/`.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<wire::ContainerSummary>> { unimplemented!() }
    pub async fn inspect(&self, id: &str, size: bool) -> Result<wire::ContainerInspect> { unimplemented!() }
    pub async fn create(&self, options: CreateOptions, request: wire::CreateRequest) -> Result<wire::CreateResponse> { unimplemented!() }
    pub async fn start(&self, id: &str) -> Result<Changed> { unimplemented!() }
    pub async fn stop(&self, id: &str, options: StopOptions) -> Result<Changed> { unimplemented!() }
    pub async fn restart(&self, id: &str, options: StopOptions) -> Result<()> { unimplemented!() }
    pub async fn kill(&self, id: &str, signal: Option<&str>) -> Result<()> { unimplemented!() }
    pub async fn pause(&self, id: &str) -> Result<()> { unimplemented!() }
    pub async fn unpause(&self, id: &str) -> Result<()> { unimplemented!() }
    pub async fn rename(&self, id: &str, name: &str) -> Result<()> { unimplemented!() }
    pub async fn remove(&self, id: &str, options: RemoveOptions) -> Result<()> { unimplemented!() }
    pub async fn resize(&self, id: &str, height: u16, width: u16) -> Result<()> { unimplemented!() }
    pub fn wait(&self, id: &str, condition: WaitCondition) -> Result<Waiter> { unimplemented!() }
    pub async fn attach(&self, id: &str, options: AttachOptions) -> Result<Attachment> { unimplemented!() }
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream> { unimplemented!() }

    pub fn exec_create(&self, container: &str, request: wire::ExecCreate) -> Result<String> { unimplemented!() }
    /// Starts it; `Some` unless detached.
    pub async fn exec_start(&self, exec: &str, request: wire::ExecStart) -> Result<Option<Attachment>> { unimplemented!() }
    pub fn exec_inspect(&self, exec: &str) -> Result<wire::ExecInspect> { unimplemented!() }
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<()> { unimplemented!() }

    pub fn events(&self, since: Option<jiff::Timestamp>, until: Option<jiff::Timestamp>, filters: &wire::Filters) -> Result<EventStream> { unimplemented!() }
    pub fn info(&self) -> wire::Info { unimplemented!() }
    pub fn version(&self) -> wire::VersionInfo { unimplemented!() }
    /// The predefined networks: bridge, host, none.
    pub fn networks(&self, filters: &wire::Filters) -> Result<Vec<wire::NetworkInspect>> { unimplemented!() }
    pub fn network(&self, name: &str) -> Result<wire::NetworkInspect> { unimplemented!() }

    /// Image store (load, import, pull, tag, list, inspect, history, save): call it directly …
    pub fn images(&self) -> &berth_images::Images { unimplemented!() }
    /// … except removal, which must know the containers.
    pub async fn image_remove(&self, name: &str, force: bool, prune: bool) -> Result<Vec<wire::ImageDeleteItem>> { unimplemented!() }
}
