//! A run's workspace as a disk: one sparse file in its folder, found or made, by the run's own user.
//!
//! Read next: `../../disks/ext4.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::launcher::disks::ext4;

/// The disk's name in the workspace's folder.
pub(super) const DISK: &str = "workspace.ext4";

/// Finds the disk, or makes it for `data_mb` MiB of files that `owner` owns inside.
pub(super) fn open(folder: &Path, data_mb: u64, owner: u32) -> io::Result<()> {
    let path = folder.join(DISK);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() && found.nlink() == 1 => return Ok(()),
        Ok(_) => return Err(io::Error::other("its disk is no plain file")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    // An unfinished disk is made again; anything else is a workspace of another tier, which has its files here.
    let unfinished = folder.join("unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if fs::read_dir(folder)?.next().is_some() {
        return Err(io::Error::other("this workspace was made in another tier, whose files a machine has no disk for"));
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished)?;
    ext4::format(&file, data_mb, owner, random()?)?;
    fs::rename(&unfinished, &path)
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_made_once_and_never_over_files() {
        let temp = tempfile::tempdir().unwrap();
        open(temp.path(), 8, 1000).unwrap();
        let made = fs::read(temp.path().join(DISK)).unwrap();
        open(temp.path(), 8, 1000).unwrap();
        assert_eq!(fs::read(temp.path().join(DISK)).unwrap(), made);
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("report"), "kept").unwrap();
        assert!(open(files.path(), 8, 1000).unwrap_err().to_string().contains("another tier"));
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", link.path().join(DISK)).unwrap();
        assert_eq!(open(link.path(), 8, 1000).unwrap_err().to_string(), "its disk is no plain file");
    }
}
