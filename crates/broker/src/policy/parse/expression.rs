//! Conditions: from `if` and `||` down to a value.

use super::super::Subject;
use super::super::lex::Token;
use super::super::syntax::{Access, Comparison, Expr, Method, Variable};
use super::super::value::Value;
use super::{CONTEXT, PRINCIPAL, Parser, REQUEST, Result, TOOL};

/// Brackets within brackets.
const DEPTH_MAX: u32 = 32;
/// Longest pattern of a `like`, in characters.
const PATTERN_MAX: usize = 256;
/// `!` or `-` in a row.
const SIGNS_MAX: usize = 4;

/// The attribute whose reading costs a request that has no readable one.
const BODY: &str = "body";

impl Parser {
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth = 0;
            return Err(self.fault(format!("brackets go {DEPTH_MAX} deep at most")));
        }
        let expr = if self.takes_word("if") { self.choice() } else { self.or() };
        self.depth = self.depth.saturating_sub(1);
        expr
    }

    fn choice(&mut self) -> Result<Expr> {
        let condition = self.expr()?;
        self.word("then")?;
        let then = self.expr()?;
        self.word("else")?;
        Ok(Expr::If(Box::new([condition, then, self.expr()?])))
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        let mut items = vec![first];
        while self.takes("||") {
            items.push(self.and()?);
        }
        Ok(single(items, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.relation()?;
        let mut items = vec![first];
        while self.takes("&&") {
            items.push(self.relation()?);
        }
        Ok(single(items, Expr::And))
    }

    fn relation(&mut self) -> Result<Expr> {
        const COMPARISONS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ];
        let left = self.sum()?;
        if let Some((_, comparison)) = COMPARISONS.iter().find(|(mark, _)| *self.peek() == Token::Mark(mark)) {
            self.at += 1;
            return Ok(Expr::Compare(Box::new([left, self.sum()?]), *comparison));
        }
        if self.takes_word("in") {
            return Ok(Expr::Compare(Box::new([left, self.sum()?]), Comparison::In));
        }
        if self.takes_word("has") {
            return self.has(left);
        }
        if self.takes_word("like") {
            return self.like(left);
        }
        if self.takes_word("is") {
            let kind = self.kind()?;
            let within = if self.takes_word("in") { Some(Box::new(self.sum()?)) } else { None };
            return Ok(Expr::Is(Box::new(left), kind, within));
        }
        Ok(left)
    }

    fn has(&mut self, left: Expr) -> Result<Expr> {
        let at = self.at;
        let mut names = Vec::new();
        if matches!(self.peek(), Token::Text(..)) {
            names.push(self.text()?);
        } else {
            names.push(self.name()?);
            while self.takes(".") {
                self.node()?;
                names.push(self.name()?);
            }
        }
        self.check_attribute(at, &left, &names[0])?;
        let has_body = |names: &[String]| names.iter().any(|name| name == BODY);
        self.reads_body |= has_body(&names[1..]) || (has_body(&names[..1]) && may_be_a_request(&left));
        Ok(Expr::Has(Box::new(left), names))
    }

    fn like(&mut self, left: Expr) -> Result<Expr> {
        let pattern = match self.peek() {
            Token::Text(_, pattern) if pattern.len() <= PATTERN_MAX => pattern.clone(),
            Token::Text(..) => return Err(self.fault(format!("a pattern has at most {PATTERN_MAX} characters"))),
            _ => return Err(self.fault("a pattern in quotes is expected here")),
        };
        self.at += 1;
        Ok(Expr::Like(Box::new(left), pattern))
    }

    fn sum(&mut self) -> Result<Expr> {
        let first = self.product()?;
        let mut rest = Vec::new();
        loop {
            let plus = self.takes("+");
            if !plus && !self.takes("-") {
                break;
            }
            rest.push((plus, self.product()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Sum(Box::new(first), rest) })
    }

    fn product(&mut self) -> Result<Expr> {
        let first = self.signed()?;
        let mut items = vec![first];
        while self.takes("*") {
            items.push(self.signed()?);
        }
        Ok(single(items, Expr::Product))
    }

    fn signed(&mut self) -> Result<Expr> {
        let mut signs = Vec::new();
        while matches!(self.peek(), Token::Mark("!" | "-")) {
            self.node()?;
            signs.push(self.next());
            if signs.len() > SIGNS_MAX {
                return Err(self.fault(format!("at most {SIGNS_MAX} signs in a row")));
            }
        }
        let mut expr = self.member()?;
        while let Some(sign) = signs.pop() {
            let inner = Box::new(expr);
            expr = if sign == Token::Mark("!") { Expr::Not(inner) } else { Expr::Minus(inner) };
        }
        Ok(expr)
    }

    fn member(&mut self) -> Result<Expr> {
        let primary = self.primary()?;
        let mut accesses = Vec::new();
        loop {
            let at = self.at;
            let access = if self.takes(".") {
                let name = self.name()?;
                if self.takes("(") { self.method(at, &name)? } else { Access::Attribute(name) }
            } else if self.takes("[") {
                let name = self.text()?;
                self.mark("]")?;
                Access::Attribute(name)
            } else {
                break;
            };
            self.node()?;
            if let Access::Attribute(name) = &access {
                if accesses.is_empty() {
                    self.check_attribute(at, &primary, name)?;
                }
                self.reads_body |= name == BODY && (!accesses.is_empty() || may_be_a_request(&primary));
            }
            accesses.push(access);
        }
        Ok(if accesses.is_empty() { primary } else { Expr::Get(Box::new(primary), accesses) })
    }

    fn method(&mut self, at: usize, name: &str) -> Result<Access> {
        let arguments = self.list(")")?;
        match Method::of(name) {
            Some((method, count)) if arguments.len() == count => Ok(Access::Call(method, arguments)),
            Some((_, count)) => Err(self.fault_at(at, format!("{name} takes {count} arguments"))),
            None => Err(self.fault_at(at, format!("there is no method {name}"))),
        }
    }

    fn check_attribute(&self, at: usize, of: &Expr, name: &str) -> Result<()> {
        let Expr::Variable(variable) = of else { return Ok(()) };
        let (owner, known) = match variable {
            Variable::Principal => ("principal", PRINCIPAL),
            Variable::Context => ("context", CONTEXT),
            Variable::Action => ("action", &[][..]),
            Variable::Resource if self.subject == Subject::Calls => ("resource", REQUEST),
            Variable::Resource => ("resource", TOOL),
        };
        if !known.contains(&name) {
            let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(self.fault_at(at, format!("there is no {owner}.{name}; there are {there}")));
        }
        Ok(())
    }

    fn list(&mut self, end: &'static str) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.takes(end) {
            if !items.is_empty() {
                self.mark(",")?;
            }
            items.push(self.expr()?);
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expr> {
        self.node()?;
        let at = self.at;
        match self.peek().clone() {
            Token::Whole(number) => {
                self.at += 1;
                Ok(Expr::Value(Value::Long(number)))
            }
            Token::Text(..) => Ok(Expr::Value(Value::text(&self.text()?))),
            Token::Mark("(") => {
                self.at += 1;
                let inner = self.expr()?;
                self.mark(")")?;
                Ok(inner)
            }
            Token::Mark("[") => {
                self.at += 1;
                Ok(Expr::Set(self.list("]")?))
            }
            Token::Mark("{") => {
                self.at += 1;
                self.record()
            }
            Token::Word(word) => self.named(at, &word),
            _ => Err(self.fault("a value is expected here")),
        }
    }

    fn named(&mut self, at: usize, word: &str) -> Result<Expr> {
        let follows = |mark| self.tokens.get(at + 1).is_some_and(|placed| placed.token == Token::Mark(mark));
        if follows("::") {
            return Ok(Expr::Value(Value::Entity(self.entity()?)));
        }
        if follows("(") {
            if word != "decimal" {
                return Err(self.fault(format!("there is no function {word}; there is decimal(\"1.5\")")));
            }
            self.at += 2;
            let mut arguments = self.list(")")?;
            return match (arguments.pop(), arguments.is_empty()) {
                (Some(argument), true) => Ok(Expr::Decimal(Box::new(argument))),
                _ => Err(self.fault_at(at, "decimal takes one argument")),
            };
        }
        let expr = match word {
            "true" | "false" => Expr::Value(Value::Bool(word == "true")),
            "principal" => Expr::Variable(Variable::Principal),
            "action" => Expr::Variable(Variable::Action),
            "resource" => Expr::Variable(Variable::Resource),
            "context" => Expr::Variable(Variable::Context),
            _ => return Err(self.fault(format!("{word} is no value; text stands in quotes"))),
        };
        self.at += 1;
        Ok(expr)
    }

    fn record(&mut self) -> Result<Expr> {
        let mut fields: Vec<(String, Expr)> = Vec::new();
        while !self.takes("}") {
            if !fields.is_empty() {
                self.mark(",")?;
            }
            let at = self.at;
            let name = if matches!(self.peek(), Token::Text(..)) { self.text()? } else { self.name()? };
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(self.fault_at(at, format!("{name} is there twice")));
            }
            self.mark(":")?;
            fields.push((name, self.expr()?));
        }
        Ok(Expr::Record(fields))
    }
}

/// Whether `.body` of it can be a request's: of everything but what is plainly something else.
const fn may_be_a_request(of: &Expr) -> bool {
    !matches!(of, Expr::Variable(Variable::Principal | Variable::Action | Variable::Context))
}

fn single(mut items: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match (items.len(), items.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            items.extend(last);
            many(items)
        }
    }
}
