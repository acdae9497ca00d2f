use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{STOCK_RUNTIME, nested};

const FACTS: Facts = Facts {
    unified_cgroups: false,
    systemd: false,
};

fn map(value: Value) -> Map {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// The configuration of flags and a file's content.
fn load(flags: Value, file: Value) -> Result<Live> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let sources = Sources {
        flags: map(flags),
        file: path.clone(),
        file_required: true,
        ..Sources::default()
    };
    let result = sources.load(FACTS);
    result.map_err(|error| match error {
        Error::File { source, path: at } => {
            assert_eq!(at, path);
            *source
        }
        other => panic!("not of the file: {other}"),
    })
}

fn refused(flags: Value, file: Value) -> String {
    load(flags, file).unwrap_err().to_string()
}

#[test]
fn flags_and_file_are_merged() {
    let live = load(
        json!({"data-root": "/a", "icc": false}),
        json!({"debug": true, "mtu": 1400, "log-opts": {"max-size": "1m"}, "icc": null}),
    );
    // Null in the file is still the key given twice, as for dockerd.
    assert!(live.is_err());
    let live = load(
        json!({"data-root": "/a", "icc": false}),
        json!({"debug": true, "mtu": 1400, "log-opts": {"max-size": "1m"}, "bip": null}),
    )
    .unwrap();
    assert_eq!(live.user.data_root, Path::new("/a"));
    assert!(live.user.debug && !live.bridge.icc && live.bridge.masquerade);
    assert_eq!(
        (live.bridge.mtu, live.bridge.name.as_str()),
        (1400, "docker0")
    );
    assert_eq!(live.logs.options["max-size"], "1m");
    assert_eq!(
        live.hosts,
        [crate::Host::Unix("/var/run/docker.sock".into())]
    );
    assert_eq!(live.shm_size, 64 << 20);
    assert_eq!(live.runtimes.default_runtime().name, STOCK_RUNTIME);
}

#[test]
fn a_key_given_both_ways_is_named_with_both_values() {
    assert_eq!(
        refused(
            json!({"hosts": ["unix:///a", "fd://"], "debug": true, "log-opts": {"a": "b"}}),
            json!({"log-opts": {"c": "d"}, "debug": false, "hosts": ["tcp://x"], "mtu": 1}),
        ),
        "the following directives are specified both as a flag and in the configuration file: \
         debug: (from flag: true, from file: false), \
         hosts: (from flag: [unix:///a fd://], from file: [tcp://x]), \
         log-opts: (from flag: map[a:b], from file: map[c:d])"
    );
    // A password in a proxy's address is not repeated.
    for file in [
        json!({"http-proxy": "http://v:secret@p"}),
        json!({"proxies": {"http-proxy": "http://v:secret@p"}}),
    ] {
        let message = refused(json!({"http-proxy": "http://u:secret@p"}), file);
        assert!(
            message.ends_with("file: http-proxy") && !message.contains("secret"),
            "{message}"
        );
    }
}

#[test]
fn unknown_keys_are_named() {
    assert_eq!(
        refused(
            json!({}),
            json!({"tls-verify": true, "Debug": true, "debug": true})
        ),
        "the following directives don't match any configuration option: Debug, tls-verify"
    );
}

#[test]
fn runtimes_of_flags_and_file_add_up() {
    let live = load(
        json!({"runtimes": {"a": {"path": "/a"}}}),
        json!({"runtimes": {"b": {"path": "/b"}}}),
    )
    .unwrap();
    let names: Vec<_> = live
        .runtimes
        .iter()
        .map(|runtime| runtime.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "io.containerd.runc.v2", "runc"]);
    let twice = json!({"runtimes": {"a": {"path": "/a"}}});
    assert!(refused(twice.clone(), twice).ends_with("runtime 'a' was already defined)"));
}

#[test]
fn the_default_runtime_may_be_a_flags() {
    let flags = || json!({"runtimes": {"a": {"path": "/a"}}});
    let live = load(flags(), json!({"default-runtime": "a"})).unwrap();
    assert_eq!(live.runtimes.default_runtime().path, "/a");
    assert_eq!(
        refused(flags(), json!({"default-runtime": "x"})),
        "merged configuration validation from file and command line flags failed \
         (specified default runtime 'x' does not exist)"
    );
}

#[test]
fn values_of_the_wrong_type_are_named_by_their_key() {
    for (key, value) in [
        ("debug", json!("yes")),
        ("mtu", json!("1400")),
        ("hosts", json!("unix:///a")),
        ("log-opts", json!({"max-size": 1})),
        ("default-shm-size", json!("lots")),
        ("default-shm-size", json!(-1)),
        ("log-level", json!("loud")),
        ("runtimes", json!({"a": {"path": 1}})),
        ("userland-proxy", json!("yes")),
    ] {
        let message = refused(json!({}), json!({key: value}));
        let start = format!("configuration validation from file failed (invalid value for {key}: ");
        assert!(message.starts_with(&start), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn bad_values_of_the_file_and_of_the_merge_are_told_apart() {
    let wrong = "native.cgroupdriver option x not supported";
    assert_eq!(
        refused(json!({}), json!({"exec-opts": ["native.cgroupdriver=x"]})),
        format!("configuration validation from file failed ({wrong})")
    );
    assert_eq!(
        refused(
            json!({"exec-opts": ["native.cgroupdriver=x"]}),
            json!({"debug": true})
        ),
        format!(
            "merged configuration validation from file and command line flags failed ({wrong})"
        )
    );
}

#[test]
fn what_is_not_honoured_is_refused_unless_it_says_nothing() {
    for (key, off, on) in [
        ("userns-remap", json!(""), json!("default")),
        ("selinux-enabled", json!(false), json!(true)),
        ("authorization-plugins", json!([]), json!(["x"])),
        ("metrics-addr", json!(""), json!("127.0.0.1:1")),
        ("cpu-rt-period", json!(0), json!(1)),
        ("firewall-backend", json!("nftables"), json!("iptables")),
        ("storage-opts", json!([]), json!(["size=1G"])),
        (
            "features",
            json!({"buildkit": true}),
            json!({"containerd-snapshotter": false}),
        ),
    ] {
        load(json!({}), json!({ key: off })).unwrap_or_else(|error| panic!("{key}: {error}"));
        let message = refused(json!({}), json!({key: on}));
        assert!(
            message.contains(&format!("the option \"{key}\" is not supported: ")),
            "{message}"
        );
        // Flags are no way around.
        assert!(
            load(json!({key: on}), json!({"debug": true})).is_err(),
            "{key}"
        );
    }
}

/// Docker's own documentation and Docker Desktop have it in many files.
#[test]
fn bounds_of_a_build_cache_are_taken() {
    let gc = json!({"gc": {"enabled": true, "defaultKeepStorage": "20GB"}});
    load(json!({}), json!({"builder": gc})).unwrap();
    let message = refused(json!({}), json!({"builder": "20GB"}));
    assert!(message.contains("builder"), "{message}");
}

#[test]
fn a_missing_file_matters_only_when_it_was_asked_for() {
    let mut sources = Sources {
        file: "/no/such/file".into(),
        ..Sources::default()
    };
    sources.load(FACTS).unwrap();
    sources.file_required = true;
    assert_eq!(
        sources.load(FACTS).unwrap_err().to_string(),
        "unable to configure the Docker daemon with file /no/such/file: \
         open /no/such/file: no such file or directory"
    );
}

#[test]
fn our_defaults_give_way_to_file_and_flags() {
    let sources = |flags| Sources {
        defaults: map(json!({"data-root": "/ours", "pidfile": "/ours.pid"})),
        flags: map(flags),
        ..Sources::default()
    };
    let derive = |flags, file| sources(flags).merge(&map(file), FACTS).unwrap().user;
    assert_eq!(derive(json!({}), json!({})).data_root, Path::new("/ours"));
    assert_eq!(
        derive(json!({}), json!({"data-root": "/f"})).data_root,
        Path::new("/f")
    );
    assert_eq!(
        derive(json!({"data-root": "/g"}), json!({})).data_root,
        Path::new("/g")
    );
    assert_eq!(
        derive(json!({"pidfile": ""}), json!({})).pidfile,
        Path::new("")
    );
}

#[test]
fn values_are_validated() {
    for (file, wrong) in [
        (json!({"mtu": -1}), "invalid default MTU: -1"),
        (json!({"labels": ["one"]}), "bad attribute format: one"),
        (
            json!({"labels": ["a=1", "a=2"]}),
            "conflict labels for a=2 and a=1",
        ),
        (
            json!({"dns": ["1.1.1.1o"]}),
            "IP address is not correctly formatted: 1.1.1.1o",
        ),
        (
            json!({"dns-search": ["123456"]}),
            "123456 is not a valid domain",
        ),
        (
            json!({"max-concurrent-downloads": -10}),
            "invalid max concurrent downloads: -10",
        ),
        (
            json!({"default-ipc-mode": "host"}),
            "IPC mode \"host\" is not supported as default value; use \"shareable\" or \"private\"",
        ),
        (
            json!({"default-cgroupns-mode": "x"}),
            "default cgroup namespace mode (x) is invalid; use \"host\" or \"private\"",
        ),
        (
            json!({"hosts": ["x://y"]}),
            "invalid bind address format: x://y",
        ),
    ] {
        assert_eq!(
            refused(json!({}), file),
            format!("configuration validation from file failed ({wrong})")
        );
    }
}

#[test]
fn values_are_validated_against_one_another() {
    for (file, wrong) in [
        (
            json!({"bridge": "b", "bip": "10.1.0.1/16"}),
            "You specified -b & --bip, mutually exclusive options. Please specify only one",
        ),
        (
            json!({"bip": "10.1.0.0/16"}),
            "invalid --bip 10.1.0.0/16: not a host's address",
        ),
        (
            json!({"bip": "10.1.0.1/16", "fixed-cidr": "10.2.0.0/24"}),
            "--fixed-cidr 10.2.0.0/24 is not within --bip 10.1.0.1/16",
        ),
        (
            json!({"data-root": "x"}),
            "invalid data-root x: must be an absolute path",
        ),
        (
            json!({"default-ulimits": {"nofile": {"Hard": 1, "Soft": 2}}}),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        (
            json!({"exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": "/x"}),
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"",
        ),
        (
            json!({"seccomp-profile": "/no/such"}),
            "opening seccomp profile (/no/such) failed: open /no/such: no such file or directory",
        ),
        (
            json!({"oom-score-adjust": 2000}),
            "invalid oom-score-adjust: 2000",
        ),
    ] {
        assert_eq!(
            refused(json!({}), file),
            format!("configuration validation from file failed ({wrong})")
        );
    }
}

#[test]
fn what_follows_from_the_values() {
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("p.json");
    std::fs::write(&profile, "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}").unwrap();
    let live = load(
        json!({}),
        json!({
            "bip": "10.9.0.1/16", "fixed-cidr": "10.9.3.7/24", "mtu": 9000, "ip": "127.0.0.1",
            "dns": ["1.1.1.1", "::1"], "dns-search": ["."], "labels": ["b=1", "a=2", "b=1"],
            "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 20, "Soft": 10}},
            "default-shm-size": "128m", "seccomp-profile": profile, "shutdown-timeout": -1,
            "default-ipc-mode": "shareable", "default-cgroupns-mode": "private",
            "exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": "x.slice",
            "max-concurrent-downloads": 0,
        }),
    )
    .unwrap();
    assert_eq!(live.bridge.address, Some("10.9.0.1/16".parse().unwrap()));
    assert_eq!(live.bridge.fixed_cidr, Some("10.9.3.0/24".parse().unwrap()));
    assert_eq!(live.bridge.publish_ip.to_string(), "127.0.0.1");
    assert_eq!(live.dns.servers.len(), 2);
    assert_eq!(live.labels, ["a=2", "b=1"]);
    assert_eq!((live.ulimits[0].soft, live.ulimits[0].hard), (10, 20));
    assert_eq!(live.shm_size, 128 << 20);
    assert!(live.seccomp.unwrap().contains("SCMP_ACT_ALLOW"));
    assert_eq!(live.shutdown_timeout, None);
    assert!(live.ipc_shareable && live.cgroupns_private);
    assert_eq!(live.cgroup_driver.name(), "systemd");
    assert_eq!(live.pulls.downloads, 3);
}

#[test]
fn cgroups_follow_the_host() {
    let derive = |unified_cgroups, systemd| {
        Live::derive(
            Config::default(),
            Facts {
                unified_cgroups,
                systemd,
            },
        )
        .unwrap()
    };
    assert_eq!(derive(true, true).cgroup_driver.name(), "systemd");
    assert_eq!(derive(false, true).cgroup_driver.name(), "cgroupfs");
    assert_eq!(derive(true, false).cgroup_driver.name(), "cgroupfs");
    assert!(derive(true, false).cgroupns_private && !derive(false, true).cgroupns_private);
}

/// JSON values of all shapes, nested a little.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("unix:///a")),
        Just(Value::from("a=b")),
        Just(Value::from("10.0.0.1/8")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(
                "[a-zA-Z]{1,8}|path|PATH|runtimeArgs|options|Name|hard|Hard|Soft|base|no-proxy",
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What a text comes to: a configuration that is understood again, or an error. What is JSON is read,
/// and what was read has nothing to be passed over any more.
fn settles(text: &str) -> std::result::Result<(), TestCaseError> {
    let read = nested::read(text);
    prop_assert_eq!(read.is_ok(), serde_json::from_str::<Value>(text).is_ok());
    if let Ok((value, _)) = read {
        let (_, ignored) = nested::read(&value.to_string()).unwrap();
        prop_assert!(ignored.is_empty(), "{:?}", ignored);
    }
    if let Ok(live) = Sources::default().load_text(text, FACTS) {
        let again = serde_json::to_string(&live.user).unwrap();
        let again: Config = serde_json::from_str(&again).unwrap();
        prop_assert_eq!(again, live.user);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error(text in "\\PC{0,64}") {
        settles(&text)?;
    }

    #[test]
    fn any_values_are_a_configuration_or_an_error(
        values in proptest::collection::vec((0..OPTIONS.len(), any_value()), 0..4),
        cut in 0..200_usize,
    ) {
        let map = values.into_iter().map(|(n, value)| (OPTIONS[n].key.to_owned(), value));
        let text = Value::Object(map.collect()).to_string();
        settles(&text)?;
        // A file that is still being written.
        let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or_default();
        settles(&text[..cut])?;
    }
}

#[test]
fn pools_and_network_options_are_dockerds() {
    let live = load(
        json!({}),
        json!({
            "default-address-pools": [{"base": "10.10.5.0/16", "size": 24}],
            "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1234"}},
        }),
    )
    .unwrap();
    let pool = live.address_pools[0];
    assert_eq!(
        (pool.base.to_string().as_str(), pool.size),
        ("10.10.0.0/16", 24)
    );
    let options = &live.user.default_network_opts["bridge"];
    assert_eq!(options["com.docker.network.driver.mtu"], "1234");
    let pools = json!([{"base": "10.0.0.0/8", "size": 24}, {"base": "fd00::/48", "size": 64}]);
    assert_eq!(
        refused(
            json!({"default-address-pools": pools}),
            json!({"default-address-pools": [{"base": "10.10.0.0/16", "size": 24}]}),
        ),
        "the following directives are specified both as a flag and in the configuration file: \
         default-address-pools: (from flag: 10.0.0.0/8 24, fd00::/48 64, \
         from file: [map[base:10.10.0.0/16 size:24]])"
    );
    for (file, wrong) in [
        (
            json!({"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}, {"base": "10.10.0.0/16", "size": 8}]}),
            "network at index 1 (&{10.10.0.0/16 8}) has a smaller prefix (/16) than the target size of that pool (/8)",
        ),
        (
            json!({"default-address-pools": [{"base": "10.10.0.0/16", "seize": 24}]}),
            "network at index 0 (&{10.10.0.0/16 0}) is not in canonical form",
        ),
        (
            json!({"default-address-pools": {"base": "10.10.0.0/16"}}),
            "invalid value for default-address-pools",
        ),
        (
            json!({"default-network-opts": {"bridge": {"mtu": 1234}}}),
            "invalid value for default-network-opts",
        ),
    ] {
        let told = refused(json!({}), file);
        assert!(told.contains(wrong), "{told}");
    }
}

#[test]
fn keys_inside_of_options_are_taken_as_dockerd_takes_them() {
    let live = load(
        json!({}),
        json!({
            "default-ulimits": {"nofile": {"name": "nofile", "HARD": 20, "soft": 10, "unit": "n"}},
            "runtimes": {"odd": {"PATH": "/odd", "runtimeargs": ["a"], "colour": "red"}},
            "default-address-pools": [{"Base": "10.0.0.0/8", "SIZE": 24}],
            "proxies": {"no-proxy": "a.test", "https-proxy": null, "debug": true},
            "log-opts": {"tag": null},
        }),
    )
    .unwrap();
    let limit = &live.ulimits[0];
    assert_eq!(
        (limit.name.as_str(), limit.soft, limit.hard),
        ("nofile", 10, 20)
    );
    let runtime = live.runtimes.get("odd").unwrap();
    assert_eq!((runtime.path.as_str(), runtime.args.len()), ("/odd", 1));
    assert_eq!(live.address_pools[0].size, 24);
    assert_eq!(live.registries.proxies.no_proxy, "a.test");
    assert!(!live.user.debug && live.logs.options["tag"].is_empty());
    let ignored = [
        "default-ulimits.nofile.unit",
        "proxies.debug",
        "runtimes.odd.colour",
    ];
    assert_eq!(live.ignored, ignored);
    assert_eq!(
        refused(
            json!({}),
            json!({"proxies": {"HTTP-Proxy": "http://p", "no-proxy": ""}, "Odd": 1})
        ),
        "the following directives don't match any configuration option: HTTP-Proxy, Odd"
    );
}

#[test]
fn what_only_flags_and_file_together_make_whole_is_whole() {
    let address = json!({"storage-opts": ["address=/run/x.sock"]});
    load(json!({"storage-driver": "stargz"}), address.clone()).unwrap();
    let message = refused(json!({}), address);
    assert!(
        message.contains("an address needs a storage-driver"),
        "{message}"
    );
    assert!(
        message.contains("configuration validation from file failed"),
        "{message}"
    );
}
