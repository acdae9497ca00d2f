use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hickory_proto::op::Query;
use proptest::prelude::*;

use super::*;
use crate::{Mac, Upstream, V6};

fn endpoint(container: &str, network: &str, last: u8, names: &[&str]) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        container: container.into(),
        endpoint_id: format!("{container}-{network}"),
        network_id: format!("id-{network}"),
        network: network.into(),
        ip: Ipv4Addr::new(10, 0, 0, last),
        prefix_len: 24,
        gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
        v6: None,
        mac: Mac::of(Ipv4Addr::LOCALHOST),
        host_ifname: "veth".into(),
        ifname: "eth0".into(),
        ports: Vec::new(),
        priority: 0,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        links: BTreeMap::new(),
        upstream: Some(Upstream::default()),
    })
}

fn ask(endpoints: &[Arc<Endpoint>], name: &str, kind: RecordType) -> Option<Vec<String>> {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let bytes = question.to_vec().unwrap();
    match answer(&bytes, "me", endpoints.iter(), false) {
        Outcome::Answer(message) => {
            assert_eq!(message.metadata.id, question.metadata.id);
            assert_eq!(message.metadata.response_code, ResponseCode::NoError);
            let mut texts: Vec<_> = message.answers.iter().map(|r| r.data.to_string()).collect();
            texts.sort();
            Some(texts)
        }
        Outcome::Forward(_) => None,
        Outcome::Ignore => panic!("a question"),
    }
}

fn world() -> Vec<Arc<Endpoint>> {
    vec![
        endpoint("me", "net", 2, &["me"]),
        endpoint("db", "net", 3, &["db", "sql", "c0ffee"]),
        endpoint("db2", "net", 4, &["db2", "sql"]),
        endpoint("far", "other", 5, &["far"]),
    ]
}

#[test]
fn names_aliases_and_ids_are_known_in_ones_own_networks() {
    let world = world();
    for name in ["db.", "DB.", "c0ffee.", "db.net."] {
        assert_eq!(
            ask(&world, name, RecordType::A).unwrap(),
            ["10.0.0.3"],
            "{name}"
        );
    }
    assert_eq!(
        ask(&world, "sql.", RecordType::A).unwrap(),
        ["10.0.0.3", "10.0.0.4"]
    );
    for name in ["far.", "far.other.", "db.other.", "example.com.", "."] {
        assert_eq!(ask(&world, name, RecordType::A), None, "{name}");
    }
}

#[test]
fn what_a_container_has_not_is_an_empty_answer_not_a_question_for_others() {
    let world = world();
    assert_eq!(ask(&world, "db.", RecordType::AAAA).unwrap(), [""; 0]);
    assert_eq!(ask(&world, "db.", RecordType::MX).unwrap(), [""; 0]);
    assert_eq!(ask(&world, "db.", RecordType::TXT), None);
}

#[test]
fn ipv6_has_its_own_records() {
    let mut world = world();
    let mut db = Endpoint::clone(&world[1]);
    db.v6 = Some(V6 {
        ip: "fd00::3".parse().unwrap(),
        prefix_len: 64,
        gateway: None,
    });
    world[1] = Arc::new(db);
    assert_eq!(ask(&world, "db.", RecordType::AAAA).unwrap(), ["fd00::3"]);
    assert_eq!(ask(&world, "db.", RecordType::A).unwrap(), ["10.0.0.3"]);
    let arpa = Name::from("fd00::3".parse::<IpAddr>().unwrap()).to_ascii();
    assert_eq!(ask(&world, &arpa, RecordType::PTR).unwrap(), ["db.net."]);
}

#[test]
fn addresses_have_names() {
    let world = world();
    let ptr = |name: &str| ask(&world, name, RecordType::PTR);
    assert_eq!(ptr("3.0.0.10.in-addr.arpa.").unwrap(), ["db.net."]);
    for name in [
        "5.0.0.10.in-addr.arpa.",
        "9.9.9.9.in-addr.arpa.",
        "0.0.10.in-addr.arpa.",
        "db.",
    ] {
        assert_eq!(ptr(name), None, "{name}");
    }
}

#[test]
fn links_are_words_of_ones_own() {
    let mut world = world();
    let mut me = Endpoint::clone(&world[0]);
    me.links = BTreeMap::from([("store".to_owned(), "db".to_owned())]);
    world[0] = Arc::new(me);
    assert_eq!(ask(&world, "store.", RecordType::A).unwrap(), ["10.0.0.3"]);
}

#[test]
fn a_network_without_dns_has_no_names() {
    let mut world = world();
    let mut me = Endpoint::clone(&world[0]);
    me.upstream = None;
    world[0] = Arc::new(me);
    assert_eq!(ask(&world, "db.", RecordType::A), None);
}

#[test]
fn with_ndots_bare_names_are_not_passed_on() {
    let mut question = Message::query();
    question.add_query(Query::query(
        Name::from_ascii("gone.").unwrap(),
        RecordType::A,
    ));
    let bytes = question.to_vec().unwrap();
    let Outcome::Answer(message) = answer(&bytes, "me", world().iter(), true) else {
        panic!("passed on");
    };
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        answer(&bytes, "me", world().iter(), true);
    }

    #[test]
    fn names_that_are_gone_are_not_told(gone in 1usize..4) {
        let mut world = world();
        let removed = world.remove(gone);
        for name in &removed.names {
            let found = ask(&world, &format!("{name}."), RecordType::A).unwrap_or_default();
            prop_assert!(!found.contains(&removed.ip.to_string()));
        }
    }
}
