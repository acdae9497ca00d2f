//! Images and containers in other snapshotters than overlayfs: all that works there works here.
#![cfg(test)]

mod gone;
mod proxy;

use serde_json::json;
use testkit::{
    Compression, Containerd, Daemon, Flavour, Image, Leaks, Options, Output, PATIENCE, Registry,
    flavour, run_command,
};

use proxy::Proxy;

/// dockerd 20.10 keeps nothing in containerd.
fn is_dockerd() -> bool {
    let is = flavour() == Flavour::Dockerd;
    if is {
        eprintln!("not tested: dockerd 20.10 has storage drivers of its own");
    }
    is
}

fn driver(name: &str) -> Options {
    Options {
        config: json!({"storage-driver": name}),
        ..Options::default()
    }
}

#[test]
fn all_that_images_and_containers_can_do_works_with_native() {
    if is_dockerd() {
        return;
    }
    let daemon = Daemon::start(driver("native"));
    everything_works(&daemon, "native");
}

#[test]
fn all_of_it_works_with_a_proxy_of_the_daemons_own_containerd() {
    if is_dockerd() {
        return;
    }
    let mut proxy = Proxy::listen();
    let address = format!("address={}", proxy.socket().display());
    let daemon = Daemon::prepare(Options {
        config: json!({"storage-driver": "over-there", "storage-opts": [address]}),
        ..Options::default()
    });
    proxy.serve(&daemon);
    daemon.boot();
    daemon.load_busybox();
    everything_works(&daemon, "over-there");
    assert!(proxy.asked() > 20, "asked {} times", proxy.asked());
    // A daemon that is killed leaves a containerd with the same configuration.
    daemon.kill9();
    daemon.boot();
    assert_eq!(driver_of(&daemon), "over-there");
}

/// A proxy that a given containerd knows as `odd`, and a daemon that makes its snapshots there.
fn with_odd_proxy() -> (Proxy, Daemon) {
    let mut proxy = Proxy::listen();
    let daemon = Daemon::prepare(Options {
        containerd: Containerd::Foreign,
        containerd_config: format!(
            "[proxy_plugins.odd]\n  type = \"snapshot\"\n  address = \"{}\"\n",
            proxy.socket().display()
        ),
        ..driver("odd")
    });
    proxy.serve(&daemon);
    daemon.boot();
    daemon.load_busybox();
    (proxy, daemon)
}

#[test]
fn a_proxy_that_a_given_containerd_knows_can_be_used() {
    if is_dockerd() {
        return;
    }
    let (proxy, daemon) = with_odd_proxy();
    daemon
        .docker(["run", "--rm", "busybox", "echo", "hello"])
        .ok()
        .out_is("hello");
    assert_eq!(driver_of(&daemon), "odd");
    // Where to find it is not for us to say.
    let address = format!("address={}", proxy.socket().display());
    let refused = flags(
        &Daemon::prepare(driver("odd")),
        &["--containerd", "/c.sock", "--storage-opt", &address],
    );
    let why = "the containerd at /c.sock has to know its proxy snapshotters itself";
    assert!(refused.stderr.contains(why), "{refused}");
}

fn driver_of(daemon: &Daemon) -> String {
    let info = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(
        info["DriverStatus"],
        json!([["driver-type", "io.containerd.snapshotter.v1"]])
    );
    info["Driver"].as_str().unwrap_or_default().to_owned()
}

/// One of everything that has to do with files of images and containers.
fn everything_works(daemon: &Daemon, driver: &str) {
    assert_eq!(driver_of(daemon), driver);
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(daemon);
    let script = "mkdir /new && echo x >/new/f && rm /etc/group && echo y:x:7:7::/:/bin/sh >>/etc/passwd && \
                  touch /tmp/t && rm /tmp/t && echo ready && sleep 1000";
    daemon.run_d("box", ["busybox", "sh", "-c", script]);
    daemon.wait_log("box", "ready");
    told(daemon, driver);
    files_move(daemon);
    differs(daemon);
    daemon
        .docker(["exec", "-u", "y", "box", "id", "-u"])
        .ok()
        .out_is("7");
    daemon.docker(["stop", "-t", "0", "box"]).ok();
    differs(daemon);
    files_move(daemon);
    exported(daemon);
    committed(daemon);
    moved_about(daemon);
    filled(daemon);
    cleared_away(daemon);
    before.settle(daemon, PATIENCE);
}

fn told(daemon: &Daemon, driver: &str) {
    assert_eq!(daemon.format("box", "{{.Driver}}"), driver);
    let new = daemon.api("GET", "/v1.52/containers/box/json?size=1", None);
    let new = new.is(200).json();
    assert_eq!(new["Storage"]["RootFS"]["Snapshot"]["Name"], driver);
    assert!(new["SizeRw"].as_i64() > Some(0), "{}", new["SizeRw"]);
    assert!(new["SizeRootFs"].as_i64() > new["SizeRw"].as_i64());
    for what in ["containers/box", "images/busybox"] {
        let old = daemon.api("GET", &format!("/v1.44/{what}/json"), None);
        let shown = json!({"Data": null, "Name": driver});
        assert_eq!(old.is(200).json()["GraphDriver"], shown, "{what}");
    }
}

fn files_move(daemon: &Daemon) {
    let dir = daemon.sandbox().state().join("moved");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("in"), "from the host").unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    daemon.docker(["cp", &path("in"), "box:/tmp/in"]).ok();
    daemon.docker(["cp", "box:/tmp/in", &path("out")]).ok();
    let out = std::fs::read_to_string(dir.join("out")).unwrap();
    assert_eq!(out, "from the host");
    daemon.docker(["cp", "box:/new", &path("new")]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("new/f")).unwrap(), "x\n");
}

fn differs(daemon: &Daemon) {
    let out = daemon.docker(["diff", "box"]).ok();
    let mounted = ["hosts", "hostname", "resolv.conf", "mtab"];
    let ours = |line: &&str| {
        let places = ["/etc", "/new", "/tmp", "/bin"];
        places.iter().any(|place| line[2..].starts_with(place))
            && !mounted.iter().any(|file| line.ends_with(file))
    };
    let lines: Vec<_> = out.out().lines().filter(ours).collect();
    let expected = [
        "C /etc",
        "D /etc/group",
        "C /etc/passwd",
        "A /new",
        "A /new/f",
        "C /tmp",
        "A /tmp/in",
    ];
    let without_tmp: Vec<_> = expected.iter().filter(|l| **l != "C /tmp").collect();
    let lines: Vec<_> = lines.iter().filter(|l| !l.ends_with(" /tmp")).collect();
    assert_eq!(lines, without_tmp, "{out}");
}

fn exported(daemon: &Daemon) {
    let answer = daemon.api("GET", "/containers/box/export", None).is(200);
    let mut archive = tar::Archive::new(&answer.body[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
        .collect();
    let has = |name: &str| names.iter().any(|n| n == name);
    assert!(has("new/f") && has("etc/passwd") && has("bin/busybox"));
    assert!(!has("etc/group"));
}

fn committed(daemon: &Daemon) {
    daemon
        .docker(["commit", "-c", "ENV a=b", "box", "done"])
        .ok();
    let script = "cat /new/f; echo $a; ls /etc/group; id -u y";
    let run = ["run", "--rm", "done", "sh", "-c", script];
    daemon.docker(run).ok().out_is("x\nb\n7");
    // No more than what was changed.
    let layers = "{{len .RootFS.Layers}}";
    let of = |name: &str| daemon.docker(["image", "inspect", "-f", layers, name]).ok();
    assert_eq!((of("busybox").out(), of("done").out()), ("1", "2"));
    let history = ["history", "--format", "{{.Size}}", "--human=false", "done"];
    let history = daemon.docker(history).ok();
    let size: i64 = history.out().lines().next().unwrap().parse().unwrap();
    assert!(size > 0, "{history}");
}

/// Out of the store and back again, by archive and by registry.
fn moved_about(daemon: &Daemon) {
    let archive = daemon.sandbox().state().join("done.tar");
    let archive = archive.to_str().unwrap();
    daemon.docker(["save", "-o", archive, "done"]).ok();
    daemon.docker(["rmi", "done"]).ok();
    daemon.docker(["load", "-i", archive]).ok();
    let run = ["run", "--rm", "done", "cat", "/new/f"];
    daemon.docker(run).ok().out_is("x");
    let registry = Registry::start(daemon, 5000);
    let image = Image::busybox("r").layer(&[("etc/name", 0o644, "pulled")]);
    registry.push(&image, "r", "1", Compression::Gzip);
    let name = format!("{}/r:1", registry.host());
    daemon.docker(["pull", &name]).ok();
    let run = ["run", "--rm", "--pull", "never", &name, "cat", "/etc/name"];
    daemon.docker(run).ok().out_is("pulled");
}

/// A volume's first contents are the image's.
fn filled(daemon: &Daemon) {
    let run = [
        "run",
        "--rm",
        "-v",
        "vol:/etc",
        "busybox",
        "ls",
        "/etc/passwd",
    ];
    daemon.docker(run).ok().out_is("/etc/passwd");
    let run = ["run", "--rm", "-v", "vol:/v", "busybox", "ls", "/v/passwd"];
    daemon.docker(run).ok().out_is("/v/passwd");
}

fn cleared_away(daemon: &Daemon) {
    let df = daemon.api("GET", "/v1.51/system/df", None).is(200).json();
    assert_eq!(df["Containers"].as_array().map(Vec::len), Some(1), "{df}");
    assert!(df["Containers"][0]["SizeRw"].as_i64() > Some(0), "{df}");
    assert!(df["LayersSize"].as_i64() > Some(0), "{df}");
    daemon.docker(["rm", "box"]).ok();
    daemon.docker(["image", "prune", "-af"]).ok();
    daemon.docker(["images", "-q"]).ok().out_is("");
    daemon.docker(["volume", "prune", "-af"]).ok();
}

fn flags(daemon: &Daemon, flags: &[&str]) -> Output {
    let mut command = daemon.command();
    command.args(flags);
    run_command(command)
}

#[test]
fn a_driver_that_cannot_be_had_is_told_in_one_line() {
    if is_dockerd() {
        return;
    }
    let daemon = Daemon::prepare(Options::default());
    let refused = |driver: &[&str], why: &str| {
        let output = flags(&daemon, driver).exits(1);
        let last = output.stderr.lines().last().unwrap_or_default();
        let begin =
            "failed to start daemon: error initializing snapshotter: driver not supported: ";
        assert!(last.contains(&format!("{begin}{why}")), "{output}");
        assert!(last.contains("containerd has native, o"), "{output}");
    };
    refused(
        &["--storage-driver", "nosuch"],
        "nosuch: containerd has native, overlayfs",
    );
    let why = "btrfs: path ";
    refused(&["-s", "btrfs"], why);
    let nobody = "address=/nowhere/at-all.sock";
    let why = "odd: ";
    refused(&["-s", "odd", "--storage-opt", nobody], why);
    // Nothing of it stays: the next start is as ever.
    daemon.boot();
    assert_eq!(driver_of(&daemon), "overlayfs");
}

#[test]
fn without_overlays_native_is_taken() {
    if is_dockerd() {
        return;
    }
    let daemon = Daemon::prepare(Options::default());
    // No overlay takes one as the file system that it writes to.
    let data = daemon.data_root();
    let beside = daemon.sandbox().state().join("beside");
    let script = format!(
        "mkdir -p {data} {beside}/l {beside}/u {beside}/w && mount -t overlay \
         -o lowerdir={beside}/l,upperdir={beside}/u,workdir={beside}/w overlay {data}",
        data = data.display(),
        beside = beside.display()
    );
    let mut shell = daemon.sandbox().command("sh");
    shell.args(["-c", &script]);
    run_command(shell).ok();
    let refused = flags(&daemon, &["-s", "overlayfs"]).exits(1);
    let why = "driver not supported: overlayfs: no overlay can be used in ";
    assert!(refused.stderr.contains(why), "{refused}");
    daemon.boot();
    assert_eq!(driver_of(&daemon), "native");
    let log = daemon.log();
    assert!(
        log.contains("falling back to the snapshotter native"),
        "{log}"
    );
    daemon.load_busybox();
    daemon
        .docker(["run", "--rm", "busybox", "echo", "works"])
        .ok()
        .out_is("works");
}

#[test]
fn containers_keep_their_snapshotter_and_images_follow_the_daemons() {
    if is_dockerd() {
        return;
    }
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let make = |name: &str| {
        let script = format!("echo {name} >>/runs; cat /runs");
        let run = ["run", "--name", name, "busybox", "sh", "-c", &script];
        daemon.docker(run).ok().out_is(name);
    };
    let becomes = |driver: &str| {
        daemon.stop();
        let config = json!({"storage-driver": driver}).to_string();
        std::fs::write(daemon.config_file(), config).unwrap();
        daemon.boot();
        assert_eq!(driver_of(&daemon), driver);
    };
    make("old");
    becomes("native");
    make("new");
    assert_eq!(daemon.format("old", "{{.Driver}}"), "overlayfs");
    assert_eq!(daemon.format("new", "{{.Driver}}"), "native");
    for (name, runs) in [("old", "old\nold"), ("new", "new\nnew")] {
        let start = daemon.docker(["start", "-a", name]).ok();
        assert!(start.stdout.ends_with(&format!("{runs}\n")), "{start}");
        let diff = daemon.docker(["diff", name]).ok();
        assert_eq!(diff.out().lines().last(), Some("A /runs"), "{diff}");
        daemon.docker(["commit", name, &format!("of-{name}")]).ok();
        let image = format!("of-{name}");
        let run = ["run", "--rm", &image, "cat", "/runs"];
        daemon.docker(run).ok().out_is(runs);
    }
    becomes("overlayfs");
    for (name, runs) in [("old", "old\nold"), ("new", "new\nnew")] {
        let image = format!("of-{name}");
        let run = ["run", "--rm", &image, "cat", "/runs"];
        daemon.docker(run).ok().out_is(runs);
        daemon.docker(["start", "-a", name]).ok();
        daemon.docker(["rm", name]).ok();
    }
    before.settle(&daemon, PATIENCE);
}
