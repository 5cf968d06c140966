//! What goes wrong during a chaos run, and when: a schedule made from a seed before anything starts.

use std::fmt;
use std::time::Duration;

use crate::draw::Draw;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a new start after this time.
    Kill {
        /// Which node.
        node: usize,
        /// Until it is started again.
        down: Duration,
    },
    /// SIGSTOP, and SIGCONT after this time.
    Pause {
        /// Which node.
        node: usize,
        /// Until it goes on.
        still: Duration,
    },
    /// The database is stopped in good order and started again.
    DatabaseRestart,
    /// The database is killed and recovers.
    DatabaseKill,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node, down } => write!(f, "kill -9 node {node}, back after {:.1} s", down.as_secs_f64()),
            Self::Pause { node, still } => write!(f, "node {node} stands still for {:.1} s", still.as_secs_f64()),
            Self::DatabaseRestart => f.write_str("the database is restarted"),
            Self::DatabaseKill => f.write_str("the database is killed and started again"),
        }
    }
}

/// A fault and its time from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// From the beginning.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

const SECOND: Duration = Duration::from_secs(1);
/// How long a node is left alone between two of its faults.
const NODE_PEACE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(16));
/// How long a killed node stays away.
const DOWN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
/// How long a paused node stands still: sometimes shorter, sometimes longer than a lease.
const STILL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(14));
/// How long the database is left alone.
const DATABASE_PEACE: (Duration, Duration) = (Duration::from_secs(12), Duration::from_secs(25));

/// Everything that goes wrong within `length`, in order; each node's faults, and the database's, one after the other.
pub fn schedule(seed: u64, nodes: usize, database: bool, length: Duration) -> Vec<Due> {
    let mut all = Vec::new();
    for node in 0..nodes {
        let mut draw = Draw::new(seed ^ (node as u64 + 1).wrapping_mul(0x9e37));
        let mut at = draw.between(SECOND, NODE_PEACE.1);
        while at < length {
            let (fault, lasts) = if draw.below(3) < 2 {
                let down = draw.between(DOWN.0, DOWN.1);
                (Fault::Kill { node, down }, down)
            } else {
                let still = draw.between(STILL.0, STILL.1);
                (Fault::Pause { node, still }, still)
            };
            all.push(Due { at, fault });
            at += lasts + draw.between(NODE_PEACE.0, NODE_PEACE.1);
        }
    }
    let mut draw = Draw::new(seed ^ 0xdb);
    let mut at = draw.between(DATABASE_PEACE.0 / 2, DATABASE_PEACE.1);
    while database && at < length {
        let fault = if draw.below(2) == 0 { Fault::DatabaseRestart } else { Fault::DatabaseKill };
        all.push(Due { at, fault });
        at += draw.between(DATABASE_PEACE.0, DATABASE_PEACE.1);
    }
    all.sort_by_key(|due| due.at);
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, schedule};

    #[test]
    fn a_seed_is_a_schedule() {
        let length = Duration::from_secs(600);
        let one = schedule(7, 3, true, length);
        assert_eq!(one, schedule(7, 3, true, length));
        assert_ne!(one, schedule(8, 3, true, length));
        assert!(one.is_sorted_by_key(|due| due.at) && one.last().unwrap().at < length);
        let has = |wanted: fn(&Fault) -> bool| one.iter().any(|due| wanted(&due.fault));
        assert!(has(|fault| matches!(fault, Fault::Kill { node: 2, .. })));
        assert!(has(|fault| matches!(fault, Fault::Pause { still, .. } if still.as_secs() > 9)));
        assert!(has(|fault| *fault == Fault::DatabaseKill) && has(|fault| *fault == Fault::DatabaseRestart));
        let without = schedule(7, 1, false, length);
        assert!(without.iter().all(|due| matches!(due.fault, Fault::Kill { .. } | Fault::Pause { .. })));
    }
}
