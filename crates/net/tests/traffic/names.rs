//! DNS in networks of users.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use berth_net::{EndpointRequest, NetworkSpec, SubnetRequests, Upstream, new_id};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::world::{OUTSIDE, alone, inside, request};

const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// Asks 127.0.0.11 from a namespace; the addresses of the answer.
async fn ask(pin: &Path, name: &'static str) -> Vec<IpAddr> {
    let pin = pin.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        inside(&pin, move || {
            let mut question = Message::query();
            let name = Name::from_ascii(name).unwrap();
            question.add_query(Query::query(name, RecordType::A));
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let limit = Some(Duration::from_secs(20));
            socket.set_read_timeout(limit).unwrap();
            let bytes = question.to_vec().unwrap();
            socket.send_to(&bytes, "127.0.0.11:53").unwrap();
            let mut answer = [0; 512];
            let (length, from) = socket.recv_from(&mut answer).unwrap();
            assert_eq!(from.to_string(), "127.0.0.11:53", "as asked");
            Message::from_vec(&answer[..length]).unwrap()
        })
    });
    let answer = asked.await.unwrap();
    let address = |record: &Record| match record.data {
        RData::A(A(ip)) => Some(IpAddr::V4(ip)),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

#[test]
fn questions_are_answered_or_passed_on_and_port_53_stays_the_containers() {
    alone(|world| async move {
        let net = world.net().await;
        let outside = world.outside(&net).await;
        let spec = NetworkSpec {
            id: new_id(),
            name: "n".into(),
            ..NetworkSpec::default()
        };
        let spec = net
            .create_network(spec, SubnetRequests::default())
            .await
            .unwrap();
        let mut pins = Vec::new();
        let mut endpoints = Vec::new();
        for id in ["c1", "c2"] {
            let pin = net.create_netns(id).await.unwrap();
            let wanted = EndpointRequest {
                network: spec.id.clone(),
                upstream: Some(Upstream {
                    servers: vec![OUTSIDE.into()],
                    ..Upstream::default()
                }),
                ..request(id, pin.clone(), vec![])
            };
            endpoints.push(net.connect(wanted).await.unwrap());
            pins.push(pin);
        }
        let _own = inside(&pins[0], || UdpSocket::bind("0.0.0.0:53")).unwrap();
        assert_eq!(ask(&pins[0], "c2.").await, [IpAddr::V4(endpoints[1].ip)]);

        let server = inside(&outside, || UdpSocket::bind("0.0.0.0:53")).unwrap();
        let answering = std::thread::spawn(move || {
            let mut question = [0; 512];
            let (length, from) = server.recv_from(&mut question).unwrap();
            let question = Message::from_vec(&question[..length]).unwrap();
            let name = question.queries[0].name.clone();
            let mut answer = question.into_response();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A(FAR))));
            server.send_to(&answer.to_vec().unwrap(), from).unwrap();
        });
        assert_eq!(ask(&pins[0], "far.example.").await, [IpAddr::V4(FAR)]);
        answering.join().unwrap();

        let refused = net.remove_network(&spec.id).await.unwrap_err();
        assert!(
            refused.to_string().contains("has active endpoints"),
            "{refused}"
        );
        for (id, endpoint) in ["c1", "c2"].iter().zip(&endpoints) {
            net.disconnect(endpoint).await.unwrap();
            net.remove_netns(id).await.unwrap();
        }
        net.remove_network(&spec.id).await.unwrap();
    });
}
