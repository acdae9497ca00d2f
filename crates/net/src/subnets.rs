//! Which subnet a network gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ipam::{address, number};
use crate::{Error, Result, Subnet, SubnetRequest};

/// Addresses that subnets are cut from (`default-address-pools`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// All of them.
    pub base: IpNet,
    /// The prefix length of one subnet, in bits; not below the base's.
    pub size: u8,
}

impl AddressPool {
    /// Docker's IPv4 pools.
    pub fn defaults() -> Vec<AddressPool> {
        let pool = |octets: [u8; 4], prefix, size| {
            let base = Ipv4Net::new(Ipv4Addr::from(octets), prefix).ok()?;
            Some(AddressPool {
                base: base.into(),
                size,
            })
        };
        let sixteens = (17..32).filter_map(|second| pool([172, second, 0, 0], 16, 16));
        sixteens.chain(pool([192, 168, 0, 0], 16, 20)).collect()
    }

    /// Whether a subnet is one of this pool's.
    pub(crate) fn has(self, net: &IpNet) -> bool {
        self.base.contains(net) && net.prefix_len() == self.size
    }

    /// Its first subnet that overlaps nothing of `taken`, which is of its family. It steps over
    /// what is taken as a whole: a pool may have more subnets than can be counted.
    fn free(self, taken: &[&IpNet]) -> Option<IpNet> {
        let base = self.base.trunc();
        let last = number(base.broadcast());
        let mut start = base.network();
        loop {
            let net = IpNet::new(start, self.size).ok()?;
            let Some(other) = taken.iter().find(|other| overlap(&net, other)) else {
                return Some(net);
            };
            // One of the two contains the other, so what follows the greater begins a subnet.
            let end = number(net.broadcast()).max(number(other.broadcast()));
            if end >= last {
                return None;
            }
            start = address(end + 1, start.is_ipv6());
        }
    }
}

/// Pools in the order in which dockerd takes from them: by their addresses, the wider before the
/// narrower. A pool within another one adds nothing.
pub(crate) fn in_order(mut pools: Vec<AddressPool>) -> Vec<AddressPool> {
    pools.sort_by_key(|pool| (pool.base.network(), pool.base.prefix_len()));
    pools.dedup_by(|later, kept| overlap(&kept.base, &later.base));
    pools
}

/// The pool of unique local addresses (RFC 4193) that belongs to a host, from 40 random bits.
pub(crate) fn unique_local(random: [u8; 5]) -> AddressPool {
    let [a, b, c, d, e] = random;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let base = Ipv6Addr::new(pair(0xfd, a), pair(b, c), pair(d, e), 0, 0, 0, 0, 0);
    AddressPool {
        base: IpNet::V6(Ipv6Net::new_assert(base, 48)),
        size: 64,
    }
}

/// Whether two subnets have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The first subnet of the pools that overlaps nothing of `taken`.
pub(crate) fn free(pools: &[AddressPool], v6: bool, taken: &[IpNet]) -> Option<IpNet> {
    let family = |net: &IpNet| matches!(net, IpNet::V6(_)) == v6;
    let taken: Vec<&IpNet> = taken.iter().filter(|net| family(net)).collect();
    let mut pools = pools.iter().filter(|pool| family(&pool.base));
    pools.find_map(|pool| pool.free(&taken))
}

/// Settles what is asked for. `networks`: the subnets of other networks; `host`: what the host
/// has or routes, which only subnets that are chosen have to avoid.
///
/// Errors: [`Error::PoolOverlap`], [`Error::NoSubnet`], [`Error::Invalid`].
pub(crate) fn settle(
    request: &SubnetRequest,
    v6: bool,
    pools: &[AddressPool],
    networks: &[IpNet],
    host: &[IpNet],
) -> Result<Subnet> {
    let net = match request.net {
        Some(net) if networks.iter().any(|other| overlap(&net, other)) => {
            return Err(Error::PoolOverlap);
        }
        Some(net) => net,
        None => {
            let taken: Vec<IpNet> = networks.iter().chain(host).copied().collect();
            free(pools, v6, &taken).ok_or(Error::NoSubnet)?
        }
    };
    let net = net.trunc();
    let host_bits = net.max_prefix_len() - net.prefix_len();
    // The host and at least one container need an address.
    if host_bits < 1 || (!v6 && net.prefix_len() < 8) {
        return Err(Error::Invalid(format!(
            "invalid subnet {net}: it has no room for containers"
        )));
    }
    let gateway = match request.gateway {
        Some(gateway) if net.contains(&gateway) => gateway,
        Some(gateway) => {
            return Err(Error::Invalid(format!(
                "invalid gateway {gateway}: parent subnet {net} doesn't contain this address"
            )));
        }
        // Within the range, if there is one and it does not begin the subnet, as dockerd does.
        None => first(request.range.unwrap_or(net), net),
    };
    Ok(Subnet {
        net,
        gateway,
        default_gateway: None,
        range: request.range,
        reserved: request.reserved.clone(),
    })
}

/// The first address of `range` that is not the address of the subnet itself.
fn first(range: IpNet, subnet: IpNet) -> IpAddr {
    let start = range.network();
    let has_network = subnet.max_prefix_len() - subnet.prefix_len() > 1;
    if start != subnet.network() || !has_network {
        return start;
    }
    address(number(start).saturating_add(1), start.is_ipv6())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn next(taken: &[&str]) -> Option<String> {
        free(&AddressPool::defaults(), false, &nets(taken)).map(|net| net.to_string())
    }

    #[test]
    fn subnets_are_taken_in_dockers_order() {
        assert_eq!(next(&[]).unwrap(), "172.17.0.0/16");
        assert_eq!(next(&["172.17.3.0/24"]).unwrap(), "172.18.0.0/16");
        assert_eq!(next(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(
            next(&["172.16.0.0/12", "192.168.1.0/24"]).unwrap(),
            "192.168.16.0/20"
        );
        assert_eq!(next(&["172.16.0.0/12", "192.168.0.0/16"]), None);
    }

    #[test]
    fn what_is_asked_for_must_not_overlap_other_networks() {
        let ask = |net: &str| SubnetRequest {
            net: Some(net.parse().unwrap()),
            ..SubnetRequest::default()
        };
        let others = nets(&["10.205.1.0/24"]);
        let settled = |net: &str| settle(&ask(net), false, &[], &others, &nets(&["10.9.0.0/16"]));
        for net in ["10.205.1.0/25", "10.205.0.0/16", "10.205.1.0/24"] {
            assert!(matches!(settled(net), Err(Error::PoolOverlap)), "{net}");
        }
        let subnet = settled("10.9.0.0/16").expect("the host's own routes are the asker's affair");
        assert_eq!(subnet.gateway.to_string(), "10.9.0.1");
        assert!(settled("10.1.0.1/32").is_err());
    }

    #[test]
    fn the_gateway_is_the_first_address_of_the_range() {
        let request = SubnetRequest {
            net: Some("10.1.0.0/16".parse().unwrap()),
            range: Some("10.1.7.0/24".parse().unwrap()),
            ..SubnetRequest::default()
        };
        let subnet = settle(&request, false, &[], &[], &[]).unwrap();
        assert_eq!(subnet.gateway.to_string(), "10.1.7.0");
    }

    #[test]
    fn a_host_has_its_own_ipv6_pool() {
        let pool = unique_local([1, 2, 3, 4, 5]);
        assert_eq!(pool.base.to_string(), "fd01:203:405::/48");
        let taken = nets(&["fd01:203:405::/64"]);
        let net = free(&[pool], true, &taken).unwrap();
        assert_eq!(net.to_string(), "fd01:203:405:1::/64");
    }

    #[test]
    fn pools_are_taken_from_by_their_addresses() {
        let pool = |base: &str, size| AddressPool {
            base: base.parse().unwrap(),
            size,
        };
        let pools = in_order(vec![
            pool("192.168.0.0/16", 24),
            pool("fd00:8::/48", 64),
            pool("10.5.0.0/24", 28),
            pool("10.5.0.0/16", 25),
            pool("10.4.0.0/16", 24),
        ]);
        let bases: Vec<_> = pools.iter().map(|pool| pool.base.to_string()).collect();
        assert_eq!(
            bases,
            [
                "10.4.0.0/16",
                "10.5.0.0/16",
                "192.168.0.0/16",
                "fd00:8::/48"
            ]
        );
        let taken = nets(&["10.4.0.0/15"]);
        let net = free(&pools, false, &taken).unwrap();
        assert_eq!(net.to_string(), "192.168.0.0/24");
        assert!(pools[1].has(&nets(&["10.5.3.128/25"])[0]));
        assert!(!pools[1].has(&nets(&["10.5.3.0/24"])[0]));
        assert!(!pools[1].has(&nets(&["10.6.3.0/25"])[0]));
    }

    #[test]
    fn a_pool_of_countless_subnets_is_stepped_through_at_once() {
        let pool = AddressPool {
            base: "fd00::/8".parse().unwrap(),
            size: 64,
        };
        let taken = nets(&[
            "fd00::/9",
            "fd80::/64",
            "fd80:0:0:2::/63",
            "fd80:0:0:1::/64",
        ]);
        let net = free(&[pool], true, &taken).unwrap();
        assert_eq!(net.to_string(), "fd80:0:0:4::/64");
        let whole = nets(&["fd00::/8"]);
        assert_eq!(free(&[pool], true, &whole), None);
        let all = AddressPool {
            base: "::/0".parse().unwrap(),
            size: 1,
        };
        assert_eq!(free(&[all], true, &nets(&["::/1", "8000::/1"])), None);
    }

    proptest! {
        #[test]
        fn chosen_subnets_never_overlap(sizes in prop::collection::vec(12u8..28, 1..5), count in 1usize..40) {
            let pools: Vec<_> = sizes.iter().enumerate().map(|(n, size)| AddressPool {
                base: format!("10.{}.0.0/12", n * 16).parse().unwrap(),
                size: *size,
            }).collect();
            let mut taken: Vec<IpNet> = Vec::new();
            for _ in 0..count {
                let Ok(subnet) = settle(&SubnetRequest::default(), false, &pools, &taken, &[]) else {
                    let room: usize = sizes.iter().map(|size| 1usize << (size - 12)).sum();
                    prop_assert_eq!(taken.len(), room, "only full pools refuse");
                    return Ok(());
                };
                prop_assert!(taken.iter().all(|other| !overlap(other, &subnet.net)));
                prop_assert!(pools.iter().any(|pool| pool.base.contains(&subnet.net)));
                prop_assert!(subnet.net.contains(&subnet.gateway));
                taken.push(subnet.net);
            }
        }
    }
}
