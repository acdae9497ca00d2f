//! A container's `/etc/resolv.conf`.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use crate::{Error, Result, Upstream};

/// What the user set for DNS (`--dns`, `--dns-search`, `--dns-option`), empty for the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// Where the host's own resolver configuration is.
pub const HOST_PATH: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes the servers it really asks.
pub const RESOLVED_PATH: &str = "/run/systemd/resolve/resolv.conf";

/// For containers whose host has only name servers that they cannot reach.
const FALLBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];
/// Where our own DNS is, in containers.
pub const INTERNAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const NDOTS: &str = "ndots:";
/// systemd-resolved's stub.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// What a resolver configuration says. Other lines (`sortlist` …) are kept as they are.
#[derive(Debug, Default)]
struct Conf {
    servers: Vec<Server>,
    search: Vec<String>,
    options: Vec<String>,
    other: Vec<String>,
}

#[derive(Debug)]
struct Server {
    ip: IpAddr,
    /// As written, with an IPv6 zone if any.
    text: String,
}

fn parse(text: &str) -> Conf {
    let mut conf = Conf::default();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let words: Vec<String> = words.map(str::to_owned).collect();
        match keyword {
            "nameserver" => conf
                .servers
                .extend(words.into_iter().next().and_then(server)),
            // The last one of the two wins, as in the C library.
            "search" | "domain" => conf.search = words,
            "options" => conf.options.extend(words),
            _ => conf.other.push(line.to_owned()),
        }
    }
    conf
}

fn server(text: String) -> Option<Server> {
    let bare = text.split('%').next().unwrap_or_default();
    Some(Server {
        ip: bare.parse().ok()?,
        text,
    })
}

/// Which of the two texts to use: systemd-resolved's own file when the host's names only
/// its stub at 127.0.0.53.
pub fn choose<'a>(host: &'a str, resolved: Option<&'a str>) -> &'a str {
    match (parse(host).servers.as_slice(), resolved) {
        ([only], Some(resolved)) if only.ip == STUB => resolved,
        _ => host,
    }
}

/// Reads the host's configuration for containers with a network namespace of their own,
/// choosing as [`choose`]. Blocks; call it off the async threads. An absent file is an empty one.
///
/// Errors: [`Error::Io`] when `/etc/resolv.conf` exists and cannot be read.
pub fn read_host() -> Result<String> {
    let host = read_host_network()?;
    let resolved = fs::read_to_string(RESOLVED_PATH).ok();
    Ok(choose(&host, resolved.as_deref()).to_owned())
}

/// Reads the host's configuration for containers on the host's network: always
/// `/etc/resolv.conf` itself. Blocks.
///
/// Errors: [`Error::Io`] when it exists and cannot be read.
pub fn read_host_network() -> Result<String> {
    match fs::read(HOST_PATH) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", HOST_PATH, error)),
    }
}

/// The text of a bridge container's `/etc/resolv.conf`: the host's (`host`) with what `dns`
/// replaces. Of the host's name servers those on loopback and those with IPv6 addresses are left
/// out, since the container cannot reach them; public ones stand in when none is left.
pub fn build(host: &str, dns: &Dns) -> String {
    let mut conf = parse(host);
    if dns.servers.is_empty() {
        conf.servers
            .retain(|server| server.ip.is_ipv4() && !server.ip.is_loopback());
        if conf.servers.is_empty() {
            conf.servers = FALLBACK.iter().copied().map(plain).collect();
        }
    }
    render(conf, dns)
}

/// The text for a container in networks with DNS of ours: all questions go there first. `ndots:0`
/// makes the C library ask for names without a dot as they are.
pub fn build_internal(host: &str, dns: &Dns) -> String {
    let mut conf = parse(host);
    conf.servers = vec![plain(IpAddr::V4(INTERNAL))];
    let dns = Dns {
        servers: Vec::new(),
        ..dns.clone()
    };
    if !dns.options.is_empty() {
        conf.options.clone_from(&dns.options);
    }
    if !conf.options.iter().any(|option| option.starts_with(NDOTS)) {
        conf.options.push(format!("{NDOTS}0"));
    }
    let options = std::mem::take(&mut conf.options);
    render(conf, &Dns { options, ..dns })
}

/// Where the questions go that our DNS cannot answer.
pub fn upstream(host: &str, dns: &Dns) -> Upstream {
    let conf = parse(host);
    let own = !dns.servers.is_empty();
    let servers = match own {
        true => dns.servers.clone(),
        false => conf.servers.iter().map(|server| server.ip).collect(),
    };
    // Our own address would ask itself for ever.
    let mut servers: Vec<IpAddr> = servers;
    servers.retain(|ip| *ip != IpAddr::V4(INTERNAL));
    let ndots = |option: &String| {
        let number = option.strip_prefix(NDOTS);
        number
            .and_then(|number| number.parse().ok())
            .is_some_and(|number: u32| number > 0)
    };
    Upstream {
        servers,
        of_host: !own,
        ndots: dns.options.iter().any(ndots),
    }
}

/// The text for `--network host`: like [`build`], but all of the host's name servers stay, since
/// the container shares the host's loopback.
pub fn build_host_network(host: &str, dns: &Dns) -> String {
    if *dns == Dns::default() {
        return host.to_owned();
    }
    render(parse(host), dns)
}

fn plain(ip: IpAddr) -> Server {
    Server {
        ip,
        text: ip.to_string(),
    }
}

fn render(mut conf: Conf, dns: &Dns) -> String {
    if !dns.servers.is_empty() {
        conf.servers = dns.servers.iter().copied().map(plain).collect();
    }
    if !dns.search.is_empty() {
        conf.search = dns.search.clone();
    }
    if !dns.options.is_empty() {
        conf.options = dns.options.clone();
    }
    // What is no single word could write lines of its own.
    let word = |text: &String| !text.is_empty() && !text.contains(char::is_whitespace);
    // A single dot is how the user says "none".
    conf.search.retain(|domain| domain != "." && word(domain));
    conf.options.retain(word);

    let mut lines = vec!["# Generated by Berth Engine.".to_owned(), String::new()];
    lines.extend(
        conf.servers
            .into_iter()
            .map(|server| format!("nameserver {}", server.text)),
    );
    if !conf.search.is_empty() {
        lines.push(format!("search {}", conf.search.join(" ")));
    }
    if !conf.options.is_empty() {
        lines.push(format!("options {}", conf.options.join(" ")));
    }
    lines.extend(conf.other);
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers(text: &str) -> Vec<IpAddr> {
        parse(text).servers.iter().map(|s| s.ip).collect()
    }

    #[test]
    fn the_hosts_configuration_is_kept() {
        let host = "# by hand\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\nsortlist 10.0.0.0\n";
        assert_eq!(
            build(host, &Dns::default()),
            "# Generated by Berth Engine.\n\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\nsortlist 10.0.0.0\n"
        );
    }

    #[test]
    fn loopback_and_ipv6_servers_fall_back_to_public_ones() {
        let text = build(
            "nameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\n",
            &Dns::default(),
        );
        assert_eq!(servers(&text), FALLBACK);
        assert_eq!(servers(&build("", &Dns::default())), FALLBACK);
    }

    #[test]
    fn a_user_may_ask_for_a_loopback_server() {
        let dns = Dns {
            servers: vec!["127.0.0.1".parse().unwrap()],
            ..Dns::default()
        };
        assert_eq!(servers(&build("nameserver 10.0.0.2", &dns)), dns.servers);
    }

    #[test]
    fn a_single_dot_clears_the_search_list() {
        let dns = Dns {
            search: vec![".".into()],
            ..Dns::default()
        };
        assert!(!build("nameserver 10.0.0.2\nsearch corp.example\n", &dns).contains("search"));
    }

    #[test]
    fn overrides_replace_the_hosts() {
        let dns = Dns {
            servers: vec!["10.1.1.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            search: vec!["x.example".into()],
            options: vec!["ndots:5".into(), "rotate".into()],
        };
        assert_eq!(
            build("nameserver 10.0.0.2\nsearch a\noptions timeout:1\n", &dns),
            "# Generated by Berth Engine.\n\nnameserver 10.1.1.1\nnameserver fd00::1\nsearch x.example\noptions ndots:5 rotate\n"
        );
    }

    #[test]
    fn a_search_domain_cannot_write_lines_of_its_own() {
        let dns = Dns {
            search: vec!["a\nnameserver 6.6.6.6".into()],
            ..Dns::default()
        };
        assert_eq!(
            servers(&build("nameserver 10.0.0.2\n", &dns)),
            servers("nameserver 10.0.0.2")
        );
    }

    #[test]
    fn the_last_of_domain_and_search_wins() {
        assert!(build("search a b\ndomain c\n", &Dns::default()).contains("search c\n"));
    }

    #[test]
    fn resolveds_stub_leads_to_its_own_file() {
        let real = "nameserver 10.9.9.9\n";
        assert_eq!(choose("nameserver 127.0.0.53\n", Some(real)), real);
        assert_eq!(
            choose("nameserver 127.0.0.53\n", None),
            "nameserver 127.0.0.53\n"
        );
        let two = "nameserver 127.0.0.53\nnameserver 10.0.0.1\n";
        assert_eq!(choose(two, Some(real)), two);
    }

    #[test]
    fn with_dns_of_ours_everything_is_asked_there() {
        let host = "nameserver 10.0.0.2\nsearch corp.example\noptions edns0\n";
        let dns = Dns {
            servers: vec!["10.1.1.1".parse().unwrap()],
            ..Dns::default()
        };
        assert_eq!(
            build_internal(host, &dns),
            "# Generated by Berth Engine.\n\nnameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n"
        );
        let own = upstream(host, &dns);
        assert_eq!((own.servers, own.of_host), (dns.servers, false));
        let hosts = upstream(
            "nameserver 127.0.0.1\nnameserver 127.0.0.11\n",
            &Dns::default(),
        );
        assert_eq!(hosts.servers, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(hosts.of_host && !hosts.ndots);
        let dns = Dns {
            options: vec!["ndots:2".into()],
            ..Dns::default()
        };
        assert!(build_internal(host, &dns).contains("options ndots:2\n"));
        assert!(upstream(host, &dns).ndots);
    }

    #[test]
    fn host_network_keeps_the_text_and_loopback_servers() {
        let host = "nameserver 127.0.0.53\n# note\n";
        assert_eq!(build_host_network(host, &Dns::default()), host);
        let dns = Dns {
            search: vec!["x".into()],
            ..Dns::default()
        };
        assert_eq!(servers(&build_host_network(host, &dns)), [STUB]);
    }

    proptest! {
        #[test]
        fn whatever_the_host_says_the_container_gets_reachable_servers(text in "(nameserver [0-9a-f:.%]{0,12}\n|[ -~]{0,30}\n){0,8}") {
            let built = servers(&build(&text, &Dns::default()));
            prop_assert!(!built.is_empty());
            prop_assert!(built.iter().all(|ip| ip.is_ipv4() && !ip.is_loopback()));
        }

        #[test]
        fn building_twice_changes_nothing(text in "(nameserver 1[0-9]\\.0\\.0\\.[1-9]\n|search [a-z ]{1,9}\n|options [a-z:]{1,9}\n){0,6}") {
            let once = build(&text, &Dns::default());
            prop_assert_eq!(build(&once, &Dns::default()), once);
        }
    }
}
