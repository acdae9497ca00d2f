//! Devices of the Container Device Interface: described by files on the host, asked for by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Daemon, Options};

/// A device with all that a vendor's has: a node, a mount, the environment and a hook.
const DESCRIPTION: &str = "
cdiVersion: 0.6.0
kind: vendor.com/card
containerEdits:
  env: [CARDS=some]
devices:
- name: '0'
  containerEdits:
    env: [CARD=zero]
    deviceNodes:
    - {path: /dev/card0, hostPath: /dev/null, permissions: rw, fileMode: 0640}
    mounts:
    - {hostPath: FOLDER, containerPath: /opt/card, options: [ro, rbind]}
    hooks:
    - {hookName: createRuntime, path: /bin/sh, args: [sh, -c, 'echo ran >>FOLDER/hook']}
- name: lost
  containerEdits:
    deviceNodes:
    - path: /dev/nosuch
";

/// A daemon that looks for descriptions in a folder of the test's own.
fn daemon() -> (Daemon, PathBuf) {
    let daemon = Daemon::prepare(Options::default());
    let folder = daemon.sandbox().state().join("cdi");
    std::fs::create_dir(&folder).expect("mkdir");
    (daemon, folder)
}

fn describe(folder: &Path) {
    let text = DESCRIPTION.replace("FOLDER", &folder.display().to_string());
    std::fs::write(folder.join("card.yaml"), text).expect("written");
}

/// The daemon's folder is its sandbox's, which is known only once there is one.
fn boot(daemon: &Daemon, folder: &Path, features: &Value) {
    let config = json!({"cdi-spec-dirs": [folder], "features": features});
    std::fs::write(daemon.config_file(), config.to_string()).expect("written");
    daemon.boot();
    daemon.load_busybox();
}

#[test]
fn a_described_device_is_there_inside() {
    let (daemon, folder) = daemon();
    if daemon.is_old_dockerd() {
        return;
    }
    boot(&daemon, &folder, &json!({}));
    // The description comes after the daemon's start, as drivers bring theirs.
    describe(&folder);
    let info = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(info["CDISpecDirs"], json!([folder]));
    assert_eq!(
        info["DiscoveredDevices"],
        json!([
            {"Source": "cdi", "ID": "vendor.com/card=0"},
            {"Source": "cdi", "ID": "vendor.com/card=lost"},
        ])
    );
    let script = "echo $CARDS $CARD; stat -c '%t %T %a' /dev/card0; echo x >/dev/card0 && cat /opt/card/card.yaml | head -n 2 | tail -n 1";
    let run = [
        "run",
        "--rm",
        "--device",
        "vendor.com/card=0",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    daemon
        .docker(run)
        .ok()
        .out_is("some zero\n1 3 640\ncdiVersion: 0.6.0");
    assert_eq!(
        std::fs::read_to_string(folder.join("hook")).expect("the hook ran"),
        "ran\n"
    );
    // With a mount of the container's own in that place, that one stays.
    for own in [
        ["--tmpfs", "/opt/card"],
        ["--mount", "type=tmpfs,dst=/opt/card"],
    ] {
        let run = daemon.cli(["run", "--rm", "--device", "vendor.com/card=0"]);
        let run = run.args(own).args(["busybox", "ls", "/opt/card"]);
        run.run().ok().out_is("");
    }
    // Without it there is none of it.
    let script = "echo \"$CARD\"; ls /dev/card0";
    daemon
        .docker(["run", "--rm", "busybox", "sh", "-c", script])
        .exits(1)
        .out_is("");
}

#[test]
fn devices_that_cannot_be_had_are_told() {
    let (daemon, folder) = daemon();
    if daemon.is_old_dockerd() {
        return;
    }
    describe(&folder);
    std::fs::write(folder.join("broken.json"), "{}").expect("written");
    boot(&daemon, &folder, &json!({}));
    let run = |device: &str| {
        let output = daemon.docker(["run", "--name", "it", "--device", device, "busybox", "true"]);
        daemon.docker(["rm", "it"]).ok();
        assert_ne!(output.code, 0, "{output}");
        output
    };
    run("vendor.com/card=1")
        .err_has("CDI device injection failed: unresolvable CDI devices vendor.com/card=1");
    run("vendor.com/card=lost").err_has(
        "CDI device injection failed: failed to inject devices: failed to stat CDI host device \"/dev/nosuch\": no such file or directory",
    );
    let warnings = daemon.api("GET", "/info", None).json()["Warnings"].to_string();
    assert!(
        warnings.contains("CDI: Error associated with spec file")
            && warnings.contains("broken.json"),
        "{warnings}"
    );
    // One that is there can be used all the same, and goes on being so over a restart of its container.
    daemon.run_d(
        "busy",
        ["--device", "vendor.com/card=0", "busybox", "sleep", "1000"],
    );
    daemon.docker(["restart", "-t", "0", "busy"]).ok();
    daemon
        .docker(["exec", "busy", "test", "-c", "/dev/card0"])
        .ok();
    // Who has it needs its description no more.
    std::fs::remove_file(folder.join("card.yaml")).expect("removed");
    daemon
        .docker(["exec", "busy", "test", "-c", "/dev/card0"])
        .ok();
    daemon.docker(["rm", "-f", "busy"]).ok();
}

#[test]
fn it_can_be_turned_off() {
    let (daemon, folder) = daemon();
    if daemon.is_old_dockerd() {
        return;
    }
    describe(&folder);
    boot(&daemon, &folder, &json!({"cdi": false}));
    let info = daemon.api("GET", "/info", None).json();
    assert_eq!(
        (&info["CDISpecDirs"], &info["DiscoveredDevices"]),
        (&json!([]), &json!(null))
    );
    daemon
        .docker(["run", "--device", "vendor.com/card=0", "busybox", "true"])
        .exits(125)
        .err_has("could not select device driver \"cdi\" with capabilities: []");
}
