//! The table of checks × walls, from the evidence that tests left.

use std::collections::BTreeSet;

use super::list::{CHECKS, Check, WALLS};

/// What there is of one check at one wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// A test saw that it held.
    Held,
    /// It makes no sense there.
    NotThere,
    /// The wall cannot be put up on this machine.
    Skipped,
    /// The wall is there and no test saw it hold.
    Missing,
}

/// The table, and what its cells come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// In Markdown.
    pub text: String,
    /// Cells that held.
    pub passed: usize,
    /// Cells without evidence, and checks whose attempt nobody saw succeed without a wall.
    pub failed: usize,
    /// Cells of walls that this machine cannot put up.
    pub skipped: usize,
}

/// Reads lines `NUMBER WALL held` and `NUMBER control open`; others are nobody's.
pub fn table(evidence: &str) -> Table {
    let evidence: BTreeSet<&str> = evidence.lines().collect();
    let mut table = Table::default();
    table.line("", "check", WALLS.into_iter(), "control");
    table.text.push_str(&format!("|---|---|{}---|\n", "---|".repeat(WALLS.len())));
    for check in CHECKS {
        let cells = WALLS.map(|wall| cell(&evidence, check, wall));
        let controlled = evidence.contains(format!("{} control open", check.number).as_str());
        // Without a wall at which it could be tried there is nothing to control.
        let tried = cells.contains(&Cell::Held) || cells.contains(&Cell::Missing);
        table.count(&cells, controlled || !tried);
        let control = if controlled {
            "open"
        } else if tried {
            "NONE"
        } else {
            "–"
        };
        table.line(&check.number.to_string(), check.what, cells.map(Cell::word).into_iter(), control);
    }
    table
}

fn cell(evidence: &BTreeSet<&str>, check: &Check, wall: &str) -> Cell {
    if !check.at.covers(wall) {
        Cell::NotThere
    } else if evidence.contains(format!("{} {wall} held", check.number).as_str()) {
        Cell::Held
    } else if evidence.iter().any(|line| line.split(' ').nth(1) == Some(wall)) {
        Cell::Missing
    } else {
        Cell::Skipped
    }
}

impl Cell {
    const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotThere => "–",
            Self::Skipped => "skipped",
            Self::Missing => "NONE",
        }
    }
}

impl Table {
    fn line<'a>(&mut self, number: &str, what: &str, cells: impl Iterator<Item = &'a str>, control: &str) {
        self.text.push_str(&format!("| {number:>2} | {what:<66} |"));
        for (cell, wall) in cells.zip(WALLS) {
            self.text.push_str(&format!(" {cell:<width$} |", width = wall.len()));
        }
        self.text.push_str(&format!(" {control:<7} |\n"));
    }

    fn count(&mut self, cells: &[Cell], controlled: bool) {
        let of = |which: Cell| cells.iter().filter(|cell| **cell == which).count();
        self.passed += of(Cell::Held);
        self.skipped += of(Cell::Skipped);
        self.failed += of(Cell::Missing) + usize::from(!controlled);
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::At;
    use super::*;

    #[test]
    fn cells_are_what_was_seen() {
        let evidence = "1 container-root held\n1 control open\n2 container-root held\n48 gvisor-root held\n";
        let table = table(evidence);
        let row = |number: u8| table.text.lines().find(|line| line.starts_with(&format!("| {number:>2} |"))).unwrap();
        let cells = |number: u8| row(number).split('|').skip(3).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        assert_eq!(cells(1)[..4], ["held", "skipped", "NONE", "skipped"]);
        assert_eq!((cells(1)[7].as_str(), cells(2)[7].as_str(), cells(48)[5].as_str()), ("open", "NONE", "–"));
        assert_eq!(cells(48)[..4], ["–", "–", "held", "–"]);
        assert_eq!((cells(49)[3].as_str(), cells(49)[7].as_str()), ("skipped", "–"));
        assert_eq!(table.passed, 3);
        assert!(table.failed > 40 && table.skipped > 40, "{table:?}");
    }

    #[test]
    fn numbers_run_on() {
        assert!(CHECKS.iter().zip(1..).all(|(check, number)| check.number == number));
        assert!(CHECKS.iter().all(|check| WALLS.iter().any(|wall| check.at.covers(wall))));
        assert!(At::All.covers("isolate-root"));
    }
}
