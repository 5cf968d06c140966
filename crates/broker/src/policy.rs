//! What a tenant's policies say about a request or a tool call: yes, no, or ask a person. Pure, no I/O.
//!
//! ```text
//! texts ─▶ Policies::parse (words checked, calls and tools apart) ─▶ Policies::decide(Question) ─▶ Decision
//! ```
//!
//! The language is Cedar's, without templates and with `decimal` alone of its extensions. It is read and evaluated here: the
//! reference crate makes every JSON object of the whole program keep the order it was written in, on which digests of events
//! rest that they do not, and it cannot check a body whose fields nobody declared. What this module takes means what Cedar
//! says it means; what it does not know it refuses when the policy is saved.
//!
//! Cedar knows two effects. The third is a `permit` with `@ask("…")`: allowed once a person said yes. So `forbid` stays on
//! top without a rule of its own, and what is asked about is written like everything else. The strictest statement that
//! matches wins: forbid, then ask, then permit; so a wide permit beside an `@ask` does not do away with the question.
//!
//! Everything unclear is a no: a statement that cannot be evaluated for a request, a body that cannot be read where a statement
//! looks at bodies, a text that an earlier version took and this one does not.
//!
//! Read next: `question` for what is asked, `parse` for what a text may say, `evaluate` for whether it matches.

mod evaluate;
pub mod graphql;
mod lex;
mod parse;
mod question;
mod syntax;
mod value;

pub use self::question::{Agent, Asked, Question, Request, Sent, Verb};

/// Longest text of one policy, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most statements of one policy.
pub const STATEMENTS_MAX: usize = 100;
/// Longest reason of an annotation, in characters.
pub const REASON_CHARS_MAX: usize = 500;
/// Largest body that policies look into, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most values in a body that policies look into.
pub const BODY_NODES_MAX: usize = 20_000;
/// Most values and operations in the conditions of one policy.
pub const NODES_MAX: usize = 5000;
/// Most steps of one decision, through all policies: a value, an operation, a character that `like` looks at. It bounds the
/// time that whoever writes a body or a policy can take from everybody else.
pub const STEPS_MAX: u64 = 2_000_000;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the text, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Requests that carry a credential.
    Calls,
    /// Tools that carry none.
    Tools,
}

/// One statement of a text, for a person to look over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its place in the text, from 1.
    pub statement: usize,
    /// `permit`, `ask` or `forbid`.
    pub effect: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// What it asks, or its `@reason`.
    pub reason: Option<String>,
}

/// Checks a text and says what is in it.
///
/// # Errors
/// What is wrong with it, at most one fault for each statement.
pub fn check(text: &str) -> Result<Vec<Outline>, Vec<Fault>> {
    let outline = |statement: syntax::Statement| Outline {
        statement: statement.number,
        effect: match (statement.permits, &statement.ask) {
            (false, _) => "forbid",
            (true, Some(_)) => "ask",
            (true, None) => "permit",
        },
        subject: statement.subject,
        reason: statement.ask.or(statement.reason),
    };
    Ok(parse::statements(text)?.into_iter().map(outline).collect())
}

/// The text of one policy, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its id (`pol_…`).
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The text.
    pub text: String,
}

/// Which statement of which policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The policy (`pol_…`).
    pub policy: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The statement, from 1, in the order of the text.
    pub statement: usize,
}

/// What the policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes. Without a rule: no policy speaks of such things.
    Permit(Option<Rule>),
    /// Yes, once a person said so.
    Ask {
        /// Which statement asks.
        rule: Rule,
        /// Its words.
        reason: String,
    },
    /// No.
    Deny {
        /// Which statement forbids it, or could not be evaluated; none when nothing permits it.
        rule: Option<Rule>,
        /// For the model.
        reason: String,
        /// For whoever writes policies: what went wrong in the evaluation.
        detail: Option<String>,
    },
}

/// A tenant's policies, ready to be asked.
#[derive(Debug, Default)]
pub struct Policies {
    statements: Vec<(Rule, syntax::Statement)>,
    /// Texts that can no longer be read: while there is one, nothing is allowed.
    unreadable: Vec<String>,
}

impl Policies {
    /// Reads the texts of a tenant. One that is no policy closes everything.
    pub fn parse(sources: &[Source]) -> Self {
        let mut policies = Self::default();
        for Source { id, name, version, text } in sources {
            let Ok(statements) = parse::statements(text) else {
                policies.unreadable.push(name.clone());
                continue;
            };
            let rule = |statement| Rule { policy: id.clone(), name: name.clone(), version: *version, statement };
            policies.statements.extend(statements.into_iter().map(|statement| (rule(statement.number), statement)));
        }
        policies.statements.sort_by(|(a, _), (b, _)| a.cmp(b));
        policies
    }

    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.unreadable.is_empty()
    }

    /// What they say. A request that carries a credential is denied unless something permits it, as soon as one statement
    /// speaks of requests. A tool carries none: it may be used unless something forbids it or asks.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let deny = |rule, reason, detail| Decision::Deny { rule, reason, detail };
        if let Some(name) = self.unreadable.first() {
            let reason =
                format!("the policy {name} cannot be read by this version; nothing is allowed until it is replaced");
            return deny(None, reason, None);
        }
        let (subject, by_default) = match question.asked {
            Asked::Call(_) => (Subject::Calls, false),
            Asked::Tool { .. } => (Subject::Tools, true),
        };
        let own: Vec<_> = self.statements.iter().filter(|(_, statement)| statement.subject == subject).collect();
        if own.is_empty() {
            return Decision::Permit(None);
        }
        let facts = match question.facts(own.iter().any(|(_, statement)| statement.reads_body)) {
            Ok(facts) => facts,
            Err(reason) => return deny(None, reason, None),
        };
        let (mut forbidden, mut asked, mut permitted) = (None, None, None);
        for (rule, statement) in own {
            match facts.matches(statement) {
                Ok(false) => {}
                Ok(true) => {
                    let place = match (statement.permits, &statement.ask) {
                        (false, _) => &mut forbidden,
                        (true, Some(_)) => &mut asked,
                        (true, None) => &mut permitted,
                    };
                    place.get_or_insert((rule, statement));
                }
                // Cedar passes such a statement over; a forbid that is not seen would be a yes.
                Err(detail) => {
                    let Rule { name, statement, .. } = rule;
                    let reason = format!("statement {statement} of the policy {name} cannot be evaluated for this");
                    return deny(Some(rule.clone()), reason, Some(detail));
                }
            }
        }
        if let Some((rule, statement)) = forbidden {
            let reason = statement.reason.clone().unwrap_or_else(|| format!("the policy {} forbids it", rule.name));
            return deny(Some(rule.clone()), reason, None);
        }
        if let Some((rule, statement)) = asked {
            return Decision::Ask { rule: rule.clone(), reason: statement.ask.clone().unwrap_or_default() };
        }
        match permitted {
            Some((rule, _)) => Decision::Permit(Some(rule.clone())),
            None if by_default => Decision::Permit(None),
            None => deny(None, "no policy permits this request".to_owned(), None),
        }
    }
}

#[cfg(test)]
mod tests;
