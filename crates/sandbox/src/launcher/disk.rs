//! Measuring workspaces, a slice at a time, so that the launcher's one loop never stalls.
//!
//! The limit is watched, not enforced by the file system: a run can pass it by what it writes between two measurements
//! (about a second), and no single file can pass it (`RLIMIT_FSIZE`). A measurement ends as soon as it has counted more than may
//! be there: one that went on to the last name would never end for a run that makes names faster than they are counted.
//! Project quotas would be the hard form.
//! Read next: `mod.rs`, which acts on a verdict.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, statat};

use super::tree;

/// Between the end of one measurement of a workspace and the start of the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Deepest nesting; a tree beyond it is treated as over its limit, as it can only be made to hide in.
const DEPTH_MAX: usize = 256;
/// Names between two looks at the clock.
const NAMES_PER_LOOK: usize = 64;

/// What one workspace uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) bytes: u64,
    pub(crate) names: u64,
    /// Deeper than can be measured.
    pub(crate) hidden: bool,
}

impl Measure {
    fn is_over(&self, most: Most) -> bool {
        self.hidden || self.bytes > most.bytes || self.names > most.names
    }
}

/// What one workspace may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) bytes: u64,
    pub(crate) names: u64,
}

impl Most {
    /// About one name for every 4 KiB, and some for small limits.
    pub(crate) fn of(disk_mb: u64) -> Self {
        let bytes = disk_mb << 20;
        Self { bytes, names: (bytes / 4096).max(16_384) }
    }

    /// With what the tier's own way of keeping files takes beside them.
    pub(crate) const fn and(self, own_bytes: u64) -> Self {
        Self { bytes: self.bytes + own_bytes, ..self }
    }
}

/// One workspace's place in the round.
#[derive(Default)]
pub(crate) struct Watch {
    walk: Option<Walk>,
    pub(crate) last: Option<Measure>,
    pub(crate) next: Option<Instant>,
}

struct Walk {
    /// Folders being read, each below the one before it.
    stack: Vec<Dir>,
    so_far: Measure,
}

impl Watch {
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.walk.is_some() || self.next.is_none_or(|next| next <= now)
    }

    /// The most it is known to use: by the last measurement, or by the one under way.
    pub(crate) fn known(&self) -> Measure {
        let so_far = self.walk.as_ref().map(|walk| walk.so_far).unwrap_or_default();
        let last = self.last.unwrap_or_default();
        Measure {
            bytes: last.bytes.max(so_far.bytes),
            names: last.names.max(so_far.names),
            hidden: last.hidden || so_far.hidden,
        }
    }

    /// Measures on until done, until more is found than may be there, or `until`. `Some` when a measurement has ended.
    pub(crate) fn advance(&mut self, workspace: &Path, most: Most, until: Instant) -> Option<Measure> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => Walk::start(workspace).ok()?,
        };
        if !walk.step(most, until) {
            self.walk = Some(walk);
            return None;
        }
        self.next = Some(Instant::now() + PAUSE);
        self.last = Some(walk.so_far);
        self.last
    }
}

impl Walk {
    fn start(workspace: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(workspace, flags, Mode::empty())?;
        Ok(Self { stack: vec![Dir::new(root)?], so_far: Measure::default() })
    }

    /// `true` when the walk is complete, or has found too much.
    fn step(&mut self, most: Most, until: Instant) -> bool {
        let mut looked = 0;
        while let Some(folder) = self.stack.last_mut() {
            let Some(Ok(entry)) = folder.read() else {
                self.stack.pop();
                continue;
            };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                let inside = folder.fd().ok().and_then(|parent| count(parent, entry.file_name(), &mut self.so_far));
                self.enter(inside);
            }
            if self.so_far.is_over(most) {
                return true;
            }
            looked += 1;
            if looked % NAMES_PER_LOOK == 0 && Instant::now() >= until {
                return false;
            }
        }
        true
    }

    /// Reads a folder next. One that the run closed to itself is closed to an unprivileged launcher too; root sees it.
    fn enter(&mut self, folder: Option<OwnedFd>) {
        let Some(folder) = folder.and_then(|fd| Dir::new(fd).ok()) else { return };
        if self.stack.len() >= DEPTH_MAX {
            self.so_far.hidden = true;
        } else {
            self.stack.push(folder);
        }
    }
}

/// Adds one name. Answers the folder to enter, if it is one.
fn count(parent: BorrowedFd<'_>, name: &CStr, total: &mut Measure) -> Option<OwnedFd> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    // Blocks, not length: a sparse file is what it takes. A file with several names counts once in all.
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    total.bytes += blocks * 512 / links(&stat);
    total.names += 1;
    if is_folder(stat.st_mode) { tree::open_folder(parent, name).ok() } else { None }
}

fn is_folder(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

/// Names a regular file has; a folder's count means something else.
#[cfg_attr(target_arch = "x86_64", expect(clippy::useless_conversion, reason = "narrower on other machines"))]
fn links(stat: &rustix::fs::Stat) -> u64 {
    if is_folder(stat.st_mode) { 1 } else { u64::from(stat.st_nlink).max(1) }
}

#[cfg(test)]
mod tests {
    //! Slices add up to the same measure as one walk.

    use super::*;
    use std::fs;

    #[test]
    fn slices_add_up_and_links_count_once() {
        let temp = tempfile::tempdir().unwrap();
        for folder in 0..20 {
            let folder = temp.path().join(format!("d{folder}"));
            fs::create_dir(&folder).unwrap();
            for file in 0..20 {
                fs::write(folder.join(format!("f{file}")), vec![1; 4096]).unwrap();
            }
        }
        fs::hard_link(temp.path().join("d0/f0"), temp.path().join("linked")).unwrap();
        fs::File::create(temp.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let mut watch = Watch::default();
        let mut slices = 1;
        let measure = loop {
            match watch.advance(temp.path(), Most { bytes: 1 << 40, names: 1 << 40 }, Instant::now()) {
                Some(measure) => break measure,
                None => slices += 1,
            }
        };
        assert!(slices > 3, "{slices} slices");
        assert_eq!(measure.names, 20 + 400 + 2);
        let (low, high) = (400 * 4096, 400 * 4096 + 20 * 8192);
        assert!((low..=high).contains(&measure.bytes), "{}", measure.bytes);
        assert!(!measure.hidden);
    }

    /// A run that makes names as fast as they are counted is seen all the same: nobody waits for the last one.
    #[test]
    fn a_measurement_ends_at_the_first_name_too_many() {
        let temp = tempfile::tempdir().unwrap();
        for file in 0..300 {
            fs::write(temp.path().join(format!("f{file}")), []).unwrap();
        }
        let later = Instant::now() + Duration::from_secs(3600);
        let most = Most { bytes: 1 << 40, names: 100 };
        let measure = Watch::default().advance(temp.path(), most, later).unwrap();
        assert_eq!(measure.names, 101);
        fs::write(temp.path().join("f0"), vec![1; 1 << 20]).unwrap();
        let most = Most { bytes: 4096, names: 1 << 40 };
        let measure = Watch::default().advance(temp.path(), most, later).unwrap();
        assert!(measure.bytes > 4096 && measure.names <= 300, "{measure:?}");
    }
}
