//! Exit codes of `docker run`, and where they stay.

use testkit::{shared, unique};

#[test]
fn the_container_s_own_code_is_passed_on() {
    for code in [
        0, 1, 2, 42, 100, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255,
    ] {
        let script = format!("exit {code}");
        shared()
            .docker(["run", "--rm", "busybox", "sh", "-c", &script])
            .exits(code);
    }
}

#[test]
fn killed_by_a_signal() {
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("HUP", 129)] {
        // PID 1 has no default actions: the shell must not be it.
        let script = format!("sh -c 'kill -{signal} $$'; exit $?");
        shared()
            .docker(["run", "--rm", "busybox", "sh", "-c", &script])
            .exits(code);
    }
    let name = unique("killed");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    shared().docker(["kill", &name]).ok();
    shared().docker(["wait", &name]).ok().out_is("137");
    shared().remove(&[&name]);
    shared().run_d(&name, ["--init", "busybox", "sleep", "1000"]);
    shared().docker(["stop", &name]).ok();
    assert_eq!(
        shared().format(&name, "{{.State.ExitCode}} {{.State.OOMKilled}}"),
        "143 false"
    );
    shared().remove(&[&name]);
}

#[test]
fn an_error_that_repeats_a_long_command_is_told() {
    // Longer than what HTTP/2 takes for a header where nothing else is said.
    let command = format!("{}-end", "x".repeat(30_000));
    let run = shared().docker(["run", "--rm", "busybox", &command]);
    let end = "xxx-end\": executable file not found in $PATH";
    run.exits(127).err_has("exec: \"xxx").err_has(end);
}

#[test]
fn not_found_is_127_and_the_container_stays_created() {
    let name = unique("notfound");
    let output = shared()
        .docker(["run", "--name", &name, "busybox", "nosuchcmd"])
        .exits(127);
    assert!(
        output
            .stderr
            .contains("exec: \"nosuchcmd\": executable file not found in $PATH"),
        "{output}"
    );
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Pid}}";
    assert_eq!(shared().format(&name, state), "created 127 false 0");
    assert!(
        shared()
            .format(&name, "{{.State.Error}}")
            .contains("nosuchcmd")
    );
    shared().remove(&[&name]);
    let output = shared()
        .docker(["run", "--rm", "busybox", "/no/such"])
        .exits(127);
    assert!(
        output.stderr.contains("no such file or directory"),
        "{output}"
    );
}

#[test]
fn not_executable_is_126() {
    let name = unique("notexec");
    let output = shared()
        .docker(["run", "--name", &name, "busybox", "/etc/passwd"])
        .exits(126);
    assert!(output.stderr.contains("permission denied"), "{output}");
    assert_eq!(
        shared().format(&name, "{{.State.Status}} {{.State.ExitCode}}"),
        "created 126"
    );
    shared().remove(&[&name]);
    shared()
        .docker(["run", "--rm", "busybox", "/etc"])
        .exits(126);
}

#[test]
fn the_daemon_s_refusals_are_125() {
    shared()
        .docker(["run", "--rm", "--pull", "never", "nosuch:1", "true"])
        .exits(125);
    shared()
        .docker(["run", "--rm", "--nosuchflag", "busybox", "true"])
        .exits(125);
    shared()
        .docker(["run", "--rm", "-u", "nosuchuser", "busybox", "true"])
        .exits(125)
        .err_has("unable to find user nosuchuser: no matching entries in passwd file");
    shared()
        .docker(["run", "--rm", "-m", "1k", "busybox", "true"])
        .exits(125);
}

#[test]
fn a_failed_start_can_be_repaired_by_another() {
    let name = unique("again");
    shared()
        .docker(["create", "--name", &name, "busybox", "nosuchcmd"])
        .ok();
    shared()
        .docker(["start", &name])
        .exits(1)
        .err_has("executable file not found in $PATH");
    shared()
        .docker(["start", &name])
        .exits(1)
        .err_has("executable file not found in $PATH");
    shared().docker(["rm", &name]).ok();
}
