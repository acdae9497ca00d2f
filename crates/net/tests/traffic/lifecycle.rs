//! What is there when, and that nothing is left.

use std::collections::HashSet;
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::task::Poll;
use std::time::Instant;

use berth_net::{EndpointRequest, Error, Mac, Proto, Publish};

use crate::world::{
    HOST, Server, alone, ask, ask_from, container, elements, publish, remove, request, run,
};

fn random(proto: Proto) -> Publish {
    Publish {
        host_ip: None,
        host_ports: None,
        container_port: 80,
        proto,
    }
}

#[test]
fn a_container_is_configured_and_goes_away_without_trace() {
    alone(|world| async move {
        let net = world.net().await;
        let before = world.inventory();
        let pin = net.create_netns("c1").await.unwrap();
        let inside = |command: &str| run(&format!("nsenter --net={} {command}", pin.display()));
        assert!(
            inside("ip -o link").lines().all(|l| l.contains("lo:")),
            "none: only a loopback"
        );
        assert!(inside("ip -o addr show lo").contains("127.0.0.1/8"));

        let endpoint = net
            .connect(request(
                "c1",
                pin.clone(),
                vec![publish(8080, 80, Proto::Tcp)],
            ))
            .await
            .unwrap();
        assert_eq!(endpoint.ip, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(
            (endpoint.prefix_len, endpoint.gateway),
            (16, Some(Ipv4Addr::new(172, 17, 0, 1)))
        );
        assert_eq!(endpoint.mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(
            (endpoint.endpoint_id.len(), endpoint.network_id.len()),
            (64, 64)
        );
        let addresses = inside("ip -o addr show eth0");
        assert!(
            addresses.contains("172.17.0.2/16 brd 172.17.255.255"),
            "{addresses}"
        );
        assert!(!addresses.contains("inet6"), "{addresses}");
        assert!(inside("ip link show eth0").contains("02:42:ac:11:00:02"));
        assert!(inside("ip route").starts_with("default via 172.17.0.1 dev eth0"));
        assert!(net.endpoints().contains_key(&endpoint.endpoint_id));
        assert_eq!(elements(), ["tcp . 8080 : 172.17.0.2 . 80"]);

        remove(&net, "c1", &endpoint).await;
        assert!(net.endpoints().is_empty());
        world.settles_at(&before);
        remove(&net, "c1", &endpoint).await;
        net.close(false).await.unwrap();
        assert!(!run("nft list ruleset").contains("berth"));
        assert!(!run("ip link").contains("docker0"));
    });
}

#[test]
fn wishes_for_address_and_mac_are_granted_or_refused() {
    alone(|world| async move {
        let net = world.net().await;
        let pin = net.create_netns("c1").await.unwrap();
        let wish = |ip: &str| EndpointRequest {
            ip: Some(ip.parse().unwrap()),
            ..request("c1", pin.clone(), vec![])
        };
        let mac: Mac = "02:11:22:33:44:55".parse().unwrap();
        let endpoint = net
            .connect(EndpointRequest {
                mac: Some(mac),
                ..wish("172.17.5.6")
            })
            .await
            .unwrap();
        assert_eq!(
            (endpoint.ip, endpoint.mac),
            (Ipv4Addr::new(172, 17, 5, 6), mac)
        );
        let refused = net.connect(wish("172.17.5.6")).await.unwrap_err();
        assert_eq!(refused.to_string(), "Address already in use");
        assert!(matches!(
            net.connect(wish("10.0.0.1")).await,
            Err(Error::Invalid(_))
        ));
        let v6 = EndpointRequest {
            ip6: Some("fd00::5".parse().unwrap()),
            ..request("c1", pin.clone(), vec![])
        };
        assert!(matches!(net.connect(v6).await, Err(Error::Invalid(_))));
        let nowhere = net
            .connect(request("c2", "/nonexistent/ns".into(), vec![]))
            .await;
        assert!(matches!(nowhere, Err(Error::NoNetns(_))));
    });
}

#[test]
fn ports_in_use_are_refused_in_dockers_words_and_leave_nothing() {
    alone(|world| async move {
        let net = world.net().await;
        container(&net, "c1", vec![publish(8080, 80, Proto::Tcp)]).await;
        let pin = net.create_netns("c2").await.unwrap();
        let before = world.inventory();
        let refused = |publish: Vec<Publish>| net.connect(request("c2", pin.clone(), publish));

        let error = refused(vec![
            publish(9000, 80, Proto::Tcp),
            publish(8080, 80, Proto::Tcp),
        ])
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Bind for 0.0.0.0:8080 failed: port is already allocated"
        );
        let local = Publish {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            ..publish(8080, 80, Proto::Tcp)
        };
        let error = refused(vec![local]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Bind for 127.0.0.1:8080 failed: port is already allocated"
        );

        let theirs = TcpListener::bind("127.0.0.1:7000").unwrap();
        let error = refused(vec![publish(7000, 80, Proto::Tcp)])
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to bind host port 0.0.0.0:7000/tcp: address already in use"
        );
        drop(theirs);
        let theirs = TcpListener::bind("[::1]:7000").unwrap();
        let v6 = Publish {
            host_ip: Some("::1".parse().unwrap()),
            ..publish(7000, 80, Proto::Tcp)
        };
        assert_eq!(
            refused(vec![v6]).await.unwrap_err().to_string(),
            "failed to bind host port [::1]:7000/tcp: address already in use"
        );
        drop(theirs);
        world.settles_at(&before);

        refused(vec![publish(8080, 80, Proto::Udp)])
            .await
            .expect("another protocol is another port");
        assert!(
            TcpListener::bind("0.0.0.0:8080").is_err(),
            "nobody else gets the port"
        );
    });
}

#[test]
fn ranges_take_the_first_free_port_and_random_ports_move_on() {
    alone(|world| async move {
        let net = world.net().await;
        let range = || Publish {
            host_ports: Some(8000..=8002),
            ..publish(1, 80, Proto::Tcp)
        };
        let theirs = TcpListener::bind("0.0.0.0:8001").unwrap();
        let (_, first) = container(&net, "c1", vec![range()]).await;
        let (_, second) = container(&net, "c2", vec![range()]).await;
        assert_eq!(
            (first.ports[0].host_port, second.ports[0].host_port),
            (8000, 8002)
        );
        let pin = net.create_netns("c3").await.unwrap();
        let error = net
            .connect(request("c3", pin.clone(), vec![range()]))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to bind host port 0.0.0.0:8001/tcp: address already in use"
        );
        drop(theirs);

        let (_, a) = container(&net, "c4", vec![random(Proto::Tcp), random(Proto::Udp)]).await;
        remove(&net, "c4", &a).await;
        let (_, b) = container(&net, "c5", vec![random(Proto::Tcp)]).await;
        assert!(a.ports[0].host_port >= 32768);
        assert!(b.ports[0].host_port > a.ports[0].host_port, "{a:?} {b:?}");
    });
}

#[test]
fn a_failed_connect_is_rolled_back() {
    alone(|world| async move {
        let net = world.net().await;
        let (pin, _) = container(&net, "c1", vec![]).await;
        // There is an eth1 already, so the kernel refuses the second pair.
        let enter = format!("nsenter --net={}", pin.display());
        run(&format!("{enter} ip link add eth1 type bridge"));
        let before = world.inventory();
        let again = net
            .connect(request("c1", pin, vec![publish(8080, 80, Proto::Tcp)]))
            .await;
        assert!(matches!(again, Err(Error::Netlink { .. })), "{again:?}");
        world.settles_at(&before);
        assert_eq!(net.endpoints().len(), 1);
    });
}

#[test]
fn a_connect_that_nobody_waits_for_is_undone() {
    alone(|world| async move {
        let net = world.net().await;
        let pin = net.create_netns("c1").await.unwrap();
        let before = world.inventory();
        for _ in 0..5 {
            let publish = vec![publish(8080, 80, Proto::Tcp), random(Proto::Udp)];
            let mut connecting = Box::pin(net.connect(request("c1", pin.clone(), publish)));
            let polled_once = std::future::poll_fn(|context| {
                Poll::Ready(match connecting.as_mut().poll(context) {
                    Poll::Ready(Ok(endpoint)) => Some(endpoint),
                    _ => None,
                })
            });
            // On a busy machine it may be through at once; then there is nothing to undo.
            if let Some(endpoint) = polled_once.await {
                net.disconnect(&endpoint).await.unwrap();
            }
        }
        world.settles_at(&before);
    });
}

#[test]
fn a_hundred_containers_at_once_come_and_go() {
    alone(|world| async move {
        let net = world.net().await;
        let before = world.inventory();
        let start = Instant::now();
        let starts = (0..100).map(|n| {
            let net = net.clone();
            tokio::spawn(async move {
                container(
                    &net,
                    &format!("c{n}"),
                    vec![random(Proto::Tcp), random(Proto::Udp)],
                )
                .await
                .1
            })
        });
        let mut endpoints = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            endpoints.push(start.await.unwrap());
        }
        println!(
            "100 parallel netns + connect with 2 ports each: {:?}",
            start.elapsed()
        );
        let ips: HashSet<_> = endpoints.iter().map(|e| e.ip).collect();
        assert_eq!(ips.len(), 100);
        assert_eq!((elements().len(), net.endpoints().len()), (200, 100));

        let stop = Instant::now();
        let stops = endpoints.into_iter().map(|endpoint| {
            let net = net.clone();
            tokio::spawn(async move { remove(&net, &endpoint.container, &endpoint).await })
        });
        for stop in stops.collect::<Vec<_>>() {
            stop.await.unwrap();
        }
        println!(
            "100 parallel disconnects + netns removals: {:?}",
            stop.elapsed()
        );
        world.settles_at(&before);
    });
}

#[test]
fn a_flushed_table_comes_back_with_the_next_change() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let (web, _) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&web, 80);
        run("nft flush ruleset");
        let (_, other) = container(&net, "other", vec![publish(8081, 80, Proto::Tcp)]).await;
        ask_from(&outside, HOST, 8080).expect("published again");
        run("nft flush ruleset");
        remove(&net, "other", &other).await;
        ask_from(&outside, HOST, 8080).expect("published again");
        assert_eq!(elements().len(), 1);
        drop(server);
    });
}

#[test]
fn after_a_crash_what_lives_is_taken_over_and_the_rest_swept() {
    alone(|world| async move {
        let net = world.net().await;
        let networks = net.networks();
        let (lives, kept) = container(&net, "lives", vec![publish(8080, 80, Proto::Tcp)]).await;
        let after_death = {
            let before = world.inventory();
            container(
                &net,
                "dies",
                vec![publish(8081, 80, Proto::Tcp), random(Proto::Udp)],
            )
            .await;
            before
        };
        let server = Server::tcp(&lives, 80);
        // A crash: no close; the threads and the held sockets go with the process.
        drop(net);

        let net = world.net().await;
        assert_eq!(net.networks(), networks, "ids survive");
        ask(Ipv4Addr::LOCALHOST, 8080).expect("published all the time");
        net.adopt(&kept).await.unwrap();
        net.adopt(&kept).await.unwrap();
        net.sweep(HashSet::from(["lives".to_owned()]))
            .await
            .unwrap();
        world.settles_at(&after_death);
        ask(Ipv4Addr::LOCALHOST, 8080).expect("published after the sweep");
        let pin = net.create_netns("next").await.unwrap();
        let taken = net
            .connect(request(
                "next",
                pin.clone(),
                vec![publish(8080, 80, Proto::Tcp)],
            ))
            .await;
        assert!(matches!(taken, Err(Error::PortAllocated { .. })));
        let next = net.connect(request("next", pin, vec![])).await.unwrap();
        assert_ne!(next.ip, kept.ip);

        let gone = berth_net::Endpoint {
            endpoint_id: "ab".repeat(32),
            host_ifname: "vethgone".into(),
            ip: Ipv4Addr::new(172, 17, 9, 9),
            ports: vec![],
            ..kept
        };
        assert!(matches!(net.adopt(&gone).await, Err(Error::Netlink { .. })));
        drop(server);
    });
}

#[test]
fn live_restore_leaves_everything_in_place() {
    alone(|world| async move {
        let net = world.net().await;
        let (web, _) = container(&net, "web", vec![publish(8080, 80, Proto::Tcp)]).await;
        let server = Server::tcp(&web, 80);
        net.close(true).await.unwrap();
        ask(Ipv4Addr::LOCALHOST, 8080).expect("served without us");
        assert!(matches!(net.create_netns("late").await, Err(Error::Closed)));
        drop(server);
    });
}

#[test]
fn how_long_it_takes() {
    alone(|world| async move {
        let net = world.net().await;
        for ports in [0u16, 1] {
            let mut times = [0u128; 4];
            for n in 0..20 {
                let id = format!("c{ports}-{n}");
                let publish = (0..ports).map(|_| random(Proto::Tcp)).collect();
                let mut at = Instant::now();
                let mut lap = |slot: &mut u128| {
                    *slot += at.elapsed().as_micros();
                    at = Instant::now();
                };
                let pin = net.create_netns(&id).await.unwrap();
                lap(&mut times[0]);
                let endpoint = net.connect(request(&id, pin, publish)).await.unwrap();
                lap(&mut times[1]);
                net.disconnect(&endpoint).await.unwrap();
                lap(&mut times[2]);
                net.remove_netns(&id).await.unwrap();
                lap(&mut times[3]);
            }
            let [netns, connect, disconnect, unpin] = times.map(|t| t / 20);
            println!(
                "{ports} ports, mean µs: netns {netns} connect {connect} disconnect {disconnect} remove {unpin}"
            );
        }
    });
}
