//! What create is told comes back from inspect; what the daemon cannot do it refuses.

#![recursion_limit = "256"]

use serde_json::{Value, json};
use testkit::{Response, shared, unique};

fn create(name: &str, body: &Value) -> Response {
    shared().api(
        "POST",
        &format!("/containers/create?name={name}"),
        Some(body),
    )
}

#[track_caller]
fn comes_back(sent: &Value, got: &Value, path: &str) {
    match sent {
        Value::Object(fields) => {
            for (name, value) in fields {
                comes_back(value, &got[name], &format!("{path}.{name}"));
            }
        }
        _ => assert_eq!(got, sent, "{path}"),
    }
}

#[test]
fn configuration() {
    let name = unique("config");
    let config = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"], "Entrypoint": ["/bin/env"],
        "Hostname": "box", "Domainname": "example.org", "User": "nobody:33",
        "Labels": {"x": "y", "empty": ""}, "WorkingDir": "/tmp", "StopSignal": "SIGUSR1",
        "StopTimeout": 7, "ExposedPorts": {"81/udp": {}, "82/tcp": {}}, "Tty": true,
        "OpenStdin": true, "StdinOnce": true, "AttachStdin": true, "AttachStdout": false,
        "AttachStderr": true,
    });
    create(&name, &config).is(201);
    let got = shared().inspect(&name);
    comes_back(&config, &got["Config"], "Config");
    assert_eq!(got["Path"], "/bin/env");
    assert_eq!(got["Args"], json!(["sleep", "1000"]));
    shared().remove(&[&name]);
}

#[test]
fn what_the_image_says_is_merged() {
    let image = testkit::Image::busybox("merged:1")
        .set("Env", json!(["PATH=/bin", "A=image"]))
        .set("Labels", json!({"i": "image", "both": "image"}))
        .set("ExposedPorts", json!({"90/tcp": {}}))
        .set("WorkingDir", json!("/var"))
        .set("User", json!("nobody"))
        .set("StopSignal", json!("SIGUSR2"))
        .set("Entrypoint", json!(["env"]));
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(testkit::Compression::None))
        .run()
        .ok();
    let name = unique("merged");
    let body = json!({
        "Image": "merged:1", "Env": ["B=own"], "Labels": {"o": "own", "both": "own"},
        "ExposedPorts": {"91/tcp": {}},
    });
    create(&name, &body).is(201);
    let config = shared().inspect(&name)["Config"].clone();
    let mut env: Vec<String> = serde_json::from_value(config["Env"].clone()).unwrap();
    env.sort();
    assert_eq!(env, ["A=image", "B=own", "PATH=/bin"]);
    assert_eq!(
        config["Labels"],
        json!({"i": "image", "o": "own", "both": "own"})
    );
    assert_eq!(config["ExposedPorts"], json!({"90/tcp": {}, "91/tcp": {}}));
    assert_eq!(config["WorkingDir"], "/var");
    assert_eq!(config["User"], "nobody");
    assert_eq!(config["StopSignal"], "SIGUSR2");
    assert_eq!(config["Entrypoint"], json!(["env"]));
    assert_eq!(config["Image"], "merged:1");
    shared().remove(&[&name]);
}

fn host_config() -> Value {
    json!({
        "Binds": ["/usr/share:/share:ro"],
        "Memory": 67_108_864, "MemoryReservation": 33_554_432, "MemorySwap": 134_217_728,
        "CpuShares": 512, "CpuPeriod": 50_000, "CpuQuota": 25_000, "CpusetCpus": "0",
        "PidsLimit": 50, "OomScoreAdj": 100,
        "Dns": ["192.0.2.53"], "DnsSearch": ["example.org"], "DnsOptions": ["ndots:2"],
        "ExtraHosts": ["h:192.0.2.7"], "GroupAdd": ["staff"],
        "ReadonlyRootfs": true, "ShmSize": 1_048_576, "Init": true, "AutoRemove": false,
        "Privileged": false, "PublishAllPorts": false,
        "Tmpfs": {"/run": "size=1m"}, "Sysctls": {"net.ipv4.ip_forward": "1"},
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "SecurityOpt": ["no-new-privileges"],
        "Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/z", "CgroupPermissions": "rw"}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "PortBindings": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18435"}],
            "53/udp": [{"HostIp": "", "HostPort": "18436"}],
        },
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "NetworkMode": "bridge",
        "MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"],
        "Mounts": [
            {"Type": "bind", "Source": "/usr/lib", "Target": "/m", "ReadOnly": true},
            {"Type": "tmpfs", "Target": "/tm", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}},
        ],
    })
}

#[test]
fn host_configuration() {
    let name = unique("host");
    let host = host_config();
    create(&name, &json!({"Image": "busybox", "HostConfig": host})).is(201);
    let got = shared().inspect(&name);
    comes_back(&host, &got["HostConfig"], "HostConfig");
    assert_eq!(
        got["Mounts"].as_array().unwrap().len(),
        3,
        "{}",
        got["Mounts"]
    );
    // And it starts with all that.
    shared()
        .api("POST", &format!("/containers/{name}/start"), None)
        .is(204);
    shared().remove(&[&name]);
}

#[test]
fn capabilities_come_back() {
    let name = unique("caps");
    let host = json!({"CapAdd": ["NET_ADMIN", "cap_sys_time"], "CapDrop": ["mknod"]});
    create(&name, &json!({"Image": "busybox", "HostConfig": host})).is(201);
    let got = shared().inspect(&name)["HostConfig"].clone();
    // As they were sent, or by their full names.
    let full = |list: &Value| list.to_string().to_uppercase().replace("CAP_", "");
    assert_eq!(full(&got["CapAdd"]), r#"["NET_ADMIN","SYS_TIME"]"#);
    assert_eq!(full(&got["CapDrop"]), r#"["MKNOD"]"#);
    shared().remove(&[&name]);
}

#[test]
fn networking_configuration() {
    let name = unique("net");
    let body = json!({
        "Image": "busybox", "HostConfig": {"NetworkMode": "none"},
        "NetworkingConfig": {"EndpointsConfig": {"none": {}}},
    });
    create(&name, &body).is(201);
    let got = shared().inspect(&name);
    let networks = got["NetworkSettings"]["Networks"]
        .as_object()
        .unwrap()
        .clone();
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["none"]);
    assert_eq!(got["HostConfig"]["NetworkMode"], "none");
    shared().remove(&[&name]);
}

#[test]
fn defaults() {
    let name = unique("defaults");
    create(&name, &json!({"Image": "busybox"})).is(201);
    let got = shared().inspect(&name);
    let host = &got["HostConfig"];
    let mode = host["NetworkMode"].as_str().unwrap();
    assert!(matches!(mode, "bridge" | "default"), "{mode}");
    assert_eq!(host["ShmSize"], 67_108_864);
    assert_eq!(host["RestartPolicy"]["MaximumRetryCount"], 0);
    assert_eq!(host["LogConfig"]["Type"], "json-file");
    if !shared().is_old_dockerd() {
        assert_eq!(host["Runtime"], "runc");
    }
    assert_eq!(host["IpcMode"], "private");
    assert_eq!(
        (&host["Privileged"], &host["AutoRemove"]),
        (&json!(false), &json!(false))
    );
    assert!(
        host["MaskedPaths"]
            .as_array()
            .unwrap()
            .contains(&json!("/proc/kcore"))
    );
    assert!(
        host["ReadonlyPaths"]
            .as_array()
            .unwrap()
            .contains(&json!("/proc/sys"))
    );
    assert_eq!(got["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(got["RestartCount"], 0);
    shared().remove(&[&name]);
}

#[test]
fn limits_of_values() {
    let refuse = |host: Value, text: &str| {
        let name = unique("refused");
        let answer = create(&name, &json!({"Image": "busybox", "HostConfig": host}));
        assert!(
            matches!(answer.status, 400 | 500),
            "{host}: {}",
            answer.status
        );
        assert!(
            answer.message().contains(text),
            "{host}: {}",
            answer.message()
        );
        shared()
            .api("GET", &format!("/containers/{name}/json"), None)
            .is(404);
    };
    refuse(
        json!({"Memory": 1000}),
        "Minimum memory limit allowed is 6MB",
    );
    refuse(
        json!({"Memory": 8_000_000, "MemorySwap": 7_000_000}),
        "Minimum memoryswap limit should be larger than memory limit",
    );
    refuse(
        json!({"MemorySwap": 8_000_000}),
        "You should always set the Memory limit when using Memoryswap limit",
    );
    refuse(
        json!({"NanoCpus": 1_000_000_000_000_i64}),
        "ange of CPUs is from 0.01 to ",
    );
    refuse(
        json!({"NanoCpus": 500_000_000, "CpuPeriod": 100_000}),
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    );
    refuse(
        json!({"CpuPeriod": 10}),
        "CPU cfs period can not be less than 1ms",
    );
    refuse(json!({"ShmSize": -1}), "SHM size can not be less than 0");
    refuse(
        json!({"RestartPolicy": {"Name": "sometimes"}}),
        "invalid restart policy",
    );
    refuse(
        json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}}),
        "can't create 'AutoRemove' container with restart policy",
    );
    refuse(
        json!({"ExtraHosts": ["nonsense"]}),
        "bad format for add-host",
    );
    refuse(
        json!({"OomScoreAdj": 2000}),
        "Invalid value 2000, range for oom score adj is [-1000, 1000]",
    );
    refuse(json!({"Runtime": "nosuch"}), "nosuch");
}

#[test]
fn what_berth_cannot_do_yet_it_says() {
    if shared().is_old_dockerd() {
        return;
    }
    // One of these becomes possible: its row goes, and tests of it come.
    for (host, word) in [
        (
            json!({"Mounts": [{"Type": "image", "Source": "busybox", "Target": "/data"}]}),
            "image mounts",
        ),
        (json!({"Isolation": "hyperv"}), "isolation"),
        (json!({"StorageOpt": {"size": "1G"}}), "storage"),
    ] {
        let name = unique("refused");
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
        let mut answer = create(&name, &body);
        if answer.status == 201 {
            answer = shared().api("POST", &format!("/containers/{name}/start"), None);
        }
        assert!((400..=501).contains(&answer.status), "{host} was accepted");
        let message = answer.message().to_lowercase();
        assert!(message.contains(word), "{host}: no [{word}] in [{message}]");
        shared().remove(&[&name]);
    }
}

#[test]
fn fields_that_nobody_knows_are_ignored() {
    let name = unique("unknown");
    let body = json!({"Image": "busybox", "Nonsense": {"a": [1]}, "HostConfig": {"Odd": 1}});
    create(&name, &body).is(201);
    // Names of fields are matched as Go does, whatever their case.
    let other = unique("case");
    let body = json!({"image": "busybox", "cmd": ["true"], "hostconfig": {"memory": 67_108_864}});
    create(&other, &body).is(201);
    assert_eq!(shared().inspect(&other)["HostConfig"]["Memory"], 67_108_864);
    shared().remove(&[&name, &other]);
}

#[test]
fn nulls_are_as_good_as_nothing() {
    let name = unique("nulls");
    let body = json!({
        "Image": "busybox", "Cmd": null, "Env": null, "Labels": null, "Entrypoint": null,
        "ExposedPorts": null, "Volumes": null, "HostConfig": {
            "Binds": null, "PortBindings": null, "CapAdd": null, "Dns": null, "Links": null,
            "Ulimits": null, "Sysctls": null, "Devices": null, "Mounts": null, "PidsLimit": null,
        }, "NetworkingConfig": {"EndpointsConfig": null},
    });
    create(&name, &body).is(201);
    let name = unique("nulls");
    create(
        &name,
        &json!({"Image": "busybox", "HostConfig": null, "NetworkingConfig": null}),
    )
    .is(201);
    shared().remove(&[&name]);
}

#[test]
fn a_container_made_by_an_old_client() {
    // API 1.24 has no Mounts and no Init, and its answers have other fields.
    let name = unique("old");
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "default"}});
    let target = format!("/v1.24/containers/create?name={name}");
    shared().api("POST", &target, Some(&body)).is(201);
    shared()
        .api("POST", &format!("/v1.24/containers/{name}/start"), None)
        .is(204);
    let old = shared()
        .api("GET", &format!("/v1.24/containers/{name}/json"), None)
        .is(200)
        .json();
    assert!(
        old["NetworkSettings"]["IPAddress"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("172.17.")),
        "{old}"
    );
    shared().remove(&[&name]);
}
