//! `docker ps` and `docker inspect`.

#![recursion_limit = "256"]

use serde_json::json;
use testkit::{PATIENCE, eventually, shared, unique};

#[test]
fn filters() {
    let tag = unique("filters");
    let name = |suffix: &str| format!("{tag}{suffix}");
    let label = format!("t={tag}");
    let create = |suffix: &str, args: &[&str]| {
        let cli = shared()
            .cli(["create", "-l", &label, "--name", &name(suffix)])
            .args(args);
        cli.run().ok().out().to_owned()
    };
    let running = create(
        "run",
        &["-p", "127.0.0.1:18433:80", "busybox", "sleep", "1000"],
    );
    create("ex", &["busybox", "sh", "-c", "exit 8"]);
    create(
        "cr",
        &["-l", "extra", "--network", "none", "busybox", "true"],
    );
    shared().docker(["start", &running]).ok();
    shared().docker(["start", "-a", &name("ex")]).exits(8);
    let list = |filters: &[&str]| {
        let own = format!("label={label}");
        let mut cli = shared().cli(["ps", "-a", "--format", "{{.Names}}", "-f", &own]);
        for filter in filters {
            cli = cli.args(["-f", filter]);
        }
        let output = cli.run().ok();
        let mut names: Vec<_> = output
            .stdout
            .lines()
            .map(|n| n.replacen(&tag, "", 1))
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(list(&[]), "cr ex run");
    assert_eq!(list(&["status=running"]), "run");
    assert_eq!(list(&["status=created"]), "cr");
    assert_eq!(list(&["status=created", "status=exited"]), "cr ex");
    assert_eq!(list(&["exited=8"]), "ex");
    assert_eq!(list(&["exited=0"]), "");
    assert_eq!(list(&["label=extra"]), "cr");
    assert_eq!(list(&["label=extra=no"]), "");
    assert_eq!(list(&[&format!("name={}", name("e"))]), "ex");
    assert_eq!(list(&[&format!("name=^/{}$", name("run"))]), "run");
    assert_eq!(list(&[&format!("id={}", &running[..12])]), "run");
    assert_eq!(list(&["ancestor=busybox"]), "cr ex run");
    assert_eq!(list(&["ancestor=busybox:latest"]), "cr ex run");
    assert_eq!(list(&["ancestor=nosuch"]), "");
    assert_eq!(list(&[&format!("before={}", name("cr"))]), "ex run");
    assert_eq!(list(&[&format!("since={}", name("run"))]), "cr ex");
    assert_eq!(list(&["network=none"]), "cr");
    assert_eq!(list(&["network=bridge"]), "ex run");
    assert_eq!(list(&["publish=18433"]), "run");
    assert_eq!(list(&["expose=80/tcp"]), "run");
    shared()
        .docker(["ps", "-f", "nosuch=1"])
        .exits(1)
        .err_has("nosuch");
    shared()
        .docker(["ps", "-f", "status=odd"])
        .exits(1)
        // "Invalid filter 'status=odd'" in 20.10.
        .err_has("nvalid filter 'status=");
    shared().remove(&[&name("run"), &name("ex"), &name("cr")]);
}

#[test]
fn columns() {
    let name = unique("columns");
    let args = [
        "-l",
        "a=b",
        "-p",
        "127.0.0.1:18434:80",
        "busybox",
        "sleep",
        "1000",
    ];
    let id = shared().run_d(&name, args);
    let filter = format!("name=^/{name}$");
    let format = "{{.ID}}|{{.Image}}|{{.Command}}|{{.Names}}|{{.State}}|{{.Label \"a\"}}|{{.Networks}}|{{.Ports}}";
    let line = shared()
        .docker(["ps", "-f", &filter, "--format", format])
        .ok();
    let short = &id[..12];
    let ports = "127.0.0.1:18434->80/tcp";
    assert_eq!(
        line.out(),
        format!("{short}|busybox|\"sleep 1000\"|{name}|running|b|bridge|{ports}")
    );
    let status = shared()
        .docker(["ps", "-f", &filter, "--format", "{{.Status}}"])
        .ok();
    assert!(status.out().starts_with("Up "), "{status}");
    shared()
        .docker(["ps", "-q", "--no-trunc", "-f", &filter])
        .ok()
        .out_is(&id);
    shared().docker(["kill", &name]).ok();
    shared().docker(["wait", &name]).ok();
    shared().docker(["ps", "-q", "-f", &filter]).ok().out_is("");
    let status = shared()
        .docker(["ps", "-a", "-f", &filter, "--format", "{{.Status}}"])
        .ok();
    assert!(status.out().starts_with("Exited (137) "), "{status}");
    shared().remove(&[&name]);
}

#[test]
fn the_list_s_json() {
    let name = unique("json");
    let mounts = ["-v", "/usr/share:/share:ro", "-l", "k=v"];
    let cli = shared().cli(["run", "-d", "--name", &name]).args(mounts);
    let id = cli
        .args(["busybox", "sleep", "1000"])
        .run()
        .ok()
        .out()
        .to_owned();
    let filters = format!("/containers/json?filters={{%22name%22:[%22^/{name}$%22]}}");
    let list = shared().api("GET", &filters, None).is(200).json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let item = &list[0];
    assert_eq!(item["Id"], id.as_str());
    assert_eq!(item["Names"], json!([format!("/{name}")]));
    assert_eq!(item["Image"], "busybox");
    assert!(item["ImageID"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(item["Command"], "sleep 1000");
    assert!(item["Created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(item["Ports"], json!([]));
    assert_eq!(item["Labels"], json!({"k": "v"}));
    assert_eq!(item["State"], "running");
    assert!(matches!(
        item["HostConfig"]["NetworkMode"].as_str(),
        Some("bridge" | "default")
    ));
    let endpoint = &item["NetworkSettings"]["Networks"]["bridge"];
    assert!(
        endpoint["IPAddress"].as_str().unwrap().contains('.'),
        "{endpoint}"
    );
    assert!(
        endpoint["MacAddress"].as_str().unwrap().contains(':'),
        "{endpoint}"
    );
    assert_eq!(item["Mounts"][0]["Destination"], "/share");
    assert_eq!(item["Mounts"][0]["RW"], false);
    assert!(item.get("SizeRw").is_none());
    // size=1
    let sized = shared()
        .api("GET", &format!("{filters}&size=1"), None)
        .is(200)
        .json();
    assert!(
        sized[0]["SizeRootFs"].as_i64().unwrap() > 1_000_000,
        "{sized}"
    );
    shared().remove(&[&name]);
}

#[test]
fn all_limit_and_order() {
    let (first, second) = (unique("order"), unique("order"));
    for name in [&first, &second] {
        shared()
            .docker(["create", "-l", "order", "--name", name, "busybox", "true"])
            .ok();
    }
    let args = ["ps", "-a", "-f", "label=order", "--format", "{{.Names}}"];
    shared()
        .docker(args)
        .ok()
        .out_is(&format!("{second}\n{first}"));
    let one = shared()
        .api("GET", "/containers/json?limit=1", None)
        .is(200)
        .json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let bad = shared().api("GET", "/containers/json?limit=x", None);
    assert!(matches!(bad.status, 400 | 500), "{}", bad.text());
    shared().remove(&[&first, &second]);
}

#[test]
fn inspect_by_name_id_and_prefix() {
    let name = unique("prefix");
    let id = shared()
        .docker(["create", "--name", &name, "busybox"])
        .ok()
        .out()
        .to_owned();
    for by in [&id[..], &id[..12], &id[..6], &name, &format!("/{name}")] {
        assert_eq!(shared().format(by, "{{.Id}}"), id);
    }
    let missing = shared().docker(["inspect", "nosuch"]).exits(1);
    assert_eq!(
        (missing.out(), missing.err()),
        ("[]", "Error: No such object: nosuch")
    );
    shared()
        .docker(["container", "inspect", "nosuch"])
        .exits(1)
        .err_has("No such container: nosuch");
    shared().remove(&[&name]);
}

#[test]
fn what_was_configured_comes_back() {
    let name = unique("config");
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"], "Entrypoint": ["/bin/env"],
        "Hostname": "box", "Domainname": "example.org", "User": "nobody:33",
        "Env": ["A=b"], "Labels": {"x": "y"}, "WorkingDir": "/tmp", "StopSignal": "SIGUSR1",
        "StopTimeout": 7, "ExposedPorts": {"81/udp": {}}, "Tty": true, "OpenStdin": true,
        "HostConfig": {
            "Binds": ["/usr/share:/share:ro"], "Memory": 67108864, "MemoryReservation": 33554432,
            "CpuShares": 512, "NanoCpus": 500000000, "CpusetCpus": "0", "PidsLimit": 50,
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["MKNOD"], "Dns": ["192.0.2.53"],
            "DnsSearch": ["example.org"], "DnsOptions": ["ndots:2"], "ExtraHosts": ["h:192.0.2.7"],
            "ReadonlyRootfs": true, "ShmSize": 1048576, "Init": true,
            "Tmpfs": {"/run": "size=1m"}, "Sysctls": {"net.ipv4.ip_forward": "1"},
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "OomScoreAdj": 100,
            "GroupAdd": ["staff"], "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18435"}]},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "NetworkMode": "bridge",
        },
    });
    let target = format!("/containers/create?name={name}");
    let created = shared().api("POST", &target, Some(&body)).is(201).json();
    assert!(
        created["Warnings"].is_array() || created["Warnings"].is_null(),
        "{created}"
    );
    let all = shared().inspect(&name);
    assert_eq!(all["Id"], created["Id"]);
    for (field, wanted) in body.as_object().unwrap() {
        if field == "HostConfig" || field == "ExposedPorts" {
            continue;
        }
        if field == "Env" {
            assert!(
                all["Config"]["Env"]
                    .as_array()
                    .unwrap()
                    .contains(&json!("A=b"))
            );
            continue;
        }
        assert_eq!(&all["Config"][field], wanted, "Config.{field}");
    }
    for (field, wanted) in body["HostConfig"].as_object().unwrap() {
        if (field == "CapAdd" || field == "CapDrop") && !shared().is_old_dockerd() {
            // Normalised since 22.06: CAP_NET_ADMIN.
            let cap = all["HostConfig"][field][0].as_str().unwrap();
            assert_eq!(cap.trim_start_matches("CAP_"), wanted[0].as_str().unwrap());
            continue;
        }
        assert_eq!(&all["HostConfig"][field], wanted, "HostConfig.{field}");
    }
    assert!(all["Config"]["ExposedPorts"]["81/udp"].is_object());
    shared().remove(&[&name]);
    // What inspect returns, create accepts (Watchtower does this).
    let mut again = all["Config"].clone();
    again["HostConfig"] = all["HostConfig"].clone();
    again["HostConfig"]["LogConfig"] = json!({});
    shared().api("POST", &target, Some(&again)).is(201);
    let second = shared().inspect(&name);
    assert_eq!(second["Config"]["Cmd"], all["Config"]["Cmd"]);
    assert_eq!(second["HostConfig"]["Binds"], all["HostConfig"]["Binds"]);
    shared().remove(&[&name]);
}

#[test]
fn the_state_through_a_life() {
    let name = unique("life");
    shared()
        .docker([
            "create", "--name", &name, "busybox", "sh", "-c", "exit 2", "a",
        ])
        .ok();
    let zero = "0001-01-01T00:00:00Z";
    let created = shared().inspect(&name);
    assert_eq!(created["State"]["Status"], "created");
    assert_eq!(created["State"]["StartedAt"], zero);
    assert_eq!(created["State"]["FinishedAt"], zero);
    assert_eq!(created["Path"], "sh");
    assert_eq!(created["Args"], json!(["-c", "exit 2", "a"]));
    assert_eq!(created["RestartCount"], 0);
    assert_eq!(created["Platform"], "linux");
    // The graph driver's place since API 1.52.
    let storage = created["Storage"]["RootFS"]["Snapshot"]["Name"].is_string();
    assert!(storage || shared().is_old_dockerd(), "{created}");
    let older = shared()
        .api("GET", &format!("/v1.51/containers/{name}/json"), None)
        .json();
    assert!(
        older["GraphDriver"]["Name"].is_string() || shared().is_old_dockerd(),
        "{older}"
    );
    shared().docker(["start", "-a", &name]).exits(2);
    let exited = shared().inspect(&name);
    assert_eq!(exited["State"]["Status"], "exited");
    assert_eq!(exited["State"]["ExitCode"], 2);
    assert_eq!(exited["State"]["Pid"], 0);
    for field in ["Running", "Paused", "Restarting", "OOMKilled", "Dead"] {
        assert_eq!(exited["State"][field], false, "{field}");
    }
    let at = |field: &str| exited["State"][field].as_str().unwrap().to_owned();
    let (begin, end) = (at("StartedAt"), at("FinishedAt"));
    assert!(begin.ends_with('Z') && end.ends_with('Z'), "{begin} {end}");
    // RFC 3339 drops zeros at the end: without the Z the texts are in the order of time.
    let plain = |text: &str| text.trim_end_matches('Z').to_owned();
    assert!(plain(&begin) < plain(&end), "{begin} {end}");
    // An exited container has no addresses any more.
    assert_eq!(
        exited["NetworkSettings"]["Networks"]["bridge"]["IPAddress"],
        ""
    );
    shared().remove(&[&name]);
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let running = shared().inspect(&name);
    assert!(running["State"]["Pid"].as_i64().unwrap() > 0);
    let hostname = running["Config"]["Hostname"].as_str().unwrap();
    assert!(running["Id"].as_str().unwrap().starts_with(hostname) && hostname.len() == 12);
    for path in ["HostnamePath", "HostsPath", "ResolvConfPath"] {
        assert!(
            std::path::Path::new(running[path].as_str().unwrap()).exists(),
            "{path}"
        );
    }
    shared().remove(&[&name]);
}

#[test]
fn sizes() {
    let name = unique("sizes");
    let write = "head -c 300000 /dev/zero >/file";
    shared()
        .docker(["run", "--name", &name, "busybox", "sh", "-c", write])
        .ok();
    assert!(shared().inspect(&name).get("SizeRw").is_none());
    let sized = shared()
        .api("GET", &format!("/containers/{name}/json?size=1"), None)
        .is(200)
        .json();
    let (rw, root) = (
        sized["SizeRw"].as_i64().unwrap(),
        sized["SizeRootFs"].as_i64().unwrap(),
    );
    assert!(
        (300_000..400_000).contains(&rw) && root > rw + 1_000_000,
        "{rw} {root}"
    );
    shared().remove(&[&name]);
}

#[test]
fn generated_names() {
    let id = shared().docker(["create", "busybox"]).ok().out().to_owned();
    let name = shared().format(&id, "{{.Name}}");
    let (left, right) = name
        .trim_start_matches('/')
        .split_once('_')
        .expect("adjective_name");
    assert!(
        left.bytes()
            .chain(right.bytes())
            .all(|byte| byte.is_ascii_lowercase()),
        "{name}"
    );
    shared().remove(&[&id]);
}

#[test]
fn info_and_version() {
    let name = unique("info");
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let info = shared().api("GET", "/info", None).is(200).json();
    assert!(info["ContainersRunning"].as_i64().unwrap() >= 1);
    assert!(info["Images"].as_i64().unwrap() >= 1);
    assert_eq!(info["OSType"], "linux");
    assert_eq!(
        info["DockerRootDir"],
        shared().data_root().to_str().unwrap()
    );
    assert_eq!(info["DefaultRuntime"], "runc");
    assert!(info["Runtimes"]["runc"].is_object());
    assert_eq!(info["LoggingDriver"], "json-file");
    let unified = testkit::has_unified_cgroups();
    assert_eq!(info["CgroupVersion"], if unified { "2" } else { "1" });
    assert!(matches!(
        info["CgroupDriver"].as_str(),
        Some("cgroupfs" | "systemd")
    ));
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert!(info["NCPU"].as_i64().unwrap() > 0 && info["MemTotal"].as_i64().unwrap() > 0);
    let plugins = &info["Plugins"];
    assert_eq!(plugins["Volume"], json!(["local"]));
    for (kind, wanted) in [
        ("Network", &["bridge", "host", "null"][..]),
        ("Log", &["json-file", "local"]),
    ] {
        let found = plugins[kind].as_array().expect(kind);
        for name in wanted {
            assert!(found.contains(&json!(name)), "{kind}: {plugins}");
        }
    }
    for list in ["SecurityOptions", "DriverStatus"] {
        assert!(info[list].is_array(), "{list}: {}", info[list]);
    }
    for text in [
        "ID",
        "Name",
        "KernelVersion",
        "OperatingSystem",
        "Architecture",
        "Driver",
        "ServerVersion",
        "SystemTime",
    ] {
        assert!(
            !info[text].as_str().unwrap_or_default().is_empty(),
            "{text}"
        );
    }
    if !shared().is_old_dockerd() {
        assert!(
            info["FirewallBackend"]["Driver"]
                .as_str()
                .unwrap()
                .contains("nftables")
        );
        assert!(
            info["Containerd"]["Address"]
                .as_str()
                .unwrap()
                .ends_with(".sock")
        );
        assert_eq!(info["Containerd"]["Namespaces"]["Containers"], "moby");
        let status = info["DriverStatus"].to_string();
        assert!(
            status.contains(r#"["driver-type","io.containerd.snapshotter.v1"]"#),
            "{status}"
        );
    }
    let version = shared().api("GET", "/version", None).is(200).json();
    for text in [
        "Version",
        "ApiVersion",
        "MinAPIVersion",
        "Os",
        "Arch",
        "KernelVersion",
    ] {
        assert!(version[text].is_string(), "{text}: {version}");
    }
    if !shared().is_old_dockerd() {
        assert_eq!(
            (&version["ApiVersion"], &version["MinAPIVersion"]),
            (&json!("1.55"), &json!("1.24"))
        );
    }
    let names: Vec<_> = version["Components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["Name"])
        .collect();
    assert!(
        names.contains(&&json!("Engine")) && names.contains(&&json!("containerd")),
        "{names:?}"
    );
    // Programs beside the daemon are asked in the background.
    eventually("all parts have told their versions", PATIENCE, || {
        let version = shared().api("GET", "/version", None).is(200).json();
        let parts = version["Components"].as_array().unwrap();
        let has = |name| parts.iter().any(|part| part["Name"] == name);
        (has("runc") && has("docker-init")).then_some(())
    });
    let info = shared().api("GET", "/info", None).is(200).json();
    for part in ["RuncCommit", "InitCommit", "ContainerdCommit"] {
        let id = &info[part]["ID"];
        assert!(id.is_string() && id != "N/A", "{part}: {id}");
    }
    shared().docker(["info"]).ok().out_has("Server Version");
    shared().docker(["version"]).ok().out_has("containerd");
    shared().remove(&[&name]);
    eventually("the count goes down", PATIENCE, || {
        let answer = shared().api("GET", &format!("/containers/{name}/json"), None);
        (answer.status == 404).then_some(())
    });
}
