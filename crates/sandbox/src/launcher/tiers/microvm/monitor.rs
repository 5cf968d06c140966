//! QEMU's part of the carrier's root: the libraries it names, and what it loads by itself. Firecracker needs nothing.
//!
//! The program is copied while it is hashed, so what was hashed is what runs. Its libraries and firmware are the host's own, the
//! libraries found by the dynamic loader, which reads the program but does not run it. They have no digest in the configuration, as
//! the host's updates change them; so each must be root's, and so must every folder above it. Read next: `install.rs`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::launcher::tiers::tool;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Libraries of one program.
const LIBRARIES_MAX: usize = 200;
/// What QEMU loads by itself: the part that plays a processor, where it is not built in.
const QEMU_PARTS: [&str; 1] = ["/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"];
/// Where firmware may be; the first that has a file gives it.
const FIRMWARE_FOLDERS: [&str; 3] = ["/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu"];
const FIRMWARE: [&str; 3] = ["bios-microvm.bin", "pvh.bin", "linuxboot_dma.bin"];

/// Copies what the monitor needs below `root`; it runs nothing.
pub(super) fn furnish(root: &Path, program: &Path) -> io::Result<()> {
    // Its own parts are found from where it would lie, which has to exist.
    for folder in ["firmware", "usr/bin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let parts: Vec<&Path> = QEMU_PARTS.iter().map(Path::new).filter(|part| part.exists()).collect();
    let mut needed: Vec<PathBuf> = parts.iter().map(|part| (*part).to_owned()).collect();
    for object in std::iter::once(program).chain(parts) {
        needed.extend(libraries(object)?);
    }
    needed.push(LOADER.into());
    needed.sort();
    needed.dedup();
    for file in needed {
        place(root, &file, &file)?;
    }
    for name in FIRMWARE {
        let places = FIRMWARE_FOLDERS.iter().map(|folder| Path::new(folder).join(name));
        if let Some(file) = places.into_iter().find(|place| place.exists()) {
            place(root, &file, &Path::new("/firmware").join(name))?;
        }
    }
    Ok(())
}

fn place(root: &Path, source: &Path, target: &Path) -> io::Result<()> {
    let target = root.join(target.strip_prefix("/").unwrap_or(target));
    fs::create_dir_all(target.parent().unwrap_or(root))?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
    let copy = || {
        let mut copied = File::create(&target)?;
        io::copy(&mut trusted(source)?, &mut copied)?;
        copied.set_permissions(fs::Permissions::from_mode(0o555))
    };
    copy().map_err(named)
}

/// Opens a file that nobody but root can have changed: it, and each folder on the way to where it really lies.
fn trusted(path: &Path) -> io::Result<File> {
    let real = fs::canonicalize(path)?;
    let file = File::open(&real)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    is_roots(&real, &found)?;
    for folder in real.ancestors().skip(1) {
        is_roots(folder, &fs::metadata(folder)?)?;
    }
    Ok(file)
}

fn is_roots(path: &Path, found: &Metadata) -> io::Result<()> {
    const OTHERS_WRITE: u32 = 0o022;
    if found.uid() == 0 && found.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let (path, uid, mode) = (path.display(), found.uid(), found.mode() & 0o7777);
    let why = format!(
        "somebody other than root can change {path} (uid {uid}, mode {mode:o}): the monitor's parts must be root's alone"
    );
    Err(io::Error::other(why))
}

/// The libraries of an object, as the loader finds them: lines like `name => /path (0x…)`, or `/path (0x…)`.
fn libraries(object: &Path) -> io::Result<Vec<PathBuf>> {
    if !Path::new(LOADER).exists() {
        // A static program needs none.
        return Ok(Vec::new());
    }
    let mut command = Command::new(LOADER);
    // It is asked in another folder than the launcher's.
    command.arg("--list").arg(fs::canonicalize(object)?);
    let text = tool::say(&mut command, None)?;
    let path = |line: &str| {
        let after = line.split_once(" => ").map_or(line, |(_, after)| after);
        let path = after.trim().rsplit_once(" (")?.0;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(text.lines().filter_map(path).take(LIBRARIES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_alone_can_change_is_taken() {
        let root = tempfile::tempdir().unwrap();
        place(root.path(), LOADER.as_ref(), LOADER.as_ref()).unwrap();
        let copied = root.path().join(LOADER.trim_start_matches('/'));
        assert_eq!(fs::read(copied).unwrap(), fs::read(LOADER).unwrap());
        // In a folder in which everybody may make files, whoever this test is.
        let own = root.path().join("lib.so");
        fs::copy(LOADER, &own).unwrap();
        let refused = |path: &Path| trusted(path).unwrap_err().to_string();
        assert!(refused(&own).starts_with("somebody other than root can change /"), "{}", refused(&own));
        let link = root.path().join("link.so");
        std::os::unix::fs::symlink(LOADER, &link).unwrap();
        assert!(trusted(&link).is_ok(), "what counts is where it really lies");
        assert_eq!(refused("/usr".as_ref()), "it is no file");
        assert!(
            place(root.path(), "/no/such.so".as_ref(), "/a.so".as_ref())
                .unwrap_err()
                .to_string()
                .starts_with("/no/such.so: ")
        );
    }
}
