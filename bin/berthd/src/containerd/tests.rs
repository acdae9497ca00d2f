use super::*;

fn settings(dir: &Path) -> Settings {
    Settings {
        root: dir.join("data"),
        dir: dir.join("run"),
        metrics: None,
        debug: false,
        protected: false,
        open_files: Some(1024),
        namespace: "moby".into(),
        storage: Storage::default(),
    }
}

/// Ends whatever a failed test left.
struct Cleanup(Settings);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let text = std::fs::read_to_string(self.0.pidfile()).unwrap_or_default();
        let Some(pid) = text.parse().ok().and_then(rustix::process::Pid::from_raw) else {
            return;
        };
        if process::runs_with(pid, &self.0.config()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn pid_of(settings: &Settings) -> i32 {
    std::fs::read_to_string(settings.pidfile())
        .unwrap()
        .parse()
        .unwrap()
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn the_configuration_says_what_it_must() {
    let mut settings = settings(Path::new("/x \"y\""));
    settings.metrics = Some("127.0.0.1:1".into());
    let text = toml::render(&settings).unwrap();
    for line in [
        "version = 2",
        r#"root = "/x \"y\"/data""#,
        r#"state = "/x \"y\"/run/daemon""#,
        r#"  address = "/x \"y\"/run/containerd.sock""#,
        r#"  "io.containerd.grpc.v1.cri","#,
        "[metrics]",
        "  grpc_histogram = true",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("oom_score"));
    assert!(text.contains("snapshotter.v1.btrfs") && !text.contains("proxy_plugins"));
    settings.storage = Storage {
        snapshotter: Some("btrfs".into()),
        address: None,
    };
    let text = toml::render(&settings).unwrap();
    assert!(text.contains("snapshotter.v1.zfs") && !text.contains("snapshotter.v1.btrfs"));
    settings.storage = Storage {
        snapshotter: Some("a.b".into()),
        address: Some("/s \"t\"".into()),
    };
    let text = toml::render(&settings).unwrap();
    let proxy = "[proxy_plugins.\"a.b\"]\n  type = \"snapshot\"\n  address = \"/s \\\"t\\\"\"\n";
    assert!(text.ends_with(proxy), "{text}");
    settings.protected = true;
    assert!(
        toml::render(&settings)
            .unwrap()
            .contains("\noom_score = -500\n")
    );
}

/// The whole life of a real one: started, killed and started again, left behind, adopted, stopped.
#[tokio::test]
async fn it_is_kept_running_adopted_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let _cleanup = Cleanup(settings.clone());
    let containerd = Containerd::own(settings.clone()).await.unwrap();
    containerd.client().version().await.unwrap();
    let first = pid_of(&settings);
    let limits = std::fs::read_to_string(format!("/proc/{first}/cmdline")).unwrap();
    assert!(limits.contains("--config"), "{limits}");
    assert_eq!(
        settings.dir.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );

    // Another process's number in the pidfile is not taken for it.
    assert!(Process::adopt(&settings.pidfile(), Path::new("/other.toml")).is_none());

    let pid = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let second = timeout(START_LIMIT, async {
        loop {
            if pid_of(&settings) != first && containerd.client().version().await.is_ok() {
                break pid_of(&settings);
            }
            sleep(LOOK).await;
        }
    });
    let second = second.await.expect("it is started again");

    // A daemon that was killed stops nothing.
    let own = containerd.own.unwrap();
    own.supervisor.abort();
    let _ = own.supervisor.await;
    assert!(is_running(second));
    let containerd = Containerd::own(settings.clone()).await.unwrap();
    assert_eq!(pid_of(&settings), second);

    // One that is configured otherwise is replaced.
    let own = containerd.own.unwrap();
    own.supervisor.abort();
    let _ = own.supervisor.await;
    let changed = Settings {
        debug: true,
        ..settings.clone()
    };
    let containerd = Containerd::own(changed).await.unwrap();
    let third = pid_of(&settings);
    assert!(third != second && !is_running(second));

    containerd.stop().await;
    assert!(!is_running(third));
    assert!(!settings.pidfile().exists() && !settings.socket().exists());
}

#[tokio::test]
async fn one_that_is_not_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let error = Containerd::foreign(&socket, "moby")
        .await
        .unwrap_err()
        .to_string();
    let wanted = format!(
        "failed to connect to containerd at {}: no such file or directory",
        socket.display()
    );
    assert_eq!(error, wanted);
}

#[tokio::test]
async fn one_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let _cleanup = Cleanup(settings.clone());
    // Its root is a file's place.
    std::fs::create_dir_all(settings.root.join("io.containerd.metadata.v1.bolt/meta.db")).unwrap();
    let error = Containerd::own(settings.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("failed to start containerd: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
    assert!(!settings.pidfile().exists());
}
