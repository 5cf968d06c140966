//! Walking and removing a workspace: a folder tree made by a hostile hand.
//!
//! Every step is relative to an open folder and follows no link, so a rename under the walk leads nowhere else. Depth is
//! bounded by descriptors held, never by recursion. Read next: `janitor.rs` (removes), `disk.rs` (measures).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};

/// Folders held open while removing; what lies deeper is moved up first.
const DEPTH_HELD: usize = 64;
/// Names read at a time while removing.
const BATCH: usize = 1024;

/// Opens a folder below `parent`, never through a link.
pub(crate) fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// One name in a folder.
struct Name {
    name: CString,
    is_folder: bool,
}

/// Up to `max` names of a folder, `.` and `..` left out.
fn names(folder: BorrowedFd<'_>, max: usize) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if matches!(name.as_bytes(), b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => is_folder(folder, &name),
            _ => false,
        };
        names.push(Name { name, is_folder });
        if names.len() == max {
            break;
        }
    }
    Ok(names)
}

fn is_folder(parent: BorrowedFd<'_>, name: &CString) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

/// Removes everything in `root`, which stays. Works on any depth and width with bounded descriptors and memory: names are
/// read in batches until a folder is empty, and what lies too deep is moved up into the root first.
pub(crate) fn remove_contents(root: &OwnedFd) -> io::Result<()> {
    let mut moved_up = 0_u64;
    let mut stack = vec![(root.try_clone()?, Vec::new(), CString::default())];
    while let Some((folder, batch, _)) = stack.last_mut() {
        if batch.is_empty() {
            *batch = names(folder.as_fd(), BATCH)?;
        }
        let Some(next) = batch.pop() else {
            if let Some((_, _, own_name)) = stack.pop()
                && let Some((parent, ..)) = stack.last()
            {
                unlinkat(parent, &own_name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        if !next.is_folder {
            unlinkat(folder.as_fd(), &next.name, AtFlags::empty())?;
            continue;
        }
        if unlinkat(folder.as_fd(), &next.name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        let child = open_own_folder(folder.as_fd(), &next.name)?;
        if stack.len() > DEPTH_HELD {
            moved_up += 1;
            let up = CString::new(format!(".livery-removing-{moved_up}"))?;
            if let Some((folder, ..)) = stack.last() {
                renameat(folder, &next.name, root, &up)?;
            }
        } else {
            stack.push((child, Vec::new(), next.name));
        }
    }
    Ok(())
}

/// Opens a folder of ours, giving ourselves the rights its maker took away.
pub(crate) fn open_own_folder(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::XUSR;
    if let Ok(folder) = open_folder(parent, name) {
        let _ = rustix::fs::fchmod(&folder, mode);
        return Ok(folder);
    }
    rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
    open_folder(parent, name)
}

#[cfg(test)]
mod tests {
    //! Trees no polite program makes.

    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_deep_closed_and_linked_trees_and_nothing_beyond() {
        let temp = tempfile::tempdir().unwrap();
        let (outside, tree) = (temp.path().join("outside"), temp.path().join("tree"));
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::create_dir(&tree).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        let mut deep = rustix::fs::open(&tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..700 {
            rustix::fs::mkdirat(&deep, "a-name-long-enough-to-pass-the-longest-path", Mode::from_raw_mode(0o700))
                .unwrap();
            deep = open_folder(deep.as_fd(), c"a-name-long-enough-to-pass-the-longest-path").unwrap();
        }
        fs::create_dir(tree.join("closed")).unwrap();
        fs::write(tree.join("closed/file"), "x").unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
        let root = rustix::fs::open(&tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        remove_contents(&root).unwrap();
        assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }
}
