//! `docker run`: output, input, commands, environment.

use serde_json::json;
use testkit::{Compression, Image, PATIENCE, shared, unique};

#[test]
fn echo() {
    let output = shared()
        .docker(["run", "--rm", "busybox", "echo", "hi"])
        .ok();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("hi\n", "")
    );
}

#[test]
fn stdin_reaches_the_container_and_so_does_its_end() {
    let cli = shared()
        .cli(["run", "-i", "--rm", "busybox", "cat"])
        .stdin("data\n");
    cli.run().ok().out_is("data");
    let counter = [
        "run",
        "-i",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "wc -l; echo after",
    ];
    let output = shared().cli(counter).stdin("a\nb\n").run().ok();
    assert_eq!(output.stdout, "2\nafter\n");
}

#[test]
fn three_megabytes_pass_unharmed() {
    let bytes: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = shared()
        .cli(["run", "-i", "--rm", "busybox", "cat"])
        .stdin(bytes.clone())
        .run();
    assert!(
        output.stdout_bytes == bytes,
        "{} bytes came back",
        output.stdout_bytes.len()
    );
}

#[test]
fn closed_stdin_without_i() {
    let output = shared()
        .cli(["run", "--rm", "busybox", "cat"])
        .stdin("unseen")
        .run()
        .ok();
    assert_eq!(output.stdout, "");
}

#[test]
fn stdout_and_stderr_are_apart() {
    let script = "echo out; echo err >&2; exit 42";
    let output = shared()
        .docker(["run", "--rm", "busybox", "sh", "-c", script])
        .exits(42);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn detached_prints_the_id() {
    let name = unique("detached");
    let id = shared().run_d(&name, ["busybox", "sleep", "60"]);
    assert!(
        id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        shared().format(&name, "{{.Id}} {{.State.Status}}"),
        format!("{id} running")
    );
    shared().remove(&[&name]);
}

#[test]
fn rm_leaves_nothing() {
    let name = unique("rm");
    shared()
        .docker(["run", "--rm", "--name", &name, "busybox", "true"])
        .ok();
    let filter = format!("name=^/{name}$");
    shared()
        .docker(["ps", "-aq", "-f", &filter])
        .ok()
        .out_is("");
    // Detached, the daemon removes it by itself.
    shared()
        .docker(["run", "-d", "--rm", "--name", &name, "busybox", "true"])
        .ok();
    testkit::eventually("it is removed", PATIENCE, || {
        let answer = shared().api("GET", &format!("/containers/{name}/json"), None);
        (answer.status == 404).then_some(())
    });
}

#[test]
fn create_start_and_start_again() {
    let name = unique("create");
    let script = "echo run >>/count; wc -l </count";
    shared()
        .docker(["create", "--name", &name, "busybox", "sh", "-c", script])
        .ok();
    shared().docker(["start", "-a", &name]).ok().out_is("1");
    shared().docker(["start", "-a", &name]).ok().out_is("2");
    shared().docker(["start", &name]).ok().out_is(&name);
    shared().docker(["wait", &name]).ok().out_is("0");
    shared().docker(["logs", &name]).ok().out_is("1\n2\n3");
    shared().remove(&[&name]);
}

#[test]
fn start_attached_with_input() {
    let name = unique("interactive");
    shared()
        .docker(["create", "-i", "--name", &name, "busybox", "cat"])
        .ok();
    shared()
        .cli(["start", "-ai", &name])
        .stdin("again\n")
        .run()
        .ok()
        .out_is("again");
    shared().remove(&[&name]);
}

#[test]
fn entrypoint_and_command_merge() {
    let image = Image::busybox("entry:1")
        .set("Entrypoint", json!(["echo", "entry"]))
        .set("Cmd", json!(["default"]));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    shared()
        .docker(["run", "--rm", "entry:1"])
        .ok()
        .out_is("entry default");
    shared()
        .docker(["run", "--rm", "entry:1", "own", "words"])
        .ok()
        .out_is("entry own words");
    let replaced = ["run", "--rm", "--entrypoint", "echo", "entry:1", "only"];
    shared().docker(replaced).ok().out_is("only");
    // A new entrypoint resets the image's command.
    shared()
        .docker(["run", "--rm", "--entrypoint", "echo", "entry:1"])
        .ok()
        .out_is("");
}

#[test]
fn environment() {
    let image = Image::busybox("env:1").set("Env", json!(["PATH=/bin", "A=image", "B=image"]));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    let args = [
        "run", "--rm", "-h", "box", "-e", "B=own", "-e", "C=x y=z", "env:1", "env",
    ];
    let output = shared().docker(args).ok();
    let mut lines: Vec<_> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=image",
            "B=own",
            "C=x y=z",
            "HOME=/root",
            "HOSTNAME=box",
            "PATH=/bin"
        ]
    );
    // `-e NAME=` keeps it empty, and `-e NAME` of an unset variable removes it.
    let output = shared()
        .docker(["run", "--rm", "-e", "A=", "-e", "B", "env:1", "env"])
        .ok();
    assert!(
        output.stdout.contains("A=\n") && !output.stdout.contains("B="),
        "{output}"
    );
    shared()
        .docker([
            "run",
            "--rm",
            "-u",
            "nobody",
            "busybox",
            "sh",
            "-c",
            "echo $HOME",
        ])
        .ok()
        .out_is("/home");
}

#[test]
fn no_path_in_the_image_means_the_default() {
    let image = Image::busybox("nopath:1").set("Env", json!([]));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    let output = shared()
        .docker(["run", "--rm", "nopath:1", "sh", "-c", "echo $PATH"])
        .ok();
    assert_eq!(
        output.out(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
}

#[test]
fn working_directory_is_made() {
    let args = ["run", "--rm", "-w", "/made/for/me", "busybox", "pwd"];
    shared().docker(args).ok().out_is("/made/for/me");
    let image = Image::busybox("workdir:1").set("WorkingDir", json!("/var/www"));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    shared()
        .docker(["run", "--rm", "workdir:1", "pwd"])
        .ok()
        .out_is("/var/www");
    shared()
        .docker(["run", "--rm", "-w", "rel", "busybox", "true"])
        .exits(125)
        .err_has("the working directory 'rel' is invalid, it needs to be an absolute path");
}

#[test]
fn image_user_is_used() {
    let image = Image::busybox("user:1").set("User", json!("www-data"));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    let id = "id -u; id -g; id -G";
    shared()
        .docker(["run", "--rm", "user:1", "sh", "-c", id])
        .ok()
        .out_is("33\n33\n33 8");
}

#[test]
fn cidfile_and_labels() {
    let name = unique("cid");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cid");
    let file = file.to_str().unwrap();
    let args = [
        "run",
        "-d",
        "--cidfile",
        file,
        "--name",
        &name,
        "-l",
        "a=b",
        "busybox",
        "true",
    ];
    shared().docker(args).ok();
    let id = std::fs::read_to_string(file).unwrap();
    assert_eq!(
        shared().format(&id, "{{.Name}} {{.Config.Labels.a}}"),
        format!("/{name} b")
    );
    shared().remove(&[&name]);
}

#[test]
fn two_layers() {
    let image = Image::busybox("layers:1")
        .layer(&[("etc/one", 0o644, "1"), ("etc/motd", 0o644, "first")])
        .layer(&[("etc/motd", 0o644, "second"), ("etc/.wh.one", 0o644, "")]);
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    let script = "cat /etc/motd; test -e /etc/one || echo gone";
    let output = shared()
        .docker(["run", "--rm", "layers:1", "sh", "-c", script])
        .ok();
    assert_eq!(output.out(), "secondgone");
}
