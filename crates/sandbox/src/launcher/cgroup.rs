//! Limits by control group: version 2 where a folder can be had with the controllers, version 1 beside it, or none.
//!
//! All groups of one launcher lie in a folder `livery-HASH`, so that its next life finds and removes them.
//! Refuses to touch any other group. Read next: `start.rs`, which puts a new process in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::tiers::Allowance;
use crate::config::Spec;

/// How long a sweep waits for killed processes to be gone.
const SWEEP_WAIT: Duration = Duration::from_secs(5);
/// The period over which a processor share is measured.
const CPU_PERIOD_US: u64 = 100_000;

/// The version a controller was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "cgroup v1",
            Self::Two => "cgroup v2",
        }
    }
}

#[derive(Clone, Debug)]
struct Parent {
    version: Version,
    /// Controllers this folder's children have.
    controllers: Vec<&'static str>,
    folder: PathBuf,
}

/// Where this launcher's groups are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroups {
    parents: Vec<Parent>,
}

/// One sandbox's groups.
#[derive(Debug)]
pub(crate) struct Group {
    members: Vec<Parent>,
    /// Where out-of-memory kills are counted; held open, as it is looked at ten times a second.
    oom: Option<File>,
}

/// The controllers a sandbox uses.
const WANTED: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

impl Cgroups {
    /// Finds writable places and makes the folder `name` in them.
    pub(crate) fn find(name: &str) -> Self {
        let mountinfo = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/thread-self/cgroup").unwrap_or_default();
        let mut parents = Vec::new();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            parents.extend(match mount.version {
                Version::Two => find_v2(&mount, &own, name),
                Version::One => find_v1(&mount, name),
            });
        }
        // A controller counts once.
        let mut seen: Vec<&str> = Vec::new();
        for parent in &mut parents {
            parent.controllers.retain(|c| !seen.contains(c));
            seen.extend(&parent.controllers);
        }
        parents.retain(|parent| !parent.controllers.is_empty());
        Self { parents }
    }

    /// Which version enforces a controller.
    pub(crate) fn version_of(&self, controller: &str) -> Option<Version> {
        self.parents.iter().find(|p| p.controllers.contains(&controller)).map(|p| p.version)
    }

    /// Makes the groups of one sandbox with its limits.
    pub(crate) fn create(&self, spec: &Spec) -> io::Result<Group> {
        let mut group = Group { members: Vec::new(), oom: None };
        for parent in &self.parents {
            let member = Parent { folder: parent.folder.join(&spec.id), ..parent.clone() };
            let made = match fs::create_dir(&member.folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            };
            group.members.push(member);
            made?;
        }
        group.limit(spec).inspect_err(|_| {
            group.remove();
        })?;
        group.oom = group.file("memory", "memory.oom_control", "memory.events").and_then(|path| File::open(path).ok());
        Ok(group)
    }

    /// Kills and removes whatever an earlier life left. Answers how many groups there were.
    pub(crate) fn sweep(&self) -> usize {
        let mut swept = 0;
        for parent in &self.parents {
            for left in fs::read_dir(&parent.folder).into_iter().flatten().flatten() {
                if left.file_type().is_ok_and(|kind| kind.is_dir()) {
                    sweep_one(&left.path());
                    swept += 1;
                }
            }
        }
        swept
    }

    /// Removes the launcher's own folders, at its end.
    pub(crate) fn remove(&self) {
        for parent in &self.parents {
            // Not empty means a sandbox is still being removed: the next life sweeps.
            let _ = fs::remove_dir(&parent.folder);
        }
    }
}

/// Kills what is in a left-over group and removes it, within [`SWEEP_WAIT`].
fn sweep_one(folder: &Path) {
    let until = Instant::now() + SWEEP_WAIT;
    while fs::remove_dir(folder).is_err() && Instant::now() < until {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1) {
            // SAFETY: plain system call; the process is in a group only this launcher's lives make.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        super::setup::nap();
    }
}

impl Group {
    fn file(&self, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
        let member = self.members.iter().find(|m| m.controllers.contains(&controller))?;
        Some(member.folder.join(if member.version == Version::Two { v2 } else { v1 }))
    }

    fn limit(&self, spec: &Spec) -> io::Result<()> {
        // On the host's side a tier's own part counts too; the run's limits are kept inside as well.
        let own = Allowance::of(spec);
        let memory = ((spec.memory_mb + own.memory_mb) << 20).to_string();
        if let Some(file) = self.file("memory", "memory.limit_in_bytes", "memory.max") {
            write(&file, &memory)?;
            // Swap would make the limit soft. Where swap is not counted these files do not exist.
            let swap = file.with_file_name("memory.memsw.limit_in_bytes");
            let _ = write(&swap, &memory);
            let _ = write(&file.with_file_name("memory.swap.max"), "0");
            let _ = write(&file.with_file_name("memory.oom.group"), "1");
        }
        if let Some(file) = self.file("pids", "pids.max", "pids.max") {
            write(&file, &(u64::from(spec.pids) + own.pids).to_string())?;
        }
        let quota = cpu_quota_us(spec.cpu);
        if let Some(file) = self.file("cpu", "cpu.cfs_quota_us", "cpu.max") {
            let v2 = file.ends_with("cpu.max");
            write(&file, &if v2 { format!("{quota} {CPU_PERIOD_US}") } else { quota.to_string() })?;
        }
        Ok(())
    }

    /// Version 1: descriptors through which a new process puts itself in (by writing `0`).
    pub(crate) fn doors(&self) -> io::Result<Vec<File>> {
        self.members
            .iter()
            .filter(|m| m.version == Version::One)
            .map(|m| OpenOptions::new().write(true).open(m.folder.join("cgroup.procs")))
            .collect()
    }

    /// The version 2 folder, if any: a process can be born in it, which is cheaper than moving.
    pub(crate) fn birthplace(&self) -> Option<io::Result<File>> {
        let member = self.members.iter().find(|m| m.version == Version::Two)?;
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
        Some(OpenOptions::new().read(true).custom_flags(flags).open(&member.folder))
    }

    /// The kernel killed this many processes here for memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let mut buffer = [0; 512];
        let count = self.oom.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(&buffer[..count]).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        value.trim().parse().ok()
    }

    pub(crate) fn memory_now(&self) -> Option<u64> {
        number(&self.file("memory", "memory.usage_in_bytes", "memory.current")?)
    }

    pub(crate) fn memory_peak(&self) -> Option<u64> {
        number(&self.file("memory", "memory.max_usage_in_bytes", "memory.peak")?)
    }

    pub(crate) fn pids_peak(&self) -> Option<u64> {
        number(&self.file("pids", "pids.peak", "pids.peak")?)
    }

    pub(crate) fn cpu(&self) -> Option<Duration> {
        if let Some(file) = self.file("cpuacct", "cpuacct.usage", "cpu.stat")
            && let Some(nanos) = number(&file)
        {
            return Some(Duration::from_nanos(nanos));
        }
        let text = fs::read_to_string(self.file("cpu", "cpu.stat", "cpu.stat")?).ok()?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        micros.parse().ok().map(Duration::from_micros)
    }

    /// Whether a memory limit is kept by these groups.
    pub(crate) fn limits_memory(&self) -> bool {
        self.members.iter().any(|m| m.controllers.contains(&"memory"))
    }

    /// Removes the groups. `false`: the kernel still holds one, try again.
    pub(crate) fn remove(&self) -> bool {
        let gone = |member: &Parent| match fs::remove_dir(&member.folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let left: Vec<&Parent> = self.members.iter().filter(|member| !gone(member)).collect();
        left.is_empty()
    }
}

/// A share of processors as microseconds per period; at least what the kernel accepts.
fn cpu_quota_us(cpu: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "validated: 0.01 to 1024")]
    let share = (cpu * 1000.0) as u64;
    (share * CPU_PERIOD_US / 1000).max(1000)
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// One cgroup mount.
struct Mount {
    version: Version,
    /// The group at the mount's root, as `/proc/self/cgroup` names groups.
    root: String,
    folder: PathBuf,
    controllers: Vec<&'static str>,
}

impl Mount {
    /// From a line of mountinfo: `id parent dev ROOT FOLDER options [tags] - TYPE source SUPER`.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, folder) = (left.next()?.to_owned(), PathBuf::from(left.next()?));
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => return None,
        };
        let options = right.nth(1)?;
        let controllers = WANTED.into_iter().filter(|c| options.split(',').any(|o| o == *c)).collect();
        Some(Self { version, root, folder, controllers })
    }
}

/// Version 1: a folder at the top of the hierarchy that this mount shows.
fn find_v1(mount: &Mount, name: &str) -> Option<Parent> {
    if mount.controllers.is_empty() {
        return None;
    }
    let folder = mount.folder.join(name);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    Some(Parent { version: Version::One, controllers: mount.controllers.clone(), folder })
}

/// Version 2: the nearest ancestor of this process's group in which a child gets the controllers.
fn find_v2(mount: &Mount, own: &str, name: &str) -> Option<Parent> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = own.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or("");
    let start = mount.folder.join(below.trim_start_matches('/'));
    for ancestor in start.ancestors().take_while(|a| a.starts_with(&mount.folder)) {
        if let Some(parent) = try_v2(ancestor, name) {
            return Some(parent);
        }
    }
    None
}

fn try_v2(ancestor: &Path, name: &str) -> Option<Parent> {
    let folder = ancestor.join(name);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    for controller in ["memory", "pids", "cpu"] {
        // Refused where the ancestor holds processes or does not have it; what was granted is read back below.
        let _ = write(&ancestor.join("cgroup.subtree_control"), &format!("+{controller}"));
        let _ = write(&folder.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
    let granted = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    let controllers: Vec<&'static str> =
        WANTED.into_iter().filter(|c| granted.split_whitespace().any(|g| g == *c)).collect();
    // Moving a process needs the right to write where the two groups meet.
    let can_move = OpenOptions::new().write(true).open(ancestor.join("cgroup.procs")).is_ok();
    if controllers.contains(&"memory") && can_move {
        return Some(Parent { version: Version::Two, controllers, folder });
    }
    let _ = fs::remove_dir(&folder);
    None
}

#[cfg(test)]
mod tests {
    //! Lines as kernels print them.

    use super::*;

    #[test]
    fn mountinfo_lines() {
        let hybrid = "40 24 0:30 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
        let mount = Mount::parse(hybrid).unwrap();
        assert_eq!((mount.version, mount.controllers), (Version::One, vec!["memory"]));
        let joint = "41 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        assert_eq!(Mount::parse(joint).unwrap().controllers, ["cpu", "cpuacct"]);
        let unified = "35 24 0:26 /user.slice /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let mount = Mount::parse(unified).unwrap();
        assert_eq!((mount.version, mount.root.as_str()), (Version::Two, "/user.slice"));
        assert!(Mount::parse("22 1 254:0 / / rw - ext4 /dev/vda rw").is_none());
    }

    #[test]
    fn processor_shares() {
        assert_eq!(cpu_quota_us(1.0), 100_000);
        assert_eq!(cpu_quota_us(0.5), 50_000);
        assert_eq!(cpu_quota_us(0.01), 1000);
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn written(folder: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join(name)).unwrap()
    }

    fn member(version: Version, controllers: &[&'static str], folder: &tempfile::TempDir) -> Parent {
        Parent { version, controllers: controllers.to_vec(), folder: folder.path().to_owned() }
    }

    fn spec() -> Spec {
        Spec { memory_mb: 64, pids: 16, cpu: 0.5, ..Spec::new("one") }
    }

    /// A tree with the names of version 2, whichever the host has.
    #[test]
    fn version_2_alone_keeps_every_limit() {
        let names = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"];
        let tree = tree(&names.map(|name| (name, "")));
        let mut group = Group { members: vec![member(Version::Two, &["memory", "pids", "cpu"], &tree)], oom: None };
        group.limit(&spec()).unwrap();
        let limits = names.map(|name| written(&tree, name));
        let pids = (16 + Allowance::of(&spec()).pids).to_string();
        assert_eq!(limits, [(64_u64 << 20).to_string(), "0".into(), "1".into(), pids, "50000 100000".into()]);
        assert!(group.limits_memory() && group.doors().unwrap().is_empty() && group.birthplace().unwrap().is_ok());
        for (name, text) in [
            ("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("pids.peak", "9\n"),
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
        ] {
            fs::write(tree.path().join(name), text).unwrap();
        }
        group.oom = File::open(tree.path().join("memory.events")).ok();
        assert_eq!((group.oom_kills(), group.memory_now(), group.memory_peak()), (Some(2), Some(4096), Some(8192)));
        assert_eq!((group.pids_peak(), group.cpu()), (Some(9), Some(Duration::from_micros(1500))));
    }

    /// A hybrid host: the controllers in version 1, beside a version 2 tree that has none of them.
    #[test]
    fn on_a_hybrid_host_each_controller_is_limited_where_it_is() {
        let memory = tree(&[("memory.limit_in_bytes", ""), ("memory.memsw.limit_in_bytes", ""), ("cgroup.procs", "")]);
        let rest = tree(&[("pids.max", ""), ("cpu.max", "")]);
        let members = vec![member(Version::One, &["memory"], &memory), member(Version::Two, &["pids", "cpu"], &rest)];
        let group = Group { members, oom: None };
        group.limit(&spec()).unwrap();
        let bytes = (64_u64 << 20).to_string();
        assert_eq!(written(&memory, "memory.limit_in_bytes"), bytes);
        assert_eq!(written(&memory, "memory.memsw.limit_in_bytes"), bytes);
        assert!(
            !memory.path().join("memory.swap.max").exists(),
            "nothing is made up where the kernel has no such file"
        );
        assert_eq!(written(&rest, "cpu.max"), "50000 100000");
        assert_eq!(group.doors().unwrap().len(), 1, "one moves into the first, and is born in the second");
        assert!(group.birthplace().unwrap().is_ok());
        let missing = Group { members: vec![member(Version::Two, &["memory"], &rest)], oom: None };
        assert!(missing.limit(&spec()).is_err(), "a limit that cannot be set is no limit: nothing starts");
    }
}
