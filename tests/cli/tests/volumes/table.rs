//! `docker volume` create, ls, inspect, rm, prune.

use testkit::{Daemon, Options, PATIENCE, eventually, shared, unique};

use super::{names, sh};

#[test]
fn what_was_created_is_told() {
    let (daemon, name) = (shared(), unique("vol"));
    let create = ["volume", "create", "--label", "tier=front", "--label", "x"];
    daemon.cli(create).args([&name]).run().ok().out_is(&name);
    let output = daemon.docker(["volume", "inspect", &name]).ok();
    let volume: serde_json::Value = serde_json::from_str(&output.stdout).expect("json");
    let volume = &volume[0];
    let data = daemon.data_root().join("volumes").join(&name).join("_data");
    assert_eq!(volume["Name"], name);
    assert_eq!(volume["Driver"], "local");
    assert_eq!(volume["Scope"], "local");
    assert_eq!(volume["Mountpoint"], data.to_str().expect("utf-8"));
    assert_eq!(
        volume["Labels"],
        serde_json::json!({"tier": "front", "x": ""})
    );
    assert_eq!(volume["Options"], serde_json::Value::Null);
    let created = volume["CreatedAt"].as_str().expect("a time");
    assert!(created.ends_with('Z') || created.contains('+'), "{created}");
    // Once more is the same one.
    daemon
        .docker(["volume", "create", &name])
        .ok()
        .out_is(&name);
    let mode = "{{.Labels.tier}}";
    daemon
        .docker(["volume", "inspect", "-f", mode, &name])
        .ok()
        .out_is("front");
    daemon.docker(["volume", "rm", &name]).ok().out_is(&name);
    assert!(!data.exists());
    daemon
        .docker(["volume", "inspect", &name])
        .exits(1)
        .err_has("no such volume");
    daemon
        .docker(["volume", "rm", &name])
        .exits(1)
        .err_has(&format!("get {name}: no such volume"));
    daemon.docker(["volume", "rm", "-f", &name]).ok();
}

#[test]
fn refusals() {
    let daemon = shared();
    let create = |args: &[&str]| daemon.cli(["volume", "create"]).args(args).run();
    create(&["bad name"]).exits(1).err_has(
        "create bad name: \"bad name\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
    );
    create(&["x"])
        .exits(1)
        .err_has("volume name is too short, names should be at least two alphanumeric characters");
    create(&["-d", "nosuch", "abc"])
        .exits(1)
        .err_has("create abc: error looking up volume plugin nosuch: plugin \"nosuch\" not found");
    create(&["-o", "nosuch=1", "abc"])
        .exits(1)
        .err_has("create abc: invalid option: \"nosuch\"");
    create(&["-o", "size=10m", "abc"])
        .exits(1)
        .err_has("quota size requested but no quota support");
    create(&["-o", "o=bind", "-o", "device=/x", "abc"])
        .exits(1)
        .err_has("missing required option: \"type\"");
    for filter in ["nosuch=1", "dangling=maybe"] {
        daemon
            .docker(["volume", "ls", "-f", filter])
            .exits(1)
            .err_has("invalid filter");
    }
    let spec = serde_json::json!({"Name": "abc", "ClusterVolumeSpec": {}});
    let answer = daemon.api("POST", "/volumes/create", Some(&spec)).is(503);
    assert!(
        answer
            .message()
            .starts_with("This node is not a swarm manager"),
        "{}",
        answer.message()
    );
    assert!(!names(daemon, &[]).contains(&"abc".to_owned()));
    // A name that is none makes no container either.
    sh(daemon, &["-v", "b@d:/x"], "true")
        .exits(125)
        .err_has("create b@d: \"b@d\" includes invalid characters for a local volume name");
    sh(daemon, &["--volume-driver", "odd", "-v", "abc:/x"], "true")
        .exits(125)
        .err_has("error looking up volume plugin odd");
}

#[test]
fn filters_choose() {
    let daemon = Daemon::start(Options::default());
    for (name, label) in [("one", "a=1"), ("two", "a=2"), ("three", "b")] {
        let create = ["volume", "create", "--label", label, name];
        daemon.docker(create).ok();
    }
    daemon
        .docker(["create", "--name", "c1", "-v", "one:/d", "busybox"])
        .ok();
    let all = ["one", "three", "two"];
    for (filters, wanted) in [
        (&[][..], &all[..]),
        (&["label=a"], &["one", "two"]),
        (&["label=a=2"], &["two"]),
        (&["name=t"], &["three", "two"]),
        (&["dangling=true"], &["three", "two"]),
        (&["dangling=false"], &["one"]),
        (&["driver=local"], &all),
        (&["driver=other"], &[]),
        (&["dangling=1", "label=b"], &["three"]),
    ] {
        let mut found = names(&daemon, filters);
        found.sort();
        assert_eq!(found, wanted, "{filters:?}");
    }
    let info = daemon.docker(["info", "-f", "{{.Plugins.Volume}}"]).ok();
    info.out_is("[local]");
}

#[test]
fn what_containers_have_is_in_use() {
    let (daemon, name, container) = (shared(), unique("used"), unique("user"));
    let bind = format!("{name}:/d");
    let create = ["create", "--name", &container, "-v", &bind, "busybox"];
    let id = daemon.docker(create).ok().out().to_owned();
    daemon
        .docker(["volume", "rm", &name])
        .exits(1)
        .err_has(&format!("remove {name}: volume is in use - [{id}]"));
    daemon
        .api("DELETE", &format!("/volumes/{name}"), None)
        .is(409);
    let filter = format!("volume={name}");
    let list = [
        "ps",
        "-a",
        "-f",
        &filter,
        "--format",
        "{{.Names}} {{.Mounts}}",
    ];
    let list = daemon.docker(list).ok();
    assert!(
        list.out().starts_with(&format!("{container} {name}")),
        "{list}"
    );
    // A volume that was named outlives its container.
    daemon.docker(["rm", "-v", &container]).ok();
    daemon.docker(["volume", "rm", &name]).ok();
}

#[test]
fn prune_takes_what_nobody_named() {
    let daemon = Daemon::start(Options::default());
    let anonymous = daemon.docker(["volume", "create"]).ok().out().to_owned();
    assert_eq!(anonymous.len(), 64);
    daemon.docker(["volume", "create", "named"]).ok();
    let label = ["volume", "create", "--label", "keep", "kept"];
    daemon.docker(label).ok();
    let used = ["create", "--name", "c1", "-v", "/d", "busybox"];
    daemon.docker(used).ok();
    let fill = "head -c 5000 /dev/zero >/d/f";
    sh(&daemon, &["-v", &format!("{anonymous}:/d")], fill).ok();
    let pruned = daemon.docker(["volume", "prune", "-f"]).ok();
    assert!(pruned.out().contains(&anonymous), "{pruned}");
    assert!(
        pruned.out().ends_with("Total reclaimed space: 5kB"),
        "{pruned}"
    );
    assert_eq!(names(&daemon, &["dangling=true"]), ["kept", "named"]);
    let all = ["volume", "prune", "-af", "--filter", "label!=keep"];
    let filters = r#"{"all":["true"],"label!":["keep"]}"#;
    let output = daemon.docker(all);
    if output.code != 0 {
        // A CLI that is older than the flag.
        let target = format!("/volumes/prune?filters={}", filters.replace('"', "%22"));
        daemon.api("POST", &target, None).is(200);
    }
    assert_eq!(names(&daemon, &["dangling=true"]), ["kept"]);
    // Before API 1.42 those that have names went, too.
    let old = daemon.api("POST", "/v1.41/volumes/prune", None).is(200);
    assert_eq!(old.json()["VolumesDeleted"], serde_json::json!(["kept"]));
    assert_eq!(names(&daemon, &[]).len(), 1, "what is used stays");
}

#[test]
fn events_tell_a_volumes_life() {
    let daemon = Daemon::start(Options::default());
    let since = "0";
    sh(&daemon, &["--name", "c1", "-v", "data:/d:ro"], "true").ok();
    daemon.docker(["volume", "rm", "data"]).ok();
    daemon.docker(["volume", "prune", "-f"]).ok();
    let format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.driver}} {{index .Actor.Attributes \"read/write\"}} {{.Actor.Attributes.destination}}";
    let events = eventually("all were told", PATIENCE, || {
        let events = [
            "events",
            "--since",
            since,
            "--until",
            "0s",
            "-f",
            "type=volume",
        ];
        let events = daemon.cli(events).args(["--format", format]).run().ok();
        events.stdout.contains("prune").then_some(events.stdout)
    });
    let events: Vec<_> = events.lines().map(str::trim_end).collect();
    let none = "<no value>";
    let plain = |what: &str| format!("{what} data local {none} {none}");
    let plain = |what| plain(what).replace(" <no value>", "");
    let seen: Vec<_> = events
        .iter()
        .map(|line| line.replace(" <no value>", ""))
        .map(|line| line.trim_end().to_owned())
        .collect();
    assert_eq!(
        seen[..4],
        [
            plain("create"),
            "mount data local false /d".to_owned(),
            plain("unmount"),
            plain("destroy"),
        ],
        "{events:?}"
    );
    assert!(seen[4].starts_with("prune"), "{seen:?}");
    let only = [
        "events",
        "--since",
        since,
        "--until",
        "0s",
        "-f",
        "volume=data",
    ];
    let only = daemon.docker(only).ok();
    assert_eq!(only.stdout.lines().count(), 4, "{only}");
}

#[test]
fn they_are_there_after_a_restart() {
    let daemon = Daemon::start(Options::default());
    let create = ["volume", "create", "--label", "a=b", "data"];
    daemon.docker(create).ok();
    sh(&daemon, &["-v", "data:/d"], "echo kept >/d/f").ok();
    daemon
        .docker([
            "create", "--name", "c1", "-v", "data:/d", "-v", "/e", "busybox", "cat", "/d/f",
        ])
        .ok();
    let torn = daemon.docker(["volume", "create"]).ok().out().to_owned();
    let before = daemon.docker(["volume", "inspect", "data"]).ok().stdout;
    daemon.kill9();
    let record = daemon.data_root().join("volumes").join(&torn);
    std::fs::write(record.join("volume.json"), "{\"cre").expect("damage");
    daemon.boot();
    let after = daemon.docker(["volume", "inspect", "data"]).ok().stdout;
    assert_eq!(after, before);
    daemon
        .docker(["volume", "rm", "data"])
        .exits(1)
        .err_has("volume is in use");
    daemon.docker(["start", "-a", "c1"]).ok().out_is("kept");
    // The damaged one is told of, is not used, and can be removed.
    let list = daemon.api("GET", "/volumes", None).is(200).json();
    assert_eq!(list["Warnings"].as_array().map(Vec::len), Some(1), "{list}");
    sh(&daemon, &["-v", &format!("{torn}:/d")], "true")
        .exits(125)
        .err_has("is damaged");
    daemon.docker(["volume", "rm", &torn]).ok();
    daemon.docker(["rm", "-v", "c1"]).ok();
    assert_eq!(names(&daemon, &[]), ["data"]);
}
