//! Runtimes that fail, hang, or are not there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testkit::{Daemon, Flavour, Leaks, Options, PATIENCE, eventually, flavour};

use super::*;

/// A runtime that misbehaves at one of its commands, when it is told to.
pub(crate) struct Broken {
    pub(crate) daemon: Daemon,
    order: PathBuf,
    struck: PathBuf,
    _dir: tempfile::TempDir,
}

impl Broken {
    /// Starts a daemon that has it, by the name `broken`.
    pub(crate) fn start() -> Broken {
        let dir = tempfile::tempdir().expect("a directory");
        let (order, struck) = (dir.path().join("order"), dir.path().join("struck"));
        let script = format!(
            r#"#!/bin/sh
log= verb= before=
for word; do
    [ "$before" = --log ] && log=$word
    before=$word
    case $word in create|start|exec|kill|delete) verb=${{verb:-$word}} ;; esac
done
order=$(cat {order} 2>/dev/null)
case $order in
"hang $verb") echo $$ >{struck}; exec sleep 100000 ;;
"hold $verb") echo $$ >{struck}; while [ -e {order} ]; do sleep 0.02; done ;;
"fail $verb") echo '{{"level":"error","msg":"this runtime is broken"}}' >>"$log"; echo 'this runtime is broken' >&2; exit 1 ;;
esac
exec runc "$@"
"#,
            order = order.display(),
            struck = struck.display(),
        );
        let path = dir.path().join("broken-runc");
        write_program(&path, &script);
        let runtime = format!("broken={}", path.display());
        let daemon = Daemon::start(Options::default().args(["--add-runtime", &runtime]));
        Broken {
            daemon,
            order,
            struck,
            _dir: dir,
        }
    }

    /// Has it hang or fail from now on.
    pub(crate) fn order(&self, what: &str) {
        let _ = std::fs::remove_file(&self.struck);
        std::fs::write(&self.order, what).expect("written");
    }

    pub(crate) fn repair(&self) {
        std::fs::remove_file(&self.order).expect("there");
    }

    #[track_caller]
    pub(crate) fn has_struck(&self) {
        eventually("the runtime hangs", PATIENCE, || {
            self.struck.exists().then_some(())
        });
    }

    /// Ends what hangs, if it still does.
    pub(crate) fn let_go(&self) {
        let pid = std::fs::read_to_string(&self.struck).expect("it hangs");
        let mut kill = self.daemon.sandbox().command("kill");
        kill.args(["-9", pid.trim()]);
        testkit::run_command(kill);
    }

    #[track_caller]
    pub(crate) fn create(&self, name: &str) {
        let create = ["create", "--runtime", "broken", "--name", name];
        let create = self.daemon.cli(create).args(["-p", "8080:80"]);
        create.args(["busybox", "sleep", "1000"]).run().ok();
    }

    #[track_caller]
    pub(crate) fn run(&self, name: &str) {
        self.create(name);
        self.daemon.docker(["start", name]).ok();
    }

    fn state(&self, name: &str) -> String {
        let state = "{{.State.Status}} {{.State.ExitCode}}";
        self.daemon.format(name, state)
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("chmod");
}

#[test]
fn a_runtime_that_fails_is_told_in_its_words_and_leaves_nothing() {
    if flavour() == Flavour::Dockerd {
        return; // It leaves what a failing runtime does not delete.
    }
    let broken = Broken::start();
    let daemon = &broken.daemon;
    let before = with_another(daemon);
    for verb in ["create", "start"] {
        eprintln!("-- {verb}");
        broken.create("cut");
        let made = Leaks::count(daemon);
        broken.order(&format!("fail {verb}"));
        let start = daemon.docker(["start", "cut"]).exits(1);
        start.err_has("this runtime is broken");
        assert_eq!(broken.state("cut"), "created 128");
        made.settle(daemon, PATIENCE);
        broken.repair();
        daemon.docker(["start", "cut"]).ok();
        daemon.docker(["rm", "-f", "cut"]).ok();
        before_but_other(&before, daemon);
    }
    eprintln!("-- kill");
    for end in [&["stop", "-t", "1", "cut"][..], &["kill", "cut"]] {
        broken.run("cut");
        broken.order("fail kill");
        let signal = daemon.docker(["kill", "-s", "USR1", "cut"]).exits(1);
        signal.err_has("this runtime is broken");
        assert_eq!(broken.state("cut"), "running 0");
        daemon.docker(end).ok();
        assert_eq!(broken.state("cut"), "exited 137");
        broken.repair();
        daemon.docker(["rm", "cut"]).ok();
        before_but_other(&before, daemon);
    }
    eprintln!("-- delete");
    broken.run("cut");
    broken.order("fail delete");
    daemon.docker(["stop", "-t", "0", "cut"]).ok();
    assert_eq!(broken.state("cut"), "exited 137");
    let refused = daemon.docker(["start", "cut"]).exits(1);
    assert!(!refused.err().is_empty(), "{refused}");
    broken.repair();
    daemon.docker(["start", "cut"]).ok();
    broken.order("fail delete");
    let refused = daemon.docker(["rm", "-f", "cut"]).exits(1);
    refused.err_has("this runtime is broken");
    assert_eq!(broken.state("cut"), "dead 137");
    broken.repair();
    daemon.docker(["rm", "-f", "cut"]).ok();
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(daemon, PATIENCE);
}

/// All is as it was, but for the container that must not notice.
#[track_caller]
fn before_but_other(before: &Leaks, daemon: &Daemon) {
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(daemon, PATIENCE);
    run_other(daemon);
}

#[test]
fn a_runtime_that_hangs_can_be_got_rid_of() {
    if flavour() == Flavour::Dockerd {
        return; // It waits for ever.
    }
    let broken = Broken::start();
    let daemon = &broken.daemon;
    let before = with_another(daemon);
    for verb in ["create", "start"] {
        eprintln!("-- {verb}");
        broken.create("cut");
        broken.order(&format!("hang {verb}"));
        let start = daemon.cli(["start", "cut"]).spawn();
        broken.has_struck();
        others_go_on(daemon, "cut");
        daemon.cli(["rm", "-f", "cut"]).spawn().finish(LIMIT).ok();
        assert_ne!(start.finish(LIMIT).code, 0);
        broken.repair();
        before_but_other(&before, daemon);
    }
    eprintln!("-- kill");
    for end in [
        &["stop", "-t", "1", "cut"][..],
        &["kill", "cut"],
        &["rm", "-f", "cut"],
    ] {
        broken.run("cut");
        broken.order("hang kill");
        let end = daemon.cli(end).spawn();
        broken.has_struck();
        others_go_on(daemon, "cut");
        end.finish(LIMIT).ok();
        if daemon.api("GET", "/containers/cut/json", None).status == 200 {
            assert_eq!(broken.state("cut"), "exited 137");
            daemon.docker(["rm", "cut"]).ok();
        }
        broken.repair();
        before_but_other(&before, daemon);
    }
    eprintln!("-- delete");
    broken.run("cut");
    broken.order("hang delete");
    let stop = daemon.cli(["stop", "-t", "0", "cut"]).spawn();
    broken.has_struck();
    assert_eq!(broken.state("cut"), "exited 137");
    others_go_on(daemon, "cut");
    stop.finish(LIMIT).ok();
    broken.repair();
    daemon.docker(["rm", "-f", "cut"]).ok();
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn a_runtime_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gone");
    write_program(&path, "#!/bin/sh\nexec runc \"$@\"\n");
    let runtime = format!("gone={}", path.display());
    let daemon = Daemon::start(Options::default().args(["--add-runtime", &runtime]));
    let before = with_another(&daemon);
    let create = [
        "create",
        "--runtime",
        "gone",
        "--name",
        "cut",
        "busybox",
        "true",
    ];
    daemon.docker(create).ok();
    let made = Leaks::count(&daemon);
    std::fs::rename(&path, dir.path().join("away")).expect("renamed");
    let start = daemon.docker(["start", "cut"]).exits(1);
    start.err_has("no such file or directory");
    assert_eq!(daemon.format("cut", "{{.State.Status}}"), "created");
    made.settle(&daemon, PATIENCE);
    others_go_on(&daemon, "cut");
    std::fs::rename(dir.path().join("away"), &path).expect("renamed");
    daemon.docker(["start", "-a", "cut"]).ok();
    daemon.docker(["rm", "-f", "cut", "other"]).ok();
    before.settle(&daemon, PATIENCE);
}
