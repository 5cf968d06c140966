//! Whether a statement matches, as the Cedar language says: types are strict, `&&` and `||` stop early, sums do not wrap.
//! A value of the wrong kind, a missing attribute, a sum too large are errors, and the caller takes an error for a no.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::STEPS_MAX;
use super::lex::Piece;
use super::syntax::{Access, Actions, Comparison, Expr, Method, Scope, Statement, Variable};
use super::value::{Record, Uid, Value, decimal};

/// What is known about the things a question names.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) things: BTreeMap<Uid, Thing>,
    pub(super) principal: Option<Uid>,
    pub(super) action: Option<Uid>,
    pub(super) resource: Option<Uid>,
    pub(super) context: Record,
    /// Steps taken so far in this decision.
    pub(super) steps: Cell<u64>,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Thing {
    pub(super) attributes: Record,
    /// Everything it is in, near and far.
    pub(super) within: BTreeSet<Uid>,
}

type Result<T> = std::result::Result<T, String>;

impl Facts {
    /// Whether a statement matches.
    pub(super) fn matches(&self, statement: &Statement) -> Result<bool> {
        if !self.fits(self.principal.as_ref(), &statement.principal)
            || !self.fits(self.resource.as_ref(), &statement.resource)
            || !self.action.as_ref().is_some_and(|action| self.acts(action, &statement.actions))
        {
            return Ok(false);
        }
        for (when, condition) in &statement.conditions {
            if self.truth(condition)? != *when {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn acts(&self, action: &Uid, actions: &Actions) -> bool {
        match actions {
            Actions::Equal(equal) => action == equal,
            Actions::In(groups) => groups.iter().any(|group| self.is_in(action, group)),
        }
    }

    fn fits(&self, uid: Option<&Uid>, scope: &Scope) -> bool {
        uid.is_some_and(|uid| {
            scope.kind.as_deref().is_none_or(|kind| *uid.kind == *kind)
                && scope.equals.as_ref().is_none_or(|equals| uid == equals)
                && scope.within.as_ref().is_none_or(|within| self.is_in(uid, within))
        })
    }

    fn is_in(&self, uid: &Uid, other: &Uid) -> bool {
        uid == other || self.things.get(uid).is_some_and(|thing| thing.within.contains(other))
    }

    /// Counts work before it is done, or as it is: what takes longer than a decision may is not decided.
    fn take(&self, steps: u64) -> Result<()> {
        self.steps.set(self.steps.get().saturating_add(steps));
        if self.steps.get() > STEPS_MAX { Err(format!("it takes more than {STEPS_MAX} steps")) } else { Ok(()) }
    }

    fn truth(&self, expr: &Expr) -> Result<bool> {
        match self.value(expr)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(wrong("a bool", &other)),
        }
    }

    fn number(&self, expr: &Expr) -> Result<i64> {
        match self.value(expr)? {
            Value::Long(number) => Ok(number),
            other => Err(wrong("a long", &other)),
        }
    }

    fn value(&self, expr: &Expr) -> Result<Value> {
        self.take(1)?;
        Ok(match expr {
            Expr::Value(value) => value.clone(),
            Expr::Variable(variable) => self.variable(*variable)?,
            Expr::Set(items) => self.set_of(items)?,
            Expr::Record(fields) => {
                let fields = fields.iter().map(|(name, field)| Ok((name.clone(), self.value(field)?)));
                Value::Record(Arc::new(fields.collect::<Result<_>>()?))
            }
            Expr::Decimal(text) => match self.value(text)? {
                Value::Text(text) => {
                    self.take(text.len() as u64)?;
                    decimal(&text).map(Value::Decimal).ok_or("a decimal is written \"1.5\"")?
                }
                other => return Err(wrong("a string", &other)),
            },
            Expr::Or(items) => Value::Bool(self.any(items)?),
            Expr::And(items) => Value::Bool(self.all(items)?),
            Expr::Not(inner) => Value::Bool(!self.truth(inner)?),
            Expr::Minus(inner) => Value::Long(self.number(inner)?.checked_neg().ok_or(OVERFLOW)?),
            Expr::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                return if self.truth(condition)? { self.value(then) } else { self.value(otherwise) };
            }
            Expr::Sum(first, rest) => {
                let mut sum = self.number(first)?;
                for (plus, item) in rest {
                    let item = self.number(item)?;
                    sum = if *plus { sum.checked_add(item) } else { sum.checked_sub(item) }.ok_or(OVERFLOW)?;
                }
                Value::Long(sum)
            }
            Expr::Product(items) => {
                let mut product = 1i64;
                for item in items {
                    product = product.checked_mul(self.number(item)?).ok_or(OVERFLOW)?;
                }
                Value::Long(product)
            }
            Expr::Compare(sides, comparison) => {
                Value::Bool(self.compare(&self.value(&sides[0])?, &self.value(&sides[1])?, *comparison)?)
            }
            Expr::Has(inner, names) => Value::Bool(self.has(self.value(inner)?, names)?),
            Expr::Like(inner, pattern) => match self.value(inner)? {
                Value::Text(text) => Value::Bool(self.is_like(&text, pattern)?),
                other => return Err(wrong("a string", &other)),
            },
            Expr::Is(inner, kind, within) => Value::Bool(self.is(&self.value(inner)?, kind, within.as_deref())?),
            Expr::Get(inner, accesses) => {
                let mut value = self.value(inner)?;
                for access in accesses {
                    self.take(1)?;
                    value = match access {
                        Access::Attribute(name) => self.attribute(&value, name)?,
                        Access::Call(method, arguments) => self.call(&value, *method, arguments)?,
                    };
                }
                value
            }
        })
    }

    fn set_of(&self, items: &[Expr]) -> Result<Value> {
        let mut set = BTreeSet::new();
        for item in items {
            let item = self.value(item)?;
            self.take(search(&item, set.len()))?;
            set.insert(item);
        }
        Ok(Value::Set(Arc::new(set)))
    }

    fn any(&self, items: &[Expr]) -> Result<bool> {
        for item in items {
            if self.truth(item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn all(&self, items: &[Expr]) -> Result<bool> {
        for item in items {
            if !self.truth(item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn variable(&self, variable: Variable) -> Result<Value> {
        let uid = match variable {
            Variable::Principal => &self.principal,
            Variable::Action => &self.action,
            Variable::Resource => &self.resource,
            Variable::Context => return Ok(Value::Record(Arc::clone(&self.context))),
        };
        uid.clone().map(Value::Entity).ok_or_else(|| "nothing is asked about".to_owned())
    }

    fn attributes<'a>(&'a self, value: &'a Value) -> Result<Option<&'a Record>> {
        match value {
            Value::Record(record) => Ok(Some(record)),
            Value::Entity(uid) => Ok(self.things.get(uid).map(|thing| &thing.attributes)),
            other => Err(wrong("a record or an entity", other)),
        }
    }

    fn attribute(&self, value: &Value, name: &str) -> Result<Value> {
        let found = self.attributes(value)?.and_then(|attributes| attributes.get(name));
        found.cloned().ok_or_else(|| format!("there is no `{name}`"))
    }

    fn has(&self, mut value: Value, names: &[String]) -> Result<bool> {
        for name in names {
            self.take(1)?;
            let Some(next) = self.attributes(&value)?.and_then(|attributes| attributes.get(name)).cloned() else {
                return Ok(false);
            };
            value = next;
        }
        Ok(true)
    }

    fn is(&self, value: &Value, kind: &str, within: Option<&Expr>) -> Result<bool> {
        let Value::Entity(uid) = value else { return Err(wrong("an entity", value)) };
        match within {
            _ if *uid.kind != *kind => Ok(false),
            Some(within) => self.compare(value, &self.value(within)?, Comparison::In),
            None => Ok(true),
        }
    }

    fn compare(&self, left: &Value, right: &Value, comparison: Comparison) -> Result<bool> {
        let order = || match (left, right) {
            (Value::Long(left), Value::Long(right)) => Ok(left.cmp(right)),
            (Value::Long(_), other) | (other, _) => Err(wrong("a long", other)),
        };
        if matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            self.take(left.weight().saturating_add(right.weight()))?;
        }
        Ok(match comparison {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => order()? == Ordering::Less,
            Comparison::LessOrEqual => order()? != Ordering::Greater,
            Comparison::Greater => order()? == Ordering::Greater,
            Comparison::GreaterOrEqual => order()? != Ordering::Less,
            Comparison::In => self.within(left, right)?,
        })
    }

    fn within(&self, left: &Value, right: &Value) -> Result<bool> {
        let Value::Entity(uid) = left else { return Err(wrong("an entity", left)) };
        let one = |other: &Value| match other {
            Value::Entity(other) => Ok(self.is_in(uid, other)),
            other => Err(wrong("an entity", other)),
        };
        match right {
            // Every one is looked at: a set with something else in it is an error wherever that stands.
            Value::Set(set) => {
                self.take(set.len() as u64)?;
                Ok(set.iter().map(one).collect::<Result<Vec<_>>>()?.contains(&true))
            }
            other => one(other),
        }
    }

    fn call(&self, value: &Value, method: Method, arguments: &[Expr]) -> Result<Value> {
        let argument = arguments.first().map(|argument| self.value(argument)).transpose()?;
        if let (Value::Set(set), Some(argument)) = (value, &argument) {
            let every = if method == Method::Contains { 0 } else { value.weight() };
            self.take(search(argument, set.len()).saturating_add(every))?;
        }
        let none = || "an argument is missing".to_owned();
        Ok(Value::Bool(match method {
            Method::IsEmpty => set(value)?.is_empty(),
            Method::Contains => set(value)?.contains(&argument.ok_or_else(none)?),
            Method::ContainsAll => set(&argument.ok_or_else(none)?)?.is_subset(set(value)?),
            Method::ContainsAny => !set(&argument.ok_or_else(none)?)?.is_disjoint(set(value)?),
            Method::LessThan => ten_thousandths(value)? < ten_thousandths(&argument.ok_or_else(none)?)?,
            Method::LessThanOrEqual => ten_thousandths(value)? <= ten_thousandths(&argument.ok_or_else(none)?)?,
            Method::GreaterThan => ten_thousandths(value)? > ten_thousandths(&argument.ok_or_else(none)?)?,
            Method::GreaterThanOrEqual => ten_thousandths(value)? >= ten_thousandths(&argument.ok_or_else(none)?)?,
        }))
    }

    /// Goes back to the last star alone, so the work is at most the product of both lengths.
    fn is_like(&self, text: &str, pattern: &[Piece]) -> Result<bool> {
        self.take(text.len() as u64 / 16)?;
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut place, mut star) = (0, 0, None);
        while at < text.len() {
            self.take(1)?;
            match pattern.get(place) {
                Some(Piece::Any) => {
                    star = Some((place, at));
                    place += 1;
                }
                Some(Piece::One(character)) if *character == text[at] => (at, place) = (at + 1, place + 1),
                Some(Piece::Star) if text[at] == '*' => (at, place) = (at + 1, place + 1),
                _ => match star {
                    Some((star_place, star_at)) => {
                        (at, place) = (star_at + 1, star_place + 1);
                        star = Some((star_place, star_at + 1));
                    }
                    None => return Ok(false),
                },
            }
        }
        Ok(pattern[place..].iter().all(|piece| *piece == Piece::Any))
    }
}

const OVERFLOW: &str = "a number is more than a Long holds";

fn wrong(expected: &str, found: &Value) -> String {
    format!("{expected} is expected where there is {}", found.kind())
}

fn set(value: &Value) -> Result<&BTreeSet<Value>> {
    match value {
        Value::Set(set) => Ok(set),
        other => Err(wrong("a set", other)),
    }
}

fn ten_thousandths(value: &Value) -> Result<i64> {
    match value {
        Value::Decimal(number) => Ok(*number),
        other => Err(wrong("a decimal", other)),
    }
}

/// What looking for a value, or for each in it, among `count` costs at most.
fn search(value: &Value, count: usize) -> u64 {
    value.weight().saturating_mul(u64::from(count.checked_ilog2().unwrap_or(0)) + 1)
}
