//! Agents: immutable versions, tags, the files of their folders; inline agents as rows without a version.

use livery_core::Timestamp;
use livery_core::id::{AgentId, AppId, OrgId};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Files of one agent that are read at once.
const AGENT_FILES_MAX: u32 = 10_000;

/// The columns of [`AgentRow`], in its order.
macro_rules! agent_columns {
    () => {
        "a.id, a.org_id, a.application_id, a.name, a.version, a.digest, a.manifest, a.agent_md, a.created_at"
    };
}

statements! {
    LATEST = concat!("select ", agent_columns!(), " from agents a
        where a.org_id = $1 and a.name = $2 and a.version is not null order by a.version desc limit 1");
    INSERT_VERSION = "insert into agents
        (id, org_id, application_id, name, version, digest, manifest, agent_md, created_at)
        select $1, $2, $3, $4, coalesce(max(a.version), 0) + 1, $5, $6, $7, $8
        from agents a where a.org_id = $2 and a.name = $4 and a.version is not null
        returning version";
    INSERT_INLINE = "insert into agents
        (id, org_id, application_id, name, version, digest, manifest, agent_md, created_at)
        values ($1, $2, $3, $4, null, $5, $6, $7, $8) on conflict do nothing";
    FIND_INLINE = concat!("select ", agent_columns!(), " from agents a
        where a.org_id = $1 and a.name = $2 and a.digest = $3 and a.version is null");
    INSERT_FILE = "insert into agent_files (agent_id, path, mode, bytes) values ($1, $2, $3, $4)";
    GET = concat!("select ", agent_columns!(), " from agents a where a.org_id = $1 and a.id = $2");
    GET_VERSION = concat!("select ", agent_columns!(), " from agents a
        where a.org_id = $1 and a.name = $2 and a.version = $3");
    GET_TAGGED = concat!("select ", agent_columns!(), " from agent_tags t
        join agents a on a.org_id = t.org_id and a.name = t.name and a.version = t.version
        where t.org_id = $1 and t.name = $2 and t.tag = $3");
    LIST = concat!("select ", agent_columns!(), " from agents a
        where a.org_id = $1 and a.version is not null and (a.created_at, a.id) < ($2, $3)
        and not exists (select 1 from agents b where b.org_id = a.org_id and b.name = a.name and b.version > a.version)
        and (a.application_id = $5 or a.application_id is null or $5 is null)
        order by a.created_at desc, a.id desc limit $4");
    LIST_VERSIONS = concat!("select ", agent_columns!(), " from agents a
        where a.org_id = $1 and a.name = $2 and a.version is not null and (a.created_at, a.id) < ($3, $4)
        and (a.application_id = $6 or a.application_id is null or $6 is null)
        order by a.created_at desc, a.id desc limit $5");
    FILES = "select f.path, f.mode, f.bytes from agent_files f join agents a on a.id = f.agent_id
        where a.org_id = $1 and a.id = $2 order by f.path limit $3";
    SET_TAG = "insert into agent_tags (org_id, name, tag, version)
        select a.org_id, a.name, $3, a.version from agents a where a.org_id = $1 and a.name = $2 and a.version = $4
        on conflict (org_id, name, tag) do update set version = excluded.version";
}

/// An agent to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    /// The id this version gets, if it is new.
    pub id: AgentId,
    /// The tenant.
    pub org: OrgId,
    /// The application that stores it.
    pub application: Option<AppId>,
    /// Its name, unique in the tenant.
    pub name: String,
    /// SHA-256 over the folder, hex.
    pub digest: String,
    /// The parsed manifest.
    pub manifest: Json,
    /// The text of `AGENT.md`.
    pub agent_md: String,
    /// Every other file of the folder.
    pub files: Vec<AgentFile>,
    /// When.
    pub created_at: Timestamp,
}

/// A file of an agent's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFile {
    /// Relative path.
    pub path: String,
    /// Unix permission bits.
    pub mode: u32,
    /// The content.
    pub bytes: Vec<u8>,
}

impl FromRow for AgentFile {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { path: row.take()?, mode: row.take()?, bytes: row.take()? })
    }
}

/// One version of an agent, or an inline one.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRow {
    /// Its id.
    pub id: AgentId,
    /// The tenant.
    pub org: OrgId,
    /// The application that stored it.
    pub application: Option<AppId>,
    /// Its name.
    pub name: String,
    /// 1, 2, 3, …; `None` for an inline agent.
    pub version: Option<u32>,
    /// SHA-256 over the folder, hex.
    pub digest: String,
    /// The parsed manifest.
    pub manifest: Json,
    /// The text of `AGENT.md`.
    pub agent_md: String,
    /// When.
    pub created_at: Timestamp,
}

impl FromRow for AgentRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            name: row.take()?,
            version: row.take()?,
            digest: row.take()?,
            manifest: row.take()?,
            agent_md: row.take()?,
            created_at: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        self.agent_md.len() + self.manifest.as_str().len()
    }
}

/// Which version of a named agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSelector {
    /// The one with the highest number.
    Latest,
    /// This number.
    Version(u32),
    /// The one a tag points at; `latest` always means [`AgentSelector::Latest`].
    Tag(String),
}

/// Whether a write made something or found it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// A row was written.
    Created,
    /// The same was there already.
    Unchanged,
}

impl Tx {
    /// Stores the next version of an agent, or finds that the latest is the same folder.
    ///
    /// # Errors
    /// `NotFound` for an application that is not of this tenant.
    pub async fn insert_agent_version(&mut self, agent: &NewAgent) -> Result<(AgentRow, Saved)> {
        // Versions are counted one save at a time.
        self.lock_organization(agent.org).await?;
        let latest: Option<AgentRow> = self.fetch_optional(LATEST, args![agent.org, &agent.name]).await?;
        if let Some(latest) = latest.filter(|latest| latest.digest == agent.digest) {
            return Ok((latest, Saved::Unchanged));
        }
        let args = args![
            agent.id,
            agent.org,
            agent.application,
            &agent.name,
            &agent.digest,
            &agent.manifest,
            &agent.agent_md,
            agent.created_at,
        ];
        let (version,): (u32,) = self
            .fetch_optional(INSERT_VERSION, args)
            .await?
            .ok_or_else(|| Error::bug("an agent's version was not returned"))?;
        self.insert_agent_files(agent).await?;
        Ok((row_of(agent, Some(version)), Saved::Created))
    }

    /// Stores an inline agent, or finds the same one from before.
    ///
    /// # Errors
    /// `NotFound` for an application that is not of this tenant.
    pub async fn insert_inline_agent(&mut self, agent: &NewAgent) -> Result<(AgentRow, Saved)> {
        let args = args![
            agent.id,
            agent.org,
            agent.application,
            &agent.name,
            &agent.digest,
            &agent.manifest,
            &agent.agent_md,
            agent.created_at,
        ];
        if self.execute(INSERT_INLINE, args).await? == 1 {
            self.insert_agent_files(agent).await?;
            return Ok((row_of(agent, None), Saved::Created));
        }
        let found = self.fetch_optional(FIND_INLINE, args![agent.org, &agent.name, &agent.digest]).await?;
        // No conflict on the digest, so it was the id.
        let found = found.ok_or_else(|| Error::Exists { constraint: "agents.id".into() })?;
        Ok((found, Saved::Unchanged))
    }

    async fn insert_agent_files(&mut self, agent: &NewAgent) -> Result<()> {
        for file in &agent.files {
            self.execute_ahead(INSERT_FILE, args![agent.id, &file.path, file.mode, file.bytes.clone()]).await?;
        }
        Ok(())
    }

    /// Points a tag at a version.
    ///
    /// # Errors
    /// `NotFound` without that version in this tenant.
    pub async fn set_agent_tag(&mut self, org: OrgId, name: &str, tag: &str, version: u32) -> Result<()> {
        match self.execute(SET_TAG, args![org, name.to_owned(), tag.to_owned(), version]).await? {
            0 => Err(Error::NotFound { what: "agent" }),
            _ => Ok(()),
        }
    }
}

fn row_of(agent: &NewAgent, version: Option<u32>) -> AgentRow {
    AgentRow {
        id: agent.id,
        org: agent.org,
        application: agent.application,
        name: agent.name.clone(),
        version,
        digest: agent.digest.clone(),
        manifest: agent.manifest.clone(),
        agent_md: agent.agent_md.clone(),
        created_at: agent.created_at,
    }
}

impl Store {
    /// One agent row of the tenant, inline ones too.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_agent(&self, org: OrgId, agent: AgentId) -> Result<Option<AgentRow>> {
        self.fetch_optional(GET, args![org, agent]).await
    }

    /// A version of a named agent.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find_agent(&self, org: OrgId, name: &str, which: &AgentSelector) -> Result<Option<AgentRow>> {
        let name = name.to_owned();
        match which {
            AgentSelector::Latest => self.fetch_optional(LATEST, args![org, name]).await,
            AgentSelector::Version(version) => self.fetch_optional(GET_VERSION, args![org, name, *version]).await,
            AgentSelector::Tag(tag) if tag == "latest" => self.fetch_optional(LATEST, args![org, name]).await,
            AgentSelector::Tag(tag) => self.fetch_optional(GET_TAGGED, args![org, name, tag]).await,
        }
    }

    /// The latest version of every agent of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_agents(&self, org: OrgId, application: Option<AppId>, page: &Page) -> Result<List<AgentRow>> {
        let scope = Scope::new("agents", org).with(&application.map(|id| id.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, AgentId::from_bits(from.id_bits), rows, application];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        Ok(page.finish(&scope, rows, position))
    }

    /// Every version of one agent.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_agent_versions(
        &self,
        org: OrgId,
        application: Option<AppId>,
        name: &str,
        page: &Page,
    ) -> Result<List<AgentRow>> {
        let app = application.map(|id| id.to_string()).unwrap_or_default();
        let scope = Scope::new("agent_versions", org).with(name).with(&app);
        let (from, rows) = page.start(&scope)?;
        let args = args![org, name.to_owned(), from.created_at, AgentId::from_bits(from.id_bits), rows, application];
        let rows = self.fetch_page(Lane::Scan, LIST_VERSIONS, args).await?;
        Ok(page.finish(&scope, rows, position))
    }

    /// The files of an agent's folder, by path. Empty for another tenant's agent.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn agent_files(&self, org: OrgId, agent: AgentId) -> Result<Vec<AgentFile>> {
        self.fetch_all(Lane::Scan, FILES, args![org, agent, AGENT_FILES_MAX]).await
    }
}

fn position(row: &AgentRow) -> Position {
    Position { created_at: row.created_at, id_bits: row.id.bits() }
}
