//! `docker run -t` on a real terminal.

use testkit::{shared, unique};

#[test]
fn a_terminal_without_input_folds_stderr_in() {
    let script = "test -t 1 && echo istty; echo e >&2";
    let output = shared()
        .docker(["run", "-t", "--rm", "busybox", "sh", "-c", script])
        .ok();
    assert_eq!(output.stdout, "istty\r\ne\r\n");
}

#[test]
fn interactive_shell() {
    let mut pty = shared().pty(["run", "-it", "--rm", "busybox", "sh"]);
    pty.wait_for("/ # ");
    pty.send("echo $((6*7)); tty\n");
    pty.wait_for("42\r\n");
    pty.wait_for("/dev/pts/0\r\n");
    pty.send("exit 7\n");
    assert_eq!(pty.wait(), 7);
}

#[test]
fn term_is_set_only_with_a_terminal() {
    let script = "echo \"[$TERM]\"";
    shared()
        .docker(["run", "-t", "--rm", "busybox", "sh", "-c", script])
        .ok()
        .out_is("[xterm]");
    shared()
        .docker(["run", "--rm", "busybox", "sh", "-c", script])
        .ok()
        .out_is("[]");
}

#[test]
fn the_size_arrives_and_so_do_changes() {
    let mut pty = shared().pty(["run", "-it", "--rm", "busybox", "sh"]);
    pty.wait_for("/ # ");
    // The CLI sets the size right after the start; a shell may be quicker than it.
    pty.send("until [ \"$(stty size)\" = '24 80' ]; do usleep 20000; done; echo fir''st ok\n");
    pty.wait_for("first ok\r\n");
    pty.send("trap 'echo winch' WINCH\n");
    pty.wait_for("/ # ");
    pty.resize(33, 101);
    pty.send("until [ \"$(stty size)\" = '33 101' ]; do usleep 20000; done; echo sec''ond ok\n");
    pty.wait_for("second ok\r\n");
    pty.send("exit\n");
    assert_eq!(pty.wait(), 0);
}

#[test]
fn control_c_interrupts() {
    let mut pty = shared().pty(["run", "-it", "--rm", "busybox", "sh"]);
    pty.wait_for("/ # ");
    // Before `begun` the shell's line editor would swallow the key.
    pty.send("sh -c 'echo be''gun; sleep 1000'\n");
    pty.wait_for("begun\r\n");
    pty.send("\x03");
    pty.wait_for("^C");
    pty.wait_for("/ # ");
    pty.send("echo still here; exit 3\n");
    pty.wait_for("still here\r\n");
    assert_eq!(pty.wait(), 3);
}

#[test]
fn control_d_ends_the_input() {
    let mut pty = shared().pty(["run", "-it", "--rm", "busybox", "cat"]);
    pty.send("line\n");
    pty.wait_for("line\r\nline\r\n");
    pty.send("\x04");
    assert_eq!(pty.wait(), 0);
}

#[test]
fn detach_and_attach_again() {
    let name = unique("detach");
    let mut pty = shared().pty(["run", "-it", "--name", &name, "busybox", "sh"]);
    pty.wait_for("/ # ");
    pty.send("X=kept\n");
    pty.wait_for("/ # ");
    pty.send("\x10\x11");
    assert_eq!(pty.wait(), 0);
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "running");
    let mut pty = shared().pty(["attach", &name]);
    pty.send("echo $X-$X\n");
    pty.wait_for("kept-kept\r\n");
    // A lone Ctrl-P is passed on with what follows it.
    pty.send("echo a\x10b\n");
    pty.wait_for("/ # ");
    pty.send("exit 5\n");
    assert_eq!(pty.wait(), 5);
    assert_eq!(
        shared().format(&name, "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 5"
    );
    shared().remove(&[&name]);
}

#[test]
fn other_detach_keys() {
    let name = unique("keys");
    let args = [
        "run",
        "-it",
        "--detach-keys",
        "ctrl-a,d",
        "--name",
        &name,
        "busybox",
        "sh",
    ];
    let mut pty = shared().pty(args);
    pty.wait_for("/ # ");
    pty.send("\x01d");
    assert_eq!(pty.wait(), 0);
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "running");
    shared().remove(&[&name]);
}

#[test]
fn resize_through_the_api() {
    let name = unique("resize");
    shared()
        .docker(["run", "-dit", "--name", &name, "busybox", "sh"])
        .ok();
    shared()
        .api(
            "POST",
            &format!("/containers/{name}/resize?h=40&w=132"),
            None,
        )
        .is(200);
    let query = "stream=1&stdin=1&stdout=1";
    let request = shared().request("POST", &format!("/containers/{name}/attach?{query}"));
    let mut attach = request.upgrade().open();
    attach.write("stty size\n");
    attach.read_until("40 132\r\n");
    shared().remove(&[&name]);
}

#[test]
fn resize_refusals() {
    let name = unique("resize-no");
    shared()
        .docker(["create", "-t", "--name", &name, "busybox", "true"])
        .ok();
    let answer = shared().api(
        "POST",
        &format!("/containers/{name}/resize?h=40&w=132"),
        None,
    );
    let message = answer.is(409).message();
    assert!(message.ends_with("is not running"), "{message}");
    shared()
        .api("POST", "/containers/nosuch/resize?h=40&w=132", None)
        .is(404);
    shared()
        .api(
            "POST",
            &format!("/containers/{name}/resize?h=x&w=132"),
            None,
        )
        .is(400);
    shared().remove(&[&name]);
}
