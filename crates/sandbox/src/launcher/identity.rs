//! Which host uid stands behind which workspace: one each, for as long as the workspace exists.
//!
//! The workspace's owner on disk is the record, so a restart needs no other. Read next: `setup.rs`.

use std::collections::{HashMap, HashSet};

/// The uids of root's launcher, or the one uid of an ordinary user's.
pub(crate) struct Identities {
    range: Option<(u32, u32)>,
    own: (u32, u32),
    by_workspace: HashMap<String, u32>,
    used: HashSet<u32>,
    /// Where the search goes on, so that a freed uid rests before it is used again.
    next: u32,
}

impl Identities {
    /// `range` is the first uid and how many; `None` for an ordinary user, whose own ids are `own`.
    pub(crate) fn new(range: Option<(u32, u32)>, own: (u32, u32)) -> Self {
        Self { range, own, by_workspace: HashMap::new(), used: HashSet::new(), next: 0 }
    }

    /// A workspace found on disk. An owner outside the range is no owner of ours.
    pub(crate) fn found(&mut self, id: &str, owner: u32) {
        if self.owns(owner) {
            self.by_workspace.insert(id.to_owned(), owner);
            self.used.insert(owner);
        }
    }

    /// A uid in use by something without a name (a workspace in the trash).
    pub(crate) fn busy(&mut self, owner: u32) {
        self.used.insert(owner);
    }

    /// Whether a host uid can stand behind a workspace here.
    pub(crate) fn owns(&self, owner: u32) -> bool {
        match self.range {
            Some((first, count)) => owner >= first && owner - first < count,
            None => owner == self.own.0,
        }
    }

    /// The ids for a workspace, found or chosen. `None`: every uid is taken.
    pub(crate) fn of(&mut self, id: &str) -> Option<(u32, u32)> {
        let Some((first, count)) = self.range else { return Some(self.own) };
        if let Some(uid) = self.by_workspace.get(id) {
            return Some((*uid, *uid));
        }
        let uid = (0..count).map(|step| first + (self.next + step) % count).find(|uid| !self.used.contains(uid))?;
        self.next = (uid - first + 1) % count;
        self.used.insert(uid);
        self.by_workspace.insert(id.to_owned(), uid);
        Some((uid, uid))
    }

    /// The workspace has another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(uid) = self.by_workspace.remove(from) {
            self.by_workspace.insert(to.to_owned(), uid);
        }
    }

    /// The workspace lost its name; its uid stays busy until [`Self::free`].
    pub(crate) fn forget(&mut self, id: &str) {
        self.by_workspace.remove(id);
    }

    /// Nothing of this uid is left on disk.
    pub(crate) fn free(&mut self, uid: u32) {
        self.used.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workspace_has_its_own_until_removed() {
        let mut ids = Identities::new(Some((100, 3)), (0, 0));
        ids.found("old", 101);
        ids.found("foreign", 7);
        let (a, b) = (ids.of("a").unwrap().0, ids.of("b").unwrap().0);
        assert_eq!((a, b, ids.of("old").unwrap().0, ids.of("a").unwrap().0), (100, 102, 101, 100));
        assert_eq!(ids.of("c"), None);
        ids.rename("b", "renamed");
        assert_eq!(ids.of("renamed").unwrap().0, b);
        ids.forget("a");
        assert_eq!(ids.of("c"), None, "still on disk");
        ids.free(100);
        assert_eq!(ids.of("c").unwrap().0, 100);
    }
}
