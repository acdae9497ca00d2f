//! The daemon's options that say how networks are made: address pools, default options, the default
//! bridge.

use serde_json::{Value, json};
use testkit::{Daemon, Options, Output};

fn daemon(config: Value) -> Daemon {
    Daemon::start(Options {
        config,
        ..Options::default()
    })
}

/// A daemon that is only there to be asked for networks.
fn bare(options: Options) -> Daemon {
    Daemon::start(Options {
        without_image: true,
        ..options
    })
}

fn create(daemon: &Daemon, args: &[&str]) -> Output {
    daemon.cli(["network", "create"]).args(args).run()
}

/// What inspect's template says of a network.
fn shown(daemon: &Daemon, network: &str, template: &str) -> String {
    let shown = daemon.docker(["network", "inspect", "-f", template, network]);
    shown.ok().out().to_owned()
}

fn subnets(daemon: &Daemon, network: &str) -> String {
    shown(daemon, network, "{{range .IPAM.Config}}{{.Subnet}} {{end}}")
}

#[test]
fn all_networks_get_their_subnets_from_the_configured_pools() {
    let pools =
        json!([{"base": "10.210.0.0/23", "size": 24}, {"base": "fd00:210::/48", "size": 64}]);
    let daemon = daemon(json!({"default-address-pools": pools}));
    assert_eq!(subnets(&daemon, "bridge"), "10.210.0.0/24");
    let info: Value = daemon.api("GET", "/info", None).is(200).json();
    assert_eq!(
        info["DefaultAddressPools"],
        json!([{"Base": "10.210.0.0/23", "Size": 24}, {"Base": "fd00:210::/48", "Size": 64}])
    );
    create(&daemon, &["--ipv6", "a"]).ok();
    assert_eq!(subnets(&daemon, "a"), "10.210.1.0/24 fd00:210::/64");
    let own = "ip -o -4 addr show eth0";
    let inside = daemon.docker(["run", "--rm", "--network", "a", "busybox", "sh", "-c", own]);
    inside.ok().out_has("inet 10.210.1.2/24");
    create(&daemon, &["b"])
        .exits(1)
        .err_has("all predefined address pools have been fully subnetted");
    // The subnet of one that is gone can be had again; what is asked for need not be of the pools.
    daemon.docker(["network", "rm", "a"]).ok();
    create(&daemon, &["b"]).ok();
    assert_eq!(subnets(&daemon, "b"), "10.210.1.0/24");
    create(&daemon, &["--subnet", "10.211.7.0/24", "c"]).ok();
    daemon.docker(["network", "rm", "b", "c"]).ok();
}

#[test]
fn other_pools_take_a_restart_and_then_hold_for_the_default_bridge_too() {
    let pools = |base: &str| json!({"default-address-pools": [{"base": base, "size": 24}]});
    let daemon = bare(Options {
        config: pools("10.212.0.0/16"),
        ..Options::default()
    });
    create(&daemon, &["kept"]).ok();
    let before = [subnets(&daemon, "bridge"), subnets(&daemon, "kept")];
    assert_eq!(before, ["10.212.0.0/24", "10.212.1.0/24"]);
    let told = daemon.reload(&pools("10.213.0.0/16"));
    assert!(
        told.stdout
            .contains("default-address-pools      needs restart"),
        "{told}"
    );
    create(&daemon, &["still"]).ok();
    assert_eq!(subnets(&daemon, "still"), "10.212.2.0/24");
    daemon.restart();
    create(&daemon, &["new"]).ok();
    let after = ["bridge", "kept", "new"].map(|name| subnets(&daemon, name));
    assert_eq!(after, ["10.213.0.0/24", "10.212.1.0/24", "10.213.1.0/24"]);
}

#[test]
fn bad_pools_and_options_are_refused_in_dockerds_words() {
    let daemon = Daemon::prepare(Options {
        without_image: true,
        ..Options::default()
    });
    let pool = |value| ["--default-address-pool", value];
    daemon.refuses(
        &pool("base=10.10.0.0/16,size=8"),
        "could not construct local address space: network at index 0 (&{10.10.0.0/16 8}) has a \
         smaller prefix (/16) than the target size of that pool (/8)",
    );
    daemon.refuses(
        &pool("base=10.10.0.0/16"),
        "network at index 0 (&{10.10.0.0/16 0}) is not in canonical form",
    );
    daemon.refuses(
        &pool("base=nonsense,size=24"),
        "invalid argument \"base=nonsense,size=24\" for \"--default-address-pool\" flag: invalid \
         base prefix \"nonsense\": netip.ParsePrefix(\"nonsense\"): no '/'",
    );
    daemon.refuses(
        &["--default-network-opt", "bridge"],
        "invalid value \"bridge\" for map option, should be root-key=key=value",
    );
}

#[test]
fn new_networks_have_the_default_options_unless_they_give_them() {
    const MTU: &str = "com.docker.network.driver.mtu";
    const ICC: &str = "com.docker.network.bridge.enable_icc";
    let flag = |option: &str| {
        [
            "--default-network-opt".to_owned(),
            format!("bridge={option}"),
        ]
    };
    let flags = [flag(&format!("{MTU}=1234")), flag(&format!("{ICC}=false"))];
    let daemon = Daemon::start(Options::default().args(flags.concat()));
    let option = |network: &str, key: &str| {
        shown(
            &daemon,
            network,
            &format!("{{{{index .Options \"{key}\"}}}}"),
        )
    };
    create(&daemon, &["a"]).ok();
    create(&daemon, &["-o", &format!("{MTU}=1400"), "b"]).ok();
    assert_eq!(
        (option("a", MTU), option("a", ICC)),
        ("1234".into(), "false".into())
    );
    assert_eq!(
        (option("b", MTU), option("b", ICC)),
        ("1400".into(), "false".into())
    );
    // The default bridge is as its own options say.
    assert_eq!(
        (option("bridge", MTU), option("bridge", ICC)),
        ("1500".into(), "true".into())
    );
    for (network, mtu) in [("a", "1234"), ("b", "1400"), ("bridge", "1500")] {
        let cat = ["cat", "/sys/class/net/eth0/mtu"];
        let run = daemon
            .cli(["run", "--rm", "--network", network, "busybox"])
            .args(cat);
        run.run().ok().out_is(mtu);
    }
    let wide = daemon.cli(["network", "create", "-o", &format!("{MTU}=wide"), "c"]);
    wide.run().exits(1).err_has(
        "failed to parse com.docker.network.driver.mtu value: wide \
         (strconv.Atoi: parsing \"wide\": invalid syntax)",
    );
    daemon.docker(["network", "rm", "a", "b"]).ok();
}

#[test]
fn the_default_bridge_has_ipv6_as_its_options_say() {
    let daemon = daemon(json!({
        "ipv6": true, "bip6": "fd00:220::1/64", "fixed-cidr-v6": "fd00:220::8000/113",
        "default-gateway-v6": "fd00:220::fe", "default-gateway": "10.220.0.254", "bip": "10.220.0.1/24",
    }));
    let template = "{{.EnableIPv6}} {{json .IPAM.Config}}";
    assert_eq!(
        shown(&daemon, "bridge", template),
        "true [{\"Subnet\":\"10.220.0.0/24\",\"Gateway\":\"10.220.0.1\",\"AuxiliaryAddresses\":\
         {\"DefaultGatewayIPv4\":\"10.220.0.254\"}},{\"Subnet\":\"fd00:220::/64\",\
         \"IPRange\":\"fd00:220::8000/113\",\"Gateway\":\"fd00:220::1\",\"AuxiliaryAddresses\":\
         {\"DefaultGatewayIPv6\":\"fd00:220::fe\"}}]"
    );
    let script = "ip -o addr show eth0; ip route; ip -6 route; ping -6 -c1 -W20 fd00:220::1";
    let inside = daemon
        .docker(["run", "--rm", "busybox", "sh", "-c", script])
        .ok();
    for word in [
        "inet6 fd00:220::8000/64",
        "default via 10.220.0.254",
        "default via fd00:220::fe",
        "1 packets received",
    ] {
        assert!(inside.stdout.contains(word), "no [{word}] in {inside}");
    }
    daemon.run_d("six", ["busybox", "sleep", "1000"]);
    let settings = &daemon.inspect("six")["NetworkSettings"]["Networks"]["bridge"];
    assert_eq!(settings["Gateway"], "10.220.0.254");
    assert_eq!(settings["IPv6Gateway"], "fd00:220::fe");
    daemon.remove(&["six"]);
}

#[test]
fn a_default_bridge_with_ipv6_keeps_a_subnet_of_its_own() {
    let daemon = bare(Options::default());
    // It has the first one of the host's pool.
    create(&daemon, &["--ipv6", "kept"]).ok();
    let theirs = subnets(&daemon, "kept");
    let config = json!({"ipv6": true, "fixed-cidr": "10.221.0.0/24"});
    std::fs::write(daemon.config_file(), config.to_string()).expect("written");
    daemon.restart();
    let ours = subnets(&daemon, "bridge");
    assert_eq!(subnets(&daemon, "kept"), theirs);
    let words: Vec<_> = ours.split(' ').collect();
    assert_eq!(
        words[0], "10.221.0.0/24",
        "the range is the subnet where nothing else says"
    );
    assert!(
        words[1].starts_with("fd") && words[1].ends_with("/64"),
        "{ours}"
    );
    assert!(!theirs.contains(words[1]), "{ours} and {theirs}");
    daemon.docker(["network", "rm", "kept"]).ok();
    daemon.restart();
    assert_eq!(subnets(&daemon, "bridge"), ours, "it stays");
}

#[test]
fn bad_options_of_the_default_bridge_are_refused_in_dockerds_words() {
    let daemon = Daemon::prepare(Options {
        without_image: true,
        ..Options::default()
    });
    for (args, text) in [
        (
            &["--bip=10.222.0.1/24", "--default-gateway=10.223.0.1"][..],
            "default gateway ip must be part of the network",
        ),
        (
            &["--default-gateway=nowhere"],
            "nowhere is not an ip address",
        ),
        (
            &["--fixed-cidr-v6=fe80::/80"],
            "invalid fixed-cidr-v6: 'fe80::/80' clashes with the Link-Local prefix 'fe80::/64'",
        ),
        (
            &["--bridge=br9", "--bip6=fd00::1/64"],
            "You specified -b & --bip6, mutually exclusive options. Please specify only one",
        ),
    ] {
        daemon.refuses(args, text);
    }
}

#[test]
fn without_the_userland_proxy_ipv6_leads_to_containers_that_have_it_alone() {
    let daemon = daemon(json!({"userland-proxy": false}));
    daemon.run_d("web", ["-p", "18700:80", "busybox", "sleep", "1000"]);
    let ports = daemon.docker(["port", "web"]).ok();
    ports.out_is("80/tcp -> 0.0.0.0:18700");
    let asked = daemon.docker(["run", "-p", "[::1]:18701:80", "busybox", "true"]);
    asked.exits(125).err_has(
        "publishing ports on IPv6 addresses to a container without IPv6 needs the userland proxy, \
         which is switched off: ::1",
    );
    create(&daemon, &["--ipv6", "six"]).ok();
    let args = ["-p", "18702:80", "--network", "six", "busybox", "sleep"];
    daemon.run_d("six", args.iter().copied().chain(["1000"]));
    let ports = daemon.docker(["port", "six"]).ok();
    ports.out_is("80/tcp -> 0.0.0.0:18702\n80/tcp -> [::]:18702");
    daemon.remove(&["web", "six"]);
    daemon.docker(["network", "rm", "six"]).ok();
}
