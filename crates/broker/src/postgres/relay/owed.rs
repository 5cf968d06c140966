//! What a server still owes, in the order in which it was asked.

use std::collections::VecDeque;

use super::End;
use crate::scrub::Variants;

/// Most messages that wait for an answer; then nothing more is read of the program.
const OWED_MAX: usize = 256;

/// One message that the server answers.
pub(super) enum Owed<T> {
    /// `ParseComplete`, for the statement of this name.
    Parse(String),
    /// `BindComplete`, for the portal of this name.
    Bind(String),
    /// What it looks like; of a statement its parameters come first.
    Describe {
        /// Of a statement.
        statement: bool,
    },
    /// `CloseComplete`.
    Close,
    /// Rows and an end.
    Execute(Ended<T>),
    /// Several statements and "ready".
    Query(Ended<T>),
    /// "Ready".
    Sync,
    /// The error of what stands in place of a refused message; in its words.
    Refused(String),
    /// The same of a simple query, and "ready" behind it.
    RefusedQuery(String),
}

/// A statement that runs, and what came of it so far.
pub(super) struct Ended<T> {
    pub(super) ticket: T,
    pub(super) outcome: Option<&'static str>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    code: Option<String>,
    command: String,
}

impl<T> Ended<T> {
    pub(super) const fn new(ticket: T) -> Self {
        Self { ticket, outcome: None, rows: 0, bytes: 0, code: None, command: String::new() }
    }

    pub(super) fn end_of(&self, redactions: (u64, Variants)) -> End {
        End {
            outcome: self.outcome.unwrap_or("answered"),
            code: self.code.clone(),
            command: self.command.clone(),
            rows: self.rows,
            bytes: self.bytes,
            redactions,
        }
    }
}

/// What an error leaves behind.
pub(super) struct Failed<T> {
    /// Statements that ended by it, or were skipped.
    pub(super) ended: Vec<Ended<T>>,
    /// Names of statements that were not made.
    pub(super) statements: Vec<String>,
    /// Names of portals that were not made.
    pub(super) portals: Vec<String>,
    /// Whose words take the error's place.
    pub(super) refused: Option<String>,
    /// Whether the program's `Sync` is still to come.
    pub(super) skipping: bool,
}

pub(super) struct Queue<T>(VecDeque<Owed<T>>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, owed: Owed<T>) {
        self.0.push_back(owed);
    }

    /// Whether the program may say more: few answers are owed, and none of them says whether a name was made that is used behind
    /// the next `Sync`. Up to there, whatever uses a name that was not made is skipped by the server too.
    pub(super) fn takes_more(&self) -> bool {
        let is_name = |owed: &Owed<T>| matches!(owed, Owed::Parse(_) | Owed::Bind(_));
        let mut behind = self.0.iter().skip_while(|owed| !is_name(owed));
        self.0.len() < OWED_MAX && !behind.any(|owed| matches!(owed, Owed::Sync))
    }

    /// Whether nothing is owed behind what runs but the ends of what belongs together.
    pub(super) fn only_syncs_follow(&self) -> bool {
        self.0.iter().skip(1).all(|owed| matches!(owed, Owed::Sync))
    }

    fn take_if(&mut self, fits: impl Fn(&Owed<T>) -> bool) -> bool {
        let fits = self.0.front().is_some_and(fits);
        if fits {
            self.0.pop_front();
        }
        fits
    }

    pub(super) fn take_parse(&mut self) -> bool {
        self.take_if(|owed| matches!(owed, Owed::Parse(_)))
    }

    pub(super) fn take_bind(&mut self) -> bool {
        self.take_if(|owed| matches!(owed, Owed::Bind(_)))
    }

    pub(super) fn take_close(&mut self) -> bool {
        self.take_if(|owed| matches!(owed, Owed::Close))
    }

    /// Parameters (`t`), columns (`T`) or none (`n`).
    pub(super) fn described(&mut self, tag: u8) -> bool {
        match (self.0.front(), tag) {
            (Some(Owed::Describe { statement: true }), b't') => true,
            (Some(Owed::Describe { .. }), b'T' | b'n') => self.0.pop_front().is_some(),
            (Some(Owed::Query(_)), b'T') => true,
            _ => false,
        }
    }

    /// The statement whose rows come now.
    pub(super) fn running(&mut self) -> Option<&mut Ended<T>> {
        match self.0.front_mut() {
            Some(Owed::Execute(ended) | Owed::Query(ended)) => Some(ended),
            _ => None,
        }
    }

    /// The end of one statement; of a query more may follow.
    pub(super) fn completed(&mut self, command: String) -> Option<Option<Ended<T>>> {
        self.running()?.command = command;
        if matches!(self.0.front(), Some(Owed::Query(_))) {
            return Some(None);
        }
        match self.0.pop_front() {
            Some(Owed::Execute(ended)) => Some(Some(ended)),
            _ => None,
        }
    }

    /// "Ready": the end of a query, or of what belongs together.
    pub(super) fn ready(&mut self) -> Option<Option<Ended<T>>> {
        match self.0.pop_front()? {
            Owed::Sync | Owed::RefusedQuery(_) => Some(None),
            Owed::Query(ended) => Some(Some(ended)),
            _ => None,
        }
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a statement runs.
    pub(super) fn is_busy(&self) -> bool {
        self.0.iter().any(|owed| matches!(owed, Owed::Execute(_) | Owed::Query(_)))
    }

    /// What was asked up to the next `Sync` is skipped, queries too; an error of a query itself ends it by its own "ready".
    pub(super) fn failed(&mut self, code: String) -> Failed<T> {
        let mut failed =
            Failed { ended: Vec::new(), statements: Vec::new(), portals: Vec::new(), refused: None, skipping: false };
        match self.0.front_mut() {
            Some(Owed::Query(ended)) => {
                (ended.outcome, ended.code) = (Some("sql_error"), Some(code));
                return failed;
            }
            Some(Owed::RefusedQuery(words)) => {
                failed.refused = Some(std::mem::take(words));
                return failed;
            }
            Some(Owed::Refused(words)) => failed.refused = Some(std::mem::take(words)),
            // Of the server itself; it closes.
            Some(Owed::Sync) | None => return failed,
            Some(_) => {}
        }
        let mut first = Some(code);
        while let Some(owed) = self.0.pop_front() {
            match owed {
                Owed::Sync => {
                    self.0.push_front(owed);
                    return failed;
                }
                Owed::Parse(name) => failed.statements.push(name),
                Owed::Bind(name) => failed.portals.push(name),
                Owed::Execute(mut ended) | Owed::Query(mut ended) => {
                    ended.outcome = Some(if first.is_some() { "sql_error" } else { "skipped" });
                    ended.code = first.take();
                    failed.ended.push(ended);
                }
                Owed::Describe { .. } | Owed::Close | Owed::Refused(_) | Owed::RefusedQuery(_) => {}
            }
            first = None;
        }
        failed.skipping = true;
        failed
    }

    /// In the middle of COPY a server takes no `Sync`: those that were sent are not answered.
    pub(super) fn drop_syncs(&mut self) {
        self.0.retain(|owed| !matches!(owed, Owed::Sync));
    }

    /// Everything that has no end yet.
    pub(super) fn drain(&mut self, outcome: &'static str) -> Vec<Ended<T>> {
        let running = |owed| match owed {
            Owed::Execute(mut ended) | Owed::Query(mut ended) => {
                ended.outcome.get_or_insert(outcome);
                Some(ended)
            }
            _ => None,
        };
        self.0.drain(..).filter_map(running).collect()
    }
}
