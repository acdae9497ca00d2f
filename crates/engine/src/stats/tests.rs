//! The sampler on hosts made of files.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::container::record::{Record, RunState, Status};
use crate::stdio::Hub;

const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn id(number: u32) -> String {
    format!("{number:064x}")
}

/// A host of version 2 on which the containers 1 to `count` run, each with its number as process.
fn host(count: u32) -> (TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/self/mountinfo", MOUNTS);
    write(
        root.path(),
        "proc/stat",
        "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1\ncpu1 2\nintr 0\n",
    );
    for number in 1..=count {
        let group = format!("docker/{}", id(number));
        write(
            root.path(),
            &format!("proc/{number}/cgroup"),
            &format!("0::/{group}\n"),
        );
        let net = "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        write(root.path(), &format!("proc/{number}/net/dev"), net);
        let stat = format!("usage_usec {number}\nuser_usec 1\nsystem_usec 1\n");
        write(
            root.path(),
            &format!("sys/fs/cgroup/{group}/cpu.stat"),
            &stat,
        );
    }
    let host = Host::at(root.path(), 1 << 30);
    (root, host)
}

fn view(number: u32, status: Status) -> View {
    let record = Record {
        id: id(number),
        name: format!("c{number}"),
        ..Record::default()
    };
    let run = RunState {
        status,
        pid: number,
        ..RunState::default()
    };
    View::new(Arc::new(record), run, None)
}

fn handle(number: u32, status: Status) -> Arc<Handle> {
    let (handle, _mailbox) = Handle::new(view(number, status), Hub::new());
    handle
}

const STREAM: StatsOptions = StatsOptions {
    stream: true,
    one_shot: false,
};

/// The engineering promise: a pass reads one file of the host's and nine of each container.
#[test]
fn a_hundred_containers_cost_one_cheap_pass() {
    let (_root, host) = host(100);
    let targets: Vec<_> = (1..=100)
        .map(|number| Target::of(&view(number, Status::Running)))
        .collect();
    let mut groups = Groups::new();
    let first = pass(&host, &targets, &mut groups);
    assert!(first.values().all(Option::is_some));
    // From the second on nothing is looked for any more.
    let before = host.reads();
    pass(&host, &targets, &mut groups);
    assert_eq!(host.reads() - before, 1 + 100 * 9);
    pass(&host, &targets[..1], &mut groups);
    assert_eq!(groups.len(), 1, "what nobody follows is forgotten");
}

#[test]
fn what_does_not_run_costs_nothing() {
    let (_root, host) = host(0);
    let targets = [1, 2].map(|number| Target::of(&view(number, Status::Exited)));
    let before = host.reads();
    let round = pass(&host, &targets, &mut Groups::new());
    assert!(round.values().all(Option::is_none));
    assert_eq!(host.reads() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn many_who_follow_share_one_pass() {
    let (_root, host) = host(1);
    let sampler = Sampler::new(Arc::new(host));
    let handle = handle(1, Status::Running);
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(stats(&sampler, handle.clone(), STREAM).await.unwrap());
    }
    let before = sampler.host().reads();
    for stream in &mut all {
        let told = stream.next().await.unwrap();
        assert_eq!(told.cpu_stats.cpu_usage.total_usage, 1000);
        assert_eq!(told.networks["eth0"].tx_bytes, 9);
        assert_eq!(told.cpu_stats.online_cpus, 2);
    }
    // One pass, the first, which also finds the group.
    assert_eq!(sampler.host().reads() - before, 1 + 1 + 9);
    drop(all);
    let limit = std::time::Duration::from_secs(60);
    let idle = async {
        while sampler.looks() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(limit, idle)
        .await
        .expect("nobody follows, nobody looks");
}

#[tokio::test(start_paused = true)]
async fn each_is_compared_with_the_one_before() {
    let (_root, host) = host(1);
    let sampler = Sampler::new(Arc::new(host));
    let handle = handle(1, Status::Running);
    let mut stream = stats(&sampler, handle.clone(), STREAM).await.unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!(
        (first.preread.as_str(), &first.precpu_stats),
        ("", &Default::default())
    );
    let second = stream.next().await.unwrap();
    assert_eq!(
        (&second.preread, &second.precpu_stats),
        (&first.read, &first.cpu_stats)
    );

    let single = StatsOptions {
        stream: false,
        one_shot: false,
    };
    let mut stream = stats(&sampler, handle.clone(), single).await.unwrap();
    let only = stream.next().await.unwrap();
    assert_eq!(
        only.precpu_stats.cpu_usage.total_usage, 1000,
        "compared already"
    );
    assert_eq!(stream.next().await, None);

    let at_once = StatsOptions {
        stream: false,
        one_shot: true,
    };
    let mut stream = stats(&sampler, handle.clone(), at_once).await.unwrap();
    assert_eq!(stream.next().await.unwrap().preread, "");
    assert_eq!(stream.next().await, None);

    let both = StatsOptions {
        stream: true,
        one_shot: true,
    };
    let error = stats(&sampler, handle, both).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot have stream=true and one-shot=true"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ended_is_nothing_and_what_is_gone_ends_the_stream() {
    let (_root, host) = host(1);
    let sampler = Sampler::new(Arc::new(host));
    let handle = handle(1, Status::Running);
    let mut stream = stats(&sampler, handle.clone(), STREAM).await.unwrap();
    assert!(stream.next().await.unwrap().cpu_stats.system_cpu_usage > 0);
    handle.publish(view(1, Status::Exited));
    let told = stream.next().await.unwrap();
    assert_eq!((told.name.as_str(), told.id), ("/c1", id(1)));
    assert_eq!(
        (told.read.as_str(), told.cpu_stats),
        ("", Default::default())
    );
    handle.publish(View {
        gone: true,
        ..view(1, Status::Removing)
    });
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.next().await, None);
}
