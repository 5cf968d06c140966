//! Organizations, their applications, and the applications' end users.

use livery_core::Timestamp;
use livery_core::agent::Tier;
use livery_core::agent::sandbox::Demands;
use livery_core::id::{AppId, EndUserId, OrgId};

use crate::error::{Error, Result};
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Applications one organization may have, and rows a whole list of them holds.
const APPLICATIONS_MAX: u32 = 1000;

statements! {
    INSERT_ORGANIZATION = "insert into organizations (id, name, max_concurrent_runs, created_at) values ($1, $2, $3, $4)";
    LOCK_ORGANIZATION = "select id from organizations where id = $1"
        => postgres "select id from organizations where id = $1 for no key update";
    GET_ORGANIZATION = "select id, name, max_concurrent_runs, created_at, minimum_tier from organizations
        where id = $1";
    COUNT_ORGANIZATIONS = "select count(*) from organizations";
    LIST_ORGANIZATIONS = "select id, name, max_concurrent_runs, created_at, minimum_tier from organizations
        where (created_at, id) < ($1, $2) order by created_at desc, id desc limit $3";
    UPDATE_CONCURRENCY = "update organizations set max_concurrent_runs = $2 where id = $1";
    DEMAND_OF_ORGANIZATION = "update organizations set minimum_tier = $2
        where id = $1 and coalesce(minimum_tier, '') <> coalesce($2, '')";
    INSERT_APPLICATION = "insert into applications (id, org_id, name, created_at) values ($1, $2, $3, $4)";
    GET_APPLICATION = "select id, org_id, name, created_at, minimum_tier from applications
        where id = $2 and (org_id = $1) is true";
    DEMAND_OF_APPLICATION = "update applications set minimum_tier = $3
        where id = $2 and (org_id = $1) is true and coalesce(minimum_tier, '') <> coalesce($3, '')";
    /// What is demanded of a run of this application; of one that is the organization's alone, with null.
    DEMANDS = "select o.minimum_tier, a.minimum_tier from organizations o
        left join applications a on a.org_id = o.id and a.id = $2 where o.id = $1";
    PAGE_APPLICATIONS = "select id, org_id, name, created_at, minimum_tier from applications
        where org_id = $1 and (created_at, id) < ($2, $3)
        and (id = $4 or $4 is null) order by created_at desc, id desc limit $5";
    LIST_APPLICATIONS = "select id, org_id, name, created_at, minimum_tier from applications
        where org_id = $1 order by created_at desc, id desc limit $2";
    INSERT_END_USER = "insert into end_users (id, org_id, application_id, external_id, name, created_at)
        select $1, $2, a.id, $4, $5, $6 from applications a where a.org_id = $2 and a.id = $3";
    GET_END_USER = "select id, org_id, application_id, external_id, name, created_at from end_users
        where org_id = $1 and id = $2";
    FIND_END_USER = "select id, org_id, application_id, external_id, name, created_at from end_users
        where org_id = $1 and application_id = $2 and external_id = $3";
    LIST_END_USERS = "select id, org_id, application_id, external_id, name, created_at from end_users
        where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5";
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRow {
    /// Its id.
    pub id: OrgId,
    /// Its name for people.
    pub name: String,
    /// Runs that may be in state `running` at once; `None`: no limit.
    pub max_concurrent_runs: Option<u32>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The weakest tier its runs may have; `None`: any.
    pub minimum_tier: Option<Tier>,
}

impl FromRow for OrganizationRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            name: row.take()?,
            max_concurrent_runs: row.take()?,
            created_at: row.take()?,
            minimum_tier: row.take()?,
        })
    }
}

/// An application of a tenant; its name is unique there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationRow {
    /// Its id.
    pub id: AppId,
    /// The tenant.
    pub org: OrgId,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The weakest tier its runs may have; `None`: any that its organization allows.
    pub minimum_tier: Option<Tier>,
}

impl FromRow for ApplicationRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            name: row.take()?,
            created_at: row.take()?,
            minimum_tier: row.take()?,
        })
    }
}

/// An end user of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndUserRow {
    /// Its id.
    pub id: EndUserId,
    /// The tenant.
    pub org: OrgId,
    /// The application.
    pub application: AppId,
    /// What the application calls the user; unique there.
    pub external_id: String,
    /// A name for people.
    pub name: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl FromRow for EndUserRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            external_id: row.take()?,
            name: row.take()?,
            created_at: row.take()?,
        })
    }
}

impl Tx {
    /// From here to its end this operation is the only one that has this tenant locked: for what is counted or looked for
    /// before it is written, and no single statement can do. Everything else of the tenant goes on.
    pub(crate) async fn lock_organization(&mut self, org: OrgId) -> Result<()> {
        self.fetch_optional::<(OrgId,)>(LOCK_ORGANIZATION, args![org]).await.map(drop)
    }

    /// A new tenant.
    ///
    /// # Errors
    /// `Exists` for an id in use.
    pub async fn insert_organization(&mut self, row: &OrganizationRow) -> Result<()> {
        let args = args![row.id, &row.name, row.max_concurrent_runs, row.created_at];
        self.execute(INSERT_ORGANIZATION, args).await.map(drop)
    }

    /// Changes how many runs the tenant may have running at once.
    ///
    /// # Errors
    /// `NotFound` without that tenant.
    pub async fn update_max_concurrent_runs(&mut self, org: OrgId, limit: Option<u32>) -> Result<()> {
        match self.execute(UPDATE_CONCURRENCY, args![org, limit]).await? {
            0 => Err(Error::NotFound { what: "organization" }),
            _ => Ok(()),
        }
    }

    /// Sets the weakest tier that runs of the tenant, or of one of its applications, may have. `false`: it is that already,
    /// or there is no such application.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn set_minimum_tier(&mut self, org: OrgId, app: Option<AppId>, tier: Option<Tier>) -> Result<bool> {
        let tier = tier.map(|tier| tier.as_str().to_owned());
        let changed = match app {
            None => self.execute(DEMAND_OF_ORGANIZATION, args![org, &tier]).await?,
            Some(app) => self.execute(DEMAND_OF_APPLICATION, args![org, app, &tier]).await?,
        };
        Ok(changed == 1)
    }

    /// A new application of `row.org`.
    ///
    /// # Errors
    /// `Exists` for a name in use there.
    pub async fn insert_application(&mut self, row: &ApplicationRow) -> Result<()> {
        self.execute(INSERT_APPLICATION, args![row.id, row.org, &row.name, row.created_at]).await.map(drop)
    }

    /// A new end user of an application of `row.org`.
    ///
    /// # Errors
    /// `NotFound` when the application is not of this tenant, `Exists` for an external id in use.
    pub async fn insert_end_user(&mut self, row: &EndUserRow) -> Result<()> {
        let args = args![row.id, row.org, row.application, &row.external_id, &row.name, row.created_at];
        match self.execute(INSERT_END_USER, args).await? {
            0 => Err(Error::NotFound { what: "application" }),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// The tenant itself.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_organization(&self, org: OrgId) -> Result<Option<OrganizationRow>> {
        self.fetch_optional(GET_ORGANIZATION, args![org]).await
    }

    /// How many tenants exist: zero means that this database is new.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_count_organizations(&self) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT_ORGANIZATIONS, args![]).await?.map_or(0, |(count,)| count))
    }

    /// All tenants, for the operator.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn system_list_organizations(&self, page: &Page) -> Result<List<OrganizationRow>> {
        let scope = Scope::new("organizations", OrgId::from_bits(0));
        let (from, rows) = page.start(&scope)?;
        let args = args![from.created_at, OrgId::from_bits(from.id_bits), rows];
        let rows = self.fetch_page(Lane::Scan, LIST_ORGANIZATIONS, args).await?;
        let position = |row: &OrganizationRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// One application of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_application(&self, org: OrgId, application: AppId) -> Result<Option<ApplicationRow>> {
        self.fetch_optional(GET_APPLICATION, args![org, application]).await
    }

    /// The tenant's applications, newest first, at most a thousand.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_applications(&self, org: OrgId) -> Result<Vec<ApplicationRow>> {
        self.fetch_all(Lane::Point, LIST_APPLICATIONS, args![org, APPLICATIONS_MAX]).await
    }

    /// One page of the tenant's applications, newest first; with `only`, that one alone.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn page_applications(
        &self,
        org: OrgId,
        only: Option<AppId>,
        page: &Page,
    ) -> Result<List<ApplicationRow>> {
        let scope = Scope::new("applications", org).with(&only.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, AppId::from_bits(from.id_bits), only, rows];
        let rows = self.fetch_page(Lane::Point, PAGE_APPLICATIONS, args).await?;
        let position = |row: &ApplicationRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// What is demanded of the tier of a run of this application. A tenant that is not there demands nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn demands_on_tier(&self, org: OrgId, app: Option<AppId>) -> Result<Demands> {
        let row = self.fetch_optional::<(Option<Tier>, Option<Tier>)>(DEMANDS, args![org, app]).await?;
        Ok(row.map_or_else(Demands::default, |(organization, application)| Demands { organization, application }))
    }

    /// One end user of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_end_user(&self, org: OrgId, end_user: EndUserId) -> Result<Option<EndUserRow>> {
        self.fetch_optional(GET_END_USER, args![org, end_user]).await
    }

    /// The end user an application calls `external_id`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find_end_user(&self, org: OrgId, app: AppId, external_id: &str) -> Result<Option<EndUserRow>> {
        self.fetch_optional(FIND_END_USER, args![org, app, external_id.to_owned()]).await
    }

    /// End users of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_end_users(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<EndUserRow>> {
        let scope = Scope::new("end_users", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, EndUserId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST_END_USERS, args).await?;
        let position = |row: &EndUserRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }
}
