//! Published ports, from every place that must reach them.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use testkit::{PATIENCE, Place, Sandbox, eventually, shared, unique};

/// Runs a web server with `options`; returns the name. Its page is the name.
fn web(options: &[&str]) -> String {
    let name = unique("web");
    let script = format!("mkdir /w; echo {name} >/w/i; exec httpd -f -p 80 -h /w");
    let run = shared().cli(["run", "-d", "--name", &name]).args(options);
    run.args(["busybox", "sh", "-c", &script]).run().ok();
    name
}

/// Waits until `target` serves `name`'s page.
#[track_caller]
fn serves(place: Place, target: &str, name: &str) {
    let page = eventually(&format!("{target} answers to {place:?}"), PATIENCE, || {
        shared().fetch(place, target, "/i")
    });
    assert_eq!(page.trim(), name, "{target} from {place:?}");
}

#[track_caller]
fn is_closed(place: Place, target: &str) {
    let page = shared().fetch(place, target, "/i");
    assert_eq!(page, None, "{target} from {place:?}");
}

/// The host port of `port` on an IPv4 address.
fn host_port(name: &str, port: &str) -> String {
    let output = shared().docker(["port", name, port]).ok();
    let line = output.stdout.lines().find(|line| !line.starts_with('['));
    let (_, port) = line
        .and_then(|line| line.rsplit_once(':'))
        .unwrap_or_else(|| panic!("{output}"));
    port.to_owned()
}

/// A page fetched by another container, and by `name` itself.
fn fetched_inside(name: Option<&str>, target: &str) -> String {
    let url = format!("http://{target}/i");
    let options = match name {
        Some(name) => vec!["--network".to_owned(), format!("container:{name}")],
        None => vec![],
    };
    let cli = shared().cli(["run", "--rm"]).args(options);
    let output = cli
        .args(["busybox", "timeout", "10", "wget", "-qO-", &url])
        .run()
        .ok();
    output.out().to_owned()
}

#[test]
fn a_fixed_port_answers_everywhere() {
    let name = web(&["-p", "8080:80"]);
    let host = format!("{}:8080", Sandbox::INSIDE);
    serves(Place::Outside, &host, &name);
    serves(Place::Inside, &host, &name);
    serves(Place::Inside, "127.0.0.1:8080", &name);
    serves(Place::Inside, "127.8.9.10:8080", &name);
    serves(Place::Inside, "172.17.0.1:8080", &name);
    assert_eq!(fetched_inside(None, &host), name);
    assert_eq!(fetched_inside(None, "172.17.0.1:8080"), name);
    // The container itself by the host's address: back over the same port of the bridge.
    assert_eq!(fetched_inside(Some(&name), &host), name);
    let ports = shared().inspect(&name)["NetworkSettings"]["Ports"]["80/tcp"].clone();
    assert_eq!(ports[0], json!({"HostIp": "0.0.0.0", "HostPort": "8080"}));
    assert_eq!(host_port(&name, "80"), "8080");
    shared()
        .docker(["port", &name, "81"])
        .exits(1)
        .err_has("No public port '81");
    // Stopped, it answers no more; started, it answers again.
    shared().docker(["stop", "-t", "0", &name]).ok();
    is_closed(Place::Outside, &host);
    is_closed(Place::Inside, "127.0.0.1:8080");
    assert_eq!(
        shared().inspect(&name)["NetworkSettings"]["Ports"],
        json!({})
    );
    shared().docker(["start", &name]).ok();
    serves(Place::Outside, &host, &name);
    shared().remove(&[&name]);
    is_closed(Place::Outside, &host);
    is_closed(Place::Inside, "127.0.0.1:8080");
}

#[test]
fn random_ports() {
    let (one, two) = (web(&["-p", "80"]), web(&["-p", "127.0.0.1::80"]));
    let (first, second) = (host_port(&one, "80"), host_port(&two, "80"));
    assert_ne!(first, second);
    assert!(first.parse::<u16>().unwrap() >= 1024);
    serves(
        Place::Outside,
        &format!("{}:{first}", Sandbox::INSIDE),
        &one,
    );
    serves(Place::Inside, &format!("127.0.0.1:{second}"), &two);
    is_closed(Place::Outside, &format!("{}:{second}", Sandbox::INSIDE));
    shared().remove(&[&one, &two]);
}

#[test]
fn exposed_ports_are_published_on_request() {
    let name = web(&["--expose", "80", "--expose", "9000-9001/udp", "-P"]);
    for port in ["80/tcp", "9000/udp", "9001/udp"] {
        assert!(host_port(&name, port).parse::<u16>().is_ok(), "{port}");
    }
    serves(
        Place::Inside,
        &format!("127.0.0.1:{}", host_port(&name, "80")),
        &name,
    );
    let hidden = web(&["--expose", "81"]);
    assert_eq!(
        shared().inspect(&hidden)["NetworkSettings"]["Ports"]["81/tcp"],
        json!(null)
    );
    shared().remove(&[&name, &hidden]);
}

#[test]
fn ranges() {
    // One port of a range for each container, while there are any.
    let (one, two) = (web(&["-p", "9000-9001:80"]), web(&["-p", "9000-9001:80"]));
    let mut ports = [host_port(&one, "80"), host_port(&two, "80")];
    ports.sort();
    assert_eq!(ports, ["9000", "9001"]);
    let third = unique("third");
    let run = [
        "run",
        "-d",
        "--name",
        &third,
        "-p",
        "9000-9001:80",
        "busybox",
        "sleep",
        "1000",
    ];
    shared().docker(run).exits(125).err_has("allocated");
    shared().remove(&[&one, &third]);
    let again = web(&["-p", "9000-9001:80"]);
    serves(
        Place::Inside,
        &format!("127.0.0.1:{}", host_port(&again, "80")),
        &again,
    );
    // Range to range: one by one.
    let pair = web(&["-p", "9100-9101:80-81"]);
    assert_eq!(
        (host_port(&pair, "80"), host_port(&pair, "81")),
        ("9100".into(), "9101".into())
    );
    shared().remove(&[&two, &again, &pair]);
}

#[test]
fn udp_beside_tcp() {
    let name = unique("udp");
    // busybox-static has no UDP server; perl-base is on every Debian.
    let echo = "$s = IO::Socket::INET->new(Proto => \"udp\", LocalPort => 53) or die; \
        while (defined $s->recv($b, 99)) { $s->send($b) }";
    let script = format!(
        "ln -s usr/lib /host/lib; ln -s usr/lib64 /host/lib64; \
         mkdir /w /host/dev; mknod /host/dev/null c 1 3; echo udp >/w/i; \
         chroot /host /usr/bin/perl -MIO::Socket::INET -e '{echo}' & exec httpd -f -p 53 -h /w"
    );
    let ports = [
        "-p",
        "5353:53/udp",
        "-p",
        "5353:53/tcp",
        "-v",
        "/usr:/host/usr:ro",
    ];
    let run = shared().cli(["run", "-d", "--name", &name]).args(ports);
    run.args(["busybox", "sh", "-c", &script]).run().ok();
    serves(Place::Inside, "127.0.0.1:5353", "udp");
    for (place, host) in [
        (Place::Outside, Sandbox::INSIDE),
        (Place::Inside, Sandbox::INSIDE),
        (Place::Inside, "127.0.0.1"),
        (Place::Inside, "[::1]"),
    ] {
        let to = format!("{host}:5353").parse().unwrap();
        eventually(&format!("{to} echoes to {place:?}"), PATIENCE, || {
            // A socket for each try: a server's answer must come to the port that asked.
            let socket = shared().sandbox().udp(place, to).ok()?;
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .ok()?;
            socket.send(b"echo").ok()?;
            let mut answer = [0; 16];
            let count = socket.recv(&mut answer).ok()?;
            (&answer[..count] == b"echo").then_some(())
        });
    }
    let ports = shared().inspect(&name)["NetworkSettings"]["Ports"].clone();
    assert_eq!(ports["53/udp"][0]["HostPort"], "5353");
    shared().remove(&[&name]);
}

#[test]
fn one_address_of_the_host() {
    let (local, wire) = (
        web(&["-p", "127.0.0.1:8081:80"]),
        web(&["-p", "192.0.2.1:8081:80"]),
    );
    let host = format!("{}:8081", Sandbox::INSIDE);
    serves(Place::Inside, "127.0.0.1:8081", &local);
    serves(Place::Outside, &host, &wire);
    serves(Place::Inside, &host, &wire);
    is_closed(Place::Inside, "172.17.0.1:8081");
    shared().remove(&[&wire]);
    is_closed(Place::Outside, &host);
    assert_eq!(
        shared().docker(["port", &local]).ok().out(),
        "80/tcp -> 127.0.0.1:8081"
    );
    shared().remove(&[&local]);
}

#[test]
fn two_containers_want_one_port() {
    let (one, two) = (web(&["-p", "8083:80"]), unique("loser"));
    let script = format!("mkdir /w; echo {two} >/w/i; exec httpd -f -p 80 -h /w");
    let run = [
        "run", "-d", "--name", &two, "-p", "8083:80", "busybox", "sh", "-c", &script,
    ];
    shared()
        .docker(run)
        .exits(125)
        .err_has("Bind for 0.0.0.0:8083 failed: port is already allocated");
    assert_eq!(shared().format(&two, "{{.State.Status}}"), "created");
    // One address of the host is in conflict with all addresses.
    let third = unique("third");
    let narrow = [
        "run",
        "--name",
        &third,
        "-p",
        "127.0.0.1:8083:80",
        "busybox",
        "true",
    ];
    shared()
        .docker(narrow)
        .exits(125)
        // 20.10 hears of it from the kernel: "address already in use".
        .err_has("already");
    serves(Place::Inside, "127.0.0.1:8083", &one);
    shared().remove(&[&one, &third]);
    shared().docker(["start", &two]).ok();
    serves(Place::Inside, "127.0.0.1:8083", &two);
    shared().remove(&[&two]);
}

#[test]
fn another_process_has_the_port() {
    let listener = shared()
        .sandbox()
        .with_network(Place::Inside, || TcpListener::bind("0.0.0.0:8084"))
        .unwrap();
    let name = unique("taken");
    let run = [
        "run", "-d", "--name", &name, "-p", "8084:80", "busybox", "sleep", "1000",
    ];
    shared()
        .docker(run)
        .exits(125)
        .err_has("address already in use");
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "created");
    drop(listener);
    shared().docker(["start", &name]).ok();
    shared().remove(&[&name]);
}

#[test]
fn a_held_port_is_the_daemon_s() {
    // Nobody else can take what a container publishes.
    let name = web(&["-p", "8085:80"]);
    let bound = shared()
        .sandbox()
        .with_network(Place::Inside, || TcpListener::bind("0.0.0.0:8085"));
    assert_eq!(
        bound.err().map(|e| e.kind()),
        Some(std::io::ErrorKind::AddrInUse)
    );
    shared().remove(&[&name]);
    shared()
        .sandbox()
        .with_network(Place::Inside, || TcpListener::bind("0.0.0.0:8085"))
        .unwrap();
}

#[test]
fn many_ports_of_one_container() {
    let name = unique("many");
    let serve = format!("mkdir /w; echo {name} >/w/i; exec httpd -f -p 8110 -h /w");
    let run = [
        "run",
        "-d",
        "--name",
        &name,
        "-p",
        "8100-8119:8100-8119",
        "busybox",
        "sh",
        "-c",
        &serve,
    ];
    shared().docker(run).ok();
    serves(Place::Inside, "127.0.0.1:8110", &name);
    let ports = shared().inspect(&name)["NetworkSettings"]["Ports"].clone();
    assert_eq!(ports.as_object().unwrap().len(), 20);
    let format = "{{.Ports}}";
    let filter = format!("name=^/{name}$");
    let output = shared()
        .docker(["ps", "-f", &filter, "--format", format])
        .ok();
    assert!(
        output.stdout.contains("0.0.0.0:8100-8119->8100-8119/tcp"),
        "{output}"
    );
    shared().remove(&[&name]);
}

#[test]
fn nonsense_is_refused() {
    if shared().is_old_dockerd() {
        return; // It takes a host address for a name and publishes nowhere.
    }
    for ports in [
        json!({"80/tcp": [{"HostPort": "70000"}]}),
        json!({"80/tcp": [{"HostIp": "nonsense", "HostPort": "1"}]}),
    ] {
        let body = json!({"Image": "busybox", "HostConfig": {"PortBindings": ports}});
        let name = unique("nonsense");
        let created = shared().api(
            "POST",
            &format!("/containers/create?name={name}"),
            Some(&body),
        );
        if created.status == 201 {
            // dockerd finds some of it only at the start.
            let started = shared().api("POST", &format!("/containers/{name}/start"), None);
            assert!((400..=500).contains(&started.status), "{ports}");
        } else {
            assert!(
                matches!(created.status, 400 | 500),
                "{ports}: {}",
                created.text()
            );
        }
        shared().remove(&[&name]);
    }
}

/// The host addresses that a port of a container is published on, and the port.
fn bindings(name: &str, port: &str) -> Vec<(String, String)> {
    let ports = &shared().inspect(name)["NetworkSettings"]["Ports"][port];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let bindings = ports.as_array().into_iter().flatten();
    bindings
        .map(|binding| (text(&binding["HostIp"]), text(&binding["HostPort"])))
        .collect()
}

#[test]
fn an_address_of_ipv6_leads_to_a_container_without() {
    let name = web(&["-p", "[::1]:18600:80"]);
    assert_eq!(bindings(&name, "80/tcp"), [("::1".into(), "18600".into())]);
    shared()
        .docker(["port", &name])
        .ok()
        .out_is("80/tcp -> [::1]:18600");
    serves(Place::Inside, "[::1]:18600", &name);
    is_closed(Place::Inside, "127.0.0.1:18600");
    let ps = shared().docker([
        "ps",
        "-f",
        &format!("name={name}"),
        "--format",
        "{{.Ports}}",
    ]);
    ps.ok().out_is("[::1]:18600->80/tcp");
    let taken = shared().docker(["run", "--rm", "-p", "[::1]:18600:80", "busybox", "true"]);
    taken.exits(125).err_has("port is already allocated");
    shared().docker(["stop", "-t", "0", &name]).ok();
    is_closed(Place::Inside, "[::1]:18600");
    // It is free again, for itself and for others.
    shared().docker(["start", &name]).ok();
    serves(Place::Inside, "[::1]:18600", &name);
    shared().remove(&[&name]);
}

#[test]
fn without_an_address_both_families_have_the_same_port() {
    let name = web(&["-p", "80", "-p", "18601:80"]);
    let bound = bindings(&name, "80/tcp");
    let ips: Vec<_> = bound.iter().map(|(ip, _)| ip.as_str()).collect();
    assert_eq!(ips, ["0.0.0.0", "::", "0.0.0.0", "::"], "{bound:?}");
    assert_eq!(bound[0].1, bound[1].1, "{bound:?}");
    assert_eq!(
        (bound[2].1.as_str(), bound[3].1.as_str()),
        ("18601", "18601")
    );
    for (_, port) in &bound {
        serves(Place::Inside, &format!("127.0.0.1:{port}"), &name);
        serves(Place::Inside, &format!("[::1]:{port}"), &name);
    }
    shared().remove(&[&name]);
}

#[test]
fn a_container_with_ipv6_is_reached_by_it_at_addresses_of_ipv6() {
    let net = unique("six");
    let create = shared().docker([
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "fd00:186::/64",
        &net,
    ]);
    create.ok();
    let name = unique("web");
    // Only at its address of IPv6: what comes over IPv4 would be refused.
    let script = "mkdir /w; echo six >/w/i; exec httpd -f -p [fd00:186::2]:80 -h /w";
    let run = shared().cli(["run", "-d", "--name", &name, "--network", &net]);
    let run = run.args(["-p", "[::1]:18602:80", "busybox", "sh", "-c", script]);
    run.run().ok();
    let page = eventually("it answers over IPv6", PATIENCE, || {
        shared().fetch(Place::Inside, "[::1]:18602", "/i")
    });
    assert_eq!(page.trim(), "six");
    shared().remove(&[&name]);
    shared().docker(["network", "rm", &net]).ok();
}

#[test]
fn what_cannot_be_published_on_ipv6_is_refused() {
    if !shared().is_old_dockerd() {
        let args = ["--rm", "-p", "[::1]:18604:80/sctp", "busybox", "true"];
        let run = shared().cli(["run"]).args(args).run().exits(125);
        run.err_has("publishing sctp ports on IPv6 addresses needs a container with IPv6: ::1");
    }
    let elsewhere = [
        "run",
        "--rm",
        "-p",
        "[2001:db8::9]:18604:80",
        "busybox",
        "true",
    ];
    shared().docker(elsewhere).exits(125).err_has(
        "failed to bind host port [2001:db8::9]:18604/tcp: cannot assign requested address",
    );
}
