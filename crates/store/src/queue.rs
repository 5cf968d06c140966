//! Who may work on which run: the queue, leases with an epoch, heartbeats.
//!
//! A claim takes due runs of tenants that are below their limit, and runs whose lease ran out. It raises the epoch, so
//! whatever the previous holder still wants to write is void. Tenants take turns: each gets its share of a claim before
//! anybody gets more, the one that waits longest first.
//!
//! Many nodes claim at once on Postgres: what one of them is just taking the others skip (`for update skip locked`), and the
//! room of a tenant with a limit is counted under a lock. On SQLite the writer makes it trivially exclusive.

use livery_core::id::{OrgId, RunId};
use livery_core::{RunStatus, Timestamp};

use crate::error::{Error, Result};
use crate::reader::Lane;
use crate::runs::{Lease, RunRow, run_columns};
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Tenants one claim looks at.
const TENANTS_PER_CLAIM_MAX: u32 = 256;
/// Runs one claim takes at most.
const CLAIM_MAX: u32 = 256;
/// How often a claim goes round the tenants to fill up.
const ROUNDS_MAX: u32 = 4;

statements! {
    ENQUEUE = "insert into run_queue (run_id, org_id, available_at)
        select r.id, r.org_id, $3 from runs r where r.id = $2 and (r.org_id = $1) is true and r.status in ('queued', 'waiting')
        on conflict (run_id) do nothing"
        => postgres "insert into run_queue (run_id, org_id, available_at)
        select r.id, r.org_id, $3 from runs r where r.id = $2 and (r.org_id = $1) is true and r.status in ('queued', 'waiting')
        for no key update of r on conflict (run_id) do nothing";
    /// For a run that the same operation inserts: nobody else knows it yet.
    ENQUEUE_NEW = "insert into run_queue (run_id, org_id, available_at) values ($2, $1, $3)";
    HURRY = "update run_queue set available_at = $3 where org_id = $1 and run_id = $2 and available_at > $3";
    /// Hops from tenant to tenant through the index, so that a long queue of one costs nothing.
    DUE_TENANTS = "with recursive tenant (org_id) as (
            select min(org_id) from run_queue
            union all
            select (select min(q.org_id) from run_queue q where q.org_id > tenant.org_id)
            from tenant where tenant.org_id is not null
        )
        select org_id, room, limited from (
            select o.id as org_id,
                (select min(q.available_at) from run_queue q where q.org_id = o.id) as oldest,
                case when o.max_concurrent_runs is null then 1000000
                    else o.max_concurrent_runs
                        - (select count(*) from runs r where r.org_id = o.id and r.status = 'running')
                end as room,
                case when o.max_concurrent_runs is null then 0 else 1 end as limited
            from tenant join organizations o on o.id = tenant.org_id
        ) due
        where oldest <= $1 and room > 0 order by oldest, org_id limit $2";
    /// Whoever has this counts and fills a tenant's room; another node goes on to the next tenant meanwhile.
    LOCK_ROOM = "select id from organizations where id = $1"
        => postgres "select id from organizations where id = $1 for no key update skip locked";
    ROOM = "select o.max_concurrent_runs
            - (select count(*) from runs r where r.org_id = o.id and r.status = 'running')
        from organizations o where o.id = $1";
    CLAIM_QUEUED = concat!("update runs set status = 'running', lease_owner = $1, lease_epoch = lease_epoch + 1,
            lease_expires_at = $2, started_at = coalesce(started_at, $3)
        where id in (select q.run_id from run_queue q where q.org_id = $4 and q.available_at <= $3
            order by q.available_at, q.run_id limit $5)
        and status in ('queued', 'waiting') returning ", run_columns!())
        => postgres concat!("with due as materialized (select q.run_id from run_queue q
            cross join lateral (select 1 from runs r
                where r.id = q.run_id and r.status in ('queued', 'waiting') for update skip locked) r
            where q.org_id = $4 and q.available_at <= $3
            order by q.available_at, q.run_id limit $5 for update of q skip locked)
        update runs set status = 'running', lease_owner = $1, lease_epoch = lease_epoch + 1,
            lease_expires_at = $2, started_at = coalesce(started_at, $3)
        where id in (select run_id from due) and status in ('queued', 'waiting') returning ", run_columns!());
    DEQUEUE = "delete from run_queue where org_id = $1 and run_id = $2";
    /// A lease given back (no owner) is no recovery; one that ran out is.
    CLAIM_EXPIRED = concat!("update runs set lease_owner = $1, lease_epoch = lease_epoch + 1, lease_expires_at = $2,
            recoveries = recoveries + case when lease_owner is null then 0 else 1 end
        where id in (select x.id from runs x where x.lease_expires_at is not null and x.lease_expires_at <= $3
            order by x.lease_expires_at limit $4)
        and status = 'running' and lease_expires_at <= $3 returning ", run_columns!())
        => postgres concat!("with due as materialized (select x.id as run_id from runs x
            where x.lease_expires_at is not null and x.lease_expires_at <= $3 and x.status = 'running'
            order by x.lease_expires_at limit $4 for update skip locked)
        update runs set lease_owner = $1, lease_epoch = lease_epoch + 1, lease_expires_at = $2,
            recoveries = recoveries + case when lease_owner is null then 0 else 1 end
        where id in (select run_id from due) and status = 'running' and lease_expires_at <= $3
        returning ", run_columns!());
    /// What earlier lives of the same node held: their process is gone, so nobody waits for the lease to run out.
    CLAIM_OWN = concat!("update runs set lease_owner = $1, lease_epoch = lease_epoch + 1, lease_expires_at = $2,
            recoveries = recoveries + 1
        where id in (select x.id from runs x where x.lease_expires_at is not null
            and x.lease_owner like $3 and x.lease_owner <> $1 order by x.lease_expires_at limit $4)
        and status = 'running' and lease_owner like $3 and lease_owner <> $1 returning ", run_columns!());
    HEARTBEAT = "update runs set lease_expires_at = $4
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running'
        returning case when cancel_requested_at is null then 0 else 1 end";
    RELEASE = "update runs set lease_owner = null, lease_expires_at = $4, lease_epoch = lease_epoch + 1
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running'";
    EXPIRE = "update runs set lease_expires_at = $4
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running'";
    EXPIRE_OWN = "update runs set lease_expires_at = 0
        where lease_expires_at is not null and lease_owner like $1 and status = 'running'";
    POSTPONE = "update runs set lease_owner = null, lease_expires_at = $4, lease_epoch = lease_epoch + 1,
            postponements = postponements + 1
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running'";
    POSTPONEMENTS = "select postponements from runs where id = $2 and (org_id = $1) is true";
    FIND_EXPIRED = "select lease_epoch from runs where lease_expires_at is not null and lease_expires_at <= $1 limit 1";
    FIND_CANCELLED = "select id from runs where lease_owner = $1 and cancel_requested_at is not null
        and lease_expires_at is not null limit 256";
    HOLDER = "select lease_owner, status from runs where id = $2 and (org_id = $1) is true";
    COUNT = "select count(*) from run_queue";
    /// The earliest start that is still to come. Hops like `DUE_TENANTS`; what is due and has no room does not count.
    NEXT_START = "with recursive tenant (org_id) as (
            select min(org_id) from run_queue
            union all
            select (select min(q.org_id) from run_queue q where q.org_id > tenant.org_id)
            from tenant where tenant.org_id is not null
        )
        select min(at) from (select (select min(q.available_at) from run_queue q
            where q.org_id = tenant.org_id and q.available_at > $1) as at from tenant) starts";
}

/// A run this caller now holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedRun {
    /// The right to write to it.
    pub lease: Lease,
    /// The run as it stands, lease taken.
    pub run: RunRow,
    /// Somebody held it before and its log has to be folded: after a crash, a release, or out of `waiting`. `false`: it
    /// starts now.
    pub resumed: bool,
    /// Of these, the ones taken from a holder whose lease ran out (each counts in `run.recoveries`) or who released it.
    pub recovered: bool,
}

/// What a round of heartbeats learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Runs that are no longer this caller's: stop working on them, nothing more can be written.
    pub lost: Vec<RunId>,
    /// Runs that somebody asked to cancel.
    pub cancel_requested: Vec<RunId>,
}

/// Who has a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This owner, `NODE/LIFE`; perhaps its lease has run out and nobody took the run yet.
    Node(String),
    /// Nobody: it waits to be taken.
    Nobody,
    /// It has ended, or there is no such run.
    Over,
}

struct Tenant {
    org: OrgId,
    room: u32,
    limited: bool,
}

impl FromRow for Tenant {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { org: row.take()?, room: row.take()?, limited: row.take()? })
    }
}

impl Tx {
    /// Puts a queued run, or a waiting one that may go on, into the queue; due at `available_at`. Twice is once.
    ///
    /// # Errors
    /// Those of the database. A run that is not in such a state is left alone.
    pub async fn enqueue(&mut self, org: OrgId, run: RunId, available_at: Timestamp) -> Result<()> {
        self.execute_ahead(ENQUEUE, args![org, run, available_at]).await?;
        self.rings.queue = true;
        Ok(())
    }

    /// Puts a run that this operation inserted into the queue.
    ///
    /// # Errors
    /// Those of the database; `Exists` when it is in the queue.
    pub async fn enqueue_new(&mut self, org: OrgId, run: RunId, available_at: Timestamp) -> Result<()> {
        self.execute_ahead(ENQUEUE_NEW, args![org, run, available_at]).await?;
        self.rings.queue = true;
        Ok(())
    }

    /// Has a waiting run go on now: what it waits for came before its time. Nothing for a run in another state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hurry_run(&mut self, org: OrgId, run: RunId, now: Timestamp) -> Result<()> {
        self.enqueue(org, run, now).await?;
        self.execute_ahead(HURRY, args![org, run, now]).await
    }

    /// Takes up to `max` runs (and at most 256): first those whose lease ran out, then due ones from the queue.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_claim_runs(
        &mut self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        max: u32,
    ) -> Result<Vec<ClaimedRun>> {
        let max = max.min(CLAIM_MAX);
        let args = args![owner.to_owned(), lease_until, now, max];
        let expired: Vec<RunRow> = self.fetch_all(CLAIM_EXPIRED, args).await?;
        let mut claimed: Vec<ClaimedRun> = expired.into_iter().map(|run| claimed(run, Origin::Expired)).collect();
        for _ in 0..ROUNDS_MAX {
            let wanted = max.saturating_sub(count(&claimed));
            let before = claimed.len();
            if wanted > 0 {
                self.claim_round(owner, now, lease_until, wanted, &mut claimed).await?;
            }
            if claimed.len() == before {
                break;
            }
        }
        Ok(claimed)
    }

    /// One turn for every due tenant: its share of `wanted`, within its room.
    async fn claim_round(
        &mut self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        mut wanted: u32,
        claimed_runs: &mut Vec<ClaimedRun>,
    ) -> Result<()> {
        let tenants: Vec<Tenant> = self.fetch_all(DUE_TENANTS, args![now, TENANTS_PER_CLAIM_MAX]).await?;
        let turns = u32::try_from(tenants.len()).unwrap_or(u32::MAX);
        for (turn, tenant) in (0..turns).zip(tenants) {
            let share = wanted.div_ceil(turns - turn).min(tenant.room);
            let share = if tenant.limited && share > 0 { share.min(self.room(tenant.org).await?) } else { share };
            if share == 0 {
                continue;
            }
            let args = args![owner.to_owned(), lease_until, now, tenant.org, share];
            let mut runs: Vec<RunRow> = self.fetch_all(CLAIM_QUEUED, args).await?;
            for run in &runs {
                self.execute_ahead(DEQUEUE, args![run.org, run.id]).await?;
            }
            runs.sort_unstable_by_key(|run| (run.created_at, run.id));
            wanted = wanted.saturating_sub(u32::try_from(runs.len()).unwrap_or(u32::MAX));
            claimed_runs.extend(runs.into_iter().map(|run| claimed(run, Origin::Queue)));
        }
        Ok(())
    }

    /// How many runs a tenant with a limit may still start; nobody else starts any before this operation ends.
    async fn room(&mut self, org: OrgId) -> Result<u32> {
        if self.fetch_optional::<(OrgId,)>(LOCK_ROOM, args![org]).await?.is_none() {
            return Ok(0);
        }
        let room: Option<(Option<i64>,)> = self.fetch_optional(ROOM, args![org]).await?;
        Ok(room.map_or(0, |(room,)| room.map_or(CLAIM_MAX, |room| u32::try_from(room.max(0)).unwrap_or(CLAIM_MAX))))
    }

    /// Takes what earlier lives of this node held, up to `max` runs (and at most 256). `owner` is `NODE/LIFE`. Only where the
    /// earlier life is known to be dead: the node's data directory is locked by one process.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_claim_own_runs(
        &mut self,
        owner: &str,
        lease_until: Timestamp,
        max: u32,
    ) -> Result<Vec<ClaimedRun>> {
        let args = args![owner.to_owned(), lease_until, lives_of(owner), max.min(CLAIM_MAX)];
        let runs: Vec<RunRow> = self.fetch_all(CLAIM_OWN, args).await?;
        Ok(runs.into_iter().map(|run| claimed(run, Origin::Expired)).collect())
    }

    /// Extends these leases to `lease_until` and says which are lost.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn heartbeat(&mut self, leases: &[Lease], lease_until: Timestamp) -> Result<Heartbeat> {
        let mut heartbeat = Heartbeat::default();
        // Two nodes that both believe in a lease lock the rows in the same order, or they would wait for each other.
        let mut leases: Vec<&Lease> = leases.iter().collect();
        leases.sort_unstable_by_key(|lease| lease.run);
        let args = leases.iter().map(|lease| args![lease.org, lease.run, lease.epoch, lease_until]).collect();
        let answers: Vec<Option<(bool,)>> = self.fetch_each(HEARTBEAT, args).await?;
        for (lease, answer) in leases.into_iter().zip(answers) {
            match answer {
                None => heartbeat.lost.push(lease.run),
                Some((true,)) => heartbeat.cancel_requested.push(lease.run),
                Some((false,)) => {}
            }
        }
        Ok(heartbeat)
    }

    /// Gives a running run back, unfinished: the next claim takes it at once, and it does not count as a recovery. For a
    /// graceful stop.
    ///
    /// # Errors
    /// `LeaseLost` when the caller no longer holds it.
    pub async fn release_run(&mut self, lease: &Lease, now: Timestamp) -> Result<()> {
        match self.execute(RELEASE, args![lease.org, lease.run, lease.epoch, now]).await? {
            0 => Err(Error::LeaseLost),
            _ => {
                self.rings.queue = true;
                Ok(())
            }
        }
    }

    /// Lets a run's lease run out now: whoever claims next takes it, and that counts as a recovery.
    ///
    /// # Errors
    /// `LeaseLost` when the caller no longer holds it.
    pub async fn expire_run(&mut self, lease: &Lease, now: Timestamp) -> Result<()> {
        match self.execute(EXPIRE, args![lease.org, lease.run, lease.epoch, now]).await? {
            0 => Err(Error::LeaseLost),
            _ => {
                self.rings.queue = true;
                Ok(())
            }
        }
    }

    /// Puts a run off to `until`, because what it needs is not there now: nobody takes it before. No recovery.
    ///
    /// # Errors
    /// `LeaseLost` when the caller no longer holds it.
    pub async fn postpone_run(&mut self, lease: &Lease, until: Timestamp) -> Result<()> {
        match self.execute(POSTPONE, args![lease.org, lease.run, lease.epoch, until]).await? {
            0 => Err(Error::LeaseLost),
            _ => Ok(()),
        }
    }

    /// Voids what earlier lives of this node held, so that others take it over at once: for a node that works on runs no
    /// more. How many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_expire_own_leases(&mut self, owner: &str) -> Result<u64> {
        self.rings.queue = true;
        self.execute(EXPIRE_OWN, args![lives_of(owner)]).await
    }
}

/// A pattern for the owners that are lives of the node of `owner`, which is `NODE/LIFE`.
pub(crate) fn lives_of(owner: &str) -> String {
    let (node, _) = owner.split_once('/').unwrap_or((owner, ""));
    format!("{node}/%")
}

enum Origin {
    Queue,
    Expired,
}

fn claimed(run: RunRow, origin: Origin) -> ClaimedRun {
    let recovered = matches!(origin, Origin::Expired);
    ClaimedRun {
        lease: Lease { org: run.org, run: run.id, epoch: run.lease_epoch },
        resumed: recovered || run.lease_epoch > 1,
        recovered,
        run,
    }
}

fn count(runs: &[ClaimedRun]) -> u32 {
    u32::try_from(runs.len()).unwrap_or(u32::MAX)
}

impl Store {
    /// When the next run that waits for its time may start, seen from `now`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_next_start_at(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let next: Option<(Option<Timestamp>,)> = self.fetch_optional(NEXT_START, args![now]).await?;
        Ok(next.and_then(|(at,)| at))
    }

    /// Runs in the queue, of all tenants.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_count_queued(&self) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![]).await?.map_or(0, |(count,)| count))
    }

    /// Who has the run now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn run_holder(&self, org: OrgId, run: RunId) -> Result<Holder> {
        let row: Option<(Option<String>, RunStatus)> = self.fetch_optional(HOLDER, args![org, run]).await?;
        Ok(match row {
            Some((Some(owner), _)) => Holder::Node(owner),
            Some((None, status)) if !status.is_terminal() => Holder::Nobody,
            _ => Holder::Over,
        })
    }

    /// How often in a row the run was put off; see [`Tx::postpone_run`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn postponements(&self, org: OrgId, run: RunId) -> Result<u32> {
        Ok(self.fetch_optional::<(u32,)>(POSTPONEMENTS, args![org, run]).await?.map_or(0, |(count,)| count))
    }

    /// Whether a lease has run out, or was given back, and nobody has taken the run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_has_expired_lease(&self, now: Timestamp) -> Result<bool> {
        Ok(self.fetch_optional::<(u64,)>(FIND_EXPIRED, args![now]).await?.is_some())
    }

    /// Runs of this owner that somebody asked to stop, at most 256.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_cancel_requests(&self, owner: &str) -> Result<Vec<RunId>> {
        let runs: Vec<(RunId,)> = self.fetch_all(Lane::Point, FIND_CANCELLED, args![owner.to_owned()]).await?;
        Ok(runs.into_iter().map(|(run,)| run).collect())
    }
}
