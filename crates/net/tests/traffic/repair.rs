//! What happens when somebody deletes the bridge.

use std::net::Ipv4Addr;

use berth_net::{Error, Proto};
use futures::future::join_all;

use crate::world::{HOST, Server, alone, ask, ask_from, container, publish, remove, request, run};

/// The device's lines without what differs from one device to the next: index and counters.
fn looks(bridge: &str) -> Vec<String> {
    let words = |line: String, skip: usize| -> String {
        let words: Vec<&str> = line.split_whitespace().skip(skip).collect();
        words.join(" ")
    };
    let link = run(&format!("ip link show {bridge}"));
    let mut all: Vec<String> = link.lines().map(|line| line.to_owned()).collect();
    all[0] = words(all[0].clone(), 1);
    all.push(words(run(&format!("ip -o -4 addr show {bridge}")), 1));
    all.push(run(&format!(
        "cat /proc/sys/net/ipv4/conf/{bridge}/route_localnet"
    )));
    all
}

#[test]
fn a_deleted_bridge_comes_back_with_all_that_live() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let before = world.inventory();
        let (pin, first) = container(&net, "c1", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&pin, 80);
        // It remembers the bridge's MAC from here on.
        assert_eq!(ask_from(&outside, HOST, 8080).unwrap(), "198.51.100.2");
        let looked = looks("docker0");
        run("ip link del docker0");

        let many = (0..10).map(|n| {
            let net = &net;
            async move { container(net, &format!("n{n}"), vec![]).await }
        });
        let many = join_all(many).await;
        assert_eq!(looks("docker0"), looked);
        let (next, endpoint) = &many[0];
        assert_eq!(endpoint.gateway, Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(ask(first.ip, 80).unwrap(), "172.17.0.1");
        assert_eq!(ask_from(&outside, HOST, 8080).unwrap(), "198.51.100.2");
        let seen = ask_from(next, first.ip, 80).unwrap();
        assert_eq!(seen, endpoint.ip.to_string());
        assert!(net.bridge_info().unwrap().ours);

        // Gone once more while what it holds goes away.
        run("ip link del docker0");
        drop(server);
        for (n, (_, endpoint)) in many.iter().enumerate() {
            remove(&net, &format!("n{n}"), endpoint).await;
        }
        remove(&net, "c1", &first).await;
        let (_, last) = container(&net, "c2", vec![]).await;
        remove(&net, "c2", &last).await;
        world.settles_at(&before);
        net.remove_netns("outside").await.unwrap();
        net.close(false).await.unwrap();
        assert!(!run("ip link").contains("docker0"));
    });
}

#[test]
fn somebody_elses_bridge_is_missed_by_name_and_found_again() {
    alone(|world| async move {
        run("ip link add br7 type bridge");
        run("ip addr add 10.77.0.1/24 dev br7");
        let net = world.net_with(|bridge| bridge.name = "br7".into()).await;
        let (pin, first) = container(&net, "c1", vec![]).await;
        let _server = Server::tcp(&pin, 80);
        let second = net.create_netns("c2").await.unwrap();
        run("ip link del br7");
        let before = world.inventory();
        let wanted = || request("c2", second.clone(), vec![publish(8080, 80, Proto::Tcp)]);
        let refused = net.connect(wanted()).await.unwrap_err();
        assert!(matches!(refused, Error::BridgeGone(_)));
        assert_eq!(
            refused.to_string(),
            "could not find bridge br7: no such network interface"
        );
        world.settles_at(&before);

        // Without an address it gets the one it had.
        run("ip link add br7 type bridge");
        let endpoint = net.connect(wanted()).await.unwrap();
        assert!(run("ip -o addr show br7").contains("10.77.0.1/24"));
        let seen = ask_from(&second, first.ip, 80).unwrap();
        assert_eq!(seen, endpoint.ip.to_string());
        net.close(false).await.unwrap();
        assert!(run("ip link").contains("br7"));
    });
}

#[test]
fn a_container_that_ran_on_is_taken_over_onto_a_new_bridge() {
    alone(|world| async move {
        let net = world.net().await;
        let (pin, endpoint) = container(&net, "c1", vec![]).await;
        let _server = Server::tcp(&pin, 80);
        net.close(true).await.unwrap();
        drop(net);
        let net = world.net().await;
        run("ip link del docker0");
        net.adopt(&endpoint).await.unwrap();
        assert_eq!(ask(endpoint.ip, 80).unwrap(), "172.17.0.1");
    });
}
