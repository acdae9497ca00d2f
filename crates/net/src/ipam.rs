//! Addresses of one subnet: which are taken, and which is next.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::{Error, Result};

/// The addresses of one subnet.
///
/// A released address is not handed out again until the cursor has gone round, so that peers
/// with a stale ARP or connection entry do not reach the wrong container.
#[derive(Debug)]
pub(crate) struct Pool {
    network: String,
    subnet: Ipv4Net,
    /// Automatic addresses come from here.
    first: u32,
    last: u32,
    /// Where the search for the next free address begins.
    cursor: u32,
    taken: BTreeSet<u32>,
}

impl Pool {
    /// A pool over `subnet` with the gateway taken. `range` narrows what is handed out unasked.
    ///
    /// Errors: [`Error::Invalid`] when the gateway or the range lies outside.
    pub(crate) fn new(
        network: impl Into<String>,
        subnet: Ipv4Net,
        gateway: Ipv4Addr,
        range: Option<Ipv4Net>,
    ) -> Result<Self> {
        let subnet = subnet.trunc();
        if !subnet.contains(&gateway) {
            return Err(Error::Invalid(format!(
                "invalid gateway {gateway}: not in subnet {subnet}"
            )));
        }
        let range = range.unwrap_or(subnet).trunc();
        if !subnet.contains(&range) {
            return Err(Error::Invalid(format!(
                "invalid fixed-cidr {range}: not in subnet {subnet}"
            )));
        }
        let (mut first, mut last) = (u32::from(range.network()), u32::from(range.broadcast()));
        // Subnets of one or two addresses have neither a network nor a broadcast address.
        if subnet.prefix_len() < 31 {
            first = first.max(u32::from(subnet.network()) + 1);
            last = last.min(u32::from(subnet.broadcast()) - 1);
        }
        let taken = BTreeSet::from([u32::from(gateway)]);
        Ok(Self {
            network: network.into(),
            subnet,
            first,
            last,
            cursor: first,
            taken,
        })
    }

    /// Takes the next free address.
    ///
    /// Errors: [`Error::PoolExhausted`].
    pub(crate) fn next(&mut self) -> Result<Ipv4Addr> {
        let free = self
            .free_between(self.cursor.max(self.first), self.last)
            .or_else(|| self.free_between(self.first, self.last))
            .ok_or_else(|| Error::PoolExhausted {
                network: self.network.clone(),
            })?;
        self.taken.insert(free);
        self.cursor = if free >= self.last {
            self.first
        } else {
            free + 1
        };
        Ok(Ipv4Addr::from(free))
    }

    /// Takes the address that is asked for.
    ///
    /// Errors: [`Error::Invalid`] when it is not of this subnet, [`Error::AddressInUse`],
    /// [`Error::Unsupported`] for IPv6.
    pub(crate) fn take(&mut self, ip: IpAddr) -> Result<Ipv4Addr> {
        let IpAddr::V4(ip) = ip else {
            return Err(Error::Unsupported(format!(
                "IPv6 endpoint addresses are not supported: {ip}"
            )));
        };
        let reserved = self.subnet.prefix_len() < 31
            && (ip == self.subnet.network() || ip == self.subnet.broadcast());
        if !self.subnet.contains(&ip) || reserved {
            return Err(Error::Invalid(format!(
                "invalid address {ip}: it does not belong to any of this network's subnets"
            )));
        }
        if !self.taken.insert(u32::from(ip)) {
            return Err(Error::AddressInUse);
        }
        Ok(ip)
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, ip: Ipv4Addr) {
        self.taken.remove(&u32::from(ip));
    }

    /// How many addresses are taken, the gateway among them.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    fn free_between(&self, from: u32, to: u32) -> Option<u32> {
        if from > to {
            return None;
        }
        let mut candidate = from;
        for taken in self.taken.range(from..=to) {
            if *taken != candidate {
                break;
            }
            candidate = candidate.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn pool(subnet: &str, gateway: &str, range: Option<&str>) -> Result<Pool> {
        Pool::new(
            "bridge",
            subnet.parse().unwrap(),
            gateway.parse().unwrap(),
            range.map(|r| r.parse().unwrap()),
        )
    }

    #[test]
    fn gateway_network_and_broadcast_are_never_handed_out() {
        let mut pool = pool("10.0.0.0/29", "10.0.0.1", None).unwrap();
        let got: Vec<u8> = (0..5).map(|_| pool.next().unwrap().octets()[3]).collect();
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
        assert!(matches!(
            pool.take("fd00::1".parse().unwrap()),
            Err(Error::Unsupported(_))
        ));
    }

    #[test]
    fn fixed_cidr_narrows_only_what_is_handed_out_unasked() {
        let mut pool = pool("10.0.0.0/16", "10.0.0.1", Some("10.0.8.0/30")).unwrap();
        let got: Vec<Ipv4Addr> = std::iter::from_fn(|| pool.next().ok()).collect();
        assert_eq!(got.len(), 4);
        assert!(pool.take("10.0.9.9".parse().unwrap()).is_ok());
        assert!(super::tests::pool("10.0.0.0/16", "10.0.0.1", Some("10.1.0.0/24")).is_err());
        assert!(super::tests::pool("10.0.0.0/16", "10.1.0.1", None).is_err());
    }

    proptest! {
        #[test]
        fn an_address_has_one_holder(steps in prop::collection::vec((0u8..3, 0u8..64), 1..200)) {
            let mut pool = pool("192.168.0.0/26", "192.168.0.1", None).unwrap();
            let mut held = HashSet::new();
            for (step, n) in steps {
                let wanted = Ipv4Addr::new(192, 168, 0, n);
                match step {
                    0 => match pool.next() {
                        Ok(ip) => prop_assert!(held.insert(ip)),
                        Err(_) => prop_assert_eq!(held.len(), 61),
                    },
                    1 => if pool.take(IpAddr::V4(wanted)).is_ok() {
                        prop_assert!(held.insert(wanted));
                    },
                    _ => if held.remove(&wanted) {
                        pool.release(wanted);
                    },
                }
                prop_assert!(held.iter().all(|ip| ![0, 1, 63].contains(&ip.octets()[3])));
                prop_assert_eq!(pool.taken(), held.len() + 1);
            }
        }
    }
}
