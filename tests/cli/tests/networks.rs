//! Networks of users: made, joined, left, removed; names, isolation, and what outlives the daemon.

use serde_json::Value;
use testkit::{Daemon, Leaks, Options, Output, PATIENCE, Place, eventually, shared, unique};

/// Removes containers and networks that a test made.
fn clear(daemon: &Daemon, containers: &[&str], networks: &[&str]) {
    daemon.remove(containers);
    for network in networks {
        daemon.docker(["network", "rm", network]).ok();
    }
}

fn network(daemon: &Daemon, name: &str, options: &[&str]) -> Value {
    let create = daemon.cli(["network", "create"]).args(options);
    create.args([name]).run().ok();
    let shown = daemon.docker(["network", "inspect", name]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    shown[0].clone()
}

fn exec(daemon: &Daemon, name: &str, script: &str) -> Output {
    daemon.docker(["exec", name, "sh", "-c", script])
}

fn address(daemon: &Daemon, name: &str, network: &str) -> String {
    let networks = &daemon.inspect(name)["NetworkSettings"]["Networks"];
    networks[network]["IPAddress"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn subnets_are_chosen_or_as_asked_for() {
    let (a, b, c) = (unique("net"), unique("net"), unique("net"));
    let first = network(shared(), &a, &[]);
    let second = network(shared(), &b, &["--label", "k=v", "--attachable"]);
    let subnet = |shown: &Value| shown["IPAM"]["Config"][0]["Subnet"].clone();
    assert_ne!(subnet(&first), subnet(&second));
    assert_eq!(second["Labels"]["k"], "v");
    assert_eq!(
        (&second["Attachable"], &second["Driver"]),
        (&true.into(), &"bridge".into())
    );
    let options = [
        "--subnet=10.231.0.0/16",
        "--ip-range=10.231.5.0/24",
        "--gateway=10.231.5.254",
        "--aux-address=router=10.231.5.1",
        "-o=com.docker.network.bridge.name=brtest1",
        "-o=com.docker.network.driver.mtu=1400",
    ];
    let asked = network(shared(), &c, &options);
    let config = &asked["IPAM"]["Config"][0];
    assert_eq!(config["Gateway"], "10.231.5.254");
    assert_eq!(config["IPRange"], "10.231.5.0/24");
    assert_eq!(config["AuxiliaryAddresses"]["router"], "10.231.5.1");
    let script = "ip -o -4 addr show eth0; cat /sys/class/net/eth0/mtu; ip route";
    let run = shared()
        .docker([
            "run",
            "--rm",
            "--network",
            &c,
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .ok();
    for word in ["inet 10.231.5.", "1400", "default via 10.231.5.254"] {
        assert!(run.stdout.contains(word), "no {word} in {run}");
    }
    clear(shared(), &[], &[&a, &b, &c]);
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let name = unique("net");
    network(shared(), &name, &["--subnet", "10.232.1.0/24"]);
    let refused = |args: &[&str], words: &str| {
        let output = shared().cli(["network", "create"]).args(args).run();
        let output = output.exits(1);
        assert!(output.stderr.contains(words), "{output}");
    };
    refused(
        &[&name],
        &format!("network with name {name} already exists"),
    );
    refused(
        &["--subnet", "10.232.1.128/25", "other"],
        "invalid pool request: Pool overlaps with other one on this address space",
    );
    refused(&["-d", "nosuch", "other"], "plugin \"nosuch\" not found");
    refused(
        &["-d", "host", "other"],
        "only one instance of \"host\" network is allowed",
    );
    refused(
        &["bridge"],
        "operation is not permitted on predefined bridge network",
    );
    if !shared().is_old_dockerd() {
        refused(
            &["-o", "com.docker.network.bridge.inhibit_ipv4=1", "other"],
            "not supported yet",
        );
    }
    // What nobody knows is kept, and means nothing.
    let odd = ["-o", "com.docker.network.bridge.nonsense=1"];
    network(shared(), "odd", &odd);
    clear(shared(), &[], &["odd"]);
    let (full, tiny) = (unique("full"), unique("tiny"));
    network(shared(), &tiny, &["--subnet", "10.232.2.0/30"]);
    shared().run_d(&full, ["--network", &tiny, "busybox", "sleep", "1000"]);
    let output = shared().docker(["run", "--rm", "--network", &tiny, "busybox", "true"]);
    let output = output.exits(125);
    assert!(
        output.stderr.contains("no available IPv4 addresses"),
        "{output}"
    );
    clear(shared(), &[&full], &[&name, &tiny]);
}

#[test]
fn names_are_known_within_a_network_and_go_with_their_containers() {
    let (net, server, client) = (unique("net"), unique("server"), unique("client"));
    network(shared(), &net, &["--ipv6"]);
    let id = shared().cli(["run", "-d", "--name", &server, "--network", &net]);
    let id = id.args([
        "--network-alias",
        "al",
        "-h",
        "hosty",
        "busybox",
        "sleep",
        "1000",
    ]);
    let id = id.run().ok().stdout;
    shared().run_d(&client, ["--network", &net, "busybox", "sleep", "1000"]);
    let ip = address(shared(), &server, &net);
    let names = [
        server.as_str(),
        "al",
        "AL",
        "hosty",
        &id[..12],
        &format!("{server}.{net}"),
    ];
    for name in names {
        let output = exec(shared(), &client, &format!("nslookup -type=a {name}")).ok();
        assert!(output.stdout.contains(&ip), "{output}");
    }
    let v6 =
        shared().inspect(&server)["NetworkSettings"]["Networks"][&net]["GlobalIPv6Address"].clone();
    let v6 = v6.as_str().unwrap_or_default();
    let output = exec(shared(), &client, &format!("nslookup -type=aaaa {server}")).ok();
    assert!(
        v6.starts_with("fd") && output.stdout.contains(v6),
        "{v6} {output}"
    );
    exec(shared(), &client, &format!("ping -6 -c1 -w5 {server}")).ok();
    let output = exec(shared(), &client, &format!("nslookup {ip}")).ok();
    assert!(
        output.stdout.contains(&format!("{server}.{net}")),
        "{output}"
    );
    let renamed = unique("renamed");
    shared().docker(["rename", &server, &renamed]).ok();
    exec(shared(), &client, &format!("ping -c1 -w5 {renamed}")).ok();
    shared().remove(&[&renamed]);
    let gone = exec(shared(), &client, &format!("ping -c1 -w5 {renamed}")).exits(1);
    assert!(gone.stderr.contains("bad address"), "{gone}");
    clear(shared(), &[&client], &[&net]);
}

#[test]
fn a_container_may_have_port_53_itself() {
    let (net, name) = (unique("net"), unique("dns"));
    network(shared(), &net, &[]);
    let script = "httpd -p 53 -h / && echo held; sleep 1000";
    shared().run_d(&name, ["--network", &net, "busybox", "sh", "-c", script]);
    shared().wait_log(&name, "held");
    let output = exec(shared(), &name, &format!("nslookup -type=a {name}")).ok();
    assert!(
        output.stdout.contains(&address(shared(), &name, &net)),
        "{output}"
    );
    clear(shared(), &[&name], &[&net]);
}

#[test]
fn networks_are_apart_and_internal_ones_have_no_outside() {
    let (a, b, inner) = (unique("a"), unique("b"), unique("inner"));
    network(shared(), &a, &[]);
    network(
        shared(),
        &b,
        &["-o", "com.docker.network.bridge.enable_icc=false"],
    );
    network(shared(), &inner, &["--internal"]);
    let (one, two, three) = (unique("one"), unique("two"), unique("three"));
    shared().run_d(&one, ["--network", &a, "busybox", "sleep", "1000"]);
    shared().run_d(&two, ["--network", &b, "busybox", "sleep", "1000"]);
    shared().run_d(&three, ["--network", &inner, "busybox", "sleep", "1000"]);
    let ping = |network: &str, target: &str, seconds: &str| {
        let run = shared().cli(["run", "--rm", "--network", network, "busybox"]);
        run.args(["ping", "-c1", "-W", seconds, target]).run()
    };
    let reaches = |network: &str, target: &str| ping(network, target, "20").ok();
    let misses = |network: &str, target: &str| ping(network, target, "1").exits(1);
    let outside = testkit::Sandbox::OUTSIDE;
    reaches(&a, &one);
    reaches(&a, outside);
    misses(&a, &address(shared(), &two, &b));
    misses(&b, &address(shared(), &two, &b));
    reaches(&inner, &three);
    misses(&inner, outside);
    misses(&a, &address(shared(), &three, &inner));
    let route = exec(shared(), &three, "ip route").ok();
    assert!(!route.stdout.contains("default"), "{route}");
    clear(shared(), &[&one, &two, &three], &[&a, &b, &inner]);
}

#[test]
fn networks_are_joined_and_left_while_it_runs() {
    let (a, b, name) = (unique("a"), unique("b"), unique("moving"));
    network(shared(), &a, &["--subnet", "10.233.1.0/24"]);
    network(shared(), &b, &["--subnet", "10.233.2.0/24"]);
    shared().run_d(&name, ["busybox", "sleep", "1000"]);
    shared()
        .docker([
            "network",
            "connect",
            "--ip",
            "10.233.1.9",
            "--alias",
            "z",
            &a,
            &name,
        ])
        .ok();
    shared().docker(["network", "connect", &b, &name]).ok();
    let interfaces = exec(shared(), &name, "echo $(ls /sys/class/net); ip route").ok();
    assert!(
        interfaces.stdout.starts_with("eth0 eth1 eth2 lo"),
        "{interfaces}"
    );
    let hosts = exec(shared(), &name, "cat /etc/hosts /etc/resolv.conf").ok();
    assert!(
        hosts.stdout.contains("10.233.1.9") && hosts.stdout.contains("127.0.0.11"),
        "{hosts}"
    );
    let again = shared().docker(["network", "connect", &a, &name]).exits(1);
    assert!(
        again.stderr.contains("already exists in network"),
        "{again}"
    );
    // What led out goes: another one does.
    shared()
        .docker(["network", "disconnect", "bridge", &name])
        .ok();
    let route = exec(shared(), &name, "ip route").ok();
    assert!(route.stdout.contains("default via 10.233.1.1"), "{route}");
    shared().docker(["network", "disconnect", &a, &name]).ok();
    let missing = shared()
        .docker(["network", "disconnect", &a, &name])
        .exits(1);
    assert!(missing.stderr.contains("is not connected to"), "{missing}");
    // A restart finds it in what it was left in.
    shared().docker(["restart", "-t", "0", &name]).ok();
    let script = "ip -o -4 addr | grep -v ' lo ' | wc -l; ip route";
    let route = exec(shared(), &name, script).ok();
    assert!(
        route.stdout.starts_with("1\n") && route.stdout.contains("10.233.2.1"),
        "{route}"
    );
    clear(shared(), &[&name], &[&a, &b]);
}

#[test]
fn the_highest_priority_leads_out_and_publishes() {
    let (a, b, name) = (unique("a"), unique("b"), unique("lead"));
    network(shared(), &a, &["--subnet", "10.234.1.0/24"]);
    network(shared(), &b, &["--subnet", "10.234.2.0/24"]);
    let second = format!("name={b},gw-priority=1");
    let script = "echo up >/i; exec httpd -f -p 80 -h /";
    let run = shared().cli([
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        &a,
        "--network",
        &second,
    ]);
    run.args(["-p", "18391:80", "busybox", "sh", "-c", script])
        .run()
        .ok();
    let route = exec(shared(), &name, "ip route").ok();
    assert!(route.stdout.contains("default via 10.234.2.1"), "{route}");
    eventually("the published port answers", PATIENCE, || {
        shared().fetch(Place::Inside, "127.0.0.1:18391", "/i")
    });
    clear(shared(), &[&name], &[&a, &b]);
}

#[test]
fn links_are_names_in_either_kind_of_network() {
    let (net, db, web, own) = (unique("net"), unique("db"), unique("web"), unique("own"));
    shared().run_d(&db, ["busybox", "sleep", "1000"]);
    let link = format!("{db}:store");
    shared().run_d(&web, ["--link", &link, "busybox", "sleep", "1000"]);
    exec(shared(), &web, "ping -c1 -w5 store").ok();
    // Another address after a restart.
    shared().docker(["stop", "-t", "0", &db]).ok();
    shared().docker(["start", &db]).ok();
    let now = address(shared(), &db, "bridge");
    eventually("the link follows", PATIENCE, || {
        let hosts = exec(shared(), &web, "cat /etc/hosts").ok().stdout;
        hosts
            .lines()
            .any(|line| line.starts_with(&format!("{now}\tstore")))
            .then_some(())
    });
    shared()
        .docker(["rm", "--link", &format!("{web}/store")])
        .ok();
    exec(shared(), &web, "ping -c1 -w5 store").exits(1);
    network(shared(), &net, &[]);
    shared().docker(["network", "connect", &net, &db]).ok();
    shared().run_d(
        &own,
        [
            "--network",
            &net,
            "--link",
            &link,
            "busybox",
            "sleep",
            "1000",
        ],
    );
    exec(shared(), &own, "ping -c1 -w5 store").ok();
    shared().docker(["stop", "-t", "0", &db]).ok();
    let refused = shared()
        .docker(["run", "--rm", "--link", &link, "busybox", "true"])
        .exits(125);
    assert!(
        refused
            .stderr
            .contains("Cannot link to a non running container"),
        "{refused}"
    );
    clear(shared(), &[&db, &web, &own], &[&net]);
}

#[test]
fn nothing_is_left_of_a_network() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    network(&daemon, "n1", &["--ipv6"]);
    network(&daemon, "n2", &["--internal"]);
    daemon.run_d(
        "c1",
        [
            "--network",
            "n1",
            "-p",
            "18392:80",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    daemon.docker(["network", "connect", "n2", "c1"]).ok();
    let busy = daemon.docker(["network", "rm", "n1"]).exits(1);
    assert!(
        busy.stderr
            .contains("network n1 has active endpoints (name:\"c1\" id:\""),
        "{busy}"
    );
    daemon.docker(["network", "prune", "-f"]).ok();
    daemon.docker(["network", "inspect", "n1"]).ok();
    daemon.remove(&["c1"]);
    let pruned = daemon.docker(["network", "prune", "-f"]).ok();
    assert!(
        pruned.stdout.contains("n1") && pruned.stdout.contains("n2"),
        "{pruned}"
    );
    before.settle(&daemon, PATIENCE);
}

#[test]
fn a_killed_daemon_finds_networks_names_and_addresses_again() {
    let daemon = Daemon::start(Options::default());
    network(
        &daemon,
        "kept",
        &["--subnet", "10.235.1.0/24", "--label", "k=v", "--ipv6"],
    );
    daemon.run_d("one", ["--network", "kept", "busybox", "sleep", "1000"]);
    daemon.run_d("two", ["--network", "kept", "busybox", "sleep", "1000"]);
    let before = daemon.docker(["network", "inspect", "kept"]).ok().stdout;
    daemon.kill9();
    daemon.boot();
    assert_eq!(
        daemon.docker(["network", "inspect", "kept"]).ok().stdout,
        before
    );
    exec(&daemon, "one", "ping -c1 -w5 two").ok();
    exec(&daemon, "one", "nslookup -type=a two").ok();
    let third = daemon.docker([
        "run",
        "--rm",
        "--network",
        "kept",
        "busybox",
        "ip",
        "-o",
        "-4",
        "addr",
    ]);
    let third = third.ok().stdout;
    assert!(
        third.contains("10.235.1.4/24"),
        "the addresses are reserved again: {third}"
    );
    daemon.docker(["network", "disconnect", "kept", "one"]).ok();
    exec(&daemon, "two", "ping -c1 -w5 one").exits(1);
    daemon.remove(&["one", "two"]);
    daemon.docker(["network", "rm", "kept"]).ok();
}
