//! A container's networks as its configuration asks for them.

mod endpoint;
mod links;
mod ports;

use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;

use berth_errdefs::{Classify, Kind};
use berth_net::Endpoint;
use berth_spec::modes::Mode;
use berth_wire as wire;

pub(crate) use self::endpoint::{Wanted, check, dns_names, request};
pub(crate) use self::links::{has_link, linked_hosts, refresh_linked, unlink};
pub(crate) use self::ports::{port_proto, publish};
use crate::container::handle::View;
use crate::container::record::Record;
use crate::networks::{self, Found};
use crate::shared::Shared;
use crate::{Error, Result};

/// The name of the default network.
pub(crate) const BRIDGE: &str = "bridge";
/// The name of the network without a way out.
const NONE: &str = "none";

/// Where a container's network namespace comes from.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The host's own.
    Host,
    /// One of its own with nothing but loopback.
    None,
    /// One of its own in these networks, in the order in which they are joined.
    Bridges(Vec<Wanted>),
    /// Another container's.
    Joined { netns: PathBuf, of: Arc<View> },
}

impl Plan {
    /// Whether the engine makes a namespace for it.
    pub(crate) fn has_own_netns(&self) -> bool {
        matches!(self, Plan::None | Plan::Bridges(_))
    }

    /// Whether its names are looked up by our own DNS.
    pub(crate) fn has_dns(&self) -> bool {
        matches!(self, Plan::Bridges(wanted) if wanted.iter().any(|wanted| wanted.network.is_users()))
    }
}

/// What `record` asks for, with the networks looked up and the container it joins.
///
/// # Errors
/// Docker's words for a network that there is not, or a container that does not run.
pub(crate) fn plan(shared: &Shared, record: &Record) -> Result<Plan> {
    let plan = match Mode::of(&record.host.network_mode) {
        // dockerd finds this one before it sets up anything.
        Mode::Container(other) => return joined(shared, other),
        _ => own(shared, record),
    };
    plan.map_err(|error| error.context("failed to set up container networking"))
}

/// The namespace of another container.
fn joined(shared: &Shared, other: &str) -> Result<Plan> {
    let view = running(shared, other, |view| {
        let (name, status) = (&view.record.name, view.run.status.as_str());
        format!(
            "cannot join network namespace of a non running container: container {name} is {status}"
        )
    });
    let view = view.map_err(|error| match error.kind() {
        Kind::NotFound => error.context("joining network namespace of container"),
        _ => error,
    })?;
    let netns = format!("/proc/{}/ns/net", view.run.pid).into();
    Ok(Plan::Joined { netns, of: view })
}

/// All that is no other container's.
fn own(shared: &Shared, record: &Record) -> Result<Plan> {
    match Mode::of(&record.host.network_mode) {
        Mode::Host => return Ok(Plan::Host),
        _ if record.config.network_disabled => return Ok(Plan::None),
        Mode::Container(_) | Mode::Default | Mode::Named(_) => {}
    }
    let endpoints = &record.networking.endpoints_config;
    if endpoints.keys().all(|name| name == NONE) {
        return Ok(Plan::None);
    }
    let mut wanted = Vec::with_capacity(endpoints.len());
    for (name, settings) in endpoints {
        let network = networks::find(shared, name)?;
        wanted.push(Wanted::new(record, network, settings)?);
    }
    links::check_running(shared, record)?;
    // The one that the container was made for is eth0.
    let mode = record.host.network_mode.as_str();
    wanted.sort_by_key(|wanted| wanted.network.name() != mode);
    let leading = wanted
        .iter_mut()
        .max_by(|one, other| one.rank().cmp(&other.rank()));
    if let Some(leading) = leading.filter(|leading| !leading.network.is_internal()) {
        leading.publish = publish(record)?;
    }
    Ok(Plan::Bridges(wanted))
}

/// The container whose namespace another one wants to join; `refused`: what is said of one that does
/// not run.
pub(crate) fn running(
    shared: &Shared,
    other: &str,
    refused: impl FnOnce(&View) -> String,
) -> Result<Arc<View>> {
    let view = shared.table.find(other)?.view();
    match view.run.status.is_running() {
        true => Ok(view),
        false => Err(Error::conflict(refused(&view))),
    }
}

/// Names the networks of a new container by their names, the one of its mode among them, and
/// refuses what contradicts itself. A network that there is not is for the start to tell, as in
/// dockerd.
///
/// # Errors
/// Docker's words.
pub(crate) fn settle(shared: &Shared, record: &mut Record) -> Result<()> {
    let mode = match Mode::of(&record.host.network_mode) {
        Mode::Default => BRIDGE.to_owned(),
        _ => name_of(shared, &record.host.network_mode),
    };
    let asked = std::mem::take(&mut record.networking.endpoints_config);
    let mut endpoints = std::collections::BTreeMap::new();
    for (name, settings) in asked {
        endpoints.insert(name_of(shared, &name), settings);
    }
    if let Mode::Container(_) = Mode::of(&record.host.network_mode) {
        // Clients send an entry for the mode itself.
        endpoints.remove(&record.host.network_mode);
        if !endpoints.is_empty() {
            return Err(sharing());
        }
        return checked_ports(record);
    }
    if !record.config.network_disabled {
        let own: &mut wire::EndpointSettings = endpoints.entry(mode.clone()).or_default();
        if own.mac_address.is_empty() {
            own.mac_address.clone_from(&record.config.mac_address);
        }
        if endpoints.len() > 1 {
            may_have_others(&mode)?;
        }
    }
    for (name, settings) in &endpoints {
        match networks::find(shared, name) {
            Ok(network) if mode == *name => check(&network, settings)?,
            Ok(network) => {
                may_join(&network)?;
                check(&network, settings)?;
            }
            Err(_) => endpoint::check_settings(settings)?,
        }
    }
    record.networking.endpoints_config = endpoints;
    links::check(shared, record)?;
    checked_ports(record)
}

fn checked_ports(record: &Record) -> Result<()> {
    for port in &record.config.exposed_ports {
        port_proto(port)?;
    }
    publish(record).map(drop)
}

/// The name of the network that `term` means; itself when it means none.
fn name_of(shared: &Shared, term: &str) -> String {
    match networks::find(shared, term) {
        Ok(network) => network.name().to_owned(),
        Err(_) => term.to_owned(),
    }
}

fn sharing() -> Error {
    Error::invalid(
        "container sharing network namespace with another container or host cannot be connected to any other network",
    )
}

/// The one of a container's endpoints that leads out, and has its published ports.
pub(crate) fn leading<E: Borrow<Endpoint>>(endpoints: impl IntoIterator<Item = E>) -> Option<E> {
    let out = endpoints
        .into_iter()
        .filter(|endpoint| endpoint.borrow().gateway.is_some());
    out.max_by(|one, other| one.borrow().rank().cmp(&other.borrow().rank()))
}

/// Whether a container of this mode may be in further networks.
pub(crate) fn may_have_others(mode: &str) -> Result<()> {
    match Mode::of(mode) {
        Mode::Host | Mode::Container(_) => Err(sharing()),
        Mode::Named(NONE) => Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        _ => Ok(()),
    }
}

/// Whether a container that was made for another one may be in this network too.
pub(crate) fn may_join(network: &Found) -> Result<()> {
    match network.driver() {
        "host" => Err(Error::invalid(
            "cannot connect container to host network - container must be created in host network mode",
        )),
        "null" => may_have_others(NONE),
        _ => Ok(()),
    }
}

/// Berth cannot do this yet.
fn unsupported(what: &str) -> Error {
    Error::new(Kind::NotImplemented, format!("{what} not supported yet"))
}
