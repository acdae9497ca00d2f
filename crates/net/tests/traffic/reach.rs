//! Who reaches what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_net::{BridgeConfig, Net, Proto, Publish};

use crate::world::{
    HOST, HOST6, OUTSIDE, OUTSIDE6, PATIENCE, Server, World, alone, ask, ask_from, ask_udp,
    container, elements, filter_bridged, inside, publish, run, text, udp_once, unanswered,
    unanswered_from,
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
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
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

async fn with_v6(world: &World, userland_proxy: bool) -> std::sync::Arc<Net> {
    let change = |bridge: &mut BridgeConfig| {
        bridge.ipv6 = true;
        bridge.userland_proxy = userland_proxy;
    };
    world.net_with(change).await
}

#[test]
fn a_published_port_of_a_container_with_ipv6_sees_who_asks() {
    alone(|world| async move {
        let net = with_v6(&world, true).await;
        let outside = world.outside(&net).await;
        let ports = vec![publish(8080, 80, Proto::Tcp), publish(5300, 53, Proto::Udp)];
        let (web, endpoint) = container(&net, "web", ports).await;
        let (other, peer) = container(&net, "other", vec![]).await;
        let (ip, gateway) = endpoint
            .v6
            .map(|v6| (v6.ip, v6.gateway.unwrap()))
            .expect("the network has IPv6");
        let server = Server::tcp(&web, 80);
        assert_eq!(ask_from(&outside, HOST6, 8080).unwrap(), text(OUTSIDE6));
        assert_eq!(ask_from(&outside, HOST, 8080).unwrap(), text(OUTSIDE));
        let seen = ask(Ipv6Addr::LOCALHOST, 8080).expect("localhost, by the proxy");
        assert_eq!(seen, text(gateway));
        ask(HOST6, 8080).expect("the host by its own address");
        ask_from(&other, HOST6, 8080).expect("another container by the host's address");
        ask_from(&other, gateway, 8080).expect("another container by the gateway");
        let seen = ask_from(&other, ip, 80).expect("container to container");
        assert_eq!(seen, text(peer.v6.unwrap().ip));
        ask_from(&web, HOST6, 8080).expect("the container itself by the host's address");
        // Only what is published.
        unanswered_from(&outside, ip, 80);
        let local = run("ip -6 -o addr show dev ext0 scope link");
        let local = local.split_whitespace().nth(3).unwrap().split('/').next();
        let enter = format!("nsenter --net={}", outside.display());
        let link = local.unwrap();
        let script = format!("{enter} curl -s --http0.9 -m 5 http://[{link}%25eth0]:8080");
        assert_eq!(
            run(&script),
            text(gateway),
            "a link-local address, by the proxy"
        );
        drop(server);

        let asked = |from: Option<&std::path::Path>, ip: IpAddr| {
            let server = udp_once(&web, 53);
            let answer = match from {
                Some(pin) => inside(pin, move || ask_udp(ip, 5300)),
                None => ask_udp(ip, 5300),
            };
            server.join().unwrap();
            answer.unwrap()
        };
        assert_eq!(asked(Some(&outside), HOST6.into()), text(OUTSIDE6));
        assert_eq!(asked(None, Ipv6Addr::LOCALHOST.into()), text(gateway));
        asked(Some(&other), HOST6.into());
    });
}

#[test]
fn without_the_proxy_rules_lead_to_containers_with_ipv6_alone() {
    alone(|world| async move {
        let net = with_v6(&world, false).await;
        let outside = world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&web, 80);
        assert_eq!(ask_from(&outside, HOST6, 8080).unwrap(), text(OUTSIDE6));
        let error = unanswered(Ipv6Addr::LOCALHOST, 8080);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "held, no more");
        drop(server);
        let sctp = publish(9000, 90, Proto::Sctp);
        let (_, other) = container(&net, "sctp", vec![sctp]).await;
        let leads = |ip: &str| other.ports.iter().any(|port| text(port.host_ip) == ip);
        assert!(leads("::") && leads("0.0.0.0"), "{:?}", other.ports);
        let mut elements = elements();
        elements.sort();
        let (four, six) = (endpoint.ip, endpoint.v6.unwrap().ip);
        let (four2, six2) = (other.ip, other.v6.unwrap().ip);
        let mut expected = [
            format!("tcp . 8080 : {four} . 80"),
            format!("tcp . 8080 : {six} . 80"),
            format!("sctp . 9000 : {four2} . 90"),
            format!("sctp . 9000 : {six2} . 90"),
        ];
        expected.sort();
        assert_eq!(elements, expected);
    });
}

#[test]
fn a_udp_flow_of_ipv6_from_before_the_container_reaches_it() {
    alone(|world| async move {
        let net = with_v6(&world, true).await;
        let outside = world.outside(&net).await;
        let client = inside(&outside, || std::net::UdpSocket::bind("[::]:0").unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"early", (HOST6, 5300)).unwrap();
        // The host says that nobody listens, which one read reports: now the flow is known.
        let _ = client.recv_from(&mut [0u8; 8]);
        let (dns, first) = container(&net, "dns", vec![publish(5300, 53, Proto::Udp)]).await;
        let seen = |pin: &std::path::Path| {
            let server = udp_once(pin, 53);
            client.send_to(b"now", (HOST6, 5300)).unwrap();
            let mut buffer = [0u8; 64];
            let length = client
                .recv_from(&mut buffer)
                .map_or(0, |(length, _)| length);
            server.join().unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(seen(&dns), text(OUTSIDE6), "by the rules, not the proxy");
        crate::world::remove(&net, "dns", &first).await;
        let (again, _) = container(&net, "again", vec![publish(5300, 53, Proto::Udp)]).await;
        assert_eq!(seen(&again), text(OUTSIDE6), "and to its successor");
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
        // Port 80 is not published there.
        unanswered_from(&outside, HOST, 8080);
        // A neighbour that routes 127.0.0.1 to us must not get at what is published there.
        let enter = format!("nsenter --net={}", outside.display());
        run(&format!("{enter} ip link set lo down"));
        run(&format!(
            "{enter} sysctl -qw net.ipv4.conf.eth0.route_localnet=1"
        ));
        run(&format!("{enter} ip route add 127.0.0.0/8 via {HOST}"));
        unanswered_from(&outside, Ipv4Addr::LOCALHOST, 8080);
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
        // Routed past the published ports.
        unanswered_from(&outside, endpoint.ip, 80);
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
        let net = world.net_with(|bridge| bridge.icc = false).await;
        world.outside(&net).await;
        let (web, endpoint) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let (other, _) = container(&net, "other", vec![]).await;
        let server = Server::tcp(&web, 80);
        unanswered_from(&other, endpoint.ip, 80);
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
        let error = unanswered(Ipv4Addr::LOCALHOST, 8080);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}
