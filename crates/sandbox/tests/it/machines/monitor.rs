//! A machine's monitor, as the host sees it: whose process it is, what it may, what it holds open, and which devices it makes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::house::House;
use crate::lifetime::of_threads;

/// The process of the host's in which a machine runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    status: String,
}

impl Process {
    /// Those of a house's launcher, the oldest first.
    pub(super) fn all(house: &House) -> Vec<Self> {
        let children = of_threads(house.launcher_pid, "children");
        let pids = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
        let is_monitor =
            |pid: &u32| arguments(*pid).iter().any(|argument| argument == "virtio-serial-device,max_ports=2");
        pids.filter(is_monitor).filter_map(Self::of).collect()
    }

    /// The youngest of the launcher's.
    pub(crate) fn under(house: &House) -> Self {
        let children = of_threads(house.launcher_pid, "children");
        Self::of(children.split_whitespace().last().unwrap().parse().unwrap()).unwrap()
    }

    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = field(&status, "Uid:").split_whitespace().next()?.parse().ok()?;
        Some(Self { pid, uid, status })
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        arguments(self.pid)
    }

    /// No capability now or later, filtered calls, and namespaces of its own without a network.
    pub(crate) fn assert_has_no_rights(&self) {
        let Self { pid, status, .. } = self;
        assert_eq!((field(status, "NoNewPrivs:"), field(status, "Seccomp:")), ("1", "2"), "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(field(status, set), 16), Ok(0), "{status}");
        }
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let namespace = |of: &Path, kind: &str| fs::read_link(of.join("ns").join(kind)).unwrap();
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts"] {
            assert_ne!(namespace(&folder, kind), namespace(Path::new("/proc/self"), kind), "{kind}");
        }
        let interfaces = fs::read_to_string(folder.join("net/dev")).unwrap();
        assert_eq!(interfaces.lines().count(), 3, "two lines of heading and loopback: {interfaces}");
    }

    /// Nothing is open but its disks, its stream, its console and what it waits with.
    pub(super) fn assert_holds_little(&self) {
        let folder = PathBuf::from(format!("/proc/{}", self.pid));
        let mut sockets = 0;
        for entry in fs::read_dir(folder.join("fd")).unwrap().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.display().to_string();
            let number = entry.file_name().into_string().unwrap();
            let info = fs::read_to_string(folder.join("fdinfo").join(&number)).unwrap_or_default();
            let flags = u32::from_str_radix(field(&info, "flags:"), 8).unwrap_or(u32::MAX);
            let kind = target.split(':').next().unwrap();
            sockets += usize::from(kind == "socket");
            let is_expected = match kind {
                "pipe" | "socket" | "anon_inode" => true,
                "/image" => flags & 3 == 0,
                other => ["/dev/null", "/dev/kvm", "/workspace/workspace.ext4"].contains(&other),
            };
            assert!(is_expected, "{number} is {target} ({flags:o})");
        }
        assert_eq!(sockets, 1, "the stream alone");
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// The devices that QEMU makes of these arguments and some more, each with how many: asked of one that never starts its machine.
pub(super) fn devices(house: &House, arguments: &[String], more: &[&str]) -> BTreeMap<String, usize> {
    let root = house.config.state_dir.join("tools/microvm");
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let disk_name = disk.path().display().to_string();
    let mut command = Command::new("/usr/bin/qemu-system-x86_64");
    for argument in arguments.iter().skip(1).filter(|argument| !argument.is_empty()) {
        command.arg(match argument.as_str() {
            "/firmware" | "/kernel" | "/initramfs" => format!("{}{argument}", root.display()),
            "stdio,id=console,signal=off" => "null,id=console".to_owned(),
            other if other.starts_with("socket,id=guest") => "null,id=guest".to_owned(),
            other if other.starts_with("driver=raw") => {
                other.replace("/image", &disk_name).replace("/workspace/workspace.ext4", &disk_name)
            }
            other => other.to_owned(),
        });
    }
    command.args(more).args(["-S", "-qmp", "stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let ask = "{\"execute\":\"qmp_capabilities\"}\n\
               {\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info qtree\"}}\n{\"execute\":\"quit\"}\n";
    child.stdin.as_mut().unwrap().write_all(ask.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut found = BTreeMap::new();
    for after in text.split("dev: ").skip(1) {
        let name = after.split(',').next().unwrap();
        *found.entry(name.to_owned()).or_insert(0) += 1;
    }
    assert!(!found.is_empty(), "{text}");
    found
}
