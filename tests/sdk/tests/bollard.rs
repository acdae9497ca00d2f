//! bollard, the Rust SDK: the newest API version that there is. It reads each answer into typed
//! models, so an answer of the wrong shape fails here.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;

use bollard::Docker;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerCreateBody, ContainerUpdateBody, ExecConfig};
use bollard::query_parameters as query;
use futures::{Stream, StreamExt, TryStreamExt};
use testkit::{PATIENCE, shared, unique};

fn client() -> Docker {
    let socket = shared().socket();
    let socket = socket.to_str().expect("a plain path");
    let version = bollard::API_DEFAULT_VERSION;
    Docker::connect_with_unix(socket, PATIENCE.as_secs(), version).expect("a client")
}

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|&word| word.to_owned()).collect())
}

/// Nothing takes longer than a test waits.
async fn soon<T, E: Debug>(what: &str, answer: impl Future<Output = Result<T, E>>) -> T {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer"));
    answer.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

async fn all<T, E: Debug>(what: &str, stream: impl Stream<Item = Result<T, E>>) -> Vec<T> {
    soon(what, stream.try_collect()).await
}

async fn first<T, E: Debug>(what: &str, mut stream: impl Stream<Item = Result<T, E>> + Unpin) -> T {
    soon(what, async { stream.next().await.expect("not the end") }).await
}

async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> String {
    let options = query::CreateContainerOptionsBuilder::default()
        .name(name)
        .build();
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        ..body
    };
    soon("create", docker.create_container(Some(options), body))
        .await
        .id
}

async fn remove(docker: &Docker, name: &str) {
    let options = query::RemoveContainerOptionsBuilder::default()
        .force(true)
        .build();
    soon("remove", docker.remove_container(name, Some(options))).await;
}

/// A container that waits to be ended.
async fn sleeper(docker: &Docker, stem: &str) -> String {
    let name = unique(stem);
    let body = ContainerCreateBody {
        cmd: words(&["sleep", "1000"]),
        ..Default::default()
    };
    create(docker, &name, body).await;
    soon("start", docker.start_container(&name, None)).await;
    name
}

#[tokio::test]
async fn a_life() {
    let docker = client();
    let name = unique("bollard");
    let body = ContainerCreateBody {
        cmd: words(&["sh", "-c", "echo out; echo err >&2; exit 3"]),
        labels: Some(HashMap::from([("sdk".to_owned(), name.clone())])),
        ..Default::default()
    };
    let id = create(&docker, &name, body).await;
    soon("start", docker.start_container(&name, None)).await;
    let waited = docker.wait_container(&name, None).next().await;
    match waited.expect("an answer") {
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => assert_eq!(code, 3),
        other => panic!("{other:?}"),
    }
    let logs = query::LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .build();
    let mut lines: Vec<_> = all("logs", docker.logs(&name, Some(logs))).await;
    lines.sort_by_key(ToString::to_string);
    assert_eq!(
        lines.iter().map(ToString::to_string).collect::<String>(),
        "err\nout\n"
    );
    let found = soon("inspect", docker.inspect_container(&name, None)).await;
    assert_eq!(found.id.as_deref(), Some(id.as_str()));
    assert_eq!(found.state.and_then(|state| state.exit_code), Some(3));
    let filters = HashMap::from([("label", vec![format!("sdk={name}")])]);
    let options = query::ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let list = soon("list", docker.list_containers(Some(options))).await;
    assert_eq!(list.len(), 1);
    remove(&docker, &name).await;
    let gone = docker
        .inspect_container(&name, None)
        .await
        .expect_err("removed");
    assert!(
        matches!(
            &gone,
            bollard::errors::Error::DockerResponseServerError {
                status_code: 404,
                ..
            }
        ),
        "{gone:?}"
    );
}

#[tokio::test]
async fn exec() {
    let docker = client();
    let name = sleeper(&docker, "bollard").await;
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: words(&["WHO=bollard"]),
        cmd: words(&["sh", "-c", "echo $WHO; exit 4"]),
        ..Default::default()
    };
    let exec = soon("exec create", docker.create_exec(&name, config))
        .await
        .id;
    let StartExecResults::Attached { output, .. } =
        soon("exec start", docker.start_exec(&exec, None)).await
    else {
        panic!("detached");
    };
    let output = all("output", output).await;
    assert_eq!(
        output.iter().map(ToString::to_string).collect::<String>(),
        "bollard\n"
    );
    let found = soon("exec inspect", docker.inspect_exec(&exec)).await;
    assert_eq!((found.running, found.exit_code), (Some(false), Some(4)));
    remove(&docker, &name).await;
}

#[tokio::test]
async fn pause_update_top_stats_restart() {
    let docker = client();
    let name = sleeper(&docker, "bollard").await;
    soon("pause", docker.pause_container(&name)).await;
    soon("unpause", docker.unpause_container(&name)).await;
    let update = ContainerUpdateBody {
        memory: Some(64 << 20),
        memory_swap: Some(64 << 20),
        ..Default::default()
    };
    soon("update", docker.update_container(&name, update)).await;
    let top = soon("top", docker.top_processes(&name, None)).await;
    assert_eq!(top.processes.map(|processes| processes.len()), Some(1));
    let options = query::StatsOptionsBuilder::default().stream(false).build();
    let stats = first("stats", docker.stats(&name, Some(options))).await;
    let memory = stats.memory_stats.and_then(|memory| memory.limit);
    assert_eq!(memory, Some(64 << 20));
    soon("restart", docker.restart_container(&name, None)).await;
    let kill = query::KillContainerOptionsBuilder::default()
        .signal("KILL")
        .build();
    soon("kill", docker.kill_container(&name, Some(kill))).await;
    remove(&docker, &name).await;
}

#[tokio::test]
async fn files() {
    let docker = client();
    let name = unique("bollard");
    create(&docker, &name, ContainerCreateBody::default()).await;
    let options = query::DownloadFromContainerOptionsBuilder::default()
        .path("/etc/passwd")
        .build();
    let tar = all(
        "download",
        docker.download_from_container(&name, Some(options)),
    )
    .await;
    let options = query::UploadToContainerOptionsBuilder::default()
        .path("/tmp")
        .build();
    let body = bollard::body_full(tar.concat().into());
    soon(
        "upload",
        docker.upload_to_container(&name, Some(options), body),
    )
    .await;
    let changes = soon("changes", docker.container_changes(&name))
        .await
        .expect("some");
    let mut paths: Vec<_> = changes
        .into_iter()
        .map(|change| (change.path, change.kind as i32))
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        [("/tmp".to_owned(), 0), ("/tmp/passwd".to_owned(), 1)]
    );
    let export = all("export", docker.export_container(&name)).await;
    assert!(export.iter().map(|part| part.len()).sum::<usize>() > 1 << 20);
    remove(&docker, &name).await;
}

#[tokio::test]
async fn events_and_prune() {
    let docker = client();
    let name = unique("bollard");
    let filters = HashMap::from([("container".to_owned(), vec![name.clone()])]);
    let options = query::EventsOptionsBuilder::default()
        .filters(&filters)
        .since("0")
        .build();
    let events = docker.events(Some(options));
    let body = ContainerCreateBody {
        labels: Some(HashMap::from([("prune".to_owned(), name.clone())])),
        ..Default::default()
    };
    let id = create(&docker, &name, body).await;
    let event = first("events", Box::pin(events)).await;
    assert_eq!(event.action.as_deref(), Some("create"));
    let filters = HashMap::from([("label", vec![format!("prune={name}")])]);
    let options = query::PruneContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let pruned = soon("prune", docker.prune_containers(Some(options))).await;
    assert_eq!(pruned.containers_deleted, Some(vec![id]));
}
