//! Answers about containers: a pure function of a question and of the endpoints there are.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::seq::SliceRandom;

use crate::Endpoint;

/// Seconds that an answer may be kept, as Docker says.
const TTL: u32 = 600;

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is about containers: this is the answer.
    Answer(Box<Message>),
    /// Somebody else knows.
    Forward(Box<Message>),
    /// It is no question.
    Ignore,
}

/// Looks at a question of `container`'s. `endpoints`: everybody's. `ndots`: names without a dot
/// are not passed on.
pub(super) fn answer<'a>(
    bytes: &[u8],
    container: &str,
    endpoints: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
    ndots: bool,
) -> Outcome {
    let Ok(question) = Message::from_vec(bytes) else {
        return match bytes.first_chunk::<2>() {
            // What cannot be read and is no answer itself is told so.
            Some(id)
                if bytes.len() >= 12 && bytes.get(2).is_some_and(|flags| flags & 0x80 == 0) =>
            {
                let id = u16::from_be_bytes(*id);
                let broken = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
                Outcome::Answer(Box::new(broken))
            }
            _ => Outcome::Ignore,
        };
    };
    if question.metadata.message_type != MessageType::Query {
        return Outcome::Ignore;
    }
    let [query] = question.queries.as_slice() else {
        return Outcome::Answer(Box::new(refusal(&question, ResponseCode::FormErr)));
    };
    if question.metadata.op_code != OpCode::Query || query.query_class != DNSClass::IN {
        return Outcome::Forward(Box::new(question));
    }
    let name = query.name.clone();
    let view = View {
        container,
        endpoints,
    };
    let records = match query.query_type {
        RecordType::A | RecordType::AAAA | RecordType::MX => {
            let text = plain(&name);
            let found = view.addresses(&text);
            if found.is_none() && ndots && !text.contains('.') {
                return Outcome::Answer(Box::new(refusal(&question, ResponseCode::NXDomain)));
            }
            found.map(|found| of_type(found, query.query_type))
        }
        RecordType::PTR => view
            .reverse(&name)
            .map(|found| vec![RData::PTR(PTR(found))]),
        _ => None,
    };
    let Some(records) = records else {
        return Outcome::Forward(Box::new(question));
    };
    let mut answer = refusal(&question, ResponseCode::NoError);
    answer.add_answers(
        records
            .into_iter()
            .map(|data| Record::from_rdata(name.clone(), TTL, data)),
    );
    Outcome::Answer(Box::new(answer))
}

/// An answer without records.
pub(super) fn refusal(question: &Message, code: ResponseCode) -> Message {
    let metadata = &question.metadata;
    let mut answer = Message::error_msg(metadata.id, metadata.op_code, code);
    answer.metadata.recursion_desired = metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    if let Some(asked) = &question.edns {
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(asked.max_payload());
        answer.set_edns(edns);
    }
    answer
}

/// How Docker and people write names: lower case, without the last dot.
fn plain(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn of_type(mut addresses: Vec<IpAddr>, kind: RecordType) -> Vec<RData> {
    // Who asks for one of several takes the first: let it be another each time.
    addresses.shuffle(&mut rand::rng());
    let record = |address| match (kind, address) {
        (RecordType::A, IpAddr::V4(ip)) => Some(RData::A(A(ip))),
        (RecordType::AAAA, IpAddr::V6(ip)) => Some(RData::AAAA(AAAA(ip))),
        // A name that is a container's has no others' addresses, and no mail server.
        _ => None,
    };
    addresses.into_iter().filter_map(record).collect()
}

/// What one container sees.
struct View<'c, I> {
    container: &'c str,
    endpoints: I,
}

impl<'a, I: Iterator<Item = &'a Arc<Endpoint>> + Clone> View<'_, I> {
    /// Its own endpoints in networks with DNS, by network, the order in which names are looked up.
    fn own(&self) -> Vec<&'a Arc<Endpoint>> {
        let of = |endpoint: &&Arc<Endpoint>| {
            endpoint.container == self.container && endpoint.upstream.is_some()
        };
        let mut own: Vec<_> = self.endpoints.clone().filter(of).collect();
        own.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.rank()));
        own
    }

    /// The addresses of a name: an own word for somebody, a name or alias in one of its networks,
    /// or such a name with its network's after a dot. `None` when it is nobody's.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let own = self.own();
        for endpoint in &own {
            let linked = endpoint
                .links
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(name));
            let name = linked.map_or(name, |(_, target)| target.as_str());
            let found = self.named(name, &endpoint.network_id);
            if !found.is_empty() {
                return Some(found);
            }
        }
        let (name, network) = name.rsplit_once('.')?;
        let endpoint = own
            .iter()
            .find(|endpoint| endpoint.network.eq_ignore_ascii_case(network))?;
        Some(self.named(name, &endpoint.network_id)).filter(|found| !found.is_empty())
    }

    fn named(&self, name: &str, network: &str) -> Vec<IpAddr> {
        let answers_to = |endpoint: &&Arc<Endpoint>| {
            endpoint.network_id == network
                && endpoint
                    .names
                    .iter()
                    .any(|own| own.eq_ignore_ascii_case(name))
        };
        let endpoints = self.endpoints.clone().filter(answers_to);
        endpoints
            .flat_map(|endpoint| endpoint.addresses())
            .collect()
    }

    /// The name of the container that has an address in one of its networks.
    fn reverse(&self, name: &Name) -> Option<Name> {
        let net = name.parse_arpa_name().ok()?;
        if net.prefix_len() != net.max_prefix_len() {
            return None;
        }
        let networks: Vec<&str> = self.own().iter().map(|e| e.network_id.as_str()).collect();
        let here = |endpoint: &&Arc<Endpoint>| {
            networks.contains(&endpoint.network_id.as_str())
                && endpoint.addresses().any(|ip| ip == net.addr())
        };
        let endpoint = self.endpoints.clone().find(here)?;
        let own = endpoint.names.first()?;
        Name::from_ascii(format!("{own}.{}.", endpoint.network)).ok()
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
