//! What is seen of containers: statistics, processes, disk usage; and what nobody needs any more.

use berth_wire as wire;
use jiff::Timestamp;

use super::Engine;
use crate::options::{DiskUsageOptions, RemoveOptions, StatsOptions};
use crate::prune::{Choice, Pruning};
use crate::shared::blocking;
use crate::stats::{self, StatsStream};
use crate::{Result, disk_usage, inspect, top};

impl Engine {
    /// What a container uses, once or each second. No RPC.
    ///
    /// # Errors
    /// There is none, or the options contradict each other.
    pub async fn stats(&self, id: &str, options: StatsOptions) -> Result<StatsStream> {
        stats::stats(&self.sampler, self.shared.table.find(id)?, options).await
    }

    /// The processes of a container, as the host's `ps` shows them with these arguments. No RPC.
    ///
    /// # Errors
    /// There is none, it does not run, or `ps` does not do what is asked.
    pub async fn top(&self, id: &str, arguments: &str) -> Result<wire::TopResponse> {
        let view = self.shared.table.find(id)?.view();
        let found = top::top(self.sampler.host(), &view, arguments).await?;
        self.shared.events.container(&view.record, "top", &[]);
        Ok(found)
    }

    /// Removes the containers that do not run and that `filters` let through; `moment` reads the
    /// time that `until` says. When the future is dropped, no further ones.
    ///
    /// # Errors
    /// A filter is wrong, or another prune is under way. One that cannot be removed stays, and is
    /// no error.
    pub async fn prune(
        &self,
        filters: &wire::Filters,
        moment: impl Fn(&str) -> Result<Timestamp>,
    ) -> Result<wire::ContainersPruneReport> {
        let _pruning = Pruning::begin(&self.pruning)?;
        let choice = Choice::new(filters, moment)?;
        let handles: Vec<_> = self.shared.table.load().all().cloned().collect();
        let mut report = wire::ContainersPruneReport::default();
        for handle in handles {
            let view = handle.view();
            if !choice.takes(&view) {
                continue;
            }
            let (shared, record) = (self.shared.clone(), view.record.clone());
            let sizes = blocking(move || Ok(inspect::sizes(&shared, &record))).await?;
            match self.remove(handle.id(), RemoveOptions::default()).await {
                Ok(()) => {
                    report.space_reclaimed += u64::try_from(sizes.rw).unwrap_or(0);
                    report.containers_deleted.push(view.record.id.clone());
                }
                Err(error) => {
                    tracing::warn!(id = %handle.id(), %error, "pruning a container");
                }
            }
        }
        let reclaimed = ("reclaimed".to_owned(), report.space_reclaimed.to_string());
        self.shared.events.tell(
            "container",
            "prune".to_owned(),
            String::new(),
            [reclaimed].into(),
        );
        Ok(report)
    }

    /// What containers and images take on disk.
    ///
    /// # Errors
    /// A part of the daemon failed.
    pub async fn disk_usage(&self, options: DiskUsageOptions) -> Result<wire::DiskUsage> {
        let shared = self.shared.clone();
        blocking(move || disk_usage::disk_usage(&shared, options)).await
    }
}
