//! What a dead node may not leave: processes, mounts, control groups, workspaces of runs that are over.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::node::LOOK_EVERY;

/// How long the launcher may take to see its platform gone and take everything down.
const TAKEN_DOWN_MAX: Duration = Duration::from_secs(15);
/// How deep control groups are looked through.
const GROUP_DEPTH_MAX: usize = 5;

/// What still runs or is mounted for a data directory after some time; empty is good.
pub async fn after_death(data: &Path) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let left = [processes(data), mounts(data)].concat();
        if left.is_empty() || begun.elapsed() > TAKEN_DOWN_MAX {
            return left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is left of a run when it is over and its node has stopped.
pub async fn after_end(data: &Path, run: &str) -> Vec<String> {
    let mut left = after_death(data).await;
    groups(Path::new("/sys/fs/cgroup"), run, 0, &mut left);
    let workspaces = data.join("sandboxes/workspaces");
    let names = std::fs::read_dir(workspaces).into_iter().flatten().flatten();
    left.extend(names.map(|entry| format!("workspace {}", entry.file_name().to_string_lossy())));
    left
}

/// Processes whose command line or environment names the directory.
fn processes(data: &Path) -> Vec<String> {
    let needle = data.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let (line, environment) = (read("cmdline"), read("environ"));
        let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&needle);
        if names(&line) || names(&environment) {
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push(format!("process {} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

fn mounts(data: &Path) -> Vec<String> {
    let needle = data.display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter(|line| line.contains(&needle)).map(|line| format!("mount {line}")).collect()
}

fn groups(folder: &Path, run: &str, depth: usize, found: &mut Vec<String>) {
    if depth > GROUP_DEPTH_MAX {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(run) {
            found.push(format!("control group {}", entry.path().display()));
        }
        groups(&entry.path(), run, depth + 1, found);
    }
}
