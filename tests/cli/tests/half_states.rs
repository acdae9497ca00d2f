//! Things broken behind the daemon's back: what is left can be looked at and removed.

use std::path::{Path, PathBuf};

use testkit::{Containerd, Daemon, Leaks, Options, PATIENCE, Place, eventually, run_command};

fn ctr(daemon: &Daemon, args: &[&str]) -> testkit::Output {
    let mut ctr = daemon.sandbox().command("ctr");
    ctr.arg("--address")
        .arg(daemon.containerd_socket())
        .args(["--namespace", "moby"])
        .args(args);
    run_command(ctr)
}

/// The container is listed, inspected and removed.
#[track_caller]
fn can_be_dealt_with(daemon: &Daemon, name: &str) {
    daemon
        .api("GET", &format!("/containers/{name}/json"), None)
        .is(200);
    let list = daemon.docker(["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert!(list.stdout.lines().any(|line| line == name), "{list}");
    daemon.docker(["rm", "-f", name]).ok();
    daemon
        .api("GET", &format!("/containers/{name}/json"), None)
        .is(404);
}

#[test]
fn the_snapshot_is_gone() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return; // Its graph driver has no snapshots.
    }
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    daemon
        .docker(["create", "--name", "hollow", "busybox", "true"])
        .ok();
    let new = Leaks::count(&daemon).minus(&before);
    assert_eq!(new.snapshots.len(), 1, "{new}");
    for key in &new.snapshots {
        ctr(
            &daemon,
            &["snapshots", "--snapshotter", "overlayfs", "rm", key],
        )
        .ok();
    }
    // A start may fail with a word on it, or make the snapshot anew.
    let output = daemon.docker(["start", "hollow"]);
    assert!(output.code == 0 || !output.err().is_empty(), "{output}");
    can_be_dealt_with(&daemon, "hollow");
    before.settle(&daemon, PATIENCE);
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
}

#[test]
fn the_task_is_gone() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let id = daemon.run_d("robbed", ["busybox", "sleep", "1000"]);
    ctr(&daemon, &["tasks", "kill", "--signal", "SIGKILL", &id]).ok();
    daemon.wait_status("robbed", "exited");
    assert_eq!(daemon.format("robbed", "{{.State.ExitCode}}"), "137");
    daemon.docker(["start", "robbed"]).ok();
    assert_eq!(daemon.format("robbed", "{{.State.Running}}"), "true");
    can_be_dealt_with(&daemon, "robbed");
    before.settle(&daemon, PATIENCE);
}

#[test]
fn the_shim_is_killed() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let id = daemon.run_d("orphan", ["busybox", "sleep", "1000"]);
    let processes = Leaks::count(&daemon).minus(&before).processes;
    let shim = processes
        .iter()
        .find(|line| line.contains("containerd-shim") && line.contains(&id));
    let shim = shim
        .and_then(|line| line.split(' ').next())
        .expect("a shim runs");
    let mut kill = daemon.sandbox().command("kill");
    kill.args(["-9", shim]);
    run_command(kill).ok();
    eventually("the container is seen as ended", PATIENCE, || {
        (daemon.format("orphan", "{{.State.Running}}") == "false").then_some(())
    });
    can_be_dealt_with(&daemon, "orphan");
    before.settle(&daemon, PATIENCE);
}

#[test]
fn containerd_dies_during_a_start_and_a_stop() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    for name in ["stop-a", "stop-b", "stop-c"] {
        daemon.run_d(name, ["busybox", "sleep", "1000"]);
    }
    let work: Vec<_> = ["start-d", "start-e", "start-f"]
        .iter()
        .map(|name| {
            daemon
                .cli(["run", "-d", "--name", name, "busybox", "sleep", "1000"])
                .spawn()
        })
        .chain(
            ["stop-a", "stop-b", "stop-c"]
                .iter()
                .map(|name| daemon.cli(["stop", "-t", "1", name]).spawn()),
        )
        .collect();
    daemon.kill9_containerd();
    for command in work {
        // Whatever they answer, they answer.
        command.wait();
    }
    eventually("the daemon works again", PATIENCE, || {
        (daemon.docker(["run", "--rm", "busybox", "true"]).code == 0).then_some(())
    });
    let all = daemon.docker(["ps", "-aq"]).ok();
    for id in all.stdout.lines() {
        daemon
            .api("GET", &format!("/containers/{id}/json"), None)
            .is(200);
        eventually("it can be removed", PATIENCE, || {
            let answer = daemon.api("DELETE", &format!("/containers/{id}?force=1"), None);
            matches!(answer.status, 204 | 404).then_some(())
        });
    }
    daemon.docker(["ps", "-aq"]).ok().out_is("");
    before.settle(&daemon, PATIENCE);
}

/// The folders of all containers.
fn folders(daemon: &Daemon) -> Vec<PathBuf> {
    let dir = std::fs::read_dir(daemon.data_root().join("containers")).expect("readable");
    dir.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn records_that_make_no_sense() {
    let daemon = Daemon::start(Options::default());
    for name in ["whole", "cut", "empty"] {
        daemon
            .docker(["create", "--name", name, "busybox", "true"])
            .ok();
    }
    let id_of = |name: &str| daemon.format(name, "{{.Id}}");
    let (cut, empty) = (id_of("cut"), id_of("empty"));
    daemon.stop();
    for folder in folders(&daemon) {
        let id = folder.file_name().unwrap().to_string_lossy().into_owned();
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            if id == cut {
                std::fs::write(&path, &text[..text.len() / 2]).unwrap();
            } else if id == empty {
                std::fs::write(&path, "").unwrap();
            }
        }
    }
    std::fs::create_dir(daemon.data_root().join("containers/nonsense")).unwrap();
    // One bad record stops neither the daemon nor the others.
    daemon.boot();
    daemon.docker(["start", "-a", "whole"]).ok();
    let log = daemon.log();
    assert!(
        log.contains(&cut) || log.contains(&cut[..12]),
        "the log names the bad record"
    );
    // A name of a lost container can be used again.
    daemon.remove(&["cut", "empty"]);
    daemon
        .docker(["run", "--rm", "--name", "cut", "busybox", "true"])
        .ok();
    daemon.docker(["rm", "whole"]).ok();
}

#[test]
fn records_of_what_runs_are_damaged() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    for name in ["record", "whole"] {
        daemon.run_d(name, ["-p", "80", "busybox", "sleep", "1000"]);
    }
    let id = |name: &str| daemon.format(name, "{{.Id}}");
    let [record, whole] = ["record", "whole"].map(id);
    let pid = daemon.format("whole", "{{.State.Pid}}");
    daemon.kill9();
    let containers = daemon.data_root().join("containers");
    cut(&containers.join(&record).join("config.json"));
    daemon.boot();
    assert_eq!(daemon.format("whole", "{{.State.Pid}}"), pid);
    daemon.docker(["exec", "whole", "true"]).ok();
    // Reported and moved aside; nothing of it runs.
    let damaged = daemon.inspect(&record)["State"].clone();
    assert_eq!(damaged["Status"], "dead");
    let error = damaged["Error"].as_str().expect("a word on it");
    assert!(error.contains("cannot be read"), "{error}");
    let aside = containers.join(&record).join("config.json.corrupt-1");
    assert!(aside.exists(), "the damaged record is kept");
    assert!(daemon.log().contains(&record), "the log names it");
    for id in [&record, &whole] {
        can_be_dealt_with(&daemon, &daemon.format(id, "{{.Name}}")[1..]);
    }
    before.settle(&daemon, PATIENCE);
}

fn cut(path: &Path) {
    let text = std::fs::read(path).expect("readable");
    std::fs::write(path, &text[..text.len() / 3]).expect("writable");
}

/// Its record is whole and containerd has its task: that is enough to go on.
#[test]
fn the_state_of_what_runs_is_damaged() {
    let daemon = Daemon::start(Options::default().args(["--live-restore"]));
    if daemon.is_old_dockerd() {
        return;
    }
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    daemon.docker(["network", "create", "own"]).ok();
    let serve = "echo $$ >/pid; httpd -f -p 80 -h /";
    let args = [
        "--network",
        "own",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        serve,
    ];
    let id = daemon.run_d("it", args);
    daemon.docker(["network", "connect", "bridge", "it"]).ok();
    let peer = daemon.run_d("peer", ["--network", "own", "busybox", "sleep", "1000"]);
    let ended = daemon.run_d("ended", ["busybox", "sleep", "1000"]);
    let facts = "{{.State.Status}} {{.State.Pid}} {{.State.ExitCode}}";
    let [was, was_peer] = ["it", "peer"].map(|name| daemon.format(name, facts));
    let started = |name: &str| {
        let text = daemon.format(name, "{{.State.StartedAt}}");
        text.parse::<jiff::Timestamp>().expect("a time")
    };
    let (began, before_death) = (started("it"), jiff::Timestamp::now());
    daemon.kill9();
    let containers = daemon.data_root().join("containers");
    for id in [&id, &ended] {
        cut(&containers.join(id).join("state.json"));
    }
    ctr(&daemon, &["tasks", "kill", "--signal", "SIGKILL", &ended]).ok();
    eventually("it has ended", PATIENCE, || {
        let list = ctr(&daemon, &["tasks", "ls"]).ok();
        let line = list.stdout.lines().find(|line| line.starts_with(&ended))?;
        line.contains("STOPPED").then_some(())
    });
    daemon.boot();
    assert!(daemon.log().contains(&id), "the log names it");
    // It runs on, in its networks and with its port, under addresses that are nobody else's.
    assert_eq!(daemon.format("it", facts), was);
    assert_eq!(daemon.format("peer", facts), was_peer);
    // When its process began is what is left of that.
    let off = began.duration_until(started("it")).abs();
    assert!(off < jiff::SignedDuration::from_secs(30), "{off}");
    assert!(started("it") < before_death, "its run, not the daemon's");
    eventually("the page is there", PATIENCE, || {
        daemon.fetch(Place::Outside, "192.0.2.1:8080", "/pid")
    });
    let networks = "{{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(daemon.format("it", networks), "bridge own");
    let address = daemon.format("it", "{{.NetworkSettings.Networks.own.IPAddress}}");
    assert_ne!(
        address,
        daemon.format("peer", "{{.NetworkSettings.Networks.own.IPAddress}}")
    );
    for name in ["it", &address] {
        let script = format!("http://{name}/pid");
        daemon
            .docker(["exec", "peer", "wget", "-qO-", &script])
            .ok();
    }
    // One that ended meanwhile has its exit code, which the shim still knew.
    assert_eq!(
        daemon.format("ended", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
    // From now on it is a container like any other, over another crash, too.
    daemon.kill9();
    daemon.boot();
    assert_eq!(daemon.format("it", facts), was);
    assert_eq!(
        daemon.format("it", "{{.NetworkSettings.Networks.own.IPAddress}}"),
        address
    );
    daemon.docker(["stop", "-t", "0", "it"]).ok();
    daemon.docker(["start", "it"]).ok();
    for id in [&id, &peer, &ended] {
        can_be_dealt_with(&daemon, &daemon.format(id, "{{.Name}}")[1..]);
    }
    daemon.docker(["network", "rm", "own"]).ok();
    before.settle(&daemon, PATIENCE);
}

#[test]
fn files_of_a_container_are_gone() {
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    daemon.run_d("stripped", ["busybox", "sleep", "1000"]);
    // Answered when nothing of the run is left, and that is written down: a client of the run may be
    // done before.
    daemon.docker(["stop", "-t", "0", "stripped"]).ok();
    for folder in folders(&daemon) {
        std::fs::remove_dir_all(folder).unwrap();
    }
    can_be_dealt_with(&daemon, "stripped");
    before.settle(&daemon, PATIENCE);
}

#[test]
fn the_bridge_is_gone() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d("cut-off", ["busybox", "sleep", "1000"]);
    let mut ip = daemon
        .sandbox()
        .network_command(testkit::Place::Inside, "ip");
    ip.args(["link", "del", "docker0"]);
    run_command(ip).ok();
    let run = daemon.docker(["run", "--rm", "busybox", "true"]);
    // Made anew or said clearly.
    assert!(run.code == 0 || run.stderr.contains("docker0"), "{run}");
    can_be_dealt_with(&daemon, "cut-off");
    daemon.restart();
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
}

#[test]
fn the_image_is_gone_from_containerd() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return; // Its images are not containerd's.
    }
    let daemon = Daemon::start(Options {
        containerd: Containerd::Metered,
        ..Options::default()
    });
    daemon
        .docker(["create", "--name", "imageless", "busybox", "echo", "still"])
        .ok();
    ctr(
        &daemon,
        &["images", "rm", "--sync", "docker.io/library/busybox:latest"],
    )
    .ok();
    // What is made keeps its snapshot and its configuration.
    daemon
        .docker(["start", "-a", "imageless"])
        .ok()
        .out_is("still");
    daemon.restart();
    daemon.api("GET", "/images/busybox/json", None).is(404);
    daemon.docker(["images"]).ok();
    can_be_dealt_with(&daemon, "imageless");
}
