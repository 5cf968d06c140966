//! Who names an image: agents and runs of every tenant, for whoever keeps the images of a node.
//!
//! What an image is called is text within a document here; the caller reads it out of what is found.

use livery_core::id::OrgId;

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{args, statements};
use crate::store::Store;

/// Documents that are looked at for one image.
pub const IMAGE_USES_MAX: u32 = 10_000;

statements! {
    AGENTS = "select a.org_id, a.manifest from agents a where a.version is not null and a.manifest like $1
        and not exists (select 1 from agents b where b.org_id = a.org_id and b.name = a.name and b.version > a.version)
        order by a.id limit $2";
    RUNS = "select r.org_id, r.sandbox, count(*) from runs r
        where r.status in ('queued', 'running', 'waiting') and r.sandbox like $1
        group by r.org_id, r.sandbox order by r.org_id, r.sandbox limit $2";
    OWN_AGENTS = "select a.manifest from agents a where a.org_id = $1 and a.version is not null
        and not exists (select 1 from agents b where b.org_id = a.org_id and b.name = a.name and b.version > a.version)
        order by a.id limit $2";
    OWN_RUNS = "select r.sandbox, count(*) from runs r
        where r.org_id = $1 and r.status in ('queued', 'running', 'waiting')
        group by r.sandbox order by r.sandbox limit $2";
}

impl Store {
    /// The latest versions of agents whose manifest holds `text`, each as its organization and its manifest. `_` and `%` in the
    /// text find more than they say.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_agents_that_say(&self, text: &str) -> Result<Vec<(String, String)>> {
        self.fetch_all(Lane::Scan, AGENTS, args![format!("%{text}%"), IMAGE_USES_MAX]).await
    }

    /// The sandboxes of runs that are not over and hold `text`: organization, sandbox, how many runs.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_live_sandboxes_that_say(&self, text: &str) -> Result<Vec<(String, String, i64)>> {
        self.fetch_all(Lane::Scan, RUNS, args![format!("%{text}%"), IMAGE_USES_MAX]).await
    }

    /// The manifests of an organization's agents, of the latest version of each, at most [`IMAGE_USES_MAX`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn latest_manifests(&self, org: OrgId) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = self.fetch_all(Lane::Scan, OWN_AGENTS, args![org, IMAGE_USES_MAX]).await?;
        Ok(rows.into_iter().map(|(manifest,)| manifest).collect())
    }

    /// The sandboxes of an organization's runs that are not over, each with how many have it, at most [`IMAGE_USES_MAX`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn live_sandboxes(&self, org: OrgId) -> Result<Vec<(String, i64)>> {
        self.fetch_all(Lane::Scan, OWN_RUNS, args![org, IMAGE_USES_MAX]).await
    }
}
