//! Agents: create a version, list, get, validate.

pub mod archive;
mod cache;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use livery_core::agent::{AGENT_MD, Agent, File, Finding, Folder, is_agent_name};
use livery_core::id::{AgentId, AppId, OrgId};
use livery_core::schema::Schema;
use livery_core::{Error, FieldError, Result, Timestamp};
use livery_llm::script::Script;
use livery_store::{AgentFile, AgentRow, AgentSelector, Json, NewAgent, Saved, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::cache::Cache;
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// An agent folder as JSON: `{agent_md, files?: {path: base64}}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InlineAgent {
    /// The text of `AGENT.md`.
    pub agent_md: String,
    /// Every other file, standard base64 by path.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// An agent folder as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentUpload {
    /// A zip of the folder (the folder's content at its root, or one directory with it).
    Zip(Bytes),
    /// JSON.
    Inline(InlineAgent),
}

/// What validation found, without saving anything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Whether it would be accepted.
    pub valid: bool,
    /// The agent's name, when it could be read.
    pub name: Option<String>,
    /// Everything worth mending; `pointer` is `file:line:column`.
    pub findings: Vec<FieldError>,
}

/// One version of an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentView {
    /// This version's own id.
    pub id: AgentId,
    /// The agent's name.
    pub name: String,
    /// 1, 2, 3, …; immutable.
    pub version: u32,
    /// What it is for.
    pub description: String,
    /// The models it asks for, in order.
    pub models: Vec<String>,
    /// JSON Schema of its input.
    pub input: Value,
    /// JSON Schema of its output.
    pub output: Value,
    /// SHA-256 over the folder, hex.
    pub digest: String,
    /// The tenant.
    pub organization: OrgId,
    /// The application it belongs to; null: the whole organization.
    pub application: Option<AppId>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An agent ready to run: parsed once, shared by all its runs.
pub(crate) struct LoadedAgent {
    /// Its row; for a new inline agent the row it gets if there is none like it.
    pub(crate) id: AgentId,
    /// `None` for an inline agent.
    pub(crate) version: Option<u32>,
    pub(crate) agent: Agent,
    /// The input schema, compiled.
    pub(crate) input: Schema,
    /// `scripts/NAME.yaml`, parsed, by path.
    pub(crate) scripts: BTreeMap<String, Script>,
    /// What an inline agent is stored from.
    inline: Option<NewAgent>,
}

/// Parsed agents: stored ones by row, inline ones by the digest of what was sent.
#[derive(Default)]
pub(crate) struct AgentCache {
    by_id: Cache<(OrgId, AgentId), LoadedAgent>,
    by_digest: Cache<(OrgId, String), LoadedAgent>,
}

impl LoadedAgent {
    /// Stores an inline agent in the run's own transaction, or finds the same one from before. Stored agents are as they are.
    pub(crate) async fn save_inline(&self, tx: &mut Tx) -> livery_store::Result<AgentId> {
        match &self.inline {
            Some(new) => Ok(tx.insert_inline_agent(new).await?.0.id),
            None => Ok(self.id),
        }
    }
}

impl Platform {
    /// Says what is wrong with an agent, without saving it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a body that is no agent folder at all.
    pub async fn validate_agent(&self, principal: &Principal, upload: AgentUpload) -> Result<Validation> {
        principal.require(Scope::AgentsRead)?;
        let folder = folder_of(&upload)?;
        let report = Agent::check(&folder);
        let mut findings: Vec<FieldError> = report.findings.iter().map(Finding::to_field_error).collect();
        if report.agent.is_some() {
            findings.extend(script_findings(&folder));
        }
        let valid = report.agent.is_some() && scripts_of(&folder).is_ok();
        Ok(Validation { valid, name: report.agent.map(|agent| agent.name), findings })
    }

    /// Stores the next version of an agent. The same folder again is the version it is already.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every finding.
    pub async fn create_agent_version(&self, caller: &Caller, upload: AgentUpload) -> Result<Posted<AgentView>> {
        let principal = &caller.principal;
        principal.require(Scope::AgentsWrite)?;
        let folder = folder_of(&upload)?;
        let agent = Agent::parse(&folder).map_err(archive::invalid)?;
        scripts_of(&folder)?;
        let new = self.new_agent(principal.org, principal.app, &agent, &folder)?;
        let (org, actor, now) = (principal.org, principal.key, new.created_at);
        self.post(caller, move |tx| {
            Box::pin(async move {
                let (row, saved) = tx.insert_agent_version(&new).await?;
                if saved == Saved::Created {
                    let data = json!({"agent": row.id, "name": row.name, "version": row.version, "digest": row.digest});
                    note(tx, org, "agent.created", now, actor, data).await?;
                }
                Ok(view_of(row)?)
            })
        })
        .await
    }

    /// The latest version of every agent of the caller's organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `agents:read`.
    pub async fn list_agents(&self, principal: &Principal, page: PageRequest) -> Result<Page<AgentView>> {
        principal.require(Scope::AgentsRead)?;
        Page::try_from_list(self.store.list_agents(principal.org, principal.app, &page.into()).await?, view_of)
    }

    /// One agent: `name`, `name@3` or `name@tag`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_agent(&self, principal: &Principal, reference: &str) -> Result<AgentView> {
        principal.require(Scope::AgentsRead)?;
        view_of(self.agent_row(principal, reference).await?)
    }

    /// Every version of one agent, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn list_agent_versions(
        &self,
        principal: &Principal,
        name: &str,
        page: PageRequest,
    ) -> Result<Page<AgentView>> {
        principal.require(Scope::AgentsRead)?;
        self.agent_row(principal, name).await?;
        let list = self.store.list_agent_versions(principal.org, principal.app, name, &page.into()).await?;
        Page::try_from_list(list, view_of)
    }

    async fn agent_row(&self, principal: &Principal, reference: &str) -> Result<AgentRow> {
        const MISSING: Error = Error::NotFound { what: "agent" };
        let (name, which) = match reference.split_once('@') {
            None => (reference, AgentSelector::Latest),
            Some((name, version)) => match version.parse() {
                Ok(number) => (name, AgentSelector::Version(number)),
                Err(_) => (name, AgentSelector::Tag(version.to_owned())),
            },
        };
        if !is_agent_name(name) {
            return Err(MISSING);
        }
        let row = self.store.find_agent(principal.org, name, &which).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(MISSING)
    }

    /// A stored agent for a new run.
    pub(crate) async fn load_named_agent(&self, principal: &Principal, reference: &str) -> Result<Arc<LoadedAgent>> {
        let row = self.agent_row(principal, reference).await?;
        self.load_row(row).await
    }

    /// The agent of a run that exists.
    pub(crate) async fn load_agent(&self, org: OrgId, id: AgentId) -> Result<Arc<LoadedAgent>> {
        if let Some(agent) = self.agents.by_id.recall(&(org, id)) {
            return Ok(agent);
        }
        let row = self.store.get_agent(org, id).await?.ok_or(Error::NotFound { what: "agent" })?;
        self.load_row(row).await
    }

    async fn load_row(&self, row: AgentRow) -> Result<Arc<LoadedAgent>> {
        let key = (row.org, row.id);
        if let Some(agent) = self.agents.by_id.recall(&key) {
            return Ok(agent);
        }
        let files = self.store.agent_files(row.org, row.id).await?;
        let scripts = files
            .iter()
            .filter(|file| is_script(&file.path))
            .map(|file| parse_script(&file.path, &file.bytes))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::internal("a stored script cannot be read"))?;
        let scripts_bytes =
            files.iter().filter(|file| is_script(&file.path)).map(|file| file.bytes.len()).sum::<usize>();
        let bytes = row.manifest.as_str().len() + scripts_bytes;
        let agent: Agent = row.manifest.parse()?;
        let input = Schema::compile(&agent.input).map_err(Error::internal)?;
        let loaded = Arc::new(LoadedAgent { id: row.id, version: row.version, agent, input, scripts, inline: None });
        self.agents.by_id.remember(key, &loaded, bytes);
        Ok(loaded)
    }

    /// An agent that came with the run.
    pub(crate) fn load_inline_agent(&self, principal: &Principal, inline: &InlineAgent) -> Result<Arc<LoadedAgent>> {
        let folder = Folder::from_inline(&inline.agent_md, &inline.files).map_err(archive::invalid)?;
        let key = (principal.org, folder.digest());
        if let Some(agent) = self.agents.by_digest.recall(&key) {
            return Ok(agent);
        }
        let agent = Agent::parse(&folder).map_err(archive::invalid)?;
        let new = self.new_agent(principal.org, principal.app, &agent, &folder)?;
        let input = Schema::compile(&agent.input).map_err(Error::internal)?;
        let scripts = scripts_of(&folder)?;
        let bytes = folder.iter().map(|(path, file)| path.len() + file.bytes.len()).sum();
        let loaded = Arc::new(LoadedAgent { id: new.id, version: None, agent, input, scripts, inline: Some(new) });
        self.agents.by_digest.remember(key, &loaded, bytes);
        Ok(loaded)
    }

    fn new_agent(&self, org: OrgId, application: Option<AppId>, agent: &Agent, folder: &Folder) -> Result<NewAgent> {
        let file = |(path, file): (&str, &File)| AgentFile {
            path: path.to_owned(),
            mode: if file.executable { 0o755 } else { 0o644 },
            bytes: file.bytes.clone(),
        };
        let agent_md = folder.get(AGENT_MD).map(|file| file.bytes.clone()).unwrap_or_default();
        Ok(NewAgent {
            id: AgentId::from_bits(self.mint()),
            org,
            application,
            name: agent.name.clone(),
            digest: folder.digest(),
            manifest: Json::of(agent)?,
            agent_md: String::from_utf8(agent_md).map_err(Error::internal)?,
            files: folder.iter().filter(|(path, _)| *path != AGENT_MD).map(file).collect(),
            created_at: self.clock.now(),
        })
    }
}

fn folder_of(upload: &AgentUpload) -> Result<Folder> {
    match upload {
        AgentUpload::Zip(bytes) => archive::read(bytes),
        AgentUpload::Inline(inline) => Folder::from_inline(&inline.agent_md, &inline.files).map_err(archive::invalid),
    }
}

fn is_script(path: &str) -> bool {
    path.starts_with("scripts/") && path.ends_with(".yaml")
}

fn parse_script(path: &str, bytes: &[u8]) -> Result<(String, Script), Vec<Finding>> {
    // What is no UTF-8 shows as the replacement character, and the reader says where it does not belong.
    Script::parse(path, &String::from_utf8_lossy(bytes)).map(|script| (path.to_owned(), script))
}

/// What is wrong with the scripts of a folder; they are `llm`'s to read, so `core` did not look into them.
fn script_findings(folder: &Folder) -> Vec<FieldError> {
    let scripts = folder.iter().filter(|(path, _)| is_script(path));
    let findings = scripts.filter_map(|(path, file)| parse_script(path, &file.bytes).err());
    findings.flatten().map(|finding| finding.to_field_error()).collect()
}

fn scripts_of(folder: &Folder) -> Result<BTreeMap<String, Script>> {
    let scripts = folder.iter().filter(|(path, _)| is_script(path));
    let parsed: Result<_, Vec<Finding>> = scripts.map(|(path, file)| parse_script(path, &file.bytes)).collect();
    parsed.map_err(|_| Error::Invalid {
        code: "invalid_agent",
        detail: "the agent is not valid".into(),
        errors: script_findings(folder),
    })
}

fn view_of(row: AgentRow) -> Result<AgentView> {
    let agent: Agent = row.manifest.parse()?;
    Ok(AgentView {
        id: row.id,
        name: row.name,
        version: row.version.unwrap_or(0),
        description: agent.description,
        models: agent.model.iter().map(ToString::to_string).collect(),
        input: agent.input,
        output: agent.output,
        digest: row.digest,
        organization: row.org,
        application: row.application,
        created_at: row.created_at,
    })
}
