//! From tokens to statements. Names are checked while they are read: a statement that speaks of an action, a type or an
//! attribute which does not exist would never match, or always fail, and neither is what its author meant.

mod expression;

use super::lex::{Piece, Placed, Token, tokens};
use super::syntax::{Actions, Scope, Statement};
use super::value::Uid;
use super::{Fault, NODES_MAX, REASON_CHARS_MAX, STATEMENTS_MAX, Subject, TEXT_BYTES_MAX};

/// Actions of requests.
const CALL_ACTIONS: &[&str] =
    &["call", "read", "write", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "send_email", "query_sql"];
/// Those of them that other actions are in.
const GROUPS: &[&str] = &["call", "read", "write"];
/// The action of tools that carry no credential.
const TOOL_ACTION: &str = "use_tool";
const PRINCIPAL: &[&str] = &["name", "version", "published", "organization", "application", "end_user"];
const REQUEST: &[&str] = &[
    "connection",
    "connector",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "query_keys",
    "recipients",
    "recipient_domains",
    "statement",
    "verbs",
    "body",
];
const TOOL: &[&str] = &["name"];
const CONTEXT: &[&str] = &["front_end"];
const CALL_TYPES: &[&str] = &["Agent", "Application", "Organization", "Action", "Request", "Connection", "Connector"];
const TOOL_TYPES: &[&str] = &["Agent", "Application", "Organization", "Action", "Tool"];
/// The tools whose calls are requests, each with its action.
const CALL_TOOLS: &[(&str, &str)] = &[
    ("call_api", "action in Action::\"call\""),
    ("send_email", "action == Action::\"send_email\""),
    ("query_sql", "action == Action::\"query_sql\""),
];
/// Words that are no names.
const RESERVED: &[&str] = &["true", "false", "if", "then", "else", "in", "is", "like", "has"];

/// What may stand in a statement's head, by place.
struct Place {
    word: &'static str,
    /// The type of what is there.
    is: &'static str,
    /// Types of what that is in.
    within: &'static [&'static str],
}

const PRINCIPAL_PLACE: Place = Place { word: "principal", is: "Agent", within: &["Organization", "Application"] };
const REQUEST_PLACE: Place = Place { word: "resource", is: "Request", within: &["Connection", "Connector"] };
const TOOL_PLACE: Place = Place { word: "resource", is: "Tool", within: &[] };

type Result<T> = std::result::Result<T, Fault>;

/// All statements of a text.
///
/// # Errors
/// What is wrong, one fault for each statement.
pub(super) fn statements(text: &str) -> std::result::Result<Vec<Statement>, Vec<Fault>> {
    let whole = |detail: String| vec![Fault { line: 1, column: 1, detail }];
    if text.len() > TEXT_BYTES_MAX {
        return Err(whole(format!("a policy has at most {TEXT_BYTES_MAX} bytes")));
    }
    let tokens = tokens(text).map_err(|fault| vec![fault])?;
    let mut parser = Parser { tokens, at: 0, depth: 0, subject: Subject::Calls, reads_body: false, nodes: 0 };
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    while *parser.peek() != Token::End {
        let number = read.len() + faults.len() + 1;
        if number > STATEMENTS_MAX {
            return Err(whole(format!("a policy has at most {STATEMENTS_MAX} statements")));
        }
        match parser.statement(number) {
            Ok(statement) => read.push(statement),
            Err(fault) => {
                faults.push(fault);
                parser.go_on();
            }
        }
    }
    if read.is_empty() && faults.is_empty() {
        return Err(whole("there is no statement in it; a policy has one at least".to_owned()));
    }
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: u32,
    subject: Subject,
    reads_body: bool,
    /// Values and operations so far, in the whole text.
    nodes: usize,
}

impl Parser {
    /// Counts one more value or operation.
    fn node(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.fault(format!("a policy has at most {NODES_MAX} values and operations")));
        }
        Ok(())
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |placed| &placed.token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// A fault at the next token.
    fn fault(&self, detail: impl Into<String>) -> Fault {
        self.fault_at(self.at, detail)
    }

    fn fault_at(&self, at: usize, detail: impl Into<String>) -> Fault {
        let placed = self.tokens.get(at).or_else(|| self.tokens.last());
        let (line, column) = placed.map_or((1, 1), |placed| (placed.line, placed.column));
        Fault { line, column, detail: detail.into() }
    }

    /// To behind the next `;`.
    fn go_on(&mut self) {
        while !matches!(self.peek(), Token::End) {
            if self.next() == Token::Mark(";") {
                return;
            }
        }
    }

    fn takes(&mut self, mark: &'static str) -> bool {
        let is = *self.peek() == Token::Mark(mark);
        self.at += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Word(found) if found == word);
        self.at += usize::from(is);
        is
    }

    fn mark(&mut self, mark: &'static str) -> Result<()> {
        if self.takes(mark) { Ok(()) } else { Err(self.fault(format!("`{mark}` is expected here"))) }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.takes_word(word) { Ok(()) } else { Err(self.fault(format!("`{word}` is expected here"))) }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(word) if !RESERVED.contains(&word.as_str()) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.fault("a name is expected here")),
        }
    }

    fn text(&mut self) -> Result<String> {
        match self.peek() {
            Token::Text(_, pattern) if pattern.contains(&Piece::Star) => {
                Err(self.fault("`\\*` is for patterns of `like`"))
            }
            Token::Text(text, _) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.fault("a string is expected here")),
        }
    }

    fn statement(&mut self, number: usize) -> Result<Statement> {
        self.reads_body = false;
        let (mut ask, mut reason) = (None, None);
        let start = self.at;
        while self.takes("@") {
            self.annotation(&mut ask, &mut reason)?;
        }
        let permits = match self.peek() {
            Token::Word(word) if word == "permit" => true,
            Token::Word(word) if word == "forbid" => false,
            _ => return Err(self.fault("`permit` or `forbid` is expected here")),
        };
        if ask.is_some() && !permits {
            return Err(self.fault_at(start, "`@ask` belongs to a permit: what is forbidden is not asked about"));
        }
        self.at += 1;
        self.mark("(")?;
        // What it is about decides which words there are, and stands behind the principal.
        self.subject = self.subject_ahead();
        self.word("principal")?;
        let principal = self.scope(&PRINCIPAL_PLACE)?;
        self.mark(",")?;
        self.word("action")?;
        let actions = self.actions()?;
        self.mark(",")?;
        self.word("resource")?;
        let resource = self.scope(self.resource_place())?;
        self.mark(")")?;
        let mut conditions = Vec::new();
        while !self.takes(";") {
            let when = self.takes_word("when");
            if !when {
                self.word("unless")
                    .map_err(|fault| Fault { detail: "`when`, `unless` or `;` is expected here".into(), ..fault })?;
            }
            self.mark("{")?;
            conditions.push((when, self.expr()?));
            self.mark("}")?;
        }
        let (subject, reads_body) = (self.subject, self.reads_body);
        Ok(Statement { number, permits, ask, reason, subject, principal, actions, resource, conditions, reads_body })
    }

    fn annotation(&mut self, ask: &mut Option<String>, reason: &mut Option<String>) -> Result<()> {
        let at = self.at;
        let name = self.name()?;
        self.mark("(")?;
        let text = self.text()?.trim().to_owned();
        self.mark(")")?;
        if text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
            return Err(self.fault_at(at, format!("`@{name}` has 1 to {REASON_CHARS_MAX} characters")));
        }
        let place = match name.as_str() {
            "ask" => ask,
            "reason" => reason,
            "id" => return Ok(()),
            _ => {
                let known = format!("`@{name}` means nothing here; there are @ask, @reason and @id");
                return Err(self.fault_at(at, known));
            }
        };
        if place.replace(text).is_some() {
            return Err(self.fault_at(at, format!("`@{name}` is there twice")));
        }
        Ok(())
    }

    fn subject_ahead(&self) -> Subject {
        let scope =
            self.tokens[self.at.min(self.tokens.len())..].iter().take_while(|placed| placed.token != Token::Mark(")"));
        let mut texts = scope.skip_while(|placed| placed.token != Token::Word("action".to_owned()));
        let is_tool = texts.any(|placed| matches!(&placed.token, Token::Text(text, _) if text == TOOL_ACTION));
        if is_tool { Subject::Tools } else { Subject::Calls }
    }

    const fn types(&self) -> &'static [&'static str] {
        match self.subject {
            Subject::Calls => CALL_TYPES,
            Subject::Tools => TOOL_TYPES,
        }
    }

    fn kind(&mut self) -> Result<String> {
        let at = self.at;
        let kind = self.name()?;
        if self.types().contains(&kind.as_str()) {
            return Ok(kind);
        }
        let known = format!("there is no type {kind} here; there are {}", self.types().join(", "));
        Err(self.fault_at(at, known))
    }

    fn entity(&mut self) -> Result<Uid> {
        let kind = self.kind()?;
        self.mark("::")?;
        let at = self.at;
        let id = self.text()?;
        if kind == "Action" {
            self.check_action(at, &id)?;
        }
        if let Some((tool, action)) = CALL_TOOLS.iter().find(|(tool, _)| kind == "Tool" && id == *tool) {
            let hint =
                format!("what {tool} does is a request: write `{action}`, and `resource in Connection::\"NAME\"`");
            return Err(self.fault_at(at, hint));
        }
        Ok(Uid::new(&kind, &id))
    }

    fn check_action(&self, at: usize, id: &str) -> Result<()> {
        let fits = match self.subject {
            Subject::Calls => CALL_ACTIONS.contains(&id),
            Subject::Tools => id == TOOL_ACTION,
        };
        if fits {
            return Ok(());
        }
        if self.subject == Subject::Tools && CALL_ACTIONS.contains(&id) {
            return Err(self.fault_at(at, "a statement is about requests or about tools; write two"));
        }
        let known = format!("there is no action {id:?}; there are {}, {TOOL_ACTION}", CALL_ACTIONS.join(", "));
        Err(self.fault_at(at, known))
    }

    const fn resource_place(&self) -> &'static Place {
        match self.subject {
            Subject::Calls => &REQUEST_PLACE,
            Subject::Tools => &TOOL_PLACE,
        }
    }

    fn scope(&mut self, place: &Place) -> Result<Scope> {
        let (mut scope, at) = (Scope::default(), self.at);
        if self.takes("==") {
            let equals = self.entity()?;
            self.check_place(at, place, &equals.kind, &[place.is])?;
            scope.equals = Some(equals);
            return Ok(scope);
        }
        if self.takes_word("is") {
            let kind = self.kind()?;
            self.check_place(at, place, &kind, &[place.is])?;
            scope.kind = Some(kind);
        }
        let at = self.at;
        if self.takes_word("in") {
            let within = self.entity()?;
            self.check_place(at, place, &within.kind, place.within)?;
            scope.within = Some(within);
        }
        Ok(scope)
    }

    /// A type that is never there would make a statement that never matches: a forbid that forbids nothing.
    fn check_place(&self, at: usize, place: &Place, kind: &str, fitting: &[&str]) -> Result<()> {
        if fitting.contains(&kind) {
            return Ok(());
        }
        let within = if place.within.is_empty() {
            "it is in nothing".to_owned()
        } else {
            format!("write `{} in {}::\"…\"`", place.word, place.within.join("::\"…\"` or `in "))
        };
        let word = place.word;
        Err(self.fault_at(
            at,
            format!("a {word} here is never {kind}: it is one {}, `{word} == {}::\"…\"`; {within}", place.is, place.is),
        ))
    }

    fn actions(&mut self) -> Result<Actions> {
        if self.takes("==") {
            let at = self.at;
            let action = self.entity()?;
            if GROUPS.contains(&&*action.id) {
                return Err(
                    self.fault_at(at, format!("{} is a group: `action in Action::\"{}\"`", action.id, action.id))
                );
            }
            return Ok(Actions::Equal(action));
        }
        if !self.takes_word("in") {
            let known = "say what it is about: `action in Action::\"call\"` or `action == Action::\"use_tool\"`";
            return Err(self.fault(known));
        }
        if !self.takes("[") {
            return Ok(Actions::In(vec![self.entity()?]));
        }
        let mut actions = vec![self.entity()?];
        while self.takes(",") {
            actions.push(self.entity()?);
        }
        self.mark("]")?;
        Ok(Actions::In(actions))
    }
}
