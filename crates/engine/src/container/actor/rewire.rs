//! Joining and leaving networks.
//!
//! One change at a time. What does not run only has its record changed; what runs is connected or
//! disconnected in a task of its own, while the actor goes on. A start or a teardown that is under
//! way comes first; a teardown that begins meanwhile waits for the change, so that it finds every
//! endpoint there is.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_config::Live;
use berth_net::Endpoint;
use berth_wire as wire;
use tokio::sync::oneshot;

use super::{Actor, failed_part, rewrite};
use crate::container::handle::Rewire;
use crate::container::record::Record;
use crate::container::state::{Done, Generation, Phase};
use crate::network::{self, Plan, Wanted};
use crate::networks::Found;
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault, files};

type Reply = oneshot::Sender<Result<Done>>;

/// Changes that wait, and the one that is under way.
#[derive(Default)]
pub(super) struct Rewiring {
    waiting: VecDeque<(Rewire, Reply)>,
    under_way: bool,
    /// The run that is to be torn down once the change has come to its end.
    torn_later: Option<Generation>,
}

impl Rewiring {
    pub(super) fn wait(&mut self, change: Rewire, reply: Reply) {
        self.waiting.push_back((change, reply));
    }

    /// Whether a teardown must wait; then it is remembered.
    pub(super) fn holds_up(&mut self, generation: Generation) -> bool {
        if self.under_way {
            self.torn_later = Some(generation);
        }
        self.under_way
    }
}

/// How a change of what runs came out.
pub(super) struct Outcome {
    result: Result<Changed>,
    reply: Reply,
}

/// What has changed.
enum Changed {
    Joined(String, Box<wire::EndpointSettings>, Box<Endpoint>),
    /// Left a network; the endpoint that has the published ports instead, if that changed.
    Left(String, Option<Box<Endpoint>>),
    Rejoined(Vec<Endpoint>),
}

impl Actor {
    /// Begins the changes that can be made now.
    pub(super) async fn rewire_next(&mut self) {
        while !self.rewiring.under_way {
            let running = match self.state.phase() {
                Phase::Running(_) => true,
                Phase::Starting(_) => return,
                Phase::Created | Phase::Removing(_) | Phase::Dead | Phase::Gone => false,
                phase if phase.is_settled() => false,
                _ => return,
            };
            let Some((change, reply)) = self.rewiring.waiting.pop_front() else {
                return;
            };
            match self.check(&change, running) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(()) if running && !matches!(change, Rewire::Unlink(..)) => {
                    self.rewire_running(change, reply);
                }
                Ok(()) => {
                    let done = self.rewire_record(change).await;
                    let _ = reply.send(done.map(|()| Done::Changed));
                }
            }
        }
    }

    fn check(&self, change: &Rewire, running: bool) -> Result<()> {
        let record = &self.record;
        if matches!(
            self.state.phase(),
            Phase::Removing(_) | Phase::Dead | Phase::Gone
        ) {
            return Err(Error::conflict(format!(
                "container {} is marked for removal and cannot be connected or disconnected to the network",
                record.id
            )));
        }
        let endpoints = &record.networking.endpoints_config;
        match change {
            Rewire::Join(network, settings, _) => {
                network::may_have_others(match endpoints.keys().next() {
                    // Who has left its network may be in others.
                    Some(only) if endpoints.len() == 1 => only,
                    Some(_) => network::BRIDGE,
                    None => &record.host.network_mode,
                })
                .or_else(|error| match endpoints.is_empty() {
                    true if record.host.network_mode == "none" => Ok(()),
                    _ => Err(error),
                })?;
                network::may_join(network)?;
                network::check(network, settings)?;
                let name = network.name();
                if running && endpoints.contains_key(name) {
                    return Err(Error::new(
                        berth_errdefs::Kind::Forbidden,
                        format!(
                            "endpoint with name {} already exists in network {name}",
                            record.name
                        ),
                    ));
                }
                Ok(())
            }
            Rewire::Rejoin(_) => Ok(()),
            Rewire::Unlink(alias, _) if network::has_link(record, alias) => Ok(()),
            Rewire::Unlink(alias, _) => Err(Error::not_found(format!(
                "Cannot get link: container {} has no link {alias}",
                record.name
            ))),
            Rewire::Leave { network, .. } if network == "host" => Err(Error::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            )),
            Rewire::Leave { network, .. } if endpoints.contains_key(network) => Ok(()),
            Rewire::Leave { network, .. } => Err(Error::new(
                berth_errdefs::Kind::Forbidden,
                format!(
                    "container {} is not connected to network {network}",
                    record.id
                ),
            )),
        }
    }

    /// Writes a change down.
    async fn rewire_record(&mut self, change: Rewire) -> Result<()> {
        let mut record = Record::clone(&self.record);
        let endpoints = &mut record.networking.endpoints_config;
        let mut hosts_of = None;
        match change {
            Rewire::Join(network, settings, _) => {
                endpoints.insert(network.name().to_owned(), *settings);
            }
            Rewire::Leave { network, .. } => drop(endpoints.remove(&network)),
            Rewire::Unlink(alias, live) => {
                network::unlink(&mut record, &alias);
                hosts_of = Some(live).filter(|_| self.run.status.is_running());
            }
            // The next start joins what there is to join.
            Rewire::Rejoin(_) => return Ok(()),
        }
        self.keep_record(record).await?;
        self.publish();
        match hosts_of {
            Some(live) => {
                let endpoints = &self.run.endpoints;
                files::complete_hosts(&self.shared, &self.record, &live, endpoints).await
            }
            None => Ok(()),
        }
    }

    async fn keep_record(&mut self, record: Record) -> Result<()> {
        let record = Arc::new(record);
        rewrite(&self.shared, &record).await?;
        self.record = record;
        Ok(())
    }

    /// Begins a change of what runs.
    fn rewire_running(&mut self, change: Rewire, reply: Reply) {
        self.rewiring.under_way = true;
        let wiring = Wiring {
            shared: self.shared.clone(),
            record: self.record.clone(),
            endpoints: self.run.endpoints.clone(),
        };
        let task = tokio::spawn(async move {
            match change {
                Rewire::Join(network, settings, live) => {
                    wiring.join(network, settings, &live).await
                }
                Rewire::Leave { network, force } => wiring.leave(network, force).await,
                Rewire::Rejoin(live) => wiring.rejoin(&live).await,
                Rewire::Unlink(..) => Err(Error::internal("a link is no network")),
            }
        });
        self.work.push(Box::pin(async move {
            let result = task.await.unwrap_or_else(|error| Err(failed_part(&error)));
            super::Outcome::Rewired(Box::new(Outcome { result, reply }))
        }));
    }

    /// A change has come to its end: persist → publish → tell → reply.
    pub(super) async fn rewired(&mut self, outcome: Outcome) {
        self.rewiring.under_way = false;
        let Outcome { result, reply } = outcome;
        let answer = match result {
            Ok(changed) => {
                fault::point("rewire:done");
                self.enter(changed).await
            }
            Err(error) => Err(error),
        };
        let _ = reply.send(answer.map(|()| Done::Changed));
        if let Some(generation) = self.rewiring.torn_later.take() {
            self.tear_down(generation);
        }
    }

    async fn enter(&mut self, changed: Changed) -> Result<()> {
        let mut record = Record::clone(&self.record);
        let known = &mut record.networking.endpoints_config;
        let (action, touched) = match changed {
            Changed::Joined(name, settings, endpoint) => {
                known.insert(name, *settings);
                let endpoints = &mut self.run.endpoints;
                if !endpoint.ports.is_empty() {
                    // They are in one place at a time.
                    endpoints.iter_mut().for_each(|other| other.ports.clear());
                }
                endpoints.push(Endpoint::clone(&endpoint));
                ("connect", vec![*endpoint])
            }
            Changed::Rejoined(endpoints) => {
                self.run.endpoints.clone_from(&endpoints);
                ("connect", endpoints)
            }
            Changed::Left(name, publishing) => {
                known.remove(&name);
                let endpoints = &mut self.run.endpoints;
                for heir in publishing.into_iter() {
                    let mut others = endpoints.iter_mut();
                    if let Some(own) = others.find(|own| own.endpoint_id == heir.endpoint_id) {
                        *own = *heir;
                    }
                }
                let at = endpoints
                    .iter()
                    .position(|endpoint| endpoint.network == name);
                let left = at.map(|at| endpoints.remove(at));
                ("disconnect", left.into_iter().collect())
            }
        };
        if let Some(run) = &mut self.current {
            run.endpoints.clone_from(&self.run.endpoints);
        }
        // The record decides after a crash: what it names must be known, and may be known before.
        if action == "connect" {
            let saved = self.save_state().await;
            self.saved(saved);
            fault::point("rewire:noted");
        }
        let kept = self.keep_record(record).await;
        fault::point("rewire:saved");
        self.commit().await;
        self.tell_networks(action, &touched);
        kept
    }

    /// The container has another name: it answers to it in its networks.
    pub(super) fn rename_endpoints(&mut self) {
        for endpoint in &mut self.run.endpoints {
            let settings = &self.record.networking.endpoints_config;
            let settings = settings.get(&endpoint.network);
            let aliases = settings.map_or(&[][..], |settings| &settings.aliases);
            endpoint.names = network::dns_names(&self.record, aliases);
            self.shared
                .net
                .rename(&endpoint.endpoint_id, &endpoint.names);
        }
    }
}

/// What a change of what runs works with.
struct Wiring {
    shared: Arc<Shared>,
    record: Arc<Record>,
    endpoints: Vec<Endpoint>,
}

impl Wiring {
    async fn join(
        mut self,
        network: Found,
        settings: Box<wire::EndpointSettings>,
        live: &Arc<Live>,
    ) -> Result<Changed> {
        let (name, users) = (network.name().to_owned(), network.is_users());
        let wanted = Wanted::new(&self.record, network, &settings)?;
        let endpoint = self.connect(&wanted, live).await?;
        let endpoint = self.publish_joined(endpoint).await?;
        self.endpoints.push(endpoint.clone());
        self.complete(users, live).await;
        Ok(Changed::Joined(name, settings, Box::new(endpoint)))
    }

    /// One network that cannot be joined keeps it from no other.
    async fn rejoin(mut self, live: &Arc<Live>) -> Result<Changed> {
        if let Plan::Bridges(all) = network::plan(&self.shared, &self.record)? {
            for wanted in &all {
                match self.connect(wanted, live).await {
                    Ok(endpoint) => self.endpoints.push(endpoint),
                    Err(error) => {
                        let network = wanted.network.name();
                        tracing::error!(id = %self.record.id, network, %error, "a running container is not in its network any more");
                    }
                }
            }
            self.complete(false, live).await;
        }
        Ok(Changed::Rejoined(self.endpoints))
    }

    async fn connect(&self, wanted: &Wanted, live: &Arc<Live>) -> Result<Endpoint> {
        let upstream = files::upstream(&self.record, live).await?;
        let request = network::request(&self.shared, &self.record, wanted, &upstream);
        let connected = self.shared.net.connect(request).await;
        connected.map_err(Error::from_lower)
    }

    /// Publishes the container's ports at the endpoint that was joined, if that leads out from now
    /// on. Where they cannot be, it is not joined either.
    async fn publish_joined(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let all = self.endpoints.iter().chain([&endpoint]);
        let leads =
            network::leading(all).is_some_and(|best| best.endpoint_id == endpoint.endpoint_id);
        let published = match leads {
            true => self.publish_at(&endpoint).await,
            false => Ok(None),
        };
        match published {
            Ok(published) => Ok(published.unwrap_or(endpoint)),
            Err(error) => {
                self.take_down(&endpoint).await;
                Err(error)
            }
        }
    }

    /// The files that tell of its networks; `resolves`: its names become our own DNS's to look up.
    async fn complete(&self, resolves: bool, live: &Arc<Live>) {
        let (shared, record) = (&self.shared, &self.record);
        let completed = files::complete_hosts(shared, record, live, &self.endpoints).await;
        let completed = match completed {
            Ok(()) if resolves => resolve_internally(shared, record, live).await,
            other => other,
        };
        if let Err(error) = completed {
            tracing::warn!(id = %record.id, %error, "writing hosts and resolv.conf");
        }
    }

    async fn leave(self, name: String, force: bool) -> Result<Changed> {
        let (shared, record) = (&self.shared, &self.record);
        let (left, rest): (Vec<_>, Vec<_>) = self
            .endpoints
            .iter()
            .partition(|endpoint| endpoint.network == name);
        // The ports go first, so that they are published all the time.
        let heir = match network::leading(rest) {
            Some(heir) => self.publish_at(heir).await.unwrap_or_else(|error| {
                tracing::warn!(id = %record.id, %error, "publishing ports in another network");
                None
            }),
            None => None,
        };
        let Some(endpoint) = left.first() else {
            return Ok(Changed::Left(name, heir.map(Box::new)));
        };
        let mut without = Endpoint::clone(endpoint);
        if heir.is_some() {
            without.ports.clear();
        }
        if let Err(error) = shared.net.disconnect(&without).await {
            if !force {
                if let Some(heir) = heir {
                    self.give_back(&heir, endpoint).await;
                }
                return Err(Error::from_lower(error));
            }
            tracing::warn!(id = %record.id, %error, "leaving a network");
        }
        self.reroute().await;
        Ok(Changed::Left(name, heir.map(Box::new)))
    }

    /// Publishes the container's ports at `endpoint`, which leads out from now on; the endpoint
    /// with them. Nothing to do where it has them already, or there are none.
    async fn publish_at(&self, endpoint: &Endpoint) -> Result<Option<Endpoint>> {
        let publish = network::publish(&self.record)?;
        if publish.is_empty() || !endpoint.ports.is_empty() {
            return Ok(None);
        }
        let mut others = self.endpoints.iter();
        let from = others.find(|other| !other.ports.is_empty());
        let shifted = self.shared.net.shift_ports(from, endpoint, publish).await;
        shifted.map(Some).map_err(Error::from_lower)
    }

    /// Publishes the ports at `endpoint` again, which could not be left.
    async fn give_back(&self, heir: &Endpoint, endpoint: &Endpoint) {
        let publish = network::publish(&self.record).unwrap_or_default();
        let shifted = self.shared.net.shift_ports(Some(heir), endpoint, publish);
        if let Err(error) = shifted.await {
            tracing::warn!(id = %self.record.id, %error, "publishing ports as before");
        }
    }

    /// Takes back an endpoint that could not be joined as a whole.
    async fn take_down(&self, endpoint: &Endpoint) {
        if let Err(error) = self.shared.net.disconnect(endpoint).await {
            tracing::warn!(id = %self.record.id, %error, "taking back a network");
        }
        self.reroute().await;
    }

    async fn reroute(&self) {
        if let Err(error) = self.shared.net.reroute(&self.record.id).await {
            tracing::warn!(id = %self.record.id, %error, "routing after leaving a network");
        }
    }
}

async fn resolve_internally(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    live: &Arc<Live>,
) -> Result<()> {
    let (shared, record, live) = (shared.clone(), record.clone(), live.clone());
    blocking(move || files::resolve_internally(&shared.files(&record.id)?, &record, &live)).await
}
