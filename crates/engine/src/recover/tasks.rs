//! What containerd has of containers' tasks, within a bounded time however many shims hang.

use std::collections::HashMap;
use std::time::Duration;

use berth_ctrd::{Client, ExitStatus, Status, TaskInfo};
use berth_errdefs::{Classify, Kind};
use futures::StreamExt;
use tokio::time::Instant;

use crate::{Error, Result};

/// How long containerd may take to answer for the first time.
const CONTAINERD: Duration = Duration::from_secs(60);
/// How long it may take to list all tasks. It asks their shims one after the other and waits 2 s for
/// each that does not answer: then they are asked side by side.
const LIST: Duration = Duration::from_secs(10);
/// How long it may take to tell of one task, and of how many it is asked at a time.
const ONE: Duration = Duration::from_secs(10);
const AT_A_TIME: usize = 64;

/// The tasks of containerd, by container: 1 RPC. Where its list does not come, one for each of `ids`;
/// a task whose shim does not answer then is one that nothing is known of ([`Status::Unknown`]).
///
/// # Errors
/// containerd cannot be reached, or fails.
pub(super) async fn tasks(
    client: &Client,
    ids: impl Iterator<Item = &str>,
) -> Result<HashMap<String, TaskInfo>> {
    let deadline = Instant::now() + CONTAINERD;
    loop {
        match client.list_tasks(LIST).await {
            Ok(list) => return Ok(by_container(list)),
            Err(error) if error.kind() == Kind::DeadlineExceeded => {
                tracing::warn!(%error, "shims hang: each task is asked for by itself");
                return Ok(one_by_one(client, ids).await);
            }
            Err(error) if error.is_unreachable() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(Error::from_lower(error)),
        }
    }
}

fn by_container(list: impl IntoIterator<Item = TaskInfo>) -> HashMap<String, TaskInfo> {
    let tasks = list.into_iter();
    tasks.map(|task| (task.container.clone(), task)).collect()
}

async fn one_by_one(client: &Client, ids: impl Iterator<Item = &str>) -> HashMap<String, TaskInfo> {
    let asked = ids.map(|id| async move {
        match client.task_info(id, ONE).await {
            Ok(task) => Some(task),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                tracing::warn!(id, %error, "a task of which nothing is known");
                Some(TaskInfo {
                    container: id.to_owned(),
                    pid: 0,
                    status: Status::Unknown,
                    exit: ExitStatus { code: 0, at: None },
                })
            }
        }
    });
    let answers = futures::stream::iter(asked).buffer_unordered(AT_A_TIME);
    by_container(
        answers
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await,
    )
}
