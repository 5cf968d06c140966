//! What this launcher has started and not yet taken down, on disk, so that a next life can kill what a crash left.
//!
//! One line per event: `+ ID PID BORN` and `- ID`. BORN is the kernel's start time of the process, so that a number used
//! again is never mistaken for it. Read next: `setup.rs`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE: &str = "journal";
/// Lines after which an idle journal starts afresh.
const LINES_MAX: usize = 10_000;

/// A process as the kernel tells it apart from a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks since boot.
    pub(crate) born: u64,
}

impl Identity {
    /// Of a process that exists now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; fields are counted after it. Start time is field 22.
        let after_name = stat.rsplit_once(") ")?.1;
        Some(Self { pid, born: after_name.split(' ').nth(19)?.parse().ok()? })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

pub(crate) struct Journal {
    file: File,
    lines: usize,
}

impl Journal {
    /// Starts an empty journal. The earlier one has been read and swept.
    pub(crate) fn create(state_dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(state_dir.join(FILE))?;
        Ok(Self { file, lines: 0 })
    }

    /// Notes a start. Must succeed before the sandbox is handed out.
    pub(crate) fn started(&mut self, id: &str, identity: Identity) -> io::Result<()> {
        self.lines += 1;
        // One write, so that a crash leaves whole lines but for the last.
        self.file.write_all(format!("+ {id} {} {}\n", identity.pid, identity.born).as_bytes())
    }

    /// Notes an end. A failure only means that the next life looks for a process that is gone.
    pub(crate) fn ended(&mut self, id: &str, none_left: bool) {
        self.lines += 1;
        let _ = self.file.write_all(format!("- {id}\n").as_bytes());
        if none_left && self.lines > LINES_MAX && self.file.set_len(0).is_ok() {
            use std::io::Seek;
            let _ = self.file.rewind();
            self.lines = 0;
        }
    }
}

/// What an earlier life started and did not take down.
pub(crate) fn left_over(state_dir: &Path) -> Vec<Identity> {
    parse(&fs::read_to_string(state_dir.join(FILE)).unwrap_or_default())
}

fn parse(text: &str) -> Vec<Identity> {
    let mut alive = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("+"), Some(id), Some(pid), Some(born)) => {
                if let (Ok(pid), Ok(born)) = (pid.parse(), born.parse()) {
                    alive.insert(id, Identity { pid, born });
                }
            }
            (Some("-"), Some(id), None, None) => {
                alive.remove(id);
            }
            // A line cut short by the crash.
            _ => {}
        }
    }
    alive.into_values().collect()
}

#[cfg(test)]
mod tests {
    //! A journal as a crash leaves it.

    use super::*;

    #[test]
    fn only_what_was_not_taken_down_is_left() {
        let text = "+ a 10 100\n+ b 11 101\n- a\n+ c 12 102\n+ d 13";
        let mut left = parse(text);
        left.sort_by_key(|identity| identity.pid);
        assert_eq!(left, [Identity { pid: 11, born: 101 }, Identity { pid: 12, born: 102 }]);
    }

    #[test]
    fn this_process_is_alive_and_its_double_is_not() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { born: own.born + 1, ..own }.is_alive());
    }
}
