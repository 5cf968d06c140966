//! From tokens to a class for each statement, or a refusal.

use std::collections::BTreeSet;

use super::names::{is_changing, is_settable, why_never};
use super::{Refused, STATEMENTS_MAX, Token, tokens};

/// What a statement does. The order is that of what it takes to allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing: a text without a statement.
    Nothing,
    /// Begins, ends or marks a transaction.
    Transaction,
    /// Changes how this session writes values, or what it keeps at hand.
    Session,
    /// Reads.
    Read,
    /// Changes rows, locks them, or calls a procedure.
    Write,
    /// Streams rows in or out (`COPY`).
    Copy,
    /// Makes, changes or removes tables and what belongs to them.
    Schema,
}

impl Class {
    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Transaction => "transaction",
            Self::Session => "session",
            Self::Read => "read",
            Self::Write => "write",
            Self::Copy => "copy",
            Self::Schema => "schema",
        }
    }

    /// Whether running it twice does no more than running it never.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Nothing | Self::Transaction | Self::Session | Self::Read)
    }
}

/// What a connection allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Nothing may be changed.
    pub read_only: bool,
}

/// A text that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The class of the statement that takes most to allow.
    pub class: Class,
    /// How each statement begins, in upper case, each once: `SELECT`, `INSERT`; and `INSERT`, `UPDATE`, `DELETE` and `MERGE` of
    /// those that stand within another one.
    pub verbs: Vec<String>,
    /// How many statements there are.
    pub statements: usize,
}

type Result<T> = std::result::Result<T, Refused>;

/// Words that change rows, wherever they stand: also in a `WITH`, and behind `FOR` they lock.
const CHANGING: &[&str] = &["insert", "update", "delete", "merge", "into", "share"];
/// Those of them that are statements of their own.
const VERBS_WITHIN: &[&str] = &["insert", "update", "delete", "merge"];
/// What may be made, changed and removed. Functions, roles, servers, triggers and whatever else is not.
const OBJECTS: &[&str] = &["table", "index", "view", "sequence", "schema", "type", "domain", "statistics"];
/// Words that may stand before one of [`OBJECTS`].
const BEFORE_OBJECTS: &[&str] =
    &["or", "replace", "global", "local", "temporary", "temp", "unlogged", "unique", "materialized", "recursive"];

/// Judges every statement of a text.
///
/// # Errors
/// [`Refused`]: the first statement that is not sent, and why.
pub fn judge(text: &str, rules: Rules) -> Result<Judged> {
    let tokens = tokens(text)?;
    let statements: Vec<&[Token]> =
        tokens.split(|token| *token == Token::Mark(b';')).filter(|statement| !statement.is_empty()).collect();
    if statements.len() > STATEMENTS_MAX {
        return Err(Refused::Unreadable("it has too many statements"));
    }
    let mut judged = Judged { class: Class::Nothing, verbs: Vec::new(), statements: statements.len() };
    let mut verbs = BTreeSet::new();
    for tokens in statements {
        let statement = Statement { tokens, rules };
        statement.check_names()?;
        let (class, verb) = (statement.class()?, statement.word(statement.begin()).unwrap_or_default().to_uppercase());
        let class = if statement.names().any(is_changing) { class.max(Class::Write) } else { class };
        if rules.read_only && class > Class::Read {
            return Err(Refused::ReadOnly(format!("{verb} would change something")));
        }
        if rules.read_only && statement.says(&["read", "write"]) && class <= Class::Session {
            return Err(Refused::ReadOnly("a transaction that may write is not begun".to_owned()));
        }
        judged.class = judged.class.max(class);
        verbs.insert(verb);
        // A statement within another one is what it is: WITH, EXPLAIN and PREPARE hide none.
        verbs.extend(VERBS_WITHIN.iter().filter(|verb| statement.has(verb)).map(|verb| verb.to_uppercase()));
    }
    judged.verbs = verbs.into_iter().collect();
    Ok(judged)
}

/// The tokens of one statement.
#[derive(Clone, Copy)]
struct Statement<'a> {
    tokens: &'a [Token],
    rules: Rules,
}

fn never<T>(what: impl Into<String>) -> Result<T> {
    Err(Refused::Never(what.into()))
}

impl<'a> Statement<'a> {
    /// The key word at a place, if it is one.
    fn word(&self, at: usize) -> Option<&'a str> {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Where the first token behind opening brackets is.
    fn begin(&self) -> usize {
        self.tokens.iter().take_while(|token| **token == Token::Mark(b'(')).count()
    }

    fn from(&self, at: usize) -> Self {
        Self { tokens: self.tokens.get(at..).unwrap_or_default(), ..*self }
    }

    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Word(found) if found == word))
    }

    /// Whether these words stand one behind the other.
    fn says(&self, words: &[&str]) -> bool {
        (0..self.tokens.len()).any(|at| words.iter().enumerate().all(|(next, word)| self.word(at + next) == Some(word)))
    }

    /// Every name, in quotes or not, wherever it stands.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Word(name) | Token::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn check_names(&self) -> Result<()> {
        for name in self.names() {
            if let Some(why) = why_never(name) {
                return never(format!("{} is never used: {why}", shown(name)));
            }
        }
        Ok(())
    }

    fn class(&self) -> Result<Class> {
        let begin = self.begin();
        let Some(first) = self.word(begin) else {
            return Err(Refused::Unreadable("a statement begins with a key word"));
        };
        match first {
            "select" | "values" | "table" | "with" => Ok(self.reading()),
            _ if begin > 0 => Err(Refused::Unreadable("a statement in brackets is a query")),
            "insert" | "update" | "delete" | "merge" | "truncate" | "lock" | "call" | "refresh" | "vacuum"
            | "analyze" | "analyse" | "reindex" | "cluster" => Ok(Class::Write),
            "show" | "fetch" | "move" | "close" | "deallocate" => Ok(Class::Read),
            // What it executes was judged when it was prepared, and may be anything that is allowed.
            "execute" => Ok(if self.rules.read_only { Class::Read } else { Class::Write }),
            "explain" => self.explained(),
            "declare" => self.behind("for", "a cursor is for a query"),
            "prepare" => self.prepared(),
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => self.transaction(),
            "set" | "reset" => self.setting(),
            "discard" => match self.word(1) {
                Some("plans" | "sequences" | "temp" | "temporary") if self.tokens.len() == 2 => Ok(Class::Session),
                _ => never("DISCARD ALL would give up the role of the session; discard PLANS, SEQUENCES or TEMP"),
            },
            "unlisten" => Ok(Class::Session),
            "copy" => self.copied(),
            "create" | "alter" | "drop" => self.defining(first),
            "comment" => Ok(Class::Schema),
            "do" => never("DO runs code that nobody looked at"),
            "listen" | "notify" => never("LISTEN and NOTIFY reach other sessions"),
            "grant" | "revoke" | "reassign" => never("who may do what in a database is its owner's to say"),
            "load" | "checkpoint" | "security" | "import" => never(format!("{} is never done", first.to_uppercase())),
            _ => never(format!("a statement that begins with {} is not known here", shown(first))),
        }
    }

    /// A query, unless a word in it changes something. A column of that name is put in quotes.
    fn reading(&self) -> Class {
        if CHANGING.iter().any(|word| self.has(word)) { Class::Write } else { Class::Read }
    }

    /// `EXPLAIN [ANALYZE] [VERBOSE] …`, `EXPLAIN (…) …`: what is not run changes nothing.
    fn explained(&self) -> Result<Class> {
        let mut at = 1;
        let mut runs = false;
        if self.tokens.get(at) == Some(&Token::Mark(b'(')) && self.is_options(at + 1) {
            let length = self.tokens[at..].iter().take_while(|token| **token != Token::Mark(b')')).count();
            let options = Self { tokens: &self.tokens[at..at + length], ..*self };
            // An option's name may be in quotes.
            runs = options.names().any(|name| name == "analyze" || name == "analyse");
            at += length + 1;
        }
        while let Some("analyze" | "analyse" | "verbose") = self.word(at) {
            runs |= self.word(at) != Some("verbose");
            at += 1;
        }
        let class = self.from(at).class()?;
        Ok(if runs { class.max(Class::Read) } else { Class::Read })
    }

    /// Whether what is in the bracket are the options of EXPLAIN and no query.
    fn is_options(&self, at: usize) -> bool {
        !matches!(self.word(at), None | Some("select" | "values" | "table" | "with"))
    }

    /// The query behind the first such word.
    fn behind(&self, word: &str, otherwise: &'static str) -> Result<Class> {
        let at = (0..self.tokens.len()).find(|at| self.word(*at) == Some(word));
        self.from(at.ok_or(Refused::Unreadable(otherwise))? + 1).class()
    }

    fn prepared(&self) -> Result<Class> {
        if self.word(1) == Some("transaction") {
            return never("a transaction that outlives its session is not prepared");
        }
        let class = self.behind("as", "PREPARE says AS and a statement")?;
        Ok(class.max(Class::Read))
    }

    fn transaction(&self) -> Result<Class> {
        if self.has("prepared") {
            return never("transactions of other sessions are left alone");
        }
        Ok(Class::Transaction)
    }

    /// `SET [SESSION | LOCAL] name …`, `SET TIME ZONE …`, `SET TRANSACTION …`, `RESET name`.
    fn setting(&self) -> Result<Class> {
        let at = 1 + usize::from(matches!(self.word(1), Some("session" | "local")));
        let name = match self.tokens.get(at) {
            Some(Token::Word(name) | Token::Name(name)) => name.to_ascii_lowercase(),
            _ => return Err(Refused::Unreadable("SET names what it sets")),
        };
        match (name.as_str(), self.word(at + 1)) {
            ("transaction", Some("snapshot")) => never("a snapshot of another session is not taken"),
            ("transaction", _) if self.word(0) == Some("set") => Ok(Class::Transaction),
            ("characteristics", Some("as")) if self.word(1) == Some("session") => Ok(Class::Session),
            ("time", Some("zone")) => Ok(Class::Session),
            // To what the login said.
            ("all", None) if self.word(0) == Some("reset") => Ok(Class::Session),
            (name, _) if is_settable(name) && self.is_plain_setting(at) => Ok(Class::Session),
            _ => never(format!(
                "what a session may do is said when it begins: {} is neither set nor reset",
                shown(&name).to_uppercase()
            )),
        }
    }

    /// `name = …`, `name TO …`, or the name alone behind RESET: no `name.other`, which is another setting.
    fn is_plain_setting(&self, at: usize) -> bool {
        match self.tokens.get(at + 1) {
            Some(Token::Mark(b'=')) => true,
            Some(Token::Word(word)) => word == "to",
            None => self.word(0) == Some("reset"),
            _ => false,
        }
    }

    /// `COPY … FROM STDIN` and `COPY … TO STDOUT` alone.
    fn copied(&self) -> Result<Class> {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Mark(b'(') => depth += 1,
                Token::Mark(b')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 && (word == "from" || word == "to") => {
                    return match (word.as_str(), self.word(at + 1)) {
                        ("from", Some("stdin")) | ("to", Some("stdout")) => Ok(Class::Copy),
                        (_, Some("program")) => never("COPY runs no program"),
                        _ => never("COPY reads and writes no file of the server; FROM STDIN and TO STDOUT are all"),
                    };
                }
                _ => {}
            }
        }
        Err(Refused::Unreadable("COPY says FROM or TO"))
    }

    fn defining(&self, verb: &str) -> Result<Class> {
        let mut at = 1;
        while self.word(at).is_some_and(|word| BEFORE_OBJECTS.contains(&word)) {
            at += 1;
        }
        match self.word(at) {
            Some("schema") if self.has("grant") || self.has("trigger") => {
                never("a schema is made without rights and triggers")
            }
            Some(object) if OBJECTS.contains(&object) => Ok(Class::Schema),
            Some(object) => never(format!("{} {} is not done here", verb.to_uppercase(), shown(object).to_uppercase())),
            None => Err(Refused::Unreadable("a definition says of what")),
        }
    }
}

/// A name as it may be repeated: letters that somebody chose, but few and plain.
fn shown(name: &str) -> String {
    name.chars().take(40).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}
