//! Attempts on files: of the host, of the platform, of the image, of devices.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::Facts;
use super::means::{held, none_readable, program};
use super::processes::confined_flags;

pub(super) fn host_files(facts: &Facts) -> Result<(), String> {
    let paths = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh",
        "/etc/machine-id",
        "/root",
        "/home",
        "/boot",
        "/srv",
        "/mnt",
        "/opt",
        "/var/lib",
        "/var/log",
        "/work",
        "/media",
        "/lost+found",
        "/old_root",
        "/etc/ssl/private",
    ];
    let sockets = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"];
    none_readable(&paths)?;
    let running: Vec<_> = fs::read_dir("/run").into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    // gVisor's process 1 is a file there.
    held(running.iter().all(|name| facts.own_kernel && name == "livery-guest"), || format!("/run: {running:?}"))?;
    held(!sockets.iter().any(|path| Path::new(path).exists()), || "a container socket".to_owned())
}

pub(super) fn state_dir(facts: &Facts) -> Result<(), String> {
    let found = ["", "workspaces/neighbour/secret", "journal", "lock"];
    let open: Vec<&&str> = found.iter().filter(|path| Path::new(&facts.state_dir).join(path).exists()).collect();
    held(open.is_empty(), || format!("{open:?}"))
}

pub(super) fn root_is_the_end(facts: &Facts) -> Result<(), String> {
    // Where `..` of the root, and the root as /proc names it, lead to: the same small tree.
    let names = |path: &str| {
        fs::read_dir(path).map(|d| d.flatten().map(|e| e.file_name()).collect::<Vec<_>>()).unwrap_or_default()
    };
    let (root, above, proc) = (names("/"), names("/../../.."), names("/proc/self/root/.."));
    let small = |list: &[std::ffi::OsString]| {
        list.iter().all(|n| !matches!(n.to_str(), Some("root" | "home" | "boot")) && (facts.own_kernel || n != "sys"))
    };
    held(root == above && root == proc && small(&root), || format!("{root:?}"))
}

pub(super) fn sys_tree(facts: &Facts) -> Result<(), String> {
    let empty = || fs::read_dir("/sys").is_ok_and(|mut entries| entries.next().is_none());
    held(!Path::new("/sys").exists() || facts.own_kernel && empty(), || "/sys".to_owned())
}

pub(super) fn devices(facts: &Facts) -> Result<(), String> {
    let mut names: Vec<String> =
        fs::read_dir("/dev").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let expected: Vec<_> = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero".split(' ').collect();
    // Devices of gVisor's kernel; none of them is the host's.
    names.retain(|name| !facts.own_kernel || !["fuse", "net"].contains(&name.as_str()));
    held(names == expected, || format!("{names:?}"))?;
    held(File::open("/dev/tty").is_err(), || "the terminal of somebody".to_owned())?;
    // A device node cannot be made, or is dead.
    let path = c"/workspace/node";
    // SAFETY: a valid C string.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 1)) };
    held(made == -1 || File::open("/workspace/node").is_err(), || "made /dev/mem".to_owned())
}

pub(super) fn read_only_tree(_: &Facts) -> Result<(), String> {
    let folders =
        ["/", "/usr", "/usr/bin", "/etc", "/bin", "/lib", "/dev", "/proc", "/run", "/etc/alternatives", "/var"];
    for folder in folders {
        let file = Path::new(folder).join("livery-probe");
        held(fs::write(&file, "x").is_err(), || {
            let _ = fs::remove_file(&file);
            file.display().to_string()
        })?;
    }
    for file in ["/etc/passwd", "/etc/ld.so.cache", "/usr/bin/env"] {
        held(OpenOptions::new().append(true).open(file).is_err(), || file.to_owned())?;
        held(fs::set_permissions(file, PermissionsExt::from_mode(0o777)).is_err(), || format!("mode of {file}"))?;
    }
    Ok(())
}

pub(super) fn setuid_is_dead(facts: &Facts) -> Result<(), String> {
    let copy = "/workspace/suid-id";
    fs::copy(program(facts, "/usr/bin/id"), copy).map_err(|e| e.to_string())?;
    fs::set_permissions(copy, PermissionsExt::from_mode(0o6755)).map_err(|e| e.to_string())?;
    for program in [copy, "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount"] {
        if !Path::new(program).exists() {
            continue;
        }
        let output = Command::new(program).arg("-u").stdin(std::process::Stdio::null()).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
        held(text != "0", || format!("{program} is root"))?;
    }
    Ok(())
}

pub(super) fn mounts_are_nosuid(facts: &Facts) -> Result<(), String> {
    // gVisor has no such flag; `setuid_is_dead` tries what `no_new_privs` alone makes of such files.
    if facts.own_kernel {
        return confined_flags(facts);
    }
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // A machine's `/dev` is a file system of its own, in which devices work.
    let has_devices =
        |place: &str| place.starts_with("/dev/") || place.starts_with("/proc/") || facts.machine && place == "/dev";
    let open: Vec<String> = fields
        .filter(|f| !f[5].split(',').any(|option| option == "nosuid") || !f[5].contains("nodev") && !has_devices(f[4]))
        .map(|f| format!("{} {}", f[4], f[5]))
        .collect();
    held(open.is_empty(), || open.join(", "))?;
    // Nothing shows where on the host the tree lies, but for the parts that say it themselves.
    held(!text.contains("docker.sock"), || text.clone())
}

pub(super) fn inherited_descriptors(facts: &Facts) -> Result<(), String> {
    // As a fresh program sees them: its own descriptor for the listing is the fourth.
    let text = if facts.in_host { own_descriptors() } else { descriptors_of_ls()? };
    held(text == "0 1 2 3", || text.clone())?;
    let kinds = [0, 1, 2]
        .map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).map(|p| p.display().to_string()).unwrap_or_default());
    held(kinds.iter().all(|kind| kind.starts_with("pipe:")), || format!("{kinds:?}"))
}

fn descriptors_of_ls() -> Result<String, String> {
    let output = Command::new("/bin/ls").arg("/proc/self/fd").output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" "))
}

fn own_descriptors() -> String {
    let mut all: Vec<u32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    all.sort_unstable();
    all.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// A file with capabilities cannot be made, or gives none.
pub(super) fn file_capabilities(facts: &Facts) -> Result<(), String> {
    let copy = c"/workspace/capable";
    fs::copy(program(facts, "/usr/bin/cat"), "/workspace/capable").map_err(|e| e.to_string())?;
    // Version 2, effective: every capability of the first word permitted.
    let value: [u8; 20] = [1, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: two C strings and a value with its length.
    let set = unsafe {
        libc::setxattr(copy.as_ptr(), c"security.capability".as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if set != 0 {
        return Ok(());
    }
    let output = Command::new("/workspace/capable").arg("/proc/self/status").output();
    if facts.in_host {
        return held(output.is_err(), || "what was written could be started".to_owned());
    }
    let output = output.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let effective = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim().to_owned();
    held(effective.bytes().all(|digit| digit == b'0'), || format!("a file gave {effective}"))
}
