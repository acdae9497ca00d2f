//! A restart by policy works under the configuration of its moment.

use serde_json::json;
use testkit::{Daemon, Options, PATIENCE, eventually};

use super::*;

#[test]
fn a_restart_without_its_runtime_is_given_up_with_the_reason() {
    let with = json!({"runtimes": {"odd": {"path": RUNC}}});
    let daemon = Daemon::start(Options {
        config: with.clone(),
        ..Options::default()
    });
    let args = ["--restart", "always", "--runtime", "odd", "busybox"];
    let cli = daemon.cli(["run", "-d", "--name", "loop"]).args(args);
    cli.args(["sleep", "1000"]).run().ok();
    let end = || {
        let pid = daemon.format("loop", "{{.State.Pid}}");
        let mut kill = daemon.sandbox().command("kill");
        kill.args(["-9", &pid]);
        run_command(kill).ok();
    };
    end();
    eventually("it was restarted", PATIENCE, || {
        let is = daemon.format("loop", "{{.State.Status}} {{.RestartCount}}");
        (is == "running 1").then_some(())
    });
    reload(&daemon, json!({}));
    assert_eq!(daemon.format("loop", "{{.State.Status}}"), "running");
    end();
    daemon.docker(["wait", "loop"]).ok().out_is("137");
    let is = daemon.format("loop", "{{.State.Status}} {{.State.Error}}");
    assert_eq!(is, "exited unknown or invalid runtime name: odd");
    reload(&daemon, with);
    daemon.docker(["start", "loop"]).ok();
    assert_eq!(
        daemon.format("loop", "{{.State.Status}}{{.State.Error}}"),
        "running"
    );
}
