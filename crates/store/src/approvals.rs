//! Approvals: what a run wants to do and a person is asked about. Asked once, answered once, used once.
//!
//! Two may meet here: whoever decides, and the worker that puts the run into `waiting`. Both touch the approvals first and the
//! run after it, so the later one sees what the earlier one did, and no answer is slept through.

use livery_core::Timestamp;
use livery_core::id::{AppId, ApprovalId, EndUserId, KeyId, OrgId, RunId};

use crate::error::Result;
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements, words};
use crate::store::Store;
use crate::tx::Tx;

/// Approvals of one run that are looked through, the newest first.
const OF_RUN_MAX: u32 = 500;

/// The columns of [`ApprovalRow`], in its order.
macro_rules! approval_columns {
    () => {
        "id, org_id, application_id, end_user_id, run_id, call_id, subject, digest, card, reason, policy, status, \
         requested_at, expires_at, scope, decided_at, decided_by, decided_for, note, use_by, used_at"
    };
}

statements! {
    INSERT = concat!("insert into approvals (", approval_columns!(), ", told)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0)");
    GET = concat!("select ", approval_columns!(), " from approvals where id = $2 and (org_id = $1) is true");
    LIST = concat!("select ", approval_columns!(), " from approvals where org_id = $1 and (requested_at, id) < ($2, $3)
        and (application_id is null or application_id = $4 or $4 is null)
        order by requested_at desc, id desc limit $5");
    LIST_STATUS = concat!("select ", approval_columns!(), " from approvals where org_id = $1 and status = $6
        and (requested_at, id) < ($2, $3) and (application_id is null or application_id = $4 or $4 is null)
        order by requested_at desc, id desc limit $5");
    LIST_RUN = concat!("select ", approval_columns!(), " from approvals where (org_id = $1) is true and run_id = $6
        and (requested_at, id) < ($2, $3) and (application_id is null or application_id = $4 or $4 is null)
        order by requested_at desc, id desc limit $5");
    OF_RUN = concat!("select ", approval_columns!(), " from approvals where (org_id = $1) is true and run_id = $2
        order by requested_at desc, id desc limit $3");
    /// Once, in time, and only while the run can still go on.
    DECIDE = "update approvals set status = $3, scope = $4, decided_at = $5, decided_by = $6, decided_for = $7, note = $8,
        use_by = $9 where id = $2 and (org_id = $1) is true and status = 'pending' and expires_at > $5
        and exists (select 1 from runs r where r.id = approvals.run_id and r.status in ('queued', 'running', 'waiting'))";
    EXPIRE = "update approvals set status = 'expired', decided_at = $3, told = 1
        where id = $2 and (org_id = $1) is true and status = 'pending' and expires_at <= $3";
    USE = "update approvals set status = 'used', used_at = $3
        where id = $2 and (org_id = $1) is true and status = 'approved' and scope = 'once' and use_by > $3";
    TELL = "update approvals set told = 1 where id = $2 and (org_id = $1) is true";
    /// Touches those that are open too: a decision about to be committed is waited for, and seen.
    LOOK = concat!("update approvals set told = case when status = 'pending' then 0 else 1 end
        where (org_id = $1) is true and run_id = $2 and told = 0 returning ", approval_columns!());
}

words! {
    "approval status";
    /// How an approval stands.
    pub enum ApprovalStatus {
        /// Nobody has answered.
        Pending = "pending",
        /// Somebody said yes; not used yet, or good for the rest of the run.
        Approved = "approved",
        /// Somebody said no.
        Denied = "denied",
        /// Nobody answered in time.
        Expired = "expired",
        /// The request it was for went out.
        Used = "used",
    }
}

/// An approval.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRow {
    /// Its id.
    pub id: ApprovalId,
    /// The tenant.
    pub org: OrgId,
    /// The run's application.
    pub application: Option<AppId>,
    /// The end user the run is for.
    pub end_user: Option<EndUserId>,
    /// The run.
    pub run: RunId,
    /// The tool call of the run that waits for it.
    pub call_id: String,
    /// What is asked about, as fields.
    pub subject: Json,
    /// SHA-256 over everything it is bound to, hex.
    pub digest: String,
    /// What is asked about, for a person to read.
    pub card: String,
    /// Why a person is asked, in the policy's words.
    pub reason: String,
    /// Which policy asks, in which version.
    pub policy: Json,
    /// How it stands.
    pub status: ApprovalStatus,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Until when it can be answered.
    pub expires_at: Timestamp,
    /// `once` or `run`, when somebody said yes.
    pub scope: Option<String>,
    /// When it was answered, or found expired.
    pub decided_at: Option<Timestamp>,
    /// The key that answered.
    pub decided_by: Option<KeyId>,
    /// The end user on whose behalf it answered.
    pub decided_for: Option<EndUserId>,
    /// What they said with it.
    pub note: Option<String>,
    /// Until when a yes can be used.
    pub use_by: Option<Timestamp>,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

impl FromRow for ApprovalRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            end_user: row.take()?,
            run: row.take()?,
            call_id: row.take()?,
            subject: row.take()?,
            digest: row.take()?,
            card: row.take()?,
            reason: row.take()?,
            policy: row.take()?,
            status: row.take()?,
            requested_at: row.take()?,
            expires_at: row.take()?,
            scope: row.take()?,
            decided_at: row.take()?,
            decided_by: row.take()?,
            decided_for: row.take()?,
            note: row.take()?,
            use_by: row.take()?,
            used_at: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        self.card.len() + self.subject.as_str().len()
    }
}

/// An answer to an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The approval.
    pub id: ApprovalId,
    /// `None`: no. `once` or `run`: yes.
    pub scope: Option<&'static str>,
    /// When.
    pub at: Timestamp,
    /// The key that answers.
    pub by: KeyId,
    /// The end user on whose behalf.
    pub on_behalf_of: Option<EndUserId>,
    /// What they say with it.
    pub note: Option<String>,
    /// Until when a yes can be used.
    pub use_by: Option<Timestamp>,
}

/// Which approvals of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApprovalFilter {
    /// Only in this status. One that nobody answered in time stays `pending` here until its run has seen it.
    pub status: Option<ApprovalStatus>,
    /// Only of this run; wins over `status`, which then is the caller's to look at.
    pub run: Option<RunId>,
    /// Only of this application, and of none.
    pub application: Option<AppId>,
}

impl Tx {
    /// A new approval.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert_approval(&mut self, row: &ApprovalRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            row.end_user,
            row.run,
            &row.call_id,
            &row.subject,
            &row.digest,
            &row.card,
            &row.reason,
            &row.policy,
            row.status.as_str(),
            row.requested_at,
            row.expires_at,
            row.scope.clone(),
            row.decided_at,
            row.decided_by,
            row.decided_for,
            row.note.clone(),
            row.use_by,
            row.used_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Answers an approval. `false`: there is none that still waits, its time is over, or its run is.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn decide_approval(&mut self, org: OrgId, decision: &Decision) -> Result<bool> {
        let status = if decision.scope.is_some() { ApprovalStatus::Approved } else { ApprovalStatus::Denied };
        let args = args![
            org,
            decision.id,
            status.as_str(),
            decision.scope.map(str::to_owned),
            decision.at,
            decision.by,
            decision.on_behalf_of,
            decision.note.clone(),
            decision.use_by,
        ];
        Ok(self.execute(DECIDE, args).await? == 1)
    }

    /// Notes that the run's log has the answer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn tell_approval(&mut self, org: OrgId, id: ApprovalId) -> Result<()> {
        self.execute_ahead(TELL, args![org, id]).await
    }

    /// Notes that nobody answered in time. `false`: somebody did, or its time is not over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn expire_approval(&mut self, org: OrgId, id: ApprovalId, now: Timestamp) -> Result<bool> {
        Ok(self.execute(EXPIRE, args![org, id, now]).await? == 1)
    }

    /// Uses a yes to one request up. `false`: it is none, was used, or its time is over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn use_approval(&mut self, org: OrgId, id: ApprovalId, now: Timestamp) -> Result<bool> {
        Ok(self.execute(USE, args![org, id, now]).await? == 1)
    }

    /// The approvals of a run whose answers its log does not have: those that still wait, and those that were answered
    /// meanwhile, which count as told from here on. For whoever puts the run into `waiting`, before that.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn look_at_approvals(&mut self, org: OrgId, run: RunId) -> Result<Vec<ApprovalRow>> {
        self.fetch_all(LOOK, args![org, run]).await
    }
}

impl Store {
    /// One approval of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_approval(&self, org: OrgId, id: ApprovalId) -> Result<Option<ApprovalRow>> {
        self.fetch_optional(GET, args![org, id]).await
    }

    /// Approvals of a run, the newest first, at most 500.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn approvals_of(&self, org: OrgId, run: RunId) -> Result<Vec<ApprovalRow>> {
        self.fetch_all(Lane::Point, OF_RUN, args![org, run, OF_RUN_MAX]).await
    }

    /// Approvals of the tenant, the newest first.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_approvals(&self, org: OrgId, filter: &ApprovalFilter, page: &Page) -> Result<List<ApprovalRow>> {
        let text = |id: Option<String>| id.unwrap_or_default();
        let scope = Scope::new("approvals", org)
            .with(filter.status.map_or("", ApprovalStatus::as_str))
            .with(&text(filter.run.map(|run| run.to_string())))
            .with(&text(filter.application.map(|app| app.to_string())));
        let (from, rows) = page.start(&scope)?;
        let id = ApprovalId::from_bits(from.id_bits);
        let mut args = args![org, from.created_at, id, filter.application, rows];
        let statement = match (filter.run, filter.status) {
            (Some(run), _) => {
                args.extend(args![run]);
                LIST_RUN
            }
            (None, Some(status)) => {
                args.extend(args![status.as_str()]);
                LIST_STATUS
            }
            (None, None) => LIST,
        };
        let rows = self.fetch_page(Lane::Scan, statement, args).await?;
        let position = |row: &ApprovalRow| Position { created_at: row.requested_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }
}
