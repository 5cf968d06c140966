//! Whether KVM runs a machine here, found by booting one with a deadline.
//!
//! The device's presence says little: it may be closed to this user, lack what the processor should have, or run a kernel a
//! thousand times too slowly, as on hosts that are machines themselves. Read next: `install.rs`.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use livery_guest::vm::PROBE;

use super::install;
use crate::launcher::setup::ROOTS;
use crate::launcher::tiers::tool;

/// A kernel boots in a fraction of a second, or this is no KVM to use.
const BOOT_MAX: Duration = Duration::from_secs(4);
const OF_THE_HOST: &str = "/dev/kvm";
/// Root's copy of the device, which each run's user may open in its carrier.
pub(super) const DEVICE: &str = "roots/devices/kvm";
const HEARD_BYTES_MAX: u64 = 64 * 1024;
/// Where a user without rights finds the folder that is closed to it otherwise, in a mount namespace of the trial's own.
const SEEN: &str = "/tmp";

/// The command line of a machine that says a word: the folder of what it starts from, where that is seen, and the word.
pub(super) type Probe = fn(&Path, &Path, &str) -> io::Result<Vec<String>>;

/// The device that carriers get: a copy where this is root, otherwise the host's own.
pub(super) fn device(privileged: bool) -> &'static str {
    if privileged { DEVICE } else { OF_THE_HOST }
}

/// Boots a machine that says one word. The error says why there is none.
pub(super) fn boots(program: &str, user: Option<u32>, probe: Probe) -> Result<(), String> {
    let Ok(found) = fs::metadata(OF_THE_HOST) else { return Err("there is no /dev/kvm".to_owned()) };
    if user.is_some() {
        copy(found.rdev()).map_err(|error| format!("the device KVM cannot be copied: {error}"))?;
    }
    let said = boot(program, user, probe).map_err(|error| format!("KVM cannot be tried: {error}"))?;
    if said.contains(livery_guest::vm::BOOTED) {
        return Ok(());
    }
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Err(match last {
        Some(line) => format!("KVM does not boot a machine here: {}", line.chars().take(160).collect::<String>()),
        None => format!("KVM did not boot a machine within {} s", BOOT_MAX.as_secs()),
    })
}

/// Makes the device anew in a file system of its own, where devices work, within what only the launcher sees.
fn copy(device: u64) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustix::mount::{MountFlags, mount};
    let folder = Path::new(ROOTS).join("devices");
    fs::create_dir_all(&folder)?;
    mount(
        "livery-devices",
        &folder,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"mode=0755,size=4k,nr_inodes=4",
    )?;
    mknodat(CWD, DEVICE, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    Ok(rustix::fs::chmod(DEVICE, Mode::from_raw_mode(0o666))?)
}

fn boot(program: &str, user: Option<u32>, probe: Probe) -> io::Result<String> {
    let folder = fs::canonicalize(install::ROOT)?;
    let seen = if user.is_some() { PathBuf::from(SEEN) } else { folder.clone() };
    let mut command = Command::new(program);
    command.args(probe(&folder, &seen, PROBE)?).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        let device = fs::canonicalize(DEVICE)?;
        let [own, hosts] = [CString::new(device.as_os_str().as_bytes())?, CString::new(OF_THE_HOST)?];
        let [from, to] = [CString::new(folder.as_os_str().as_bytes())?, CString::new(SEEN)?];
        // SAFETY: system calls on integers and C strings made before the fork, in the child of a process with one thread.
        unsafe {
            command.pre_exec(move || {
                let check = |result: libc::c_int| if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
                let nothing = std::ptr::null();
                check(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET))?;
                check(libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_PRIVATE, nothing.cast()))?;
                check(libc::mount(own.as_ptr(), hosts.as_ptr(), nothing, libc::MS_BIND, nothing.cast()))?;
                check(libc::mount(from.as_ptr(), to.as_ptr(), nothing, libc::MS_BIND, nothing.cast()))?;
                check(libc::setgroups(0, nothing.cast()))?;
                check(libc::setresgid(user, user, user))?;
                check(libc::setresuid(user, user, user))
            });
        }
    }
    let mut child = command.spawn()?;
    tool::ended(&mut child, BOOT_MAX)?;
    let mut heard = Vec::new();
    if let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
        out.chain(errors).take(HEARD_BYTES_MAX).read_to_end(&mut heard)?;
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}
