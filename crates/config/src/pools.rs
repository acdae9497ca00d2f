//! Where networks get their subnets from (`default-address-pools`).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Config, Error, Result};

/// One entry of `default-address-pools`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressPoolConfig {
    /// All addresses, e.g. `10.10.0.0/16`.
    pub base: String,
    /// The prefix length of one subnet, in bits.
    pub size: i64,
}

/// Addresses that subnets are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// All of them.
    pub base: IpNet,
    /// The prefix length of one subnet, in bits; neither below the base's nor above the family's.
    pub size: u8,
}

/// The pools as they were given; empty: Docker's own.
///
/// # Errors
/// dockerd's words for a base that is none, and for sizes that do not fit.
pub(crate) fn derive(config: &Config) -> Result<Vec<AddressPool>> {
    let pools = config.default_address_pools.iter().enumerate();
    pools.map(|(index, pool)| check(index, pool)).collect()
}

fn check(index: usize, pool: &AddressPoolConfig) -> Result<AddressPool> {
    let base = match pool.base.as_str() {
        "" => None,
        text => Some(parse_prefix(text).map_err(|why| {
            Error::invalid(format!("invalid value for default-address-pools: {why}"))
        })?),
    };
    let shown = base.map_or_else(|| "invalid Prefix".to_owned(), |base| base.to_string());
    let wrong = |why: String| {
        Error::invalid(format!(
            "could not construct local address space: network at index {index} (&{{{shown} {}}}) {why}",
            pool.size
        ))
    };
    let Some(base) = base.filter(|_| pool.size > 0) else {
        return Err(wrong("is not in canonical form".to_owned()));
    };
    if i64::from(base.prefix_len()) > pool.size {
        return Err(wrong(format!(
            "has a smaller prefix (/{}) than the target size of that pool (/{})",
            base.prefix_len(),
            pool.size
        )));
    }
    match u8::try_from(pool.size) {
        Ok(size) if size <= base.max_prefix_len() => Ok(AddressPool {
            base: base.trunc(),
            size,
        }),
        _ => Err(wrong(format!(
            "has a target size (/{}) beyond an address's {} bits",
            pool.size,
            base.max_prefix_len()
        ))),
    }
}

/// `base=10.10.0.0/16,size=24` of `--default-address-pool`.
pub(crate) fn parse_flag(text: &str) -> Result<AddressPoolConfig> {
    let mut pool = AddressPoolConfig::default();
    for field in text.split(',') {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=') else {
            return Err(Error::invalid(format!(
                "invalid field '{field}' must be a key=value pair"
            )));
        };
        match key {
            "base" => {
                parse_prefix(value).map_err(|why| {
                    Error::invalid(format!("invalid base prefix {value:?}: {why}"))
                })?;
                pool.base = value.to_owned();
            }
            "size" => {
                pool.size = value.parse().map_err(|_| {
                    Error::invalid(format!(
                        "invalid size value: {text:?} (must be integer): \
                         strconv.Atoi: parsing {value:?}: invalid syntax"
                    ))
                })?;
            }
            _ => {
                return Err(Error::invalid(format!(
                    "unexpected key '{key}' in '{field}'"
                )));
            }
        }
    }
    Ok(pool)
}

/// The pools of flags, as dockerd prints them.
pub(crate) fn show(flags: &serde_json::Value) -> String {
    let pools = Vec::<AddressPoolConfig>::deserialize(flags).unwrap_or_default();
    let pools: Vec<_> = pools
        .iter()
        .map(|pool| format!("{} {}", pool.base, pool.size))
        .collect();
    pools.join(", ")
}

/// An address and a prefix length; what is wrong in the words of Go's `netip`, which dockerd
/// hands on.
pub(crate) fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let wrong = |why: String| format!("netip.ParsePrefix({text:?}): {why}");
    let (ip, bits) = text
        .rsplit_once('/')
        .ok_or_else(|| wrong("no '/'".to_owned()))?;
    let ip: std::net::IpAddr = ip
        .parse()
        .map_err(|_| wrong(format!("ParseAddr({ip:?}): unable to parse IP")))?;
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    if bits.is_empty() || bits.len() > 3 || !plain {
        return Err(wrong(format!("bad bits after slash: {bits:?}")));
    }
    let bits = bits.parse().ok();
    bits.and_then(|bits| IpNet::new(ip, bits).ok())
        .ok_or_else(|| wrong("prefix length out of range".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(base: &str, size: i64) -> Result<AddressPool, String> {
        let pool = AddressPoolConfig {
            base: base.to_owned(),
            size,
        };
        check(0, &pool).map_err(|error| error.to_string())
    }

    #[test]
    fn pools_are_checked_in_dockerds_words() {
        let pool = told("10.10.7.0/16", 24).expect("valid");
        assert_eq!(
            (pool.base.to_string().as_str(), pool.size),
            ("10.10.0.0/16", 24)
        );
        assert!(told("fd00:8::/48", 64).is_ok() && told("10.0.0.0/24", 24).is_ok());
        let space = "could not construct local address space: network at index 0";
        for (base, size, wrong) in [
            (
                "10.10.0.0/16",
                8,
                "(&{10.10.0.0/16 8}) has a smaller prefix (/16) than the target size of that pool (/8)",
            ),
            (
                "10.10.0.0/16",
                0,
                "(&{10.10.0.0/16 0}) is not in canonical form",
            ),
            ("", 24, "(&{invalid Prefix 24}) is not in canonical form"),
            (
                "10.10.0.0/16",
                33,
                "(&{10.10.0.0/16 33}) has a target size (/33) beyond an address's 32 bits",
            ),
            (
                "fd00::/8",
                300,
                "(&{fd00::/8 300}) has a target size (/300) beyond an address's 128 bits",
            ),
        ] {
            assert_eq!(told(base, size).unwrap_err(), format!("{space} {wrong}"));
        }
        for (base, wrong) in [
            ("10.10.0.0", "no '/'"),
            ("ten/8", "ParseAddr(\"ten\"): unable to parse IP"),
            ("10.0.0.0/x", "bad bits after slash: \"x\""),
            ("10.0.0.0/08", "bad bits after slash: \"08\""),
            ("10.0.0.0/33", "prefix length out of range"),
        ] {
            let wrong = format!(
                "invalid value for default-address-pools: netip.ParsePrefix({base:?}): {wrong}"
            );
            assert_eq!(told(base, 24).unwrap_err(), wrong);
        }
    }
}
