//! A daemon that can be told where to die.

use std::path::PathBuf;

use crate::{Daemon, Flavour, Options, PATIENCE, Request, flavour};

/// A debug build of the daemon, which aborts at a named step: see `crates/fault/src/lib.rs`.
#[derive(Debug)]
pub struct Mortal {
    /// The daemon.
    pub daemon: Daemon,
    faults: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mortal {
    /// Starts one that has run a container. `None` (and says so) for a daemon that has no such
    /// steps: dockerd, or a release.
    #[track_caller]
    pub fn start(options: Options) -> Option<Mortal> {
        let given = std::env::var("BERTHD").unwrap_or_default();
        let release = !cfg!(debug_assertions) || given.contains("release");
        if flavour() == Flavour::Dockerd || release {
            eprintln!("skipped: a release has no points to die at");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let faults = dir.path().join("faults");
        let mut options = options;
        let value = faults.display().to_string();
        options.env.push(("BERTH_FAULTS".to_owned(), value));
        let daemon = Daemon::start(options);
        daemon.docker(["run", "--rm", "busybox", "true"]).ok();
        Some(Mortal {
            daemon,
            faults,
            _dir: dir,
        })
    }

    /// All steps, as the daemon itself lists them.
    #[track_caller]
    pub fn points(&self) -> Vec<String> {
        let list = std::fs::read_to_string(self.faults.with_extension("points"));
        let list = list.expect("the daemon lists its points");
        list.lines().map(str::to_owned).collect()
    }

    /// The steps of `change`, the word before the colon.
    #[track_caller]
    pub fn points_of(&self, change: &str) -> Vec<String> {
        let mut points = self.points();
        points.retain(|point| point.split(':').next() == Some(change));
        assert!(!points.is_empty(), "no points of {change}");
        points
    }

    /// Has the daemon die at `step`, once it comes there; with a number behind the name, once it has
    /// passed there so often.
    #[track_caller]
    pub fn doom(&self, step: &str) {
        std::fs::write(&self.faults, step).expect("written");
    }

    /// Sends a request during which the daemon dies at `step`, and starts it again.
    #[track_caller]
    pub fn dies(&self, step: &str, method: &str, target: &str) {
        self.dies_in(step, self.daemon.request(method, target));
    }

    /// The same with a request that has a body.
    #[track_caller]
    pub fn dies_in(&self, step: &str, request: Request) {
        self.doom(step);
        if let Ok(mut answer) = request.try_open() {
            let _ = answer.rest(PATIENCE);
        }
        self.is_reborn(step);
    }

    /// Kills the daemon and starts it again, so that what it still does of something else does not come
    /// to a step that is meant for the next.
    #[track_caller]
    pub fn renew(&self) {
        self.daemon.kill9();
        self.daemon.boot();
    }

    /// Waits for the death at `step`, and starts the daemon again.
    #[track_caller]
    pub fn is_reborn(&self, step: &str) {
        self.is_dead(step);
        self.daemon.boot();
    }

    /// Waits until the daemon has died at `step`; it stays dead until the test boots it.
    #[track_caller]
    pub fn is_dead(&self, step: &str) {
        let status = self.daemon.ended(PATIENCE);
        assert!(!status.success(), "{step}: {status}");
        std::fs::remove_file(&self.faults).expect("there");
    }
}
