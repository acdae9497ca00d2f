//! Which rules there are.

use std::net::Ipv6Addr;
use std::sync::Arc;

use berth_net::{BridgeConfig, Net, Policy, Proto};

use crate::world::{
    HOST, HOST6, OUTSIDE, OUTSIDE6, Server, World, alone, ask, ask_from, container, elements,
    publish, run, text, unanswered_from,
};

/// With IPv6 on the default bridge.
async fn with(world: &World, rules: Policy) -> Arc<Net> {
    let change = |bridge: &mut BridgeConfig| {
        bridge.ipv6 = true;
        bridge.rules = rules;
    };
    world.net_with(change).await
}

#[test]
fn published_ports_are_reached_at_containers_addresses_where_that_is_allowed() {
    alone(|world| async move {
        let direct = Policy {
            direct: true,
            ..Policy::default()
        };
        let net = with(&world, direct).await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let (open, closed) = (Server::tcp(&web, 80), Server::tcp(&web, 81));
        let ip6 = endpoint.v6.as_ref().unwrap().ip;
        assert_eq!(ask_from(&outside, endpoint.ip, 80).unwrap(), text(OUTSIDE));
        assert_eq!(ask_from(&outside, ip6, 80).unwrap(), text(OUTSIDE6));
        // Not published.
        unanswered_from(&outside, endpoint.ip, 81);
        drop((open, closed));
        crate::world::remove(&net, "web", &endpoint).await;
        assert!(!run("nft list ruleset").contains(&text(endpoint.ip)));
    });
}

#[test]
fn packets_of_the_accepted_mark_reach_all_ports() {
    alone(|world| async move {
        let marked = Policy {
            accept_mark: Some((2, 3)),
            ..Policy::default()
        };
        let net = with(&world, marked).await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![]).await;
        let server = Server::tcp(&web, 80);
        run("nft add table inet marks");
        run("nft add chain inet marks in { type filter hook prerouting priority -150 ; }");
        run("nft add rule inet marks in iifname ext0 meta mark set 5");
        // Another mark.
        unanswered_from(&outside, endpoint.ip, 80);
        run("nft flush chain inet marks in");
        run("nft add rule inet marks in iifname ext0 meta mark set 6");
        assert_eq!(ask_from(&outside, endpoint.ip, 80).unwrap(), text(OUTSIDE));
        drop(server);
    });
}

#[test]
fn without_rules_the_proxy_leads_to_containers_and_no_table_is_there() {
    alone(|world| async move {
        let net = with(&world, Policy::default()).await;
        net.close(true).await.unwrap();
        assert!(run("nft list tables").contains("berth"));
        let none = Policy {
            v4: false,
            v6: false,
            ..Policy::default()
        };
        let net = with(&world, none).await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&web, 80);
        assert_eq!(run("nft list ruleset"), "", "that of before is gone, too");
        let gateway = text(endpoint.v6.unwrap().gateway.unwrap());
        assert_eq!(ask_from(&outside, HOST, 8080).unwrap(), gateway);
        assert_eq!(ask_from(&outside, HOST6, 8080).unwrap(), gateway);
        assert_eq!(ask([127, 0, 0, 1], 8080).unwrap(), gateway);
        assert_eq!(ask(Ipv6Addr::LOCALHOST, 8080).unwrap(), gateway);
        let localnet = "/proc/sys/net/ipv4/conf/docker0/route_localnet";
        let localnet = std::fs::read_to_string(localnet).unwrap();
        assert_eq!(
            localnet.trim(),
            "0",
            "no rule would guard the host's loopback"
        );
        drop(server);
    });
}

#[test]
fn one_family_can_do_without_rules() {
    alone(|world| async move {
        let six = Policy {
            v4: false,
            ..Policy::default()
        };
        let net = with(&world, six).await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&web, 80);
        let v6 = endpoint.v6.unwrap();
        assert_eq!(elements(), [format!("tcp . 8080 : {} . 80", v6.ip)]);
        assert_eq!(ask_from(&outside, HOST6, 8080).unwrap(), text(OUTSIDE6));
        let seen = ask_from(&outside, HOST, 8080).unwrap();
        assert_eq!(seen, text(v6.gateway.unwrap()), "by the proxy");
        ask_from(&outside, endpoint.ip, 80).expect("nothing is in the way, either");
        drop(server);
    });
}
