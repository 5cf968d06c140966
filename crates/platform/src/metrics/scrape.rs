//! `GET /metrics`: what was counted, and what is looked up now.

use std::sync::atomic::Ordering;
use std::time::Duration;

use livery_core::{Error, Result};

use crate::{Platform, Principal, Scope};

/// Longest wait for the numbers that come from the database.
const LOOK_MAX: Duration = Duration::from_secs(2);

impl Platform {
    /// The counters of this node, for whoever does the counting.
    pub fn metrics(&self) -> &super::Metrics {
        &self.metrics
    }

    /// Every metric in the text format of OpenMetrics 1.0, which Prometheus reads.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `metrics:read`.
    pub async fn read_metrics(&self, principal: &Principal) -> Result<String> {
        principal.require(Scope::MetricsRead)?;
        self.metrics_text().await
    }

    /// The same without asking who: for a listener that only the operator's own machines reach.
    ///
    /// # Errors
    /// None that is expected.
    pub async fn metrics_text(&self) -> Result<String> {
        let metrics = &self.metrics;
        metrics.runs_running.set(whole(self.running.leases().len() as u64));
        if let Some(sink) = &self.config.traces.sink {
            metrics.spans_dropped.inner().store(sink.dropped(), Ordering::Relaxed);
        }
        // A database that is away is a metric itself, and no reason to show none.
        let up = tokio::time::timeout(LOOK_MAX, self.look()).await.is_ok_and(|looked| looked.is_ok());
        metrics.store_up.set(i64::from(up));
        metrics.objects_up.set(i64::from(self.objects_health.trouble().is_none()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry).map_err(Error::internal)?;
        Ok(text)
    }

    async fn look(&self) -> Result<()> {
        self.metrics.runs_queued.set(whole(self.store.system_count_queued().await?));
        self.metrics.deliveries_pending.set(whole(self.store.system_count_pending_deliveries().await?));
        let due = self.store.system_delivery_destinations().await?.iter().map(crate::webhooks::ready_at).min();
        let overdue_ms = due.map_or(0, |due| self.clock.now().millis_since(due));
        self.metrics.delivery_overdue.set(whole(overdue_ms / 1000));
        Ok(())
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
