//! The daemon dies while volumes are made and removed.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use testkit::{Daemon, Flavour, Options, PATIENCE, Request};

use super::names;

struct Mortal {
    daemon: Daemon,
    faults: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mortal {
    /// `None` for a daemon that has no points to die at.
    fn start() -> Option<Mortal> {
        let given = std::env::var("BERTHD").unwrap_or_default();
        let release = !cfg!(debug_assertions) || given.contains("release");
        if testkit::flavour() == Flavour::Dockerd || release {
            eprintln!("skipped: a release has no points to die at");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let faults = dir.path().join("faults");
        let env = vec![("BERTH_FAULTS".to_owned(), faults.display().to_string())];
        let daemon = Daemon::start(Options {
            env,
            ..Options::default()
        });
        Some(Mortal {
            daemon,
            faults,
            _dir: dir,
        })
    }

    /// Sends a request during which the daemon dies at `step`, and starts it again.
    #[track_caller]
    fn dies(&self, step: &str, request: Request) {
        std::fs::write(&self.faults, step).expect("written");
        if let Ok(mut answer) = request.try_open() {
            let _ = answer.rest(PATIENCE);
        }
        let status = self.daemon.ended(Duration::from_secs(20));
        assert!(!status.success(), "{step}: {status}");
        std::fs::remove_file(&self.faults).expect("there");
        self.daemon.boot();
    }

    fn request(&self, method: &str, target: &str) -> Request {
        self.daemon.request(method, target)
    }
}

#[test]
fn a_volume_is_made_and_removed_whole_or_not_at_all() {
    let Some(mortal) = Mortal::start() else {
        return;
    };
    let daemon = &mortal.daemon;
    let body = json!({"Name": "data", "Labels": {"a": "b"}});
    let create = mortal.request("POST", "/volumes/create").json(&body);
    mortal.dies("volume:made", create);
    let label = ["volume", "inspect", "-f", "{{.Labels.a}}", "data"];
    daemon.docker(label).ok().out_is("b");
    mortal.dies("volume:removed", mortal.request("DELETE", "/volumes/data"));
    assert_eq!(names(daemon, &[]), Vec::<String>::new());
    let left = std::fs::read_dir(daemon.data_root().join("volumes")).expect("there");
    assert_eq!(left.count(), 0, "nothing of it is left");
}

#[test]
fn a_container_that_never_came_to_be_leaves_no_volumes() {
    let Some(mortal) = Mortal::start() else {
        return;
    };
    let daemon = &mortal.daemon;
    let body = json!({"Image": "busybox", "Volumes": {"/a": {}, "/b": {}}});
    let create = || {
        mortal
            .request("POST", "/containers/create?name=cut")
            .json(&body)
    };
    for step in ["volume:made", "create:volumes"] {
        mortal.dies(step, create());
        assert_eq!(names(daemon, &[]), Vec::<String>::new(), "{step}");
    }
    mortal.dies("create:record", create());
    assert_eq!(names(daemon, &["dangling=false"]).len(), 2);
    mortal.dies(
        "remove:volumes",
        mortal.request("DELETE", "/containers/cut?v=1"),
    );
    assert_eq!(names(daemon, &[]), Vec::<String>::new());
    daemon.docker(["rm", "-v", "cut"]).ok();
}
