//! `docker stats`: what containers use, once or each second.
//!
//! Whoever follows shares one [`Sampler`]: a second costs one pass over the containers that are
//! followed, however many follow them, and nothing when nobody does.

mod sampler;

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_cgroups::{Host, Sample, SystemCpu};
use berth_spec::modes::Mode;
use berth_wire as wire;
use jiff::Timestamp;
use tokio::sync::watch;

pub(crate) use sampler::Sampler;
use sampler::{Groups, Round, Watch};

use crate::container::handle::{Handle, View};
use crate::container::state::Generation;
use crate::options::StatsOptions;
use crate::shared::blocking;
use crate::{Error, Result};

/// A container to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    id: Arc<str>,
    /// The run and its init; `None` when it does not run.
    run: Option<(Generation, u32)>,
    /// It has interfaces of its own, or another container's.
    networked: bool,
}

impl Target {
    fn of(view: &View) -> Target {
        let running = view.run.status.is_running() && view.run.pid != 0;
        let host_network = Mode::of(&view.record.host.network_mode) == Mode::Host;
        Target {
            id: view.record.id.as_str().into(),
            run: running.then_some((view.run.generation, view.run.pid)),
            networked: !host_network && !view.record.config.network_disabled,
        }
    }
}

/// What a container had used when it was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    at: Timestamp,
    sample: Sample,
    system: SystemCpu,
    networks: BTreeMap<String, wire::NetworkStats>,
}

/// Looks at all of `targets` once: one file for the host, a fixed number for each container.
pub(crate) fn pass(host: &Host, targets: &[Target], groups: &mut Groups) -> Round {
    let system = host.system_cpu().unwrap_or_else(|error| {
        tracing::warn!(%error, "statistics without the host's processor time");
        SystemCpu::default()
    });
    groups.retain(|id, _| targets.iter().any(|target| target.id == *id));
    targets
        .iter()
        .map(|target| (target.id.clone(), look(host, target, groups, system)))
        .collect()
}

/// `None` when the container does not run, or has just ended.
fn look(host: &Host, target: &Target, groups: &mut Groups, system: SystemCpu) -> Option<Reading> {
    let (generation, pid) = target.run?;
    // Where a run's group is does not change.
    let known = groups.get(&target.id).filter(|(of, _)| *of == generation);
    let group = match known {
        Some((_, group)) => group.clone(),
        None => {
            let group = host.group(pid, &target.id).ok()?;
            groups.insert(target.id.clone(), (generation, group.clone()));
            group
        }
    };
    let networks = match target.networked {
        true => host.interfaces(pid),
        false => BTreeMap::new(),
    };
    Some(Reading {
        at: Timestamp::now(),
        sample: host.sample(&group),
        system,
        networks,
    })
}

/// Statistics, as they come.
#[derive(Debug)]
pub struct StatsStream(Kind);

#[derive(Debug)]
enum Kind {
    /// All there is to tell.
    Once(Option<Box<wire::ContainerStats>>),
    Following(Box<Following>),
}

#[derive(Debug)]
struct Following {
    watch: Watch,
    changes: watch::Receiver<()>,
    before: Option<(String, wire::CpuStats)>,
    /// The next one is not told: it is what the one after that is compared with.
    prime: bool,
    /// Only one is told.
    single: bool,
}

/// Begins to tell what a container uses.
///
/// # Errors
/// The options contradict each other.
pub(crate) async fn stats(
    sampler: &Arc<Sampler>,
    handle: Arc<Handle>,
    options: StatsOptions,
) -> Result<StatsStream> {
    if options.stream && options.one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let view = handle.view();
    let once = |stats| Ok(StatsStream(Kind::Once(Some(Box::new(stats)))));
    if !options.stream && !view.run.status.is_running() {
        return once(nothing(&view));
    }
    if options.one_shot {
        let (host, target) = (sampler.host().clone(), Target::of(&view));
        let id = target.id.clone();
        let mut round = blocking(move || Ok(pass(&host, &[target], &mut Groups::new()))).await?;
        let reading = round.remove(&id).flatten();
        return once(reading.map_or_else(|| nothing(&view), |reading| told(&view, &reading)));
    }
    let changes = handle.changes();
    Ok(StatsStream(Kind::Following(Box::new(Following {
        watch: sampler.watch(handle),
        changes,
        before: None,
        prime: !options.stream,
        single: !options.stream,
    }))))
}

impl StatsStream {
    /// What is used, as of now; `None` when the container was removed, or all was told. Dropping
    /// the stream ends the work for it.
    pub async fn next(&mut self) -> Option<wire::ContainerStats> {
        match &mut self.0 {
            Kind::Once(stats) => stats.take().map(|stats| *stats),
            Kind::Following(following) => {
                let stats = following.next().await;
                if following.single || stats.is_none() {
                    self.0 = Kind::Once(None);
                }
                stats
            }
        }
    }
}

impl Following {
    async fn next(&mut self) -> Option<wire::ContainerStats> {
        loop {
            let view = self.watch.handle().view();
            if view.gone {
                return None;
            }
            let reading = tokio::select! {
                reading = self.watch.next() => reading?,
                changed = self.changes.changed() => {
                    changed.ok()?;
                    continue;
                }
            };
            let mut stats = match reading {
                Some(reading) => told(&view, &reading),
                None => nothing(&view),
            };
            let now = (stats.read.clone(), stats.cpu_stats.clone());
            if let Some((read, cpu)) = self.before.replace(now) {
                (stats.preread, stats.precpu_stats) = (read, cpu);
            }
            if !std::mem::take(&mut self.prime) {
                return Some(stats);
            }
        }
    }
}

/// What is told of a container that does not run.
fn nothing(view: &View) -> wire::ContainerStats {
    wire::ContainerStats {
        name: format!("/{}", view.record.name),
        id: view.record.id.clone(),
        os_type: "linux".to_owned(),
        ..Default::default()
    }
}

fn told(view: &View, reading: &Reading) -> wire::ContainerStats {
    let sample = &reading.sample;
    wire::ContainerStats {
        read: wire::rfc3339_nano(reading.at),
        cpu_stats: wire::CpuStats {
            cpu_usage: sample.cpu.clone(),
            system_cpu_usage: reading.system.usage,
            online_cpus: reading.system.online,
            throttling_data: sample.throttling.clone(),
        },
        memory_stats: sample.memory.clone(),
        networks: reading.networks.clone(),
        pids_stats: sample.pids.clone(),
        blkio_stats: sample.blkio.clone(),
        ..nothing(view)
    }
}

#[cfg(test)]
mod tests;
