//! Policies of a tenant, as text. Each change counts the tenant's revision up, in the same transaction: whoever keeps a
//! parsed set asks for the revision and knows whether it is still good.

use livery_core::Timestamp;
use livery_core::id::{AppId, KeyId, OrgId, PolicyId};

use crate::error::Result;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Rows a whole set holds; a tenant has no more.
const POLICIES_MAX: u32 = 1000;

/// The columns of [`PolicyRow`], in its order.
macro_rules! policy_columns {
    () => {
        "id, org_id, application_id, name, content, version, created_by, created_at, updated_at"
    };
}

statements! {
    INSERT = concat!("insert into policies (", policy_columns!(), ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    REPLACE = "update policies set name = $4, content = $5, version = version + 1, updated_at = $6
        where id = $2 and (org_id = $1) is true and version = $3";
    DELETE = "delete from policies where id = $2 and (org_id = $1) is true";
    GET = concat!("select ", policy_columns!(), " from policies where id = $2 and (org_id = $1) is true");
    LIST = concat!("select ", policy_columns!(), " from policies where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id is null or application_id = $4 or $4 is null) order by created_at desc, id desc limit $5");
    /// Those that speak of a run of this application.
    APPLYING = concat!("select ", policy_columns!(), " from policies where org_id = $1
        and (application_id is null or application_id = $2) order by created_at desc, id desc limit $3");
    COUNT = "select count(*) from policies where org_id = $1";
    REVISION = "select policy_revision from organizations where id = $1";
    REVISE = "update organizations set policy_revision = policy_revision + 1 where id = $1";
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Its id.
    pub id: PolicyId,
    /// The tenant.
    pub org: OrgId,
    /// The application whose runs it speaks of; `None`: all of the tenant's.
    pub application: Option<AppId>,
    /// Its name for people.
    pub name: String,
    /// The text.
    pub content: String,
    /// Counts the replacements, from 1.
    pub version: u32,
    /// The key that created it.
    pub created_by: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its text changed last.
    pub updated_at: Timestamp,
}

impl FromRow for PolicyRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            name: row.take()?,
            content: row.take()?,
            version: row.take()?,
            created_by: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        self.content.len()
    }
}

impl Tx {
    /// A new policy.
    ///
    /// # Errors
    /// `NotFound` for an application that is not of this tenant.
    pub async fn insert_policy(&mut self, row: &PolicyRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            &row.name,
            &row.content,
            row.version,
            row.created_by,
            row.created_at,
            row.updated_at,
        ];
        self.execute(INSERT, args).await?;
        self.revise_policies(row.org).await
    }

    /// Replaces name and text of version `row.version`. `false`: it is gone, or somebody else replaced it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn replace_policy(&mut self, row: &PolicyRow) -> Result<bool> {
        let args = args![row.org, row.id, row.version, &row.name, &row.content, row.updated_at];
        let replaced = self.execute(REPLACE, args).await? == 1;
        if replaced {
            self.revise_policies(row.org).await?;
        }
        Ok(replaced)
    }

    /// Deletes a policy. `false`: there was none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_policy(&mut self, org: OrgId, policy: PolicyId) -> Result<bool> {
        let deleted = self.execute(DELETE, args![org, policy]).await? == 1;
        if deleted {
            self.revise_policies(org).await?;
        }
        Ok(deleted)
    }

    /// How many policies the tenant has, for its limit: until the operation ends nobody else counts.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_policies(&mut self, org: OrgId) -> Result<u64> {
        self.lock_organization(org).await?;
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org]).await?.map_or(0, |(count,)| count))
    }

    async fn revise_policies(&mut self, org: OrgId) -> Result<()> {
        self.execute(REVISE, args![org]).await.map(drop)
    }
}

impl Store {
    /// One policy of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_policy(&self, org: OrgId, policy: PolicyId) -> Result<Option<PolicyRow>> {
        self.fetch_optional(GET, args![org, policy]).await
    }

    /// Policies of the tenant; with `app`, those of the organization and of that application.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_policies(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<PolicyRow>> {
        let scope = Scope::new("policies", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, PolicyId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &PolicyRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// Every policy that speaks of the runs of an application.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn policies_for(&self, org: OrgId, app: Option<AppId>) -> Result<Vec<PolicyRow>> {
        self.fetch_all(Lane::Point, APPLYING, args![org, app, POLICIES_MAX]).await
    }

    /// How often the tenant's policies were changed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn policy_revision(&self, org: OrgId) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(REVISION, args![org]).await?.map_or(0, |(revision,)| revision))
    }
}
