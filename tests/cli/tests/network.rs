//! Networks of containers: bridge, none, host, another container's.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;
use testkit::{Output, PATIENCE, Place, Sandbox, eventually, shared, unique};

fn sh(options: &[&str], script: &str) -> Output {
    let cli = shared().cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

/// A container that serves `text` at port 80.
fn web(name: &str, text: &str, options: &[&str]) {
    let script = format!("mkdir /w; echo {text} >/w/i; exec httpd -f -p 80 -h /w");
    let run = shared().cli(["run", "-d", "--name", name]).args(options);
    run.args(["busybox", "sh", "-c", &script]).run().ok();
}

/// Its address on the default bridge.
fn address(name: &str) -> String {
    shared().format(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}")
}

fn host_interfaces() -> String {
    let mut ip = shared().sandbox().network_command(Place::Inside, "ip");
    ip.args(["-o", "-4", "addr", "show", "up0"]);
    testkit::run_command(ip).ok().stdout
}

#[test]
fn the_bridge_as_the_container_and_as_inspect_see_it() {
    let name = unique("bridge");
    let script = "ip -o -4 addr show eth0 | awk '{print $4}'; cat /sys/class/net/eth0/address; \
        ip route | awk '/^default/ {print $3}'; cat /sys/class/net/eth0/mtu; \
        echo $(ls /sys/class/net); sleep 1000";
    shared().run_d(&name, ["busybox", "sh", "-c", script]);
    shared().wait_log(&name, "eth0");
    let logs = shared().docker(["logs", &name]).ok();
    let lines: Vec<_> = logs.stdout.lines().collect();
    let endpoint = shared().inspect(&name)["NetworkSettings"]["Networks"]["bridge"].clone();
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        lines[0],
        format!("{}/{}", text("IPAddress"), endpoint["IPPrefixLen"])
    );
    assert_eq!(lines[1], text("MacAddress"));
    assert_eq!(lines[2], text("Gateway"));
    assert_eq!((lines[2], lines[3]), ("172.17.0.1", "1500"));
    assert_eq!(lines[4], "eth0 lo");
    assert_eq!(
        (text("NetworkID").len(), text("EndpointID").len()),
        (64, 64)
    );
    let sandbox = shared().format(&name, "{{.NetworkSettings.SandboxKey}}");
    assert!(sandbox.starts_with('/'), "{sandbox}");
    shared().remove(&[&name]);
}

#[test]
fn containers_reach_one_another_and_the_host() {
    let name = unique("web");
    web(&name, "page", &[]);
    let ip = address(&name);
    let target = format!("{ip}:80");
    eventually("the host reaches the container", PATIENCE, || {
        shared().fetch(Place::Inside, &target, "/i")
    });
    let script =
        format!("timeout 10 wget -qO- http://{ip}/i && ping -c 1 -W 5 172.17.0.1 >/dev/null");
    sh(&[], &script).ok().out_is("page");
    shared().remove(&[&name]);
    // The address is free again: another test's container may have it by now.
    let page = shared().fetch(Place::Inside, &target, "/i");
    assert_ne!(page.as_deref(), Some("page\n"));
}

#[test]
fn the_outside_sees_the_host_s_address() {
    let listener = shared()
        .sandbox()
        .with_network(Place::Outside, || TcpListener::bind("0.0.0.0:7000"))
        .unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut line = [0; 5];
        stream.read_exact(&mut line).unwrap();
        stream.write_all(b"pong\n").unwrap();
        (line, from.ip().to_string())
    });
    let script = format!("(echo ping; sleep 1) | nc -w 10 {} 7000", Sandbox::OUTSIDE);
    sh(&[], &script).ok().out_is("pong");
    let (line, from) = answering.join().unwrap();
    assert_eq!((&line, from.as_str()), (b"ping\n", Sandbox::INSIDE));
}

#[test]
fn none() {
    let output = sh(
        &["--network", "none"],
        "ls /sys/class/net; ip route; ping -c1 127.0.0.1 >/dev/null",
    );
    output.ok().out_is("lo");
    let name = unique("none");
    shared().run_d(&name, ["--network", "none", "busybox", "sleep", "1000"]);
    let all = shared().inspect(&name);
    assert_eq!(all["HostConfig"]["NetworkMode"], "none");
    assert_eq!(all["NetworkSettings"]["Networks"]["none"]["IPAddress"], "");
    shared().remove(&[&name]);
}

#[test]
fn host() {
    let script = "ip -o -4 addr show up0; hostname; test -w /etc/hosts";
    let output = sh(&["--network", "host"], script).ok();
    assert!(output.stdout.contains(Sandbox::INSIDE), "{output}");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(output.stdout.lines().last(), Some(name.trim()));
    assert!(host_interfaces().contains(Sandbox::INSIDE));
    // What listens in the container listens on the host; -p has no meaning.
    let name = unique("host");
    let serve = "mkdir /w; echo hosted >/w/i; exec httpd -f -p 7080 -h /w";
    let run = [
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        "host",
        "-p",
        "7081:80",
        "busybox",
        "sh",
        "-c",
        serve,
    ];
    let output = shared().docker(run).ok();
    assert!(
        output
            .stderr
            .contains("Published ports are discarded when using host network mode"),
        "{output}"
    );
    let outside = format!("{}:7080", Sandbox::INSIDE);
    let page = eventually("the outside reaches it", PATIENCE, || {
        shared().fetch(Place::Outside, &outside, "/i")
    });
    assert_eq!(page, "hosted\n");
    assert!(
        shared()
            .fetch(Place::Inside, "127.0.0.1:7081", "/i")
            .is_none()
    );
    shared().remove(&[&name]);
}

#[test]
fn another_container_s() {
    let name = unique("owner");
    web(
        &name,
        "shared",
        &["-h", "ownerhost", "--add-host", "x:192.0.2.9"],
    );
    let mode = format!("container:{name}");
    let script = "ip -o -4 addr show eth0; timeout 10 wget -qO- http://127.0.0.1/i; cat /etc/hosts; hostname";
    eventually("it serves", PATIENCE, || {
        shared().fetch(Place::Inside, &format!("{}:80", address(&name)), "/i")
    });
    let output = sh(&["--network", &mode], script).ok();
    assert!(output.stdout.contains(&address(&name)), "{output}");
    assert!(output.stdout.contains("shared\n"), "{output}");
    // Its names are the owner's as well.
    assert!(
        output.stdout.contains("192.0.2.9\tx") || output.stdout.contains("192.0.2.9 x"),
        "{output}"
    );
    assert_eq!(output.stdout.lines().last(), Some("ownerhost"));
    // It is the same namespace, and it goes on when the guest is gone.
    assert!(
        shared()
            .fetch(Place::Inside, &format!("{}:80", address(&name)), "/i")
            .is_some()
    );
    for (option, value) in [
        ("-p", "7082:80"),
        ("-h", "other"),
        ("--dns", "192.0.2.53"),
        ("--add-host", "y:192.0.2.8"),
    ] {
        sh(&["--network", &mode, option, value], "true")
            .exits(125)
            .err_has("conflicting options");
    }
    shared().docker(["kill", &name]).ok();
    shared().docker(["wait", &name]).ok();
    sh(&["--network", &mode], "true")
        .exits(125)
        .err_has("of a non running container");
    shared().remove(&[&name]);
    sh(&["--network", "container:nosuch"], "true")
        .exits(125)
        .err_has("No such container: nosuch");
}

#[test]
fn an_unknown_network() {
    let name = unique("nonet");
    shared()
        .docker([
            "run",
            "--name",
            &name,
            "--network",
            "nosuch",
            "busybox",
            "true",
        ])
        .exits(125)
        .err_has("network nosuch not found");
    shared().remove(&[&name]);
}

#[test]
fn addresses_are_distinct_and_given_back() {
    let names: Vec<_> = (0..4).map(|_| unique("address")).collect();
    let mut seen = std::collections::BTreeSet::new();
    for name in &names {
        shared().run_d(name, ["busybox", "sleep", "1000"]);
        assert!(
            seen.insert(address(name)),
            "{name} has an address of another"
        );
    }
    let before = address(&names[1]);
    shared().docker(["restart", "-t", "0", &names[1]]).ok();
    let after = address(&names[1]);
    assert!(
        after == before || !seen.contains(&after),
        "{after} is another's"
    );
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    shared().remove(&all);
}

#[test]
fn a_mac_address_of_one_s_own() {
    if shared().is_old_dockerd() {
        return; // The CLI 28 asks for API 1.44.
    }
    let mac = "02:42:c0:a8:84:22";
    let output = sh(&["--mac-address", mac], "cat /sys/class/net/eth0/address");
    output.ok().out_is(mac);
}

#[test]
fn what_only_other_networks_can_do() {
    sh(&["--ip", "172.17.0.99"], "true")
        .exits(125)
        // "user-specified … user-defined" since 24.
        .err_has("specified IP address is supported on user");
    let alias = sh(&["--network-alias", "x"], "true").exits(125);
    assert!(alias.stderr.contains("network-scoped alias"), "{alias}");
}

#[test]
fn the_predefined_networks_are_listed() {
    let list = shared()
        .docker([
            "network",
            "ls",
            "--format",
            "{{.Name}} {{.Driver}} {{.Scope}}",
        ])
        .ok();
    for line in ["bridge bridge local", "host host local", "none null local"] {
        assert!(
            list.stdout.lines().any(|have| have == line),
            "no [{line}]: {list}"
        );
    }
    let name = unique("listed");
    let id = shared().run_d(&name, ["busybox", "sleep", "1000"]);
    let bridge = shared().api("GET", "/networks/bridge", None).is(200).json();
    assert_eq!(bridge["Name"], "bridge");
    assert_eq!(
        bridge["Options"]["com.docker.network.bridge.name"],
        "docker0"
    );
    assert_eq!(bridge["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16");
    assert_eq!(bridge["Internal"], false);
    let own = &bridge["Containers"][&id];
    assert_eq!(own["Name"], name.as_str());
    assert_eq!(own["IPv4Address"], format!("{}/16", address(&name)));
    let missing = shared().api("GET", "/networks/nosuch", None).is(404);
    assert_eq!(missing.message(), "network nosuch not found");
    shared().remove(&[&name]);
}

#[test]
fn configuration_of_the_endpoint_comes_back() {
    let name = unique("endpoint");
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {}}},
    });
    let target = format!("/containers/create?name={name}");
    shared().api("POST", &target, Some(&body)).is(201);
    let networks = shared().inspect(&name)["NetworkSettings"]["Networks"].clone();
    let names: Vec<_> = networks.as_object().unwrap().keys().collect();
    assert_eq!(names, ["bridge"]);
    shared().remove(&[&name]);
}
