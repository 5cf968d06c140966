//! QEMU's part of the carrier's root: the libraries it names, and what it loads by itself. Firecracker needs nothing.
//!
//! The program is copied while it is hashed, so what was hashed is what runs. Its libraries are the host's own, found by the
//! dynamic loader, which reads the program but does not run it. Read next: `install.rs`.

use std::fs;
use std::io;
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
    fs::copy(source, target).map(drop).map_err(named)
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
