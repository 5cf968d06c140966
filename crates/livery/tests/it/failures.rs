//! The disk under a server fails and comes back: mutating calls say 503 and why, reads go on, nothing that was accepted is
//! lost, and the runs under way wait for it instead of ending.
//!
//! The disks are real file systems, mounted for the test; that takes root.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, output, processes_naming, request, skip, text};

/// Long enough for a failure to be met several times over.
const WHILE_IT_FAILS: Duration = Duration::from_secs(3);

/// A file system of the test's own; dropped, it is unmounted.
struct Disk {
    path: PathBuf,
    device: Option<String>,
    home: tempfile::TempDir,
}

impl Disk {
    /// Memory with a limit: full means `ENOSPC`. `None`, said aloud, where the test may not mount.
    fn in_memory(megabytes: u32) -> Option<Self> {
        let disk = Self::place()?;
        let size = format!("size={megabytes}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], &disk.path).then_some(())?;
        disk.given_away()
    }

    /// A block device made of the file `image`, formatted as `kind`.
    fn of_image(image: &Path, kind: &str) -> Option<Self> {
        let mut disk = Self::place()?;
        if !tool("mkfs.ext4", &["-q", "-F", "-t", kind, &image.to_string_lossy()]) {
            skip("no file system can be made here");
            return None;
        }
        let Some(device) = attach(image) else {
            skip("there is no loop device here");
            return None;
        };
        disk.device = Some(device.clone());
        mount(&["-t", kind, &device], &disk.path).then_some(())?;
        disk.given_away()
    }

    fn place() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can mount a disk to fail");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = home.path().join("data");
        std::fs::create_dir(&path).unwrap();
        Some(Self { path, device: None, home })
    }

    /// The root of the file system belongs to whom the server becomes.
    fn given_away(self) -> Option<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = ["livery:", "nobody:"].iter().find_map(|name| passwd.lines().find(|line| line.starts_with(name)));
        let mut fields = line.unwrap().split(':').skip(2).map(|field| field.parse::<u32>().unwrap_or_default());
        chown(&self.path, fields.next(), fields.next()).unwrap();
        Some(self)
    }

    /// Takes all room that is left.
    fn fill(&self) {
        fill(&self.path.join("ballast"));
    }

    fn empty(&self) {
        std::fs::remove_file(self.path.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        tool("umount", &["-l", &self.path.to_string_lossy()]);
        if let Some(device) = &self.device {
            tool("losetup", &["-d", device]);
        }
        let _ = &self.home;
    }
}

/// A block device over a file.
fn attach(image: &Path) -> Option<String> {
    let attached = output(Command::new("losetup").args(["--find", "--show"]).arg(image));
    Some(text(&attached.stdout).trim().to_owned()).filter(|device| !device.is_empty())
}

fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![7u8; size];
        while file.write_all(&block).is_ok() {}
    }
}

fn mount(what: &[&str], target: &Path) -> bool {
    let mounted = output(Command::new("mount").args(what).arg(target));
    if !mounted.status.success() {
        skip(&format!("mount: {}", text(&mounted.stderr).trim()));
    }
    mounted.status.success()
}

fn tool(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// Works for some seconds and needs no disk of its own while it does.
fn patient_script() -> String {
    let turn = "  - tools: [{name: shell, arguments: {command: sleep 0.6}}]\n";
    format!("turns:\n{}  - text: done\n", turn.repeat(12))
}

/// A run that is under way: its sandbox stands and a first tool has ended.
fn run_under_way(server: &mut Server) -> String {
    let run = server.start_run(SHELL_AGENT, Some(&patient_script()), &json!({}));
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events"));
    server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &path, &[], b"");
        page["data"].as_array()?.iter().any(|event| event["type"] == "tool.finished").then_some(())
    });
    run
}

/// Waits until `/readyz` says `status`; its answer.
fn ready(server: &mut Server, status: u16) -> Value {
    let url = server.url.clone();
    server.wait(|| {
        let (found, answer) = request(&url, "", "GET", "/readyz", &[], b"");
        (found == status).then_some(answer)
    })
}

/// What a server must do while its disk refuses to be written, with the run in the middle of its work.
fn serves_what_it_can(server: &mut Server, run: &str, reason: &str) {
    let unready = ready(server, 503);
    let finding = unready["errors"].as_array().unwrap().iter().find(|finding| finding["pointer"] == "database");
    let detail = finding.unwrap_or(&Value::Null)["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains(reason), "{unready}");
    assert_eq!(request(&server.url, "", "GET", "/healthz", &[], b"").0, 200, "it lives");

    let (status, refused) = server.post(
        "/v1/runs",
        &json!({"agent": {"agent_md": SHELL_AGENT, "files": {
        "scripts/s.yaml": crate::support::base64(b"turns: [{text: hello}]")}}}),
    );
    assert_eq!((status, refused["code"].as_str()), (503, Some("unavailable")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains(reason), "{refused}");
    assert!(refused["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{refused}");

    std::thread::sleep(WHILE_IT_FAILS);
    let (status, view) = server.get(&format!("/v1/runs/{run}"));
    assert_eq!((status, view["status"].as_str()), (200, Some("running")), "reads go on, the run waits: {view}");
    assert_eq!(server.get(&format!("/v1/runs/{run}/events")).0, 200);
}

/// What must be true afterwards, without a restart.
fn nothing_was_lost(server: &mut Server, run: &str) {
    ready(server, 200);
    let view = server.ended(run);
    let events = server.events(run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gap, nothing twice");
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("tool.finished"), count("run.recovered"), count("tool.outcome_unknown")), (12, 0, 0));
    let next = server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    assert_eq!(server.ended(&next)["status"], "succeeded");
}

#[test]
fn a_full_disk_is_waited_for() {
    let Some(disk) = Disk::in_memory(96) else { return };
    let mut server = Server::again(&disk.path, &[]);
    let run = run_under_way(&mut server);
    disk.fill();
    serves_what_it_can(&mut server, &run, "the disk is full");
    disk.empty();
    nothing_was_lost(&mut server, &run);
}

/// The device under the file system fails: its own storage is full, which the server sees as input/output errors.
#[test]
fn a_disk_that_fails_is_waited_for() {
    let Some(below) = Disk::in_memory(96) else { return };
    let image = below.path.join("image");
    File::create(&image).and_then(|file| file.set_len(512 << 20)).unwrap();
    let Some(disk) = Disk::of_image(&image, "ext2") else { return };
    let mut server = Server::again(&disk.path, &[]);
    let run = run_under_way(&mut server);
    below.fill();
    serves_what_it_can(&mut server, &run, "the disk");
    below.empty();
    nothing_was_lost(&mut server, &run);
}

/// A file system that gave itself up is read-only for good: it is repaired and mounted again, and the server started again.
#[test]
fn a_read_only_disk_is_told_and_survived() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    File::create(&image).and_then(|file| file.set_len(512 << 20)).unwrap();
    let Some(mut disk) = Disk::of_image(&image, "ext4") else { return };
    let mut server = Server::again(&disk.path, &[]);
    let run = run_under_way(&mut server);
    let target = disk.path.to_string_lossy().into_owned();
    assert!(tool("mount", &["-o", "remount,abort", &target]), "the file system cannot be made to fail");
    serves_what_it_can(&mut server, &run, "the disk");
    server.kill();
    drop(server);

    // The launcher, too, has the disk in its view of the files.
    let begun = std::time::Instant::now();
    while !processes_naming(&target).is_empty() {
        assert!(begun.elapsed() < crate::support::PATIENCE, "{:?}", processes_naming(&target));
        std::thread::sleep(Duration::from_millis(50));
    }
    let unmounted = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        tool("umount", &[&target])
    });
    assert!(unmounted, "something still holds the disk");
    // Launchers of other tests may still see the file system that gave up: the repaired one is on a device of its own.
    tool("losetup", &["-d", &disk.device.take().unwrap()]);
    let device = attach(&image).unwrap();
    tool("e2fsck", &["-fy", &device]);
    assert!(mount(&["-t", "ext4", &device], &disk.path));
    disk.device = Some(device);
    let server = Server::again(&disk.path, &[]);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    let events = server.events(&run);
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gap, nothing twice");
}
