//! What a container has changed: `docker diff`, `export` and `commit`; and pruning images.

use testkit::{Daemon, Leaks, Options, PATIENCE, shared, unique};

#[test]
fn diff_lists_what_changed_running_or_not() {
    let name = unique("diff");
    let script = "mkdir /new && touch /new/f && rm /etc/group && echo x >>/etc/passwd && \
                  touch /tmp/t && rm /tmp/t && echo done && sleep 1000";
    shared().run_d(&name, ["busybox", "sh", "-c", script]);
    shared().wait_log(&name, "done");
    let expected = "C /etc\nD /etc/group\nC /etc/passwd\nA /new\nA /new/f";
    let told = || {
        let out = shared().docker(["diff", &name]).ok();
        // Mount points that the runtime made are the runtime's.
        let own = |line: &&str| {
            ["/etc", "/new", "/tmp"]
                .iter()
                .any(|p| line[2..].starts_with(p))
        };
        let lines: Vec<_> = out.out().lines().filter(own).collect();
        lines
            .into_iter()
            .filter(|line| {
                !["hosts", "hostname", "resolv.conf"]
                    .iter()
                    .any(|f| line.ends_with(f))
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(told(), expected);
    shared().docker(["kill", &name]).ok();
    assert_eq!(told(), expected);
    shared().remove(&[&name]);
    shared()
        .docker(["diff", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
}

#[test]
fn an_export_has_all_but_what_is_mounted() {
    let dir = shared().sandbox().state().join(unique("export"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("hosts-file"), "x").unwrap();
    let bind = format!("{}:/data", dir.display());
    let name = unique("export");
    let script = "echo made >/made; echo ready; sleep 1000";
    shared().run_d(&name, ["-v", &bind, "busybox", "sh", "-c", script]);
    shared().wait_log(&name, "ready");
    let names = || {
        let answer = shared()
            .api("GET", &format!("/containers/{name}/export"), None)
            .is(200);
        let mut archive = tar::Archive::new(&answer.body[..]);
        let name = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()
        };
        archive.entries().unwrap().map(name).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let names = names();
        let has = |name: &str| names.iter().any(|n| n == name);
        assert!(has("made") && has("etc/passwd") && has("bin/"), "{names:?}");
        assert!(has("data/") && !has("data/hosts-file"), "{names:?}");
        assert!(
            !names.iter().any(|n| n.starts_with("proc/") && n.len() > 5),
            "{names:?}"
        );
        shared().docker(["kill", &name]);
    }
    shared().remove(&[&name]);
}

#[test]
fn a_commit_is_an_image_like_any_other() {
    let (name, image) = (unique("commit"), unique("committed"));
    let script = "echo data >/f; rm /etc/group; mkdir /d; ln -s /f /d/l";
    shared()
        .docker([
            "run", "--name", &name, "-e", "A=b", "busybox", "sh", "-c", script,
        ])
        .ok();
    let commit = shared().docker([
        "commit",
        "-a",
        "me",
        "-m",
        "a note",
        "-c",
        r#"CMD ["sh", "-c", "cat /d/l; test ! -e /etc/group && echo $A$K"]"#,
        "-c",
        "ENV K=v",
        &name,
        &image,
    ]);
    let id = commit.ok().out().trim().to_owned();
    shared()
        .docker(["run", "--rm", &image])
        .ok()
        .out_is("data\nbv");
    let format = |template: &str| {
        let out = shared().docker(["image", "inspect", "-f", template, &image]);
        out.ok().out().trim().to_owned()
    };
    assert_eq!(
        format("{{.Id}} {{.Author}} {{.Comment}}"),
        format!("{id} me a note")
    );
    assert_eq!(format("{{len .RootFS.Layers}}"), "2");
    let history = [
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Comment}}",
        &image,
    ];
    shared()
        .docker(history)
        .ok()
        .out_has(&format!("{script}|a note"));
    // It goes to another daemon, or into a file, as a whole.
    let saved = shared()
        .api("GET", &format!("/images/{image}/get"), None)
        .is(200);
    shared().docker(["rmi", &image]).ok();
    shared().cli(["load"]).stdin(saved.body).run().ok();
    shared()
        .docker(["run", "--rm", &image])
        .ok()
        .out_is("data\nbv");
    shared().docker(["rmi", &image]).ok();
    shared().remove(&[&name]);
}

/// This moment as the daemon writes times.
fn now() -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("a clock");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[test]
fn a_running_container_is_frozen_while_it_is_committed() {
    let (name, image) = (unique("frozen"), unique("thawed"));
    shared().run_d(
        &name,
        ["busybox", "sh", "-c", "echo x >/f; echo ready; sleep 1000"],
    );
    shared().wait_log(&name, "ready");
    shared().docker(["commit", &name, &image]).ok();
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "running");
    shared()
        .docker(["run", "--rm", &image, "cat", "/f"])
        .ok()
        .out_is("x");
    let filter = format!("container={name}");
    let since = [
        "events",
        "--since",
        "0",
        "--until",
        &now(),
        "--format",
        "{{.Action}}",
    ];
    let events = shared().cli(since).args(["--filter", &filter]).run().ok();
    let told: Vec<_> = events.out().lines().collect();
    let end = ["pause", "unpause", "commit"];
    assert!(told.ends_with(&end), "{told:?}");
    // One that somebody else has frozen stays so.
    shared().docker(["pause", &name]).ok();
    shared().docker(["commit", &name, &image]).ok();
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "paused");
    shared().docker(["unpause", &name]).ok();
    shared()
        .docker(["commit", "--pause=false", &name, &image])
        .ok();
    shared().remove(&[&name]);
    shared().docker(["rmi", "-f", &image]).ok();
    shared().docker(["image", "prune", "-f"]).ok();
}

#[test]
fn what_cannot_be_committed_leaves_nothing() {
    let daemon = Daemon::start(Options::default());
    daemon
        .docker(["run", "--name", "cc", "busybox", "touch", "/f"])
        .ok();
    let before = Leaks::count(&daemon);
    let commit = |args: &[&str]| daemon.cli(["commit"]).args(args).run().exits(1);
    commit(&["-c", "NOSUCH x", "cc"]).err_has(" is not a valid change command");
    commit(&["cc", "UPPER"]).err_has("must be lowercase");
    commit(&["nosuch"]).err_has("No such container: nosuch");
    before.settle(&daemon, PATIENCE);
    daemon
        .docker(["images", "-q", "--filter", "dangling=true"])
        .ok()
        .out_is("");
    daemon.docker(["commit", "cc", "image:1"]).ok();
    daemon.docker(["rmi", "image:1"]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn pruning_takes_dangling_images_or_all_that_nobody_uses() {
    let daemon = Daemon::start(Options::default());
    daemon
        .docker(["run", "--name", "cc", "busybox", "touch", "/f"])
        .ok();
    let prune = |filters: &str| {
        let target = format!("/images/prune?filters={filters}");
        daemon.api("POST", &target, None).is(200).json()
    };
    assert_eq!(prune("{}")["ImagesDeleted"], serde_json::Value::Null);
    let labelled = daemon.docker(["commit", "-c", "LABEL a=b", "cc"]).ok();
    let labelled = labelled.out().trim().to_owned();
    daemon.docker(["commit", "cc", "named:1"]).ok();
    let none = prune("{%22label%22:{%22a=c%22:true}}");
    assert_eq!(none["ImagesDeleted"], serde_json::Value::Null);
    assert_eq!(none["SpaceReclaimed"], 0);
    let pruned = prune("{}");
    assert_eq!(pruned["ImagesDeleted"][0]["Deleted"], labelled.as_str());
    assert!(pruned["SpaceReclaimed"].as_i64().unwrap() > 0);
    daemon.docker(["image", "inspect", "named:1"]).ok();
    daemon
        .docker(["image", "prune", "-af"])
        .ok()
        .out_has("untagged: named:1");
    // A container uses it.
    daemon.docker(["image", "inspect", "busybox"]).ok();
    let bad = daemon.api(
        "POST",
        "/images/prune?filters={%22x%22:{%22y%22:true}}",
        None,
    );
    assert_eq!(bad.is(400).message(), "invalid filter 'x'");
}
