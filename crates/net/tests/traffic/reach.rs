//! Who reaches what.

use std::net::Ipv4Addr;

use berth_net::{BridgeConfig, Config, Net, Proto, Publish};

use crate::world::{
    HOST, OUTSIDE, Server, alone, ask, ask_from, ask_udp, container, filter_bridged, inside,
    publish, run, text, udp_once,
};

#[test]
fn a_published_tcp_port_answers_on_every_address() {
    answers_everywhere(false);
}

#[test]
fn a_published_tcp_port_answers_on_every_address_with_br_netfilter() {
    answers_everywhere(true);
}

fn answers_everywhere(filtered: bool) {
    alone(move |world| async move {
        if !filter_bridged(filtered) {
            return;
        }
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let (other, peer) = container(&net, "other", vec![]).await;
        let server = Server::tcp(&web, 80);
        let gateway = endpoint.gateway.unwrap();

        assert_eq!(
            ask_from(&outside, HOST, 8080).unwrap(),
            text(OUTSIDE),
            "outside is seen as itself"
        );
        assert_eq!(
            ask(Ipv4Addr::LOCALHOST, 8080).unwrap(),
            text(gateway),
            "localhost"
        );
        assert_eq!(
            ask(Ipv4Addr::new(127, 1, 2, 3), 8080).unwrap(),
            text(gateway),
            "all of 127/8"
        );
        ask(HOST, 8080).expect("the host by its own address");
        ask(gateway, 8080).expect("the host by the bridge's address");
        ask(endpoint.ip, 80).expect("the container's own address from the host");
        ask_from(&other, HOST, 8080).expect("another container by the host's address");
        ask_from(&other, gateway, 8080).expect("another container by the gateway");
        assert_eq!(
            ask_from(&other, endpoint.ip, 80).unwrap(),
            text(peer.ip),
            "container to container"
        );
        ask_from(&web, HOST, 8080).expect("the container itself by the host's address");
        drop(server);
    });
}

#[test]
fn a_published_udp_port_answers_on_every_address() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let (dns, endpoint) = container(&net, "dns", vec![publish(5300, 53, Proto::Udp)]).await;
        let (other, _) = container(&net, "other", vec![]).await;
        let asked = |from: Option<&std::path::Path>, ip: Ipv4Addr| {
            let server = udp_once(&dns, 53);
            let answer = match from {
                Some(pin) => inside(pin, move || ask_udp(ip, 5300)),
                None => ask_udp(ip, 5300),
            };
            server.join().unwrap();
            answer.unwrap()
        };
        assert_eq!(asked(Some(&outside), HOST), text(OUTSIDE));
        assert_eq!(
            asked(None, Ipv4Addr::LOCALHOST),
            text(endpoint.gateway.unwrap())
        );
        asked(None, HOST);
        asked(Some(&other), HOST);
    });
}

#[test]
fn a_udp_flow_from_before_the_container_reaches_it() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let client = inside(&outside, || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket
                .set_read_timeout(Some(std::time::Duration::from_secs(2)))
                .unwrap();
            socket
        });
        // Nobody listens yet: the kernel remembers this flow as one to the host itself.
        client.send_to(b"early", (HOST, 5300)).unwrap();
        let (dns, first) = container(&net, "dns", vec![publish(5300, 53, Proto::Udp)]).await;
        let hears = |pin: &std::path::Path| {
            let server = udp_once(pin, 53);
            client.send_to(b"now", (HOST, 5300)).unwrap();
            let mut buffer = [0u8; 64];
            let heard = client.recv_from(&mut buffer).is_ok();
            server.join().unwrap();
            heard
        };
        // (The host answered the early datagram with "unreachable", which one read reports.)
        let _ = client.recv_from(&mut [0u8; 8]);
        assert!(hears(&dns), "the flow moves to the container");
        crate::world::remove(&net, "dns", &first).await;
        let (again, second) = container(&net, "again", vec![publish(5300, 53, Proto::Udp)]).await;
        assert_ne!(first.ip, second.ip);
        assert!(hears(&again), "and to its successor");
    });
}

#[test]
fn one_host_address_is_one_host_address() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let local = Publish {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            ..publish(8080, 80, Proto::Tcp)
        };
        let public = Publish {
            host_ip: Some(HOST.into()),
            ..publish(8080, 81, Proto::Tcp)
        };
        let (web, _) = container(&net, "web", vec![local, public]).await;
        let (private, open) = (Server::tcp(&web, 80), Server::tcp(&web, 81));
        ask(Ipv4Addr::LOCALHOST, 8080).expect("localhost leads to port 80");
        ask_from(&outside, HOST, 8080).expect("the host's address leads to port 81");
        drop(open);
        assert!(
            ask_from(&outside, HOST, 8080).is_err(),
            "port 80 is not published there"
        );
        // A neighbour that routes 127.0.0.1 to us must not get at what is published there.
        let enter = format!("nsenter --net={}", outside.display());
        run(&format!("{enter} ip link set lo down"));
        run(&format!(
            "{enter} sysctl -qw net.ipv4.conf.eth0.route_localnet=1"
        ));
        run(&format!("{enter} ip route add 127.0.0.0/8 via {HOST}"));
        assert!(ask_from(&outside, Ipv4Addr::LOCALHOST, 8080).is_err());
        drop(private);
    });
}

#[test]
fn unpublished_ports_are_closed_to_the_outside_and_the_way_out_is_masqueraded() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![]).await;
        let inner = Server::tcp(&web, 80);
        assert!(
            ask_from(&outside, endpoint.ip, 80).is_err(),
            "routed past the published ports"
        );
        let outer = Server::tcp(&outside, 8000);
        assert_eq!(
            ask_from(&web, OUTSIDE, 8000).unwrap(),
            text(HOST),
            "behind the host's address"
        );
        drop((inner, outer));
    });
}

#[test]
fn without_icc_containers_do_not_see_one_another_but_published_ports() {
    keeps_apart(false);
}

#[test]
fn without_icc_containers_are_kept_apart_with_br_netfilter_too() {
    keeps_apart(true);
}

fn keeps_apart(filtered: bool) {
    alone(move |world| async move {
        if !filter_bridged(filtered) {
            return;
        }
        let config = world.config();
        let net = Net::open(Config {
            bridge: BridgeConfig {
                icc: false,
                ..config.bridge
            },
            ..config
        })
        .await
        .unwrap();
        world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let (other, _) = container(&net, "other", vec![]).await;
        let server = Server::tcp(&web, 80);
        assert!(ask_from(&other, endpoint.ip, 80).is_err());
        ask_from(&other, HOST, 8080).expect("published is published");
        ask(endpoint.ip, 80).expect("the host still reaches it");
        drop(server);
    });
}

#[test]
fn the_held_port_lets_nobody_in() {
    alone(|world| async move {
        let net = world.net().await;
        container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        run("nft flush ruleset");
        // Nothing leads to the container now; the socket that holds the port must not answer.
        let error = ask(Ipv4Addr::LOCALHOST, 8080).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}
