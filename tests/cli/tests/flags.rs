//! Each option does what it says, given as a flag or in the file.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Daemon, Flavour, Options, PATIENCE, Place, eventually, run_command};

const OPTIONS: [&str; 24] = [
    "--dns=192.0.2.53",
    "--dns-opt=ndots:3",
    "--dns-search=example.org",
    "--mtu=1400",
    "--bip=10.96.0.1/24",
    "--fixed-cidr=10.96.0.128/25",
    "--ip=127.0.0.1",
    "--ip-forward=false",
    "--storage-driver=overlay2",
    "--containerd-namespace=other",
    "--log-level=debug",
    "--log-format=json",
    "--group=4242",
    "--default-runtime=other",
    "--userland-proxy=false",
    "--shutdown-timeout=1",
    "--default-ulimit=nofile=123:456",
    "--no-new-privileges",
    "--host-gateway-ip=192.0.2.77",
    "--init",
    "--default-ipc-mode=shareable",
    "--seccomp-profile=unconfined",
    "--default-stop-timeout=1",
    "--label=a=b",
];

fn file() -> Value {
    json!({
        "dns": ["192.0.2.53"], "dns-opts": ["ndots:3"], "dns-search": ["example.org"], "mtu": 1400,
        "bip": "10.96.0.1/24", "fixed-cidr": "10.96.0.128/25", "ip": "127.0.0.1", "ip-forward": false,
        "storage-driver": "overlay2", "containerd-namespace": "other", "log-level": "debug",
        "log-format": "json", "group": "4242", "default-runtime": "other", "userland-proxy": false,
        "runtimes": {"other": {"path": "/usr/sbin/runc"}}, "shutdown-timeout": 1,
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 123, "Hard": 456}},
        "no-new-privileges": true, "host-gateway-ips": ["192.0.2.77"], "init": true,
        "default-ipc-mode": "shareable", "seccomp-profile": "unconfined", "default-stop-timeout": 1,
        "labels": ["a=b"],
    })
}

#[test]
fn flags_do_what_they_say() {
    let options = Options::default().args(OPTIONS);
    all_are_seen(options.args(["--add-runtime", "other=/usr/sbin/runc"]));
}

#[test]
fn so_do_their_twins_in_the_file() {
    all_are_seen(Options {
        config: file(),
        ..Options::default()
    });
}

#[test]
fn keys_inside_of_the_files_options_are_taken_in_any_case() {
    let daemon = Daemon::start(Options {
        config: json!({
            "default-ulimits": {"nofile": {"name": "nofile", "HARD": 456, "soft": 123, "odd": 1}},
            "runtimes": {"other": {"PATH": "/usr/sbin/runc", "odd": {"odder": []}}},
            "default-address-pools": [{"Base": "10.97.0.0/16", "SIZE": 24, "odd": null}],
            "log-opts": {"tag": null},
        }),
        ..Options::default()
    });
    let script = "ulimit -Sn; ulimit -Hn";
    let run = [
        "run",
        "--rm",
        "--runtime",
        "other",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    daemon.docker(run).ok().out_is("123\n456");
    daemon.docker(["network", "create", "n"]).ok();
    let subnet = "{{(index .IPAM.Config 0).Subnet}}";
    let subnet = daemon
        .docker(["network", "inspect", "-f", subnet, "n"])
        .ok();
    assert!(subnet.out().starts_with("10.97."), "{subnet}");
    if testkit::flavour() == Flavour::Dockerd {
        return; // It says nothing.
    }
    let log = daemon.log();
    let keys = "default-address-pools[0].odd, default-ulimits.nofile.odd, runtimes.other.odd";
    let warned = |line: &&str| line.contains("mean nothing") && line.contains(keys);
    assert_eq!(log.lines().filter(warned).count(), 1, "{log}");
}

#[track_caller]
fn all_are_seen(options: Options) {
    if testkit::flavour() == Flavour::Dockerd {
        return; // 20.10 does not know them all.
    }
    let daemon = Daemon::prepare(options);
    let forwarding = |command: &str| {
        let mut shell = daemon.sandbox().network_command(Place::Inside, "sh");
        shell.args(["-c", command]);
        run_command(shell).ok().out().to_owned()
    };
    forwarding("echo 0 >/proc/sys/net/ipv4/ip_forward");
    daemon.boot();
    daemon.load_busybox();
    assert_eq!(forwarding("cat /proc/sys/net/ipv4/ip_forward"), "0");
    the_daemon_tells(&daemon);
    a_container_has_them(&daemon);
    a_stop_is_sooner(&daemon);
}

fn the_daemon_tells(daemon: &Daemon) {
    use std::os::unix::fs::MetadataExt;
    let info = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(info["Containerd"]["Namespaces"]["Containers"], "other");
    assert_eq!(info["DefaultRuntime"], "other");
    assert_eq!(info["Driver"], "overlayfs");
    assert_eq!(info["Labels"], json!(["a=b"]));
    let options = info["SecurityOptions"].to_string();
    for option in ["name=no-new-privileges", "name=seccomp,profile=unconfined"] {
        assert!(options.contains(option), "{options}");
    }
    assert_eq!(
        std::fs::metadata(daemon.socket()).expect("there").gid(),
        4242
    );
    // A line of each kind: JSON, and at level debug.
    eventually("a line at level debug", PATIENCE, || {
        let log = daemon.log();
        let lines = log.lines().filter(|line| line.starts_with('{'));
        let mut levels = lines.map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["level"].as_str().map(str::to_owned)
        });
        levels
            .any(|level| level.as_deref() == Some("debug"))
            .then_some(())
    });
}

fn a_container_has_them(daemon: &Daemon) {
    let script = "cat /etc/resolv.conf; echo files=$(ulimit -Sn):$(ulimit -Hn); grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; \
        ip -o -4 addr show eth0; ip link show eth0; grep gateway /etc/hosts; cat /proc/1/cmdline | tr '\\0' ' '";
    let words = [
        "--add-host",
        "gateway:host-gateway",
        "-p",
        "8080:80",
        "busybox",
    ];
    let run = [&["run", "--name", "one"], &words[..], &["sh", "-c", script]].concat();
    let output = daemon.docker(run).ok();
    for part in [
        "nameserver 192.0.2.53\n",
        "search example.org\n",
        "options ndots:3\n",
        "files=123:456\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t0\n",
        " inet 10.96.0.1",
        " mtu 1400 ",
        "192.0.2.77\tgateway\n",
        "/sbin/docker-init -- sh",
    ] {
        assert!(output.stdout.contains(part), "no {part:?} in {output}");
    }
    assert_eq!(
        daemon.format("one", "{{.HostConfig.IpcMode}} {{.HostConfig.Runtime}}"),
        "shareable other"
    );
    daemon.docker(["start", "one"]).ok();
    daemon.run_d(
        "two",
        ["-p", "8081:80", "busybox", "httpd", "-f", "-h", "/"],
    );
    let port = daemon.docker(["port", "two"]).ok();
    port.out_is("80/tcp -> 127.0.0.1:8081");
}

/// Ten seconds are the default: that long a stop takes at least without the option.
fn a_stop_is_sooner(daemon: &Daemon) {
    let deaf = "trap '' TERM; while :; do usleep 20000; done";
    daemon.run_d("deaf", ["busybox", "sh", "-c", deaf]);
    let begin = Instant::now();
    daemon.docker(["stop", "deaf"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(daemon.format("deaf", "{{.State.ExitCode}}"), "137");
    daemon.docker(["rm", "-f", "one", "two", "deaf"]).ok();
}
