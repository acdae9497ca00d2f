//! Published ports of a container that joins and leaves networks while it runs: they are with the
//! network that leads out.

use testkit::{Daemon, Leaks, Options, PATIENCE, Place, Sandbox, eventually, shared, unique};

/// A web server in network `net` with `options`; its page is `up`.
fn web(daemon: &Daemon, name: &str, net: &str, options: &[&str]) {
    let run = daemon.cli(["run", "-d", "--name", name, "--network", net]);
    let script = "echo up >/i; exec httpd -f -p 80 -h /";
    let run = run.args(options).args(["busybox", "sh", "-c", script]);
    run.run().ok();
}

fn networks(daemon: &Daemon, names: &[&str]) {
    for name in names {
        daemon.docker(["network", "create", name]).ok();
    }
}

fn answers(daemon: &Daemon, place: Place, target: &str) {
    let page = eventually(&format!("{target} answers to {place:?}"), PATIENCE, || {
        daemon.fetch(place, target, "/i")
    });
    assert_eq!(page.trim(), "up");
}

/// `docker port`: all that is published.
fn published(daemon: &Daemon, name: &str) -> String {
    daemon.docker(["port", name]).ok().stdout
}

fn everywhere(daemon: &Daemon, port: u16) {
    answers(
        daemon,
        Place::Outside,
        &format!("{}:{port}", Sandbox::INSIDE),
    );
    answers(daemon, Place::Inside, &format!("127.0.0.1:{port}"));
    answers(daemon, Place::Inside, &format!("[::1]:{port}"));
}

#[test]
fn ports_follow_the_network_that_leads_out() {
    let daemon = shared();
    let (a, b, inner, name) = (unique("a"), unique("b"), unique("inner"), unique("web"));
    networks(daemon, &[&a, &b]);
    daemon
        .docker(["network", "create", "--internal", &inner])
        .ok();
    web(daemon, &name, &a, &["-p", "18700:80", "-p", "80"]);
    everywhere(daemon, 18700);
    let before = published(daemon, &name);
    assert_eq!(before.lines().count(), 4, "{before}");
    let change = |args: &[&str]| {
        daemon.cli(["network"]).args(args).run().ok();
    };
    // One that does not lead out changes nothing.
    change(&["connect", &inner, &name]);
    change(&["connect", &b, &name]);
    assert_eq!(published(daemon, &name), before);
    // The other one has them now, those that were chosen included.
    change(&["disconnect", &a, &name]);
    assert_eq!(published(daemon, &name), before);
    everywhere(daemon, 18700);
    // One of a higher rank takes them over, and has them alone.
    change(&["connect", "--gw-priority", "1", &a, &name]);
    everywhere(daemon, 18700);
    change(&["disconnect", &b, &name]);
    assert_eq!(published(daemon, &name), before);
    everywhere(daemon, 18700);
    // Without a way out there are none.
    change(&["disconnect", &a, &name]);
    assert_eq!(published(daemon, &name), "");
    let closed = daemon.fetch(Place::Inside, "127.0.0.1:18700", "/i");
    assert_eq!(closed, None);
    // Then another one may have the port: joining again fails as a whole.
    let thief = unique("thief");
    daemon.run_d(&thief, ["-p", "18700:80", "busybox", "sleep", "1000"]);
    let connect = daemon.docker(["network", "connect", &a, &name]).exits(1);
    let connect = connect.err_has("Bind for 0.0.0.0:18700 failed: port is already allocated");
    let joined = &daemon.inspect(&name)["NetworkSettings"]["Networks"];
    assert!(joined.get(a.as_str()).is_none(), "{connect} {joined}");
    daemon.remove(&[&thief]);
    change(&["connect", &a, &name]);
    everywhere(daemon, 18700);
    daemon.remove(&[&name]);
    for network in [&a, &b, &inner] {
        daemon.docker(["network", "rm", network]).ok();
    }
}

#[test]
fn a_port_that_cannot_move_stays_where_it_is() {
    let daemon = shared();
    let (a, name) = (unique("a"), unique("web"));
    // Ports of this network are on an address that the host does not have.
    let elsewhere = "com.docker.network.bridge.host_binding_ipv4=198.51.100.9";
    daemon
        .docker(["network", "create", "-o", elsewhere, &a])
        .ok();
    web(daemon, &name, "bridge", &["-p", "18701:80"]);
    everywhere(daemon, 18701);
    let connect = ["network", "connect", "--gw-priority", "1", &a, &name];
    daemon
        .docker(connect)
        .exits(1)
        .err_has("cannot assign requested address");
    everywhere(daemon, 18701);
    daemon.remove(&[&name]);
    daemon.docker(["network", "rm", &a]).ok();
}

#[test]
fn ports_that_have_moved_are_found_again_by_the_next_daemon() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    networks(&daemon, &["a", "b"]);
    web(&daemon, "web", "a", &["-p", "18702:80"]);
    daemon.docker(["network", "connect", "b", "web"]).ok();
    daemon.docker(["network", "disconnect", "a", "web"]).ok();
    everywhere(&daemon, 18702);
    daemon.kill9();
    daemon.boot();
    everywhere(&daemon, 18702);
    daemon
        .docker(["network", "connect", "--gw-priority", "1", "a", "web"])
        .ok();
    everywhere(&daemon, 18702);
    daemon.remove(&["web"]);
    assert_eq!(daemon.fetch(Place::Inside, "[::1]:18702", "/i"), None);
    daemon.docker(["network", "rm", "a", "b"]).ok();
    before.settle(&daemon, PATIENCE);
}
