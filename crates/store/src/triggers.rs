//! Triggers of a tenant, and what came to them. Their secrets arrive and leave sealed.
//!
//! A delivery is remembered under what a repetition of it is known by. The row is written in the transaction of the run it
//! starts, so of two that arrive at once one starts a run.

use livery_core::Timestamp;
use livery_core::id::{AppId, EndUserId, KeyId, OrgId, RequestId, RunId, TriggerId};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements, words};
use crate::store::Store;
use crate::tx::Tx;

/// Longest kept reason of an outcome; longer ones are cut.
const REASON_CHARS_MAX: usize = 500;
/// Deliveries one purge removes at most, so that it never holds up other writes.
const PURGE_MAX: u32 = 1000;

/// The columns of [`TriggerRow`], in its order.
macro_rules! trigger_columns {
    () => {
        "id, org_id, application_id, end_user_id, created_by, name, verification, filter, template, request, \
         sealed_secret, sealed_previous, previous_until, paused_at, revision, created_at, updated_at"
    };
}

/// The columns of [`TriggerDeliveryRow`], in its order.
macro_rules! delivery_columns {
    () => {
        "id, org_id, trigger_id, delivery_key, delivery_id, outcome, run_id, reason, received_at, expires_at"
    };
}

statements! {
    INSERT = concat!("insert into triggers (", trigger_columns!(), ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)");
    GET = concat!("select ", trigger_columns!(), " from triggers where org_id = $1 and id = $2");
    /// A sender names no tenant: the trigger does.
    FIND = concat!("select ", trigger_columns!(), " from triggers where id = $1");
    LIST = concat!("select ", trigger_columns!(), " from triggers where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5");
    COUNT = "select count(*) from triggers where org_id = $1 and (application_id = $2 or $2 is null)";
    UPDATE = "update triggers set name = $4, verification = $5, filter = $6, template = $7, request = $8, paused_at = $9,
        updated_at = $10, revision = revision + 1 where org_id = $1 and id = $2 and revision = $3";
    ROTATE = "update triggers set sealed_previous = sealed_secret, sealed_secret = $3, previous_until = $4, updated_at = $5
        where org_id = $1 and id = $2";
    DELETE = "delete from triggers where org_id = $1 and id = $2";
    /// A delivery that started nothing may come again and start something; one that did, never.
    REMEMBER = concat!("insert into trigger_deliveries (", delivery_columns!(), ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (trigger_id, delivery_key) do update set id = excluded.id, delivery_id = excluded.delivery_id,
            outcome = excluded.outcome, run_id = excluded.run_id, reason = excluded.reason,
            received_at = excluded.received_at, expires_at = excluded.expires_at
        where trigger_deliveries.outcome <> 'started'");
    RECALL = concat!("select ", delivery_columns!(), " from trigger_deliveries
        where org_id = $1 and trigger_id = $2 and delivery_key = $3");
    LIST_DELIVERIES = concat!("select ", delivery_columns!(), " from trigger_deliveries
        where org_id = $1 and trigger_id = $2 and (received_at, id) < ($3, $4)
        order by received_at desc, id desc limit $5");
    PURGE = "delete from trigger_deliveries where (trigger_id, delivery_key) in (select x.trigger_id, x.delivery_key
        from trigger_deliveries x where x.expires_at <= $1 order by x.expires_at limit $2)";
}

/// A trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerRow {
    /// Its id.
    pub id: TriggerId,
    /// The tenant.
    pub org: OrgId,
    /// The application its runs belong to.
    pub application: Option<AppId>,
    /// The end user its runs act for.
    pub end_user: Option<EndUserId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// A label for people.
    pub name: String,
    /// How a sender proves who it is.
    pub verification: Json,
    /// Which messages start something.
    pub filter: Json,
    /// How a message becomes input; `None`: the body is the input.
    pub template: Option<Json>,
    /// What is started.
    pub request: Json,
    /// The secret, sealed by the vault.
    pub sealed_secret: String,
    /// The one before it.
    pub sealed_previous: Option<String>,
    /// Until when that one holds.
    pub previous_until: Option<Timestamp>,
    /// Since when it starts nothing.
    pub paused_at: Option<Timestamp>,
    /// Counts the owner's changes.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its owner changed it last.
    pub updated_at: Timestamp,
}

impl FromRow for TriggerRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            end_user: row.take()?,
            created_by: row.take()?,
            name: row.take()?,
            verification: row.take()?,
            filter: row.take()?,
            template: row.take()?,
            request: row.take()?,
            sealed_secret: row.take()?,
            sealed_previous: row.take()?,
            previous_until: row.take()?,
            paused_at: row.take()?,
            revision: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }
}

words! {
    "trigger outcome";
    /// What became of a delivery.
    pub enum TriggerOutcome {
        /// It started a run.
        Started = "started",
        /// It was not meant to start one.
        Ignored = "ignored",
        /// It was, and could not.
        Rejected = "rejected",
    }
}

/// One message to a trigger, once its signature was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerDeliveryRow {
    /// The request that brought it.
    pub id: RequestId,
    /// The tenant.
    pub org: OrgId,
    /// The trigger.
    pub trigger: TriggerId,
    /// What a repetition is known by.
    pub delivery_key: String,
    /// What its sender calls it.
    pub delivery_id: Option<String>,
    /// What became of it.
    pub outcome: TriggerOutcome,
    /// The run it started.
    pub run: Option<RunId>,
    /// Why it started none.
    pub reason: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// Until when it is remembered.
    pub expires_at: Timestamp,
}

impl FromRow for TriggerDeliveryRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            trigger: row.take()?,
            delivery_key: row.take()?,
            delivery_id: row.take()?,
            outcome: row.take()?,
            run: row.take()?,
            reason: row.take()?,
            received_at: row.take()?,
            expires_at: row.take()?,
        })
    }
}

impl Tx {
    /// A new trigger.
    ///
    /// # Errors
    /// `NotFound` for an application or end user that is not of this tenant.
    pub async fn insert_trigger(&mut self, row: &TriggerRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            row.end_user,
            row.created_by,
            &row.name,
            &row.verification,
            &row.filter,
            &row.template,
            &row.request,
            &row.sealed_secret,
            &row.sealed_previous,
            row.previous_until,
            row.paused_at,
            row.revision,
            row.created_at,
            row.updated_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// How many triggers the tenant has, of one application or in all, for its limit.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_triggers(&mut self, org: OrgId, app: Option<AppId>) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org, app]).await?.map_or(0, |(count,)| count))
    }

    /// Writes what the owner changed, unless somebody changed it since `row` was read (`row.revision` is the one read).
    /// The secret stays.
    ///
    /// # Errors
    /// Those of the database. `false`: it changed in between, or is gone.
    pub async fn update_trigger(&mut self, row: &TriggerRow) -> Result<bool> {
        let args = args![
            row.org,
            row.id,
            row.revision,
            &row.name,
            &row.verification,
            &row.filter,
            &row.template,
            &row.request,
            row.paused_at,
            row.updated_at,
        ];
        Ok(self.execute(UPDATE, args).await? == 1)
    }

    /// Replaces the secret; the one it had holds until `previous_until`.
    ///
    /// # Errors
    /// `NotFound` without that trigger in this tenant.
    pub async fn rotate_trigger_secret(
        &mut self,
        org: OrgId,
        trigger: TriggerId,
        sealed: &str,
        previous_until: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        match self.execute(ROTATE, args![org, trigger, sealed.to_owned(), previous_until, now]).await? {
            0 => Err(Error::NotFound { what: "trigger" }),
            _ => Ok(()),
        }
    }

    /// Deletes a trigger. Its runs stay; what it remembers goes with its time.
    ///
    /// # Errors
    /// `NotFound` without that trigger in this tenant.
    pub async fn delete_trigger(&mut self, org: OrgId, trigger: TriggerId) -> Result<()> {
        match self.execute(DELETE, args![org, trigger]).await? {
            0 => Err(Error::NotFound { what: "trigger" }),
            _ => Ok(()),
        }
    }

    /// Remembers a delivery. `false`: the same one has started a run, and nothing was written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn remember_delivery(&mut self, row: &TriggerDeliveryRow) -> Result<bool> {
        let reason = row.reason.as_ref().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect::<String>());
        let args = args![
            row.id,
            row.org,
            row.trigger,
            &row.delivery_key,
            &row.delivery_id,
            row.outcome.as_str(),
            row.run,
            reason,
            row.received_at,
            row.expires_at,
        ];
        Ok(self.execute(REMEMBER, args).await? == 1)
    }

    /// The delivery known by this key, as this transaction sees it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn recall_delivery(
        &mut self,
        org: OrgId,
        trigger: TriggerId,
        key: &str,
    ) -> Result<Option<TriggerDeliveryRow>> {
        self.fetch_optional(RECALL, args![org, trigger, key.to_owned()]).await
    }

    /// Forgets deliveries whose time is over, at most a thousand; how many. Call again while it forgets any.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_purge_trigger_deliveries(&mut self, now: Timestamp) -> Result<u64> {
        self.execute(PURGE, args![now, PURGE_MAX]).await
    }
}

impl Store {
    /// One trigger of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_trigger(&self, org: OrgId, trigger: TriggerId) -> Result<Option<TriggerRow>> {
        self.fetch_optional(GET, args![org, trigger]).await
    }

    /// The trigger a sender posts to, of whichever tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_find_trigger(&self, trigger: TriggerId) -> Result<Option<TriggerRow>> {
        self.fetch_optional(FIND, args![trigger]).await
    }

    /// Triggers of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_triggers(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<TriggerRow>> {
        let scope = Scope::new("triggers", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, TriggerId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &TriggerRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// The delivery known by this key.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn recall_delivery(
        &self,
        org: OrgId,
        trigger: TriggerId,
        key: &str,
    ) -> Result<Option<TriggerDeliveryRow>> {
        self.fetch_optional(RECALL, args![org, trigger, key.to_owned()]).await
    }

    /// What came to a trigger of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_trigger_deliveries(
        &self,
        org: OrgId,
        trigger: TriggerId,
        page: &Page,
    ) -> Result<List<TriggerDeliveryRow>> {
        let scope = Scope::new("trigger_deliveries", org).with(&trigger.to_string());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, trigger, from.created_at, RequestId::from_bits(from.id_bits), rows];
        let rows = self.fetch_page(Lane::Point, LIST_DELIVERIES, args).await?;
        let position = |row: &TriggerDeliveryRow| Position { created_at: row.received_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }
}
