#![allow(unsafe_code)]

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use proptest::prelude::*;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::*;
use crate::Publish;
use crate::rtnl::{self, Rtnl};

/// Runs a test in a network namespace of its own, with a loopback. Needs root.
fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: file descriptors stay shared; the thread ends with the test.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("run as root");
            let mut links = Rtnl::open().unwrap();
            let lo = links.index("lo").unwrap().unwrap();
            links.apply(vec![rtnl::set_up(lo)]).unwrap();
            test()
        });
        thread.join().unwrap()
    })
}

fn ports() -> Ports {
    Ports::new(
        40000..=40003,
        Proxied {
            v4: false,
            v6: true,
        },
    )
}

fn ask(ip: Option<&str>, host: Option<RangeInclusive<u16>>) -> Wanted {
    Wanted {
        host_ips: vec![ip.unwrap_or("0.0.0.0").parse().unwrap()],
        host_ports: host,
        container_port: 80,
        proto: Proto::Tcp,
    }
}

fn numbers(held: &[Held]) -> Vec<u16> {
    held.iter().map(|held| held.port.host_port).collect()
}

#[test]
fn random_ports_move_on_and_come_round() {
    alone(|| {
        let mut ports = ports();
        let mut taken = Vec::new();
        for _ in 0..6 {
            let held = ports.take(&[ask(None, None)]).unwrap();
            taken.extend(numbers(&held));
            ports.release(held);
        }
        assert_eq!(taken, [40000, 40001, 40002, 40003, 40000, 40001]);
        let theirs = TcpListener::bind("0.0.0.0:40002").unwrap();
        let held = ports
            .take(&[ask(None, None), ask(None, None), ask(None, None)])
            .unwrap();
        assert_eq!(numbers(&held), [40003, 40000, 40001]);
        assert!(ports.take(&[ask(None, None)]).is_err());
        drop(theirs);
        assert_eq!(numbers(&ports.take(&[ask(None, None)]).unwrap()), [40002]);
        let error = ports.take(&[ask(None, None)]).unwrap_err();
        assert_eq!(error.to_string(), "all ports are allocated");
    });
}

#[test]
fn an_exchange_keeps_what_stays_and_takes_back_the_rest_if_it_fails() {
    alone(|| {
        let mut ports = ports();
        let fixed = |port: u16| ask(None, Some(port..=port));
        let held = ports.take(&[fixed(9000), fixed(9001)]).unwrap();
        let theirs = TcpListener::bind("0.0.0.0:9003").unwrap();
        let wanted = [fixed(9001), fixed(9002), fixed(9003)];
        let (error, held) = ports.exchange(held, &wanted).unwrap_err();
        assert!(matches!(error, Error::PortBind { .. }));
        assert_eq!(numbers(&held), [9001, 9000]);
        assert_eq!(ports.used.len(), 2);
        drop(theirs);
        let held = ports.exchange(held, &wanted).unwrap();
        assert_eq!(numbers(&held), [9001, 9002, 9003]);
        TcpListener::bind("0.0.0.0:9000").expect("given back");
        // Another address of the same port needs the one that is held.
        let one = ask(Some("127.0.0.1"), Some(9002..=9002));
        let held = ports.exchange(held, &[one]).unwrap();
        assert_eq!(held[0].port.host_ip.to_string(), "127.0.0.1");
        ports.release(held);
        assert!(ports.used.is_empty());
    });
}

#[test]
fn an_address_that_is_not_the_hosts_is_refused() {
    alone(|| {
        let error = ports()
            .take(&[ask(Some("203.0.113.9"), Some(80..=90))])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to bind host port 203.0.113.9:80/tcp: cannot assign requested address"
        );
        for zero in [
            ask(None, Some(0..=0)),
            Wanted {
                container_port: 0,
                ..ask(None, None)
            },
        ] {
            assert!(matches!(ports().take(&[zero]), Err(Error::Invalid(_))));
        }
    });
}

#[test]
fn a_port_lost_in_a_restart_is_ours_again_by_the_rules() {
    alone(|| {
        let (mut before, mut after) = (ports(), ports());
        let held = before.take(&[ask(None, Some(8080..=8080))]).unwrap();
        let port = held[0].port.clone();
        drop(held);
        let theirs = UdpSocket::bind("0.0.0.0:8080").unwrap();
        let again = after.retake(&port).unwrap();
        assert_eq!(again.port, port);
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "held again");
        assert!(matches!(
            after.retake(&port),
            Err(Error::PortAllocated { .. })
        ));
        drop(theirs);
    });
}

#[test]
fn requests_without_an_address_are_for_both_families_at_one_port() {
    let publish = |ip: Option<&str>, container_port, proto| Publish {
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_ports: None,
        container_port,
        proto,
    };
    let proxied = Reach {
        host: true,
        container: false,
        proxy: true,
    };
    let missing = Reach {
        host: false,
        ..proxied
    };
    let off = Reach {
        proxy: false,
        ..proxied
    };
    let ruled = Reach {
        container: true,
        ..off
    };
    let ips = |publish: &[Publish], bind: &str, reach: Reach| {
        let spread = reach.spread(publish, bind.parse().unwrap()).unwrap();
        let ips = spread.iter().map(|wanted| format!("{:?}", wanted.host_ips));
        ips.collect::<Vec<_>>()
    };
    let refused = |publish: &[Publish], reach: Reach| {
        let refused = reach.spread(publish, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        matches!(refused, Err(Error::Unsupported(_)))
    };
    let one = [publish(None, 80, Proto::Tcp)];
    for (bind, reach, expected) in [
        ("0.0.0.0", proxied, "[0.0.0.0, ::]"),
        ("0.0.0.0", missing, "[0.0.0.0]"),
        ("192.0.2.1", proxied, "[192.0.2.1]"),
        ("::1", proxied, "[::1]"),
        // A container that has IPv4 alone is not to be reached by IPv6.
        ("0.0.0.0", off, "[0.0.0.0]"),
        ("0.0.0.0", ruled, "[0.0.0.0, ::]"),
    ] {
        assert_eq!(ips(&one, bind, reach), [expected], "{bind} {reach:?}");
    }
    let pair = [
        publish(Some("127.0.0.1"), 80, Proto::Tcp),
        publish(None, 81, Proto::Sctp),
        publish(Some("::1"), 80, Proto::Tcp),
        publish(Some("::1"), 80, Proto::Udp),
    ];
    let both = ["[127.0.0.1, ::1]", "[0.0.0.0]", "[::1]"];
    assert_eq!(ips(&pair, "0.0.0.0", proxied), both);
    let both = ["[127.0.0.1, ::1]", "[0.0.0.0, ::]", "[::1]"];
    assert_eq!(ips(&pair, "0.0.0.0", ruled), both);
    let twice = [publish(None, 80, Proto::Tcp), publish(None, 80, Proto::Tcp)];
    assert_eq!(ips(&twice, "0.0.0.0", missing).len(), 2);
    let sctp = [publish(Some("::1"), 80, Proto::Sctp)];
    assert!(refused(&sctp, proxied) && !refused(&sctp, ruled));
    assert!(refused(&pair[2..3], off) && !refused(&pair[2..3], ruled));
}

#[test]
fn several_addresses_get_one_port_that_all_of_them_have_free() {
    alone(|| {
        let mut ports = ports();
        let both = |host: Option<RangeInclusive<u16>>| Wanted {
            host_ips: vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
            ..ask(None, host)
        };
        let theirs = TcpListener::bind("[::1]:40000").unwrap();
        let held = ports.take(&[both(None)]).unwrap();
        assert_eq!(numbers(&held), [40001, 40001]);
        let error = ports.take(&[both(Some(40000..=40000))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to bind host port [::]:40000/tcp: address already in use"
        );
        drop(theirs);
        ports
            .take(&[both(Some(40000..=40000))])
            .expect("free, of both families");
        // The families do not stand in one another's way.
        let four = ports
            .take(&[ask(Some("127.0.0.1"), Some(9000..=9000))])
            .unwrap();
        let six = ports.take(&[ask(Some("::"), Some(9000..=9000))]).unwrap();
        let error = ports
            .take(&[ask(Some("::1"), Some(9000..=9000))])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Bind for ::1:9000 failed: port is already allocated"
        );
        ports.release(four);
        ports.release(six);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_port_has_one_holder_and_failures_hold_nothing(
        steps in prop::collection::vec((0u8..4, 0u8..5, 0u16..4, any::<bool>()), 1..60)
    ) {
        alone(|| {
            let mut ports = ports();
            let mut held: Vec<Held> = Vec::new();
            for (step, ip, number, two) in steps {
                if step == 0 && !held.is_empty() {
                    let at = usize::from(number) % held.len();
                    ports.release(vec![held.swap_remove(at)]);
                    continue;
                }
                let ip = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"][usize::from(ip)];
                let last = 9000 + number + u16::from(two);
                let mut asked = vec![ask(Some(ip), Some(9000 + number..=last))];
                if step == 3 {
                    asked.push(ask(Some(ip), Some(9000..=9000)));
                }
                held.extend(ports.take(&asked).unwrap_or_default());
            }
            let clash = |a: &Held, b: &Held| {
                let (a, b) = (&a.port, &b.port);
                let any = a.host_ip.is_unspecified() || b.host_ip.is_unspecified();
                let any = any && a.host_ip.is_ipv4() == b.host_ip.is_ipv4();
                a.host_port == b.host_port && (any || a.host_ip == b.host_ip)
            };
            for (n, one) in held.iter().enumerate() {
                assert!(held.iter().skip(n + 1).all(|other| !clash(one, other)));
            }
            let holders: usize = ports.used.values().map(Vec::len).sum();
            assert_eq!(holders, held.len(), "nothing is held for a failed request");
            ports.release(held);
            assert!(ports.used.is_empty());
            let mut fresh = self::ports();
            for port in 9000..=9004 {
                fresh.take(&[ask(None, Some(port..=port))]).expect("free again");
            }
        });
    }
}
