use serde_json::json;

use super::*;

fn command_line(line: &[&str]) -> Result<Command, String> {
    parse(line.iter().map(OsString::from)).map_err(|error| error.to_string())
}

fn sources(line: &[&str]) -> Sources {
    match command_line(line) {
        Ok(Command::Run(run)) => run.sources,
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_are_dockerds() {
    let sources = sources(&[
        "berthd",
        "-D",
        "-Hunix:///a",
        "-H",
        "tcp://:1",
        "--host=fd://",
        "--icc=false",
        "--debug=true",
        "-l=debug",
        "-G",
        "wheel",
        "--shutdown-timeout",
        "-1",
        "--userland-proxy=0",
        "-p",
        "/p",
        "-b",
        "none",
        "--log-opt",
        "max-size=1m",
        "--containerd",
        "/c.sock",
        "--config-file",
        "/f",
        "--label",
        "a=b",
    ]);
    assert_eq!(
        Value::Object(sources.flags),
        json!({
            "debug": true, "hosts": ["unix:///a", "tcp://:1", "fd://"], "icc": false, "log-level": "debug",
            "group": "wheel", "shutdown-timeout": -1, "userland-proxy": false, "pidfile": "/p", "bridge": "none",
            "log-opts": {"max-size": "1m"}, "containerd": "/c.sock", "labels": ["a=b"],
        })
    );
    assert_eq!((sources.file, sources.file_required), ("/f".into(), true));
}

#[test]
fn defaults_follow_the_name_it_is_called_by() {
    for (program, data, exec, file) in [
        (
            "berthd",
            "/var/lib/berth",
            "/run/berth",
            "/etc/berth/daemon.json",
        ),
        (
            "/usr/local/bin/berthd",
            "/var/lib/berth",
            "/run/berth",
            "/etc/berth/daemon.json",
        ),
        (
            "/usr/bin/dockerd",
            "/var/lib/docker",
            "/var/run/docker",
            "/etc/docker/daemon.json",
        ),
    ] {
        let sources = sources(&[program]);
        assert_eq!(sources.defaults["data-root"], data);
        assert_eq!(sources.defaults["exec-root"], exec);
        assert_eq!(sources.file, Path::new(file));
        assert!(!sources.file_required);
        let Ok(Command::Help(help)) = command_line(&[program, "--help"]) else {
            panic!("no help")
        };
        for default in [data, exec, file, "unix:///var/run/docker.sock"] {
            assert!(
                help.contains(&format!("(default \"{default}\")")),
                "{default}"
            );
        }
        assert!(
            !help.contains("metrics-address"),
            "a flag for tests is shown"
        );
    }
}

#[test]
fn the_last_configuration_file_counts() {
    let line = ["berthd", "--config-file", "/a", "--config-file", "/b"];
    let Ok(Command::Run(run)) = command_line(&line) else {
        panic!("not understood")
    };
    assert_eq!(run.sources.file, Path::new("/b"));
}

#[test]
fn what_ends_at_once() {
    assert!(matches!(
        command_line(&["berthd", "-v"]),
        Ok(Command::Version)
    ));
    assert!(matches!(
        command_line(&["berthd", "--version", "-D"]),
        Ok(Command::Version)
    ));
    assert!(matches!(
        command_line(&["berthd", "--validate"]),
        Ok(Command::Validate(_))
    ));
}

#[test]
fn bad_command_lines_are_one_line() {
    for (args, wrong) in [
        (&["--nope"][..], "unknown flag: --nope"),
        (&["extra"], "accepts no arguments: extra"),
        (&["--bip"], "flag needs an argument: --bip"),
        (
            &["--mtu", "x"],
            "invalid argument \"x\" for \"--mtu\" flag: parsing \"x\": invalid syntax",
        ),
        (
            &["-D=x"],
            "invalid argument \"x\" for \"-D, --debug\" flag: parsing \"x\": invalid syntax",
        ),
        (
            &["--add-runtime", "runc=/x"],
            "invalid argument \"runc=/x\" for \"--add-runtime\" flag: runtime name 'runc' is reserved",
        ),
    ] {
        let line: Vec<_> = ["dockerd"].iter().chain(args).copied().collect();
        assert_eq!(
            command_line(&line).unwrap_err(),
            format!("{wrong} (see 'dockerd --help')")
        );
    }
}
