//! The rows under a cluster, where no API shows them or moves them.

use super::{Cluster, eventually, shared};

impl Cluster {
    /// Runs of all tenants and of every beginning.
    pub(super) fn runs(&self) -> u64 {
        self.count("select count(*) from runs")
    }

    /// Runs that schedules started.
    pub(super) fn fired(&self) -> u64 {
        self.count("select count(*) from runs where schedule_id is not null")
    }

    /// Runs that were taken from a node whose lease ran out.
    pub(super) fn recovered(&self) -> u64 {
        self.count("select count(*) from runs where recoveries > 0")
    }

    /// Makes every schedule due now.
    pub(super) fn make_due(&self) {
        let now = "(extract(epoch from now()) * 1000000)::bigint";
        self.ask(&format!("update schedules set next_slot_at = {now}, next_fire_at = {now}"));
    }

    /// Waits until a copy of the run's workspace is stored.
    pub(super) fn copied(&self, run: &str) {
        let query = format!("select count(*) from workspace_snapshots where run_id = '{run}'");
        eventually("a copy of the workspace", || (self.count(&query) > 0).then_some(()));
    }

    fn count(&self, query: &str) -> u64 {
        self.ask(query).parse().unwrap()
    }

    fn ask(&self, query: &str) -> String {
        shared().unwrap().sql(&self.database, query).unwrap()
    }
}
