//! The memory watchdog for hosts without a memory cgroup: resident memory of each sandbox's process tree.
//!
//! Weaker than a cgroup: it sees what a process holds at each look, not page cache or `/tmp`. `RLIMIT_DATA` bounds a single
//! process between two looks. Read next: `mod.rs`.

use std::collections::HashMap;
use std::fs;

/// Processes looked at in one round; a host with more is not watched completely.
const PROCESSES_MAX: usize = 65_536;

/// Resident bytes of every tree below the given roots.
pub(crate) fn resident(roots: &[i32]) -> HashMap<i32, u64> {
    let mut parents = HashMap::new();
    let mut pages = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten().take(PROCESSES_MAX) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some((parent, resident)) = look(pid) {
            parents.insert(pid, parent);
            pages.insert(pid, resident);
        }
    }
    // SAFETY: a plain question about the system.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut sums: HashMap<i32, u64> = roots.iter().map(|root| (*root, 0)).collect();
    for (pid, resident) in pages {
        let mut at = pid;
        // A chain of parents has no cycle, but it is read while it changes: bounded all the same.
        for _ in 0..64 {
            if let Some(sum) = sums.get_mut(&at) {
                *sum += resident * page;
                break;
            }
            match parents.get(&at) {
                Some(parent) if *parent > 1 => at = *parent,
                _ => break,
            }
        }
    }
    sums
}

/// Parent and resident pages, from fields 4 and 24 of `stat`.
fn look(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let resident = fields.nth(19)?.parse().ok()?;
    Some((parent, resident))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(&[own])[&own] > 100_000);
    }
}
