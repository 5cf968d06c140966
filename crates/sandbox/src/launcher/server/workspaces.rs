//! Workspaces on disk: made for their run's uid, listed, and removed by the janitor.
//!
//! Read next: `../janitor.rs`, `../identity.rs`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::event::epoll::{self, EventFlags};

use super::{DEATH, Server};
use crate::config::WAITING_PREFIX;
use crate::launcher::janitor::{self, Job, Running};
use crate::launcher::setup::{TRASH, WORKSPACES};
use crate::launcher::start::{self, Wait};
use crate::launcher::validate;
use crate::protocol::{Answer, Message, Refusal, WORKSPACES_PAGE};

impl Server {
    pub(super) fn remove_workspace(&mut self, seq: u64, id: &str) -> Result<(), Refusal> {
        validate::id(id).map_err(|detail| Refusal::Invalid { detail })?;
        if self.by_id.contains_key(id) {
            return Err(Refusal::Invalid { detail: "its sandbox is alive".to_owned() });
        }
        self.discard_workspace(id, Some(seq))
    }

    /// What a sandbox that waited for nobody leaves behind: no run will ever ask for it, or have it removed.
    pub(super) fn discard_unwanted(&mut self, id: &str) {
        if !id.starts_with(WAITING_PREFIX) || self.by_id.contains_key(id) {
            return;
        }
        match self.discard_workspace(id, None) {
            Ok(()) | Err(Refusal::Unknown) => {}
            Err(refusal) => {
                self.say(&Message::Log { warning: true, text: format!("removing the workspace {id}: {refusal:?}") });
            }
        }
    }

    /// Moves the folder of a sandbox that is not alive to the trash; who asked hears when it is gone.
    fn discard_workspace(&mut self, id: &str, seq: Option<u64>) -> Result<(), Refusal> {
        let from = workspace_path(id);
        let metadata = fs::symlink_metadata(&from).map_err(|_| Refusal::Unknown)?;
        let serial = self.next_serial;
        self.next_serial += 1;
        let path = Path::new(TRASH).join(format!("{id}.{serial}"));
        // An ordinary user may only move a folder it may write; the run may have closed it.
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700))
            .and_then(|()| fs::rename(&from, &path))
            .map_err(|error| Refusal::Failed { step: "workspace".to_owned(), detail: error.to_string() })?;
        self.p.identities.forget(id);
        self.p.janitor.add(Job { path, owner: (metadata.uid(), metadata.gid()), seq });
        Ok(())
    }

    pub(super) fn start_removals(&mut self) {
        while let Some(job) = self.p.janitor.next() {
            let token = self.next_serial;
            self.next_serial += 1;
            let started = janitor::spawn(&job, &self.p.ground).and_then(|pidfd| {
                epoll::add(&self.epoll, &pidfd, super::token(token, DEATH), EventFlags::IN)?;
                Ok(pidfd)
            });
            match started {
                Ok(pidfd) => self.p.janitor.started(Running { job, pidfd, token }),
                Err(error) => self.removal_done(&job, Err(error)),
            }
        }
    }

    pub(super) fn removed(&mut self, token: u64) {
        if let Some((maker, began)) = self.makers.remove(&token) {
            start::reap(maker.as_fd(), Wait::UntilGone);
            let text = format!("done with the image's disk after {:.1} s", began.elapsed().as_secs_f64());
            self.say(&Message::Log { warning: false, text });
        } else if let Some((job, outcome)) = self.p.janitor.finished(token) {
            self.removal_done(&job, outcome);
        }
    }

    fn removal_done(&mut self, job: &Job, outcome: io::Result<()>) {
        let outcome = match outcome {
            Ok(()) => {
                self.p.identities.free(job.owner.0);
                Ok(Answer::Removed)
            }
            Err(error) => {
                // It stays in the trash, its uid stays busy, and the next life tries again.
                self.say(&Message::Log { warning: true, text: format!("removing {}: {error}", job.path.display()) });
                Err(Refusal::Failed { step: "workspace".to_owned(), detail: error.to_string() })
            }
        };
        if let Some(seq) = job.seq {
            self.answer(seq, outcome);
        }
    }
}

pub(super) fn workspace_path(id: &str) -> PathBuf {
    Path::new(WORKSPACES).join(id)
}

/// The folder behind `/workspace`: found or made, and owned by its run's uid.
pub(super) fn open_workspace(id: &str, (uid, gid): (u32, u32)) -> io::Result<PathBuf> {
    let path = workspace_path(id);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => std::os::unix::fs::chown(&path, Some(uid), Some(gid))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(&path)?;
            if !metadata.is_dir() || metadata.uid() != uid {
                return Err(io::Error::other("its folder is not what this launcher made"));
            }
        }
        Err(error) => return Err(error),
    }
    Ok(path)
}

/// One page of workspace names, in order.
pub(super) fn workspaces(after: Option<&str>) -> Result<Vec<String>, Refusal> {
    let entries = fs::read_dir(WORKSPACES)
        .map_err(|error| Refusal::Failed { step: "workspaces".to_owned(), detail: error.to_string() })?;
    let mut ids: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.retain(|id| !id.starts_with(WAITING_PREFIX));
    ids.retain(|id| after.is_none_or(|after| id.as_str() > after));
    ids.sort_unstable();
    ids.truncate(WORKSPACES_PAGE);
    Ok(ids)
}
