//! A container's `/etc/hosts`.

use std::fmt::Write;
use std::net::IpAddr;

use crate::{Error, Result};

/// What goes into a container's `/etc/hosts`.
#[derive(Clone, Debug, Default)]
pub struct Hosts<'a> {
    /// The container's hostname.
    pub hostname: &'a str,
    /// Its domain, empty for none.
    pub domainname: &'a str,
    /// Its own addresses; none for `--network none`.
    pub addresses: &'a [IpAddr],
    /// `--add-host` values: `name:address` or `name=address`; the address may be `host-gateway`.
    pub extra: &'a [String],
    /// Other containers that it is linked to: an address, and the names for it.
    pub linked: &'a [(IpAddr, String)],
    /// What `host-gateway` stands for: the bridge's address, unless configured.
    pub host_gateway: Option<IpAddr>,
    /// Whether to write the `::1` and multicast lines. Docker writes them unless the container's
    /// loopback has no IPv6.
    pub ipv6: bool,
}

const V4: &str = "127.0.0.1\tlocalhost\n";
const V6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The text of a container's `/etc/hosts`.
///
/// Errors: [`Error::Invalid`] for a malformed `--add-host` or hostname, or `host-gateway` where
/// there is none.
pub fn build(hosts: &Hosts<'_>) -> Result<String> {
    for name in [hosts.hostname, hosts.domainname] {
        if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Error::Invalid(format!("invalid hostname: {name:?}")));
        }
    }
    let mut text = String::from(V4);
    if hosts.ipv6 {
        text.push_str(V6);
    }
    for entry in hosts.extra {
        let (name, address) = split_extra(entry)?;
        let address = match address {
            "host-gateway" => hosts.host_gateway.ok_or_else(|| {
                Error::Invalid("unable to derive the IP value for host-gateway".into())
            })?,
            other => other.parse().map_err(|_| {
                Error::Invalid(format!("invalid IP address in add-host: {other:?}"))
            })?,
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    for (address, names) in hosts.linked {
        if names.contains(['\n', '\r', '#']) {
            return Err(Error::Invalid(format!("invalid link: {names:?}")));
        }
        let _ = writeln!(text, "{address}\t{names}");
    }
    for address in hosts.addresses {
        let _ = match hosts.domainname {
            "" => writeln!(text, "{address}\t{}", hosts.hostname),
            domain => writeln!(
                text,
                "{address}\t{}.{domain} {}",
                hosts.hostname, hosts.hostname
            ),
        };
    }
    Ok(text)
}

/// Checks one `--add-host` value and splits it into name and address text.
///
/// Errors: [`Error::Invalid`] in Docker's words.
pub fn split_extra(entry: &str) -> Result<(&str, &str)> {
    let bad = || Error::Invalid(format!("bad format for add-host: {entry:?}"));
    let (name, address) = match entry.split_once('=') {
        Some(parts) => parts,
        None => entry.split_once(':').ok_or_else(bad)?,
    };
    let clean = |c: char| c.is_whitespace() || c.is_control();
    if name.is_empty() || address.is_empty() || name.contains(clean) {
        return Err(bad());
    }
    let address = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(Error::Invalid(format!(
            "invalid IP address in add-host: {address:?}"
        )));
    }
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bridge_container() {
        let text = build(&Hosts {
            hostname: "c0ffee",
            addresses: &["172.17.0.2".parse().unwrap()],
            extra: &[
                "db:10.0.0.5".into(),
                "v6=fd00::1".into(),
                "up:host-gateway".into(),
            ],
            host_gateway: Some("172.17.0.1".parse().unwrap()),
            ipv6: true,
            ..Hosts::default()
        });
        assert_eq!(
            text.unwrap(),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.0.0.5\tdb\nfd00::1\tv6\n172.17.0.1\tup\n172.17.0.2\tc0ffee\n"
        );
    }

    #[test]
    fn a_domain_comes_before_the_bare_name() {
        let text = build(&Hosts {
            hostname: "web",
            domainname: "corp.example",
            addresses: &["172.17.0.2".parse().unwrap()],
            ..Hosts::default()
        });
        assert_eq!(
            text.unwrap(),
            "127.0.0.1\tlocalhost\n172.17.0.2\tweb.corp.example web\n"
        );
    }

    #[test]
    fn malformed_extra_hosts_are_refused() {
        for entry in [
            "",
            "db",
            ":10.0.0.1",
            "db:",
            "db:nowhere",
            "d b:10.0.0.1",
            "a\nb:10.0.0.1",
        ] {
            assert!(
                matches!(split_extra(entry), Err(Error::Invalid(_))),
                "{entry:?}"
            );
        }
        assert_eq!(split_extra("db:[fd00::1]").unwrap(), ("db", "fd00::1"));
        assert_eq!(split_extra("db:fd00::1").unwrap(), ("db", "fd00::1"));
    }

    #[test]
    fn links_have_lines_and_only_their_own() {
        let linked = |names: &str| {
            build(&Hosts {
                linked: &[("172.17.0.3".parse().unwrap(), names.to_owned())],
                ..Hosts::default()
            })
        };
        assert!(
            linked("store c0ffee db")
                .unwrap()
                .ends_with("172.17.0.3\tstore c0ffee db\n")
        );
        assert!(linked("a\n10.0.0.1 bank.example").is_err());
    }

    #[test]
    fn a_hostname_cannot_write_lines_of_its_own() {
        let hosts = Hosts {
            hostname: "a\n10.0.0.1 bank.example",
            ..Hosts::default()
        };
        assert!(matches!(build(&hosts), Err(Error::Invalid(_))));
    }

    #[test]
    fn host_gateway_needs_a_gateway() {
        let extra = ["up:host-gateway".to_owned()];
        assert!(
            build(&Hosts {
                extra: &extra,
                ..Hosts::default()
            })
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_extra_host_can_write_a_line_of_its_own(entry in "\\PC{0,12}[:=]\\PC{0,20}|[a-z\n\t ]{1,8}:1\\.2\\.3\\.4") {
            let extra = [entry];
            if let Ok(text) = build(&Hosts { extra: &extra, ..Hosts::default() }) {
                prop_assert_eq!(text.lines().count(), 2);
            }
        }
    }
}
