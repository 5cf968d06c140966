//! What `openat2` does, step by step, for kernels that lack it (gVisor's of 2024): every name is opened by itself and never
//! followed, so nothing that is exchanged meanwhile leads anywhere the walk did not decide to go.
//!
//! Read next: `path.rs`, which says what may be reached.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys;

/// Links followed at most, as the kernel counts.
const LINKS_MAX: usize = 40;
/// Names looked at in one walk.
const NAMES_MAX: usize = 4096;

/// Opens `path` below `root`, or from `/`. Below a root nothing leads out; from `/`, `..` ends there. Links on `/proc` are not
/// followed: some of them are doors rather than names.
pub(crate) fn open(root: Option<BorrowedFd<'_>>, path: &CStr, flags: i32) -> io::Result<File> {
    let mut walk = Walk {
        beneath: root.is_some(),
        folders: vec![match root {
            Some(root) => File::from(root.try_clone_to_owned()?),
            None => File::open("/")?,
        }],
        names: names_of(path.to_bytes()).collect(),
        links: 0,
    };
    for _ in 0..NAMES_MAX {
        let Some(name) = walk.names.pop_front() else { return sys::open_at(walk.at(), c".", flags) };
        let last = walk.names.is_empty();
        if let Some(found) = walk.step(&name, last, flags)? {
            return Ok(found);
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
}

fn names_of(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

struct Walk {
    /// Whether the first folder is a limit rather than the root.
    beneath: bool,
    /// The way here; never empty.
    folders: Vec<File>,
    /// What is still to be walked.
    names: VecDeque<Vec<u8>>,
    links: usize,
}

impl Walk {
    fn at(&self) -> BorrowedFd<'_> {
        self.folders[self.folders.len() - 1].as_fd()
    }

    /// Takes one name. Answers what it opened, if that was all.
    fn step(&mut self, name: &[u8], last: bool, flags: i32) -> io::Result<Option<File>> {
        if name == b".." {
            match self.folders.len() {
                1 if self.beneath => return Err(io::Error::from_raw_os_error(libc::EXDEV)),
                1 => {}
                _ => drop(self.folders.pop()),
            }
            return Ok(None);
        }
        let name = CString::new(name)?;
        let follows = !last || flags & libc::O_NOFOLLOW == 0;
        if follows && let Some(target) = sys::read_link_at(self.at(), &name)? {
            return self.follow(&target).map(|()| None);
        }
        if last {
            return sys::open_at(self.at(), &name, flags | libc::O_NOFOLLOW).map(Some);
        }
        let folder = sys::open_at(self.at(), &name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
        self.folders.push(folder);
        Ok(None)
    }

    /// Puts a link's target before what is left.
    fn follow(&mut self, target: &[u8]) -> io::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX || sys::is_proc(self.at())? {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        if target.first() == Some(&b'/') {
            if self.beneath {
                return Err(io::Error::from_raw_os_error(libc::EXDEV));
            }
            self.folders.truncate(1);
        }
        for name in names_of(target).collect::<Vec<_>>().into_iter().rev() {
            self.names.push_front(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! The walk and the kernel's own answer, side by side.

    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_walk_answers_what_the_kernel_does() {
        let root = std::env::temp_dir().join(format!("livery-walk-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("inner/deep")).unwrap();
        fs::write(root.join("inner/deep/file"), "x").unwrap();
        for (target, name) in [
            ("inner/deep", "in"),
            ("inner/deep/file", "file"),
            ("/etc", "absolute"),
            ("../../..", "out"),
            ("inner/../inner/deep", "around"),
            ("loop", "loop"),
            ("/proc/self/root", "magic"),
            ("absent", "dangling"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let folder = File::open(&root).unwrap();
        let asked = [
            "inner/deep/file",
            "in/file",
            "file",
            "absolute/passwd",
            "out/etc/passwd",
            "around/file",
            "loop",
            "magic/etc",
            "dangling",
            "..",
            "inner/..",
            "inner/../..",
            ".",
            "in/../file",
            "inner/deep/file/x",
            "absent",
            "in/./file",
        ];
        for path in asked {
            for flags in [libc::O_RDONLY, libc::O_PATH, libc::O_RDONLY | libc::O_NOFOLLOW] {
                let name = CString::new(path).unwrap();
                let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
                let kernel = sys::openat2_of_the_kernel(Some(folder.as_fd()), &name, flags, resolve);
                let walked = open(Some(folder.as_fd()), &name, flags);
                let of = |opened: io::Result<File>| {
                    opened.and_then(|file| file.metadata()).map(|m| ino(&m)).map_err(|e| e.raw_os_error())
                };
                assert_eq!(of(walked), of(kernel), "{path} {flags:x}");
            }
        }
        let absolute = |path: &str| open(None, &CString::new(path).unwrap(), libc::O_RDONLY);
        assert!(absolute("/../../etc/passwd").is_ok());
        assert!(absolute(&format!("{}/absolute/passwd", root.display())).is_ok());
        assert_eq!(absolute(&format!("{}/magic/etc", root.display())).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        fs::remove_dir_all(root).unwrap();
    }

    fn ino(metadata: &fs::Metadata) -> u64 {
        std::os::unix::fs::MetadataExt::ino(metadata)
    }
}
