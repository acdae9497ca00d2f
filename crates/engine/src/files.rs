//! The files that a container gets from the engine: hosts, resolv.conf, hostname.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::Live;
use berth_net::{Endpoint, Upstream, hosts, resolv};

use crate::container::record::{Files, Record};
use crate::shared::{Shared, blocking};
use crate::{Error, Result, network};

/// The inits that `--init` puts in front when the configuration names none: the first that there
/// is. Docker's packages bring the one, which is a tini of another name; without them Debian has it
/// under its own.
const INITS: [&str; 2] = ["docker-init", "tini-static"];

/// Writes `/etc/hostname`. Blocks.
pub(crate) fn write_hostname(files: &Files, record: &Record) -> Result<()> {
    write(&files.hostname(), &format!("{}\n", record.hostname()))
}

/// How a container looks names up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolving {
    /// As the host does, whose network it is in.
    AsHost,
    /// With name servers outside.
    External,
    /// With our own DNS.
    Internal,
}

/// Writes `/etc/resolv.conf`: the container's own settings, the daemon's, or the host's. Blocks.
pub(crate) fn write_resolv_conf(
    files: &Files,
    record: &Record,
    live: &Live,
    resolving: Resolving,
) -> Result<()> {
    write(&files.resolv_conf(), &resolv_conf(record, live, resolving)?)
}

fn resolv_conf(record: &Record, live: &Live, resolving: Resolving) -> Result<String> {
    let host = match resolving {
        Resolving::AsHost => resolv::read_host_network(),
        Resolving::External | Resolving::Internal => resolv::read_host(),
    };
    let host = host.map_err(Error::from_lower)?;
    let dns = dns(record, live)?;
    Ok(match resolving {
        Resolving::AsHost => resolv::build_host_network(&host, &dns),
        Resolving::External => resolv::build(&host, &dns),
        Resolving::Internal => resolv::build_internal(&host, &dns),
    })
}

/// Has a container look names up with our own DNS from now on, unless it has changed the file
/// itself. Blocks.
pub(crate) fn resolve_internally(files: &Files, record: &Record, live: &Live) -> Result<()> {
    let path = files.resolv_conf();
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    if now == resolv_conf(record, live, Resolving::External)? {
        write_resolv_conf(files, record, live, Resolving::Internal)?;
    }
    Ok(())
}

/// Where a container's questions go that our own DNS cannot answer.
pub(crate) async fn upstream(record: &Arc<Record>, live: &Arc<Live>) -> Result<Upstream> {
    let (record, live) = (record.clone(), live.clone());
    blocking(move || {
        let host = resolv::read_host().map_err(Error::from_lower)?;
        Ok(resolv::upstream(&host, &dns(&record, &live)?))
    })
    .await
}

/// What the user set for DNS: for the container, else for the daemon.
fn dns(record: &Record, live: &Live) -> Result<resolv::Dns> {
    let given = &record.host;
    let mut servers = Vec::new();
    for text in &given.dns {
        let invalid = |_| Error::invalid(format!("bad nameserver address: {text}"));
        servers.push(text.parse::<IpAddr>().map_err(invalid)?);
    }
    let or = |own: &Vec<String>, default: &Vec<String>| {
        if own.is_empty() {
            default.clone()
        } else {
            own.clone()
        }
    };
    Ok(resolv::Dns {
        servers: if servers.is_empty() {
            live.dns.servers.clone()
        } else {
            servers
        },
        search: or(&given.dns_search, &live.dns.search),
        options: or(&given.dns_options, &live.dns.options),
    })
}

/// Writes a running container's `/etc/hosts` anew, with its addresses.
pub(crate) async fn complete_hosts(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    live: &Arc<Live>,
    endpoints: &[Endpoint],
) -> Result<()> {
    let (shared, record, live) = (shared.clone(), record.clone(), live.clone());
    let addresses: Vec<_> = endpoints.iter().flat_map(Endpoint::addresses).collect();
    blocking(move || {
        let files = shared.files(&record.id)?;
        write_hosts(&files, &record, &live, &shared, false, &addresses)
    })
    .await
}

/// Writes `/etc/hosts`: for the host's network a copy of the host's own. Blocks.
pub(crate) fn write_hosts(
    files: &Files,
    record: &Record,
    live: &Live,
    shared: &Shared,
    host_network: bool,
    addresses: &[IpAddr],
) -> Result<()> {
    let gateway = live.host_gateway_ips.first().copied();
    let gateway = gateway.or_else(|| shared.net.bridge_info().map(|bridge| bridge.gateway.into()));
    let linked = network::linked_hosts(shared, record);
    let wanted = hosts::Hosts {
        linked: &linked,
        hostname: record.hostname(),
        domainname: &record.config.domainname,
        addresses,
        extra: &record.host.extra_hosts,
        host_gateway: gateway,
        ipv6: true,
    };
    let own = hosts::build(&wanted).map_err(Error::from_lower)?;
    let text = match std::fs::read_to_string("/etc/hosts") {
        Ok(mut text) if host_network => {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let extra = own
                .lines()
                .skip_while(|line| !line.starts_with("ff02::2"))
                .skip(1);
            for line in extra {
                text.push_str(line);
                text.push('\n');
            }
            text
        }
        _ => own,
    };
    write(&files.hosts(), &text)
}

/// The init binary of the configuration, or the one in `$PATH`.
pub(crate) fn init_binary(live: &Live) -> Option<PathBuf> {
    let wanted = match live.user.init_path.as_str() {
        "" => INITS.as_slice(),
        path if path.contains('/') => return Some(path.into()),
        name => &[name],
    };
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path)
        .chain(["/usr/libexec/docker", "/usr/lib/docker"].map(PathBuf::from));
    let executable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let places: Vec<_> = places.collect();
    wanted
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(executable)
}

/// Writes in place: the file may be mounted in a container, which would not see a new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| {
            // Whatever our umask: users other than root must be able to read it inside.
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.write_all(text.as_bytes())
        });
    written.map_err(|error| Error::internal(format!("write {}: {error}", path.display())))
}
