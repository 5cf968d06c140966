//! A kernel for virtual machines: Debian's for clouds, of a release whose kernel has virtio's console built in, as it comes out of
//! its package, and the few modules it needs as one archive. Neither is installed.
//!
//! Both digests are checked before they count as there. Read next: `apt.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::apt::Package;
use crate::dist::archive::sha256;

/// The release that has it.
const RELEASE: &str = "bookworm-backports";
/// The package and its version.
const PACKAGE: &str = "linux-image-6.12.95+deb12-cloud-amd64=6.12.95-1~bpo12+1";
/// Of the uncompressed kernel, which starts fastest, and of the archive of its modules.
const KERNEL_SHA256: &str = "6e7bd5d9a92c1d43a891ca5d22c62b5069979bb79f092dcee9ab4b6d9c3ea4d9";
const MODULES_SHA256: &str = "6a9bf586d4163c29a19cbbc73289d6fcb7acd8e39607134c734f1f2dd7336a24";
/// In the order in which they are loaded.
const MODULES: [&str; 4] =
    ["drivers/virtio/virtio_mmio", "drivers/block/virtio_blk", "lib/libcrc32c", "fs/erofs/erofs"];
/// What only a machine with a vsock loads, which is Firecracker's: all that it needs to call its host, and nothing that looks at a disk.
const VSOCK_MODULES: [&str; 4] = [
    "drivers/virtio/virtio_mmio",
    "net/vmw_vsock/vsock",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common",
    "net/vmw_vsock/vmw_vsock_virtio_transport",
];

/// Fetches both, if one is missing. Where apt cannot have them, they are left out, and the tests of their tier say so.
///
/// # Errors
/// The mirror cannot be reached, the disk is full, or what came is not what was meant.
pub(super) fn install() -> anyhow::Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/machines");
    let (kernel, modules) = (home.join("vmlinux"), home.join("modules.cpio"));
    if is_right(&kernel, KERNEL_SHA256) && is_right(&modules, MODULES_SHA256) {
        println!("   there  {PACKAGE}");
        return Ok(());
    }
    let Some(package) = Package::fetch(&home, RELEASE, PACKAGE)? else { return Ok(()) };
    let found = |folder: &str, start: &str| -> anyhow::Result<PathBuf> {
        let entries = fs::read_dir(package.unpacked.join(folder))?.flatten();
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
        named.map(|entry| entry.path()).next().with_context(|| format!("the package has no {folder}/{start}…"))
    };
    let image = fs::read(found("boot", "vmlinuz-")?)?;
    fs::write(&kernel, unpack(&["zstd", "-dcq"], payload(&image).context("this is no kernel as Linux packs it")?)?)?;
    let tree = found("lib/modules", "6.")?.join("kernel");
    let mut archive = Vec::new();
    for (folder, modules) in [("modules", &MODULES[..]), ("modules/vsock", &VSOCK_MODULES)] {
        entry(&mut archive, folder, 0o040_755, &[]);
        for (number, module) in modules.iter().enumerate() {
            let bytes = unpack(&["xz", "-dcq"], &fs::read(tree.join(format!("{module}.ko.xz")))?)?;
            entry(&mut archive, &format!("{folder}/{number:03}.ko"), 0o100_644, &bytes);
        }
    }
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    fs::write(&modules, archive)?;
    for (path, digest) in [(&kernel, KERNEL_SHA256), (&modules, MODULES_SHA256)] {
        anyhow::ensure!(is_right(path, digest), "{} of {PACKAGE} does not have the SHA-256 {digest}", path.display());
    }
    package.clear_away()
}

fn is_right(path: &Path, digest: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| sha256(&bytes) == digest)
}

/// The compressed kernel in its wrapper: after the sectors of the set-up, where the header says. The last four bytes are its
/// length. Layout: Linux, `Documentation/arch/x86/boot.rst`.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| usize::try_from(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?)).ok();
    let sectors = usize::from(*image.get(0x1f1)?).max(1);
    let start = (sectors + 1) * 512 + number(0x248)?;
    image.get(start..start + number(0x24c)?.checked_sub(4)?)
}

/// What a program makes of `bytes`.
fn unpack(program: &[&str], bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program[0]);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || std::io::Write::write_all(&mut stdin, bytes));
        let output = child.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "{program:?} ended with {}", output.status);
        writer.join().map_err(|_| anyhow::anyhow!("a bug: writing panicked"))??;
        Ok(output.stdout)
    })
}

/// Adds a file to an archive in the format `newc` of cpio.
fn entry(archive: &mut Vec<u8>, name: &str, mode: usize, data: &[u8]) {
    let number = archive.len() + 1;
    archive.extend_from_slice(b"070701");
    for field in [number, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0] {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    for bytes in [name.as_bytes(), b"\0"] {
        archive.extend_from_slice(bytes);
    }
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
