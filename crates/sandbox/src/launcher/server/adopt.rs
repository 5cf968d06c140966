//! A sandbox that was started before anybody wanted it gets its name, its clock and its workspace's name.
//!
//! Its limits were set when it was started, so it can only become what it was started as. Read next: `../../client/pool.rs`, which keeps such
//! sandboxes.

use std::fs;
use std::io;
use std::time::Instant;

use super::Server;
use super::workspaces::workspace_path;
use crate::config::Spec;
use crate::launcher::journal::Identity;
use crate::launcher::live::Phase;
use crate::launcher::validate;
use crate::protocol::Refusal;

impl Server {
    pub(super) fn adopt_as(&mut self, id: &str, spec: Spec) -> Result<(), Refusal> {
        let invalid = |detail: &str| Refusal::Invalid { detail: detail.to_owned() };
        validate::spec(&spec).map_err(|detail| Refusal::Invalid { detail })?;
        if self.by_id.contains_key(&spec.id) {
            return Err(Refusal::Alive);
        }
        self.has_room()?;
        let serial = self.by_id.get(id).copied().ok_or(Refusal::Unknown)?;
        let live = self.live.get_mut(&serial).filter(|live| matches!(live.phase, Phase::Running));
        let live = live.ok_or(Refusal::Unknown)?;
        if !id.starts_with(crate::config::WAITING_PREFIX) || live.spec.shape() != spec.shape() {
            return Err(invalid("that sandbox does not wait for such a run"));
        }
        let (from, to) = (workspace_path(id), workspace_path(&spec.id));
        match fs::symlink_metadata(&to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Err(invalid("that run has a workspace already")),
        }
        let failed = |error: io::Error| Refusal::Failed { step: "adopting".to_owned(), detail: error.to_string() };
        let identity = Identity::of(live.pid).ok_or(Refusal::Unknown)?;
        self.p.journal.started(&spec.id, identity).map_err(failed)?;
        fs::rename(from, to).map_err(failed)?;
        self.p.journal.ended(id, false);
        self.p.identities.rename(id, &spec.id);
        self.by_id.remove(id);
        self.by_id.insert(spec.id.clone(), serial);
        live.born = Instant::now();
        live.spec = spec;
        Ok(())
    }
}
