//! Flags, `daemon.json`, sockets, and how a daemon that cannot start says so.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};

use serde_json::json;
use testkit::{
    Cli, Containerd, Daemon, Options, Output, PATIENCE, Place, Request, eventually, run_command,
};

fn without_image() -> Options {
    Options {
        without_image: true,
        ..Options::default()
    }
}

/// Runs the daemon's binary to an end that must come by itself.
fn bare(daemon: &Daemon, args: &[&str]) -> Output {
    let mut command = daemon.bare_command();
    command.args(args);
    run_command(command)
}

#[test]
fn the_version_and_the_help() {
    let daemon = Daemon::prepare(without_image());
    for flag in ["-v", "--version"] {
        let output = bare(&daemon, &[flag]).ok();
        assert!(output.stdout.to_lowercase().contains("version"), "{output}");
    }
    let help = bare(&daemon, &["--help"]).ok();
    for flag in [
        "--host",
        "--config-file",
        "--data-root",
        "--exec-root",
        "--pidfile",
        "--containerd",
        "--debug",
        "--log-level",
        "--group",
        "--bridge",
        "--bip",
        "--fixed-cidr",
        "--mtu",
        "--dns",
        "--ip",
        "--storage-driver",
        "--default-runtime",
        "--add-runtime",
        "--live-restore",
        "--shutdown-timeout",
        "--userland-proxy",
    ] {
        assert!(help.stdout.contains(flag), "no {flag} in {help}");
    }
    assert!(!help.stdout.contains("metrics-address 127"), "{help}");
}

#[test]
fn flags_that_nobody_knows() {
    let daemon = Daemon::prepare(without_image());
    let output = bare(&daemon, &["--nosuch"]);
    assert!(
        output.code != 0 && output.stderr.contains("--nosuch"),
        "{output}"
    );
    let output = bare(&daemon, &["--log-level", "loud"]);
    assert!(
        output.code != 0 && output.stderr.contains("loud"),
        "{output}"
    );
    let output = bare(&daemon, &["word"]);
    assert_ne!(output.code, 0, "{output}");
}

#[test]
fn validate_only_looks() {
    if testkit::flavour() == testkit::Flavour::Dockerd {
        return; // Since 23.
    }
    let daemon = Daemon::prepare(without_image());
    let file = daemon.config_file();
    let validate = || {
        bare(
            &daemon,
            &["--validate", "--config-file", file.to_str().unwrap()],
        )
    };
    let output = validate().ok();
    assert!(
        format!("{}{}", output.stdout, output.stderr).contains("configuration OK"),
        "{output}"
    );
    assert!(!daemon.socket().exists() && !daemon.data_root().exists());
    std::fs::write(&file, "{\"nosuch-option\": 1}").unwrap();
    let output = validate();
    assert!(
        output.code != 0 && output.stderr.contains("nosuch-option"),
        "{output}"
    );
    std::fs::write(&file, "{\"debug\": ").unwrap();
    assert_ne!(validate().code, 0);
}

#[test]
fn the_file_s_errors_name_the_file_and_the_option() {
    let daemon = Daemon::prepare(without_image());
    let file = daemon.config_file();
    let with = |text: &str| std::fs::write(&file, text).unwrap();
    with("{\"debug\": tru");
    daemon.refuses(&[], "daemon.json");
    with("{\"nosuch-option\": 1}");
    daemon.refuses(&[], "nosuch-option");
    with("{\"mtu\": \"wide\"}");
    daemon.refuses(&[], "daemon.json");
    // A flag and the file must not say the same thing.
    with("{\"data-root\": \"/var/tmp/nosuch\"}");
    daemon.refuses(&[],
        "the following directives are specified both as a flag and in the configuration file: data-root:",
    );
    with("{}");
    let missing = daemon.sandbox().state().join("nosuch.json");
    let mut command = daemon.bare_command();
    command
        .arg("--config-file")
        .arg(&missing)
        .arg("--data-root")
        .arg(daemon.data_root());
    let output = run_command(command);
    assert!(
        output.code != 0 && output.stderr.contains("nosuch.json"),
        "{output}"
    );
}

#[test]
fn the_file_s_options_work() {
    let options = Options {
        config: json!({
            "mtu": 1400, "bip": "10.99.0.1/24", "dns": ["192.0.2.53"], "debug": true,
            "log-opts": {"max-size": "5k"}, "default-shm-size": "8M",
        }),
        ..Options::default()
    };
    let daemon = Daemon::start(options);
    let script = "cat /sys/class/net/eth0/mtu; ip -o -4 addr show eth0 | awk '{print $4}'; grep nameserver /etc/resolv.conf; df -k /dev/shm | awk 'END {print $2}'";
    let output = daemon
        .docker(["run", "--name", "one", "busybox", "sh", "-c", script])
        .ok();
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!(lines[0], "1400");
    assert!(
        lines[1].starts_with("10.99.0.") && lines[1].ends_with("/24"),
        "{output}"
    );
    assert_eq!(lines[2..], ["nameserver 192.0.2.53", "8192"]);
    assert_eq!(
        daemon.format("one", "{{index .HostConfig.LogConfig.Config \"max-size\"}}"),
        "5k"
    );
    assert_eq!(
        daemon.api("GET", "/info", None).is(200).json()["Debug"],
        true
    );
}

#[test]
fn the_bridge_s_flags_work() {
    let args = [
        "--bip",
        "10.98.0.1/16",
        "--fixed-cidr",
        "10.98.7.0/24",
        "--mtu",
        "1300",
        "--dns",
        "192.0.2.53",
        "--ip",
        "127.0.0.1",
    ];
    let daemon = Daemon::start(Options::default().args(args));
    daemon.run_d("one", ["-p", "8080:80", "busybox", "sleep", "1000"]);
    let address = daemon.format("one", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert!(address.starts_with("10.98.7."), "{address}");
    daemon
        .docker(["port", "one"])
        .ok()
        .out_is("80/tcp -> 127.0.0.1:8080");
    let gateway = daemon.format("one", "{{.NetworkSettings.Networks.bridge.Gateway}}");
    assert_eq!(gateway, "10.98.0.1");
}

#[test]
fn a_bridge_of_one_s_own_and_none() {
    let options = without_image().args(["--bridge", "br-own"]);
    let daemon = Daemon::prepare(options);
    let ip = |args: &[&str]| {
        let mut ip = daemon.sandbox().network_command(Place::Inside, "ip");
        ip.args(args);
        run_command(ip).ok();
    };
    ip(&["link", "add", "br-own", "type", "bridge"]);
    ip(&["addr", "add", "10.97.0.1/24", "dev", "br-own"]);
    ip(&["link", "set", "br-own", "up"]);
    daemon.boot();
    daemon.load_busybox();
    let script = "ip -o -4 addr show eth0 | awk '{print $4}'; ping -c 1 -W 5 10.97.0.1 >/dev/null";
    let output = daemon
        .docker(["run", "--rm", "busybox", "sh", "-c", script])
        .ok();
    assert!(output.out().starts_with("10.97.0."), "{output}");
    let none = Daemon::start(Options::default().args(["--bridge", "none"]));
    none.docker([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo $(ls /sys/class/net)",
    ])
    .ok()
    .out_is("lo");
    assert!(
        !std::path::Path::new(&format!(
            "/proc/{}/root/sys/class/net/docker0",
            none.sandbox().init()
        ))
        .exists()
    );
}

#[test]
fn the_socket_s_owner_and_mode() {
    let daemon = Daemon::start(without_image());
    let meta = std::fs::metadata(daemon.socket()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!((meta.uid(), meta.gid()), (0, docker_group()));
    let pid = std::fs::read_to_string(daemon.pidfile()).unwrap();
    assert!(pid.trim().parse::<u32>().is_ok(), "{pid}");
    if !daemon.is_old_dockerd() {
        for dir in [daemon.data_root(), daemon.exec_root()] {
            let mode = std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
            assert!(mode & 0o066 == 0, "{}: {mode:o}", dir.display());
        }
    }
    // Stopped, it takes its files away.
    daemon.stop();
    assert!(!daemon.pidfile().exists());
}

/// The number of the group `docker`, or root's where there is none.
fn docker_group() -> u32 {
    let text = std::fs::read_to_string("/etc/group").expect("readable");
    let line = text.lines().find(|line| line.starts_with("docker:"));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn another_group_for_the_socket() {
    let daemon = Daemon::start(without_image().args(["--group", "www-data"]));
    assert_eq!(std::fs::metadata(daemon.socket()).unwrap().gid(), 33);
    let other = Daemon::start(without_image().args(["-G", "4242"]));
    assert_eq!(std::fs::metadata(other.socket()).unwrap().gid(), 4242);
}

#[test]
fn several_hosts() {
    let options = without_image().args(["-H", "tcp://127.0.0.1:2375"]);
    let daemon = Daemon::start(options);
    let stream = daemon
        .sandbox()
        .connect(Place::Inside, "127.0.0.1:2375".parse().unwrap())
        .unwrap();
    let answer = Request::over(stream, "GET", "/_ping")
        .header("Connection", "close")
        .send();
    assert_eq!(answer.is(200).text(), "OK");
    daemon.api("GET", "/_ping", None).is(200);
    let info = daemon.api("GET", "/info", None).is(200).json();
    let warnings = info["Warnings"].to_string();
    let told = "API is accessible on http://127.0.0.1:2375 without encryption";
    assert!(warnings.contains(told), "{warnings}");
    refuses_elsewhere(&["-H", "nonsense://x"], "nonsense");
}

/// A daemon of its own that must not start with `args`.
#[track_caller]
fn refuses_elsewhere(args: &[&str], text: &str) {
    let daemon = Daemon::prepare(without_image());
    daemon.refuses(args, text);
}

#[test]
fn a_port_that_is_taken() {
    let daemon = Daemon::prepare(without_image());
    let taken = daemon
        .sandbox()
        .with_network(Place::Inside, || {
            std::net::TcpListener::bind("127.0.0.1:2375")
        })
        .unwrap();
    daemon.refuses(&["-H", "tcp://127.0.0.1:2375"], "address already in use");
    drop(taken);
}

#[test]
fn a_socket_left_by_a_dead_daemon_and_one_that_answers() {
    let daemon = Daemon::prepare(without_image());
    // Nobody listens: it is taken over.
    drop(UnixListener::bind(daemon.socket()).unwrap());
    assert!(daemon.socket().exists());
    daemon.boot();
    // The first one lives and holds the pidfile; a second one must not start, nor harm it.
    daemon.refuses(&[], "pid");
    daemon.api("GET", "/_ping", None).is(200);
    if !daemon.is_old_dockerd() {
        let pidfile = daemon.sandbox().run_dir().join("other.pid");
        let mut command = daemon.command();
        command.arg("--pidfile").arg(&pidfile);
        let output = run_command(command);
        assert_ne!(output.code, 0, "{output}");
        daemon.api("GET", "/_ping", None).is(200);
    }
}

#[test]
fn a_pidfile_of_a_dead_process() {
    let daemon = Daemon::prepare(without_image());
    std::fs::write(daemon.pidfile(), "999999").unwrap();
    daemon.boot();
    let pid = std::fs::read_to_string(daemon.pidfile()).unwrap();
    assert_ne!(pid.trim(), "999999");
    // After kill -9 its own is stale as well.
    daemon.kill9();
    daemon.boot();
}

#[test]
fn not_root() {
    let daemon = Daemon::prepare(without_image());
    let mut command = daemon.sandbox().command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let bare = daemon.command();
    // Everything after nsenter's own `--` is the daemon's.
    let args: Vec<_> = bare
        .get_args()
        .skip_while(|arg| *arg != "--")
        .skip(1)
        .map(|a| a.to_owned())
        .collect();
    let output = Cli::new(command).args(args).run();
    assert_ne!(output.code, 0, "{output}");
    let text = output.stderr.to_lowercase();
    assert!(
        text.contains("root") || text.contains("permission denied"),
        "{output}"
    );
}

#[test]
fn no_containerd_at_the_given_address() {
    let daemon = Daemon::prepare(without_image());
    let missing = daemon.sandbox().run_dir().join("nosuch.sock");
    if daemon.is_old_dockerd() {
        return; // It tries for a minute.
    }
    daemon.refuses(&["--containerd", missing.to_str().unwrap()], "nosuch.sock");
}

#[test]
fn a_given_containerd_is_used() {
    let daemon = Daemon::start(Options {
        containerd: Containerd::Foreign,
        ..Options::default()
    });
    daemon
        .docker(["run", "--rm", "busybox", "echo", "hi"])
        .ok()
        .out_is("hi");
    let mut ctr = daemon.sandbox().command("ctr");
    ctr.arg("--address")
        .arg(daemon.containerd_socket())
        .args(["namespaces", "ls", "-q"]);
    run_command(ctr).ok().out_has("moby");
}

#[test]
fn systemd_is_told() {
    let daemon = Daemon::prepare(without_image());
    let path = daemon.sandbox().run_dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = daemon.command();
    command.env("NOTIFY_SOCKET", &path);
    let mut run = Cli::new(command).spawn();
    let mut bytes = [0; 4096];
    let mut told = String::new();
    while !told.contains("READY=1") {
        let count = socket.recv(&mut bytes).expect("READY=1");
        told.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    daemon.api("GET", "/_ping", None).is(200);
    assert!(run.running());
}

#[test]
fn sockets_from_systemd() {
    let daemon = Daemon::prepare(without_image());
    let path = daemon.sandbox().run_dir().join("activated.sock");
    let command = daemon.command();
    let args: Vec<_> = command
        .get_args()
        .skip_while(|arg| *arg != "--")
        .skip(1)
        .map(|a| a.to_owned())
        .collect();
    // systemd-socket-activate is not everywhere; perl-base is. The listener is descriptor 3.
    let script = "use Socket; $^F = 9; socket(my $s, AF_UNIX, SOCK_STREAM, 0); unlink $ARGV[0]; \
        bind($s, pack_sockaddr_un(shift @ARGV)) or die; listen($s, 9); \
        require POSIX; POSIX::dup2(fileno($s), 3); $ENV{LISTEN_FDS} = 1; $ENV{LISTEN_PID} = $$; exec @ARGV";
    let mut perl = daemon.sandbox().command("perl");
    perl.args(["-e", script])
        .arg(&path)
        .args(&args)
        .args(["-H", "fd://"]);
    let run = Cli::new(perl).spawn();
    eventually("the passed socket answers", PATIENCE, || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.ends_with("OK").then_some(())
    });
    drop(run);
}

#[test]
fn other_runtimes() {
    let mut which = std::process::Command::new("which");
    which.arg("runc");
    let runc = run_command(which).ok();
    let options = Options {
        config: json!({"runtimes": {"other": {"path": runc.out()}}, "default-runtime": "other"}),
        ..Options::default()
    };
    let daemon = Daemon::start(options);
    let info = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(info["DefaultRuntime"], "other");
    assert!(info["Runtimes"]["other"].is_object() && info["Runtimes"]["runc"].is_object());
    daemon
        .docker(["run", "--name", "one", "busybox", "echo", "hi"])
        .ok()
        .out_is("hi");
    assert_eq!(daemon.format("one", "{{.HostConfig.Runtime}}"), "other");
    daemon
        .docker(["run", "--rm", "--runtime", "runc", "busybox", "true"])
        .ok();
    let unknown = ["run", "--rm", "--runtime", "nosuch", "busybox", "true"];
    daemon.docker(unknown).exits(125).err_has("nosuch");
    refuses_elsewhere(&["--default-runtime", "nosuch"], "nosuch");
}
