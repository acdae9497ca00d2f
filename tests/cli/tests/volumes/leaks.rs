//! Nothing is left of a container's volumes.

use testkit::{Daemon, Leaks, Options, PATIENCE};

use super::{names, sh};

#[test]
fn many_short_runs_leave_nothing() {
    let daemon = Daemon::start(Options::default());
    let tmpfs = [
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "fast",
    ];
    daemon.docker(tmpfs).ok();
    sh(&daemon, &["-v", "data:/d"], "mkdir /d/sub").ok();
    let before = Leaks::count(&daemon);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let daemon = &daemon;
            scope.spawn(move || {
                let odd = n % 3 == 2;
                let script = if odd {
                    "nosuchcommand"
                } else {
                    "touch /f/x /a/x /d/x"
                };
                let options = ["-v", "fast:/f", "-v", "/a", "-v", "data:/d"];
                sh(daemon, &options, script).exits(if odd { 127 } else { 0 });
            });
        }
    });
    // A run that cannot even begin.
    let run = [
        "run", "--rm", "-v", "fast:/f", "-v", "/a", "busybox", "/nosuch",
    ];
    daemon.docker(run).exits(127);
    before.settle(&daemon, PATIENCE);
    assert_eq!(names(&daemon, &[]), ["data", "fast"]);
    let left = std::fs::read_dir(daemon.data_root().join("volumes")).expect("there");
    assert_eq!(left.count(), 2);
}
