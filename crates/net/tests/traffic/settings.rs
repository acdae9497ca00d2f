//! What the configuration does.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use berth_net::{BridgeConfig, Config, Error, Net, Proto};

use crate::world::{alone, container, elements, publish, remove, request, run};

#[test]
fn somebody_elses_bridge_keeps_its_address_and_stays() {
    alone(|world| async move {
        run("ip link add br7 type bridge");
        run("ip addr add 10.77.0.1/24 dev br7");
        let with = |address: Option<&str>| Config {
            bridge: BridgeConfig {
                name: "br7".into(),
                address: address.map(|a| a.parse().unwrap()),
                ..BridgeConfig::default()
            },
            ..world.config()
        };
        assert!(matches!(
            Net::open(with(Some("10.78.0.1/24"))).await,
            Err(Error::Invalid(_))
        ));
        let mut wrong = with(None);
        wrong.bridge.name = "lo".into();
        let refused = Net::open(wrong).await.unwrap_err();
        assert_eq!(refused.to_string(), "existing interface lo is not a bridge");
        let net = Net::open(with(None)).await.unwrap();
        let info = net.bridge_info().unwrap();
        assert_eq!(
            (info.subnet.to_string().as_str(), info.ours),
            ("10.77.0.0/24", false)
        );
        let (_, endpoint) = container(&net, "c1", vec![]).await;
        assert_eq!(endpoint.ip, Ipv4Addr::new(10, 77, 0, 2));
        net.close(false).await.unwrap();
        assert!(run("ip -o addr show br7").contains("10.77.0.1/24"));
    });
}

#[test]
fn a_bridge_of_another_name_is_not_made() {
    alone(|world| async move {
        let before = world.inventory();
        let missing = Config {
            bridge: BridgeConfig {
                name: "br7".into(),
                ..BridgeConfig::default()
            },
            ..world.config()
        };
        let refused = Net::open(missing).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "bridge device with non default name br7 must be created manually"
        );
        assert_eq!(world.inventory(), before);
    });
}

#[test]
fn the_subnet_avoids_what_the_host_routes() {
    alone(|world| async move {
        run("ip link add other type bridge");
        run("ip addr add 172.17.9.1/24 dev other");
        run("ip link set other up");
        run("ip route add 172.18.0.0/15 dev other");
        // As a VPN does that everything goes through.
        run("ip route add 0.0.0.0/1 via 172.17.9.2");
        run("ip route add 128.0.0.0/1 via 172.17.9.2");
        let net = world.net().await;
        assert_eq!(
            net.bridge_info().unwrap().subnet.to_string(),
            "172.20.0.0/16"
        );
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .unwrap()
                .trim(),
            "1"
        );
        drop(net);
        run("ip link del other");
        let again = world.net().await;
        assert_eq!(
            again.bridge_info().unwrap().subnet.to_string(),
            "172.20.0.0/16",
            "our bridge keeps its subnet"
        );
    });
}

#[test]
fn a_disabled_bridge_leaves_namespaces_and_the_other_networks() {
    alone(|world| async move {
        let net = world.net_with(|bridge| bridge.disabled = true).await;
        let names: Vec<_> = net.networks().iter().map(|n| (n.name, n.driver)).collect();
        assert_eq!(names, [("host", "host"), ("none", "null")]);
        let pin = net.create_netns("c1").await.unwrap();
        assert!(matches!(
            net.connect(request("c1", pin, vec![])).await,
            Err(Error::BridgeDisabled)
        ));
        net.sweep(HashSet::new()).await.unwrap();
        assert_eq!(run("nft list ruleset"), "");
        net.close(false).await.unwrap();
    });
}

#[test]
fn settings_reach_the_kernel() {
    alone(|world| async move {
        let config = world.config();
        let with = |name: &str, address: &str| Config {
            bridge: BridgeConfig {
                name: name.into(),
                address: Some(address.parse().unwrap()),
                fixed_cidr: Some("10.50.0.128/25".parse().unwrap()),
                mtu: 1400,
                default_bind_ip: Ipv4Addr::LOCALHOST.into(),
                table: "private".into(),
                ..BridgeConfig::default()
            },
            ..config.clone()
        };
        let net = Net::open(with("docker0", "10.50.0.1/24")).await.unwrap();
        let publish = vec![publish(8080, 80, Proto::Tcp)];
        let (pin, endpoint) = container(&net, "c1", publish).await;
        assert_eq!(
            (endpoint.ip, endpoint.prefix_len),
            (Ipv4Addr::new(10, 50, 0, 128), 24)
        );
        assert_eq!(elements(), ["127.0.0.1 . tcp . 8080 : 10.50.0.128 . 80"]);
        let link = run(&format!(
            "nsenter --net={} ip link show eth0",
            pin.display()
        ));
        assert!(link.contains("mtu 1400"), "{link}");
        assert!(run("ip link show docker0").contains("mtu 1400"));
        assert!(run("nft list tables").contains("table inet private"));
        let bridge = &net.networks()[0];
        assert_eq!(bridge.subnets[0].range, "10.50.0.128/25".parse().ok());
        let option = |name: &str| bridge.options[&format!("com.docker.network.{name}")].clone();
        assert_eq!(option("driver.mtu"), "1400");
        assert_eq!(option("bridge.host_binding_ipv4"), "127.0.0.1");
        remove(&net, "c1", &endpoint).await;
        net.close(true).await.unwrap();

        // Our own bridge follows a changed subnet.
        let mut moved = with("docker0", "10.51.0.1/24");
        moved.bridge.fixed_cidr = None;
        let net = Net::open(moved).await.unwrap();
        let (_, endpoint) = container(&net, "c2", vec![]).await;
        assert_eq!(endpoint.ip, Ipv4Addr::new(10, 51, 0, 2));
        for bad in ["x;flush ruleset", "longer-than-ifnamsiz"] {
            assert!(matches!(
                Net::open(with(bad, "10.52.0.1/24")).await,
                Err(Error::Invalid(_))
            ));
        }
        let range = Net::open(with("docker0", "10.53.0.1/24")).await;
        assert!(
            matches!(range, Err(Error::Invalid(_))),
            "fixed-cidr lies outside"
        );
    });
}

#[test]
fn our_bridge_has_the_ipv6_address_of_its_configuration_alone() {
    alone(|world| async move {
        let with = |ipv6: bool, address: Option<&str>| {
            let mut config = world.config();
            config.bridge.ipv6 = ipv6;
            config.bridge.address6 = address.map(|net| net.parse().unwrap());
            config
        };
        let addresses = || {
            let shown = run("ip -6 -o addr show dev docker0 scope global");
            let words = shown
                .lines()
                .filter_map(|line| line.split_whitespace().nth(3));
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        for (config, expected) in [
            (with(true, Some("fd00:1::1/64")), &["fd00:1::1/64"][..]),
            (with(true, Some("fd00:2::1/64")), &["fd00:2::1/64"]),
            (with(false, None), &[]),
        ] {
            let net = Net::open(config).await.unwrap();
            assert_eq!(addresses(), expected);
            // As with live-restore: the bridge stays.
            net.close(true).await.unwrap();
        }
    });
}

#[test]
fn a_disconnect_in_the_background_frees_everything_in_the_end() {
    alone(|world| async move {
        let net = world.net().await;
        let before = world.inventory();
        let (_, endpoint) = container(&net, "c1", vec![publish(8080, 80, Proto::Tcp)]).await;
        net.disconnect_in_background(&endpoint);
        net.remove_netns("c1").await.unwrap();
        // Waits its turn behind the one in the background.
        net.disconnect(&endpoint).await.unwrap();
        world.settles_at(&before);
    });
}
