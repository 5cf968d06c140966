//! What processes weigh: resident memory from `/proc`, summed over the server and everything below it.
//!
//! Pages that two processes share are counted twice, so the sum is an upper bound.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time between two looks while a load runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes of a page on the machines Linux runs this on.
const PAGE_BYTES: u64 = 4096;

/// Resident bytes and number of processes of `root` and everything below it.
pub fn tree(root: u32) -> (u64, usize) {
    let parents = parents();
    let mut bytes = 0;
    let mut count = 0;
    for pid in parents.keys().filter(|pid| descends(**pid, root, &parents)) {
        bytes += resident_bytes(*pid);
        count += 1;
    }
    (bytes, count)
}

fn descends(pid: u32, root: u32, parents: &BTreeMap<u32, u32>) -> bool {
    let mut at = pid;
    // A chain of parents is never longer than the list of processes.
    for _ in 0..=parents.len() {
        if at == root {
            return true;
        }
        match parents.get(&at) {
            Some(parent) if *parent != 0 => at = *parent,
            _ => return false,
        }
    }
    false
}

fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The fourth field; the second is a name in brackets that may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

/// The most bytes the tree of `root` had while `work` was under way, and what `work` gave.
pub fn peak_during<T>(root: u32, work: impl FnOnce() -> T) -> (u64, T) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = tree(root).0;
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(LOOK_EVERY);
                peak = peak.max(tree(root).0);
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        (watcher.join().unwrap_or(0), result)
    })
}

#[cfg(test)]
mod tests;
