//! Names and addresses that end up in `/etc/hosts` and `/etc/resolv.conf`.

use std::net::IpAddr;

use berth_wire::HostConfig;

use crate::error::{Error, Result};

/// What stands for the host's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// Checks `--add-host` and `--dns*`. None of them may bring a line break or a blank into the files.
pub(super) fn validate(host: &HostConfig) -> Result<()> {
    for entry in &host.extra_hosts {
        extra_host(entry)?;
    }
    if let Some(address) = host.dns.iter().find(|a| a.parse::<IpAddr>().is_err()) {
        return Err(Error::invalid(format!(
            "invalid IP address in dns: {address:?}"
        )));
    }
    let words = host.dns_search.iter().map(|word| ("dns-search", word));
    let words = words.chain(host.dns_options.iter().map(|word| ("dns-option", word)));
    for (name, word) in words {
        if word.contains(is_odd) {
            return Err(Error::invalid(format!("bad format for {name}: {word:?}")));
        }
    }
    Ok(())
}

/// `name:address`, where a name may not be empty and an IPv6 address may stand in brackets.
fn extra_host(entry: &str) -> Result<()> {
    let address = match entry.split_once(':') {
        Some((name, address)) if !name.is_empty() && !name.contains(is_odd) => address,
        _ => {
            return Err(Error::invalid(format!(
                "bad format for add-host: {entry:?}"
            )));
        }
    };
    let plain = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    if address == HOST_GATEWAY || plain.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid IP address in add-host: {address:?}"
    )))
}

fn is_odd(c: char) -> bool {
    c.is_control() || c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_name_and_an_address() {
        for good in ["a:1.2.3.4", "a:::1", "a:[::1]", "a:host-gateway"] {
            assert!(extra_host(good).is_ok(), "{good}");
        }
        let error = |entry: &str| extra_host(entry).unwrap_err().to_string();
        assert_eq!(error("a"), "bad format for add-host: \"a\"");
        assert_eq!(error(":1.2.3.4"), "bad format for add-host: \":1.2.3.4\"");
        assert_eq!(
            error("a:1.2.3"),
            "invalid IP address in add-host: \"1.2.3\""
        );
        assert_eq!(
            error("a\nb:1.2.3.4"),
            "bad format for add-host: \"a\\nb:1.2.3.4\""
        );
    }

    #[test]
    fn resolv_conf_gets_no_lines_of_its_own() {
        let check = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            validate(&host).map_err(|error| error.to_string())
        };
        assert!(check(|h| h.dns = vec!["1.1.1.1".to_owned(), "::1".to_owned()]).is_ok());
        assert!(check(|h| h.dns_search = vec![".".to_owned()]).is_ok());
        assert_eq!(
            check(|h| h.dns = vec!["x".to_owned()]).unwrap_err(),
            "invalid IP address in dns: \"x\""
        );
        assert_eq!(
            check(|h| h.dns_search = vec!["a\nnameserver 6.6.6.6".to_owned()]).unwrap_err(),
            "bad format for dns-search: \"a\\nnameserver 6.6.6.6\""
        );
        assert!(check(|h| h.dns_options = vec!["a b".to_owned()]).is_err());
    }
}
