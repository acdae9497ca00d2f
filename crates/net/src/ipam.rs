//! Addresses of one subnet: which are taken, and which is next.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{Error, Result, Subnet};

/// The addresses of one subnet.
///
/// A released address is not handed out again until the cursor has gone round, so that peers
/// with a stale ARP or connection entry do not reach the wrong container.
#[derive(Debug)]
pub(crate) struct Pool {
    network: String,
    subnet: IpNet,
    /// Automatic addresses come from here.
    first: u128,
    last: u128,
    /// Where the search for the next free address begins.
    cursor: u128,
    taken: BTreeSet<u128>,
    /// Never handed out unasked.
    reserved: BTreeSet<u128>,
}

impl Pool {
    /// A pool over a subnet with the gateway taken. Its range narrows what is handed out unasked.
    ///
    /// Errors: [`Error::Invalid`] when the gateway or the range lies outside.
    pub(crate) fn new(network: impl Into<String>, of: &Subnet) -> Result<Self> {
        let (subnet, gateway) = (of.net.trunc(), of.gateway);
        if !subnet.contains(&gateway) {
            return Err(Error::Invalid(format!(
                "invalid gateway {gateway}: not in subnet {subnet}"
            )));
        }
        let range = of.range.unwrap_or(subnet).trunc();
        if !subnet.contains(&range) {
            return Err(Error::Invalid(format!(
                "invalid fixed-cidr {range}: not in subnet {subnet}"
            )));
        }
        let (mut first, mut last) = (number(range.network()), number(range.broadcast()));
        if has_edges(&subnet) {
            first = first.max(number(subnet.network()) + 1);
            if matches!(subnet, IpNet::V4(_)) {
                last = last.min(number(subnet.broadcast()) - 1);
            }
        }
        Ok(Self {
            network: network.into(),
            subnet,
            first,
            last,
            cursor: first,
            taken: BTreeSet::from([number(gateway)]),
            reserved: of.reserved.iter().copied().map(number).collect(),
        })
    }

    /// Takes the next free address.
    ///
    /// Errors: [`Error::PoolExhausted`].
    pub(crate) fn next(&mut self) -> Result<IpAddr> {
        let free = self
            .free_between(self.cursor.max(self.first), self.last)
            .or_else(|| self.free_between(self.first, self.last))
            .ok_or_else(|| Error::PoolExhausted {
                v6: matches!(self.subnet, IpNet::V6(_)),
                network: self.network.clone(),
            })?;
        self.taken.insert(free);
        self.cursor = if free >= self.last {
            self.first
        } else {
            free + 1
        };
        Ok(self.address(free))
    }

    /// Takes the address that is asked for.
    ///
    /// Errors: [`Error::Invalid`] when it is not of this subnet, [`Error::AddressInUse`].
    pub(crate) fn take(&mut self, ip: IpAddr) -> Result<IpAddr> {
        let edge = has_edges(&self.subnet)
            && (ip == self.subnet.network() || (ip.is_ipv4() && ip == self.subnet.broadcast()));
        if !self.subnet.contains(&ip) || edge {
            return Err(Error::Invalid(format!(
                "invalid address {ip}: it does not belong to any of this network's subnets"
            )));
        }
        if !self.taken.insert(number(ip)) {
            return Err(Error::AddressInUse);
        }
        Ok(ip)
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, ip: IpAddr) {
        self.taken.remove(&number(ip));
    }

    /// How many addresses are taken, the gateway among them.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    fn address(&self, number: u128) -> IpAddr {
        address(number, matches!(self.subnet, IpNet::V6(_)))
    }

    fn free_between(&self, from: u128, to: u128) -> Option<u128> {
        let mut candidate = from;
        while candidate <= to {
            let held = |set: &BTreeSet<u128>| set.contains(&candidate);
            if !held(&self.taken) && !held(&self.reserved) {
                return Some(candidate);
            }
            candidate = candidate.checked_add(1)?;
        }
        None
    }
}

/// An address as a number.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The address of a number that came from one of the same family.
pub(crate) fn address(number: u128, v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::from(number as u32).into(),
        true => Ipv6Addr::from(number).into(),
    }
}

/// Whether a subnet's first address (and with IPv4 its last) is none of a host: subnets of one or
/// two addresses have only those.
fn has_edges(subnet: &IpNet) -> bool {
    subnet.max_prefix_len() - subnet.prefix_len() > 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn pool(subnet: &str, gateway: &str, range: Option<&str>) -> Result<Pool> {
        let subnet = Subnet {
            range: range.map(|r| r.parse().unwrap()),
            ..Subnet::new(subnet, gateway)
        };
        Pool::new("bridge", &subnet)
    }

    #[test]
    fn gateway_network_and_broadcast_are_never_handed_out() {
        let mut pool = pool("10.0.0.0/29", "10.0.0.1", None).unwrap();
        let got: Vec<u8> = (0..5).map(|_| number(pool.next().unwrap()) as u8).collect();
        assert_eq!(got, [2, 3, 4, 5, 6]);
        let error = pool.next().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no available IPv4 addresses on this network's address pools")
        );
    }

    #[test]
    fn a_released_address_rests_until_the_cursor_comes_round() {
        let mut pool = pool("10.0.0.0/29", "10.0.0.1", None).unwrap();
        let first = pool.next().unwrap();
        pool.release(first);
        assert_ne!(pool.next().unwrap(), first);
    }

    #[test]
    fn requested_addresses() {
        let mut pool = pool("10.0.0.0/24", "10.0.0.1", None).unwrap();
        pool.take("10.0.0.9".parse().unwrap()).unwrap();
        let taken =
            |pool: &mut Pool, ip: &str| pool.take(ip.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(taken(&mut pool, "10.0.0.9"), "Address already in use");
        assert_eq!(taken(&mut pool, "10.0.0.1"), "Address already in use");
        for ip in ["10.0.1.9", "10.0.0.0", "10.0.0.255"] {
            assert_eq!(
                taken(&mut pool, ip),
                format!(
                    "invalid address {ip}: it does not belong to any of this network's subnets"
                )
            );
        }
        assert!(pool.take("fd00::1".parse().unwrap()).is_err());
    }

    #[test]
    fn fixed_cidr_narrows_only_what_is_handed_out_unasked() {
        let mut pool = pool("10.0.0.0/16", "10.0.0.1", Some("10.0.8.0/30")).unwrap();
        let got: Vec<IpAddr> = std::iter::from_fn(|| pool.next().ok()).collect();
        assert_eq!(got.len(), 4);
        assert!(pool.take("10.0.9.9".parse().unwrap()).is_ok());
        assert!(super::tests::pool("10.0.0.0/16", "10.0.0.1", Some("10.1.0.0/24")).is_err());
        assert!(super::tests::pool("10.0.0.0/16", "10.1.0.1", None).is_err());
    }

    #[test]
    fn reserved_addresses_are_only_had_by_asking() {
        let subnet = Subnet {
            reserved: vec!["10.0.0.2".parse().unwrap()],
            ..Subnet::new("10.0.0.0/29", "10.0.0.1")
        };
        let mut pool = Pool::new("n", &subnet).unwrap();
        assert_eq!(pool.next().unwrap().to_string(), "10.0.0.3");
        assert!(pool.take("10.0.0.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn ipv6_subnets_begin_after_the_gateway_and_have_no_broadcast() {
        let mut pool = pool("fd00::/126", "fd00::1", None).unwrap();
        let got: Vec<_> = std::iter::from_fn(|| pool.next().ok()).collect();
        assert_eq!(
            got,
            ["fd00::2", "fd00::3"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        assert!(
            pool.next()
                .unwrap_err()
                .to_string()
                .contains("no available IPv6")
        );
    }

    proptest! {
        #[test]
        fn an_address_has_one_holder(steps in prop::collection::vec((0u8..3, 0u8..64), 1..200)) {
            let mut pool = pool("192.168.0.0/26", "192.168.0.1", None).unwrap();
            let mut held = HashSet::new();
            for (step, n) in steps {
                let wanted = IpAddr::from([192, 168, 0, n]);
                match step {
                    0 => match pool.next() {
                        Ok(ip) => prop_assert!(held.insert(ip)),
                        Err(_) => prop_assert_eq!(held.len(), 61),
                    },
                    1 => if pool.take(wanted).is_ok() {
                        prop_assert!(held.insert(wanted));
                    },
                    _ => if held.remove(&wanted) {
                        pool.release(wanted);
                    },
                }
                prop_assert!(held.iter().all(|ip| ![0, 1, 63].contains(&(number(*ip) as u8))));
                prop_assert_eq!(pool.taken(), held.len() + 1);
            }
        }
    }
}
