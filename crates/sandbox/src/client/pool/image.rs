//! Which image a sandbox was started from: a folder may be removed, and another one put at its path, while the sandbox waits.
//!
//! Read next: `../pool.rs`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use crate::config::RootFs;

/// An image as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// The machine's own, which no run exchanges.
    Host,
    /// A folder: its file system, its number there, and when it was made, as numbers are given again.
    Folder { device: u64, inode: u64, born: Option<SystemTime> },
    /// There is none. A sandbox that needs it is nobody's.
    Gone,
}

impl Image {
    pub(super) fn of(root: &RootFs) -> Self {
        let RootFs::Directory(path) = root else { return Self::Host };
        fs::symlink_metadata(path).map_or(Self::Gone, |found| Self::Folder {
            device: found.dev(),
            inode: found.ino(),
            born: found.created().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_place_of_another_is_another_image() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("image");
        let of = || Image::of(&RootFs::Directory(path.clone()));
        assert_eq!(of(), Image::Gone);
        fs::create_dir(&path).unwrap();
        let first = of();
        fs::write(path.join("file"), "changed inside").unwrap();
        assert_eq!(of(), first);
        fs::create_dir(temp.path().join("other")).unwrap();
        fs::rename(&path, temp.path().join("gone")).unwrap();
        fs::rename(temp.path().join("other"), &path).unwrap();
        assert!(of() != first && of() != Image::Gone);
        assert_eq!(Image::of(&RootFs::Host), Image::Host);
    }
}
