//! A statement, parsed. Chains (`a && b && c`, `a.b.c`) are lists, so only brackets make a tree deep, and those are bounded.

use super::lex::Piece;
use super::value::{Uid, Value};

/// One statement of a text.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    /// Its place in the text, from 1.
    pub(super) number: usize,
    pub(super) permits: bool,
    pub(super) ask: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) subject: super::Subject,
    pub(super) principal: Scope,
    pub(super) actions: Actions,
    pub(super) resource: Scope,
    /// Each with whether it is a `when` (an `unless` otherwise).
    pub(super) conditions: Vec<(bool, Expr)>,
    /// Whether it looks at a request's body.
    pub(super) reads_body: bool,
}

/// What a principal or a resource has to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) kind: Option<String>,
    pub(super) equals: Option<Uid>,
    pub(super) within: Option<Uid>,
}

/// What an action has to be.
#[derive(Debug, Clone)]
pub(super) enum Actions {
    /// This one.
    Equal(Uid),
    /// One of these, or in one of them.
    In(Vec<Uid>),
}

/// What a condition starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Principal,
    Action,
    Resource,
    Context,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Value(Value),
    Variable(Variable),
    Set(Vec<Expr>),
    Record(Vec<(String, Expr)>),
    Decimal(Box<Expr>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    If(Box<[Expr; 3]>),
    /// The first, and what is added (`true`) or taken away.
    Sum(Box<Expr>, Vec<(bool, Expr)>),
    Product(Vec<Expr>),
    Compare(Box<[Expr; 2]>, Comparison),
    /// `has a.b.c`.
    Has(Box<Expr>, Vec<String>),
    Like(Box<Expr>, Vec<Piece>),
    Is(Box<Expr>, String, Option<Box<Expr>>),
    Get(Box<Expr>, Vec<Access>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Debug, Clone)]
pub(super) enum Access {
    Attribute(String),
    Call(Method, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Contains,
    ContainsAll,
    ContainsAny,
    IsEmpty,
    LessThan,
    LessThanOrEqual,
    GreaterThan,
    GreaterThanOrEqual,
}

impl Method {
    /// By name, with the number of its arguments.
    pub(super) fn of(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "contains" => (Self::Contains, 1),
            "containsAll" => (Self::ContainsAll, 1),
            "containsAny" => (Self::ContainsAny, 1),
            "isEmpty" => (Self::IsEmpty, 0),
            "lessThan" => (Self::LessThan, 1),
            "lessThanOrEqual" => (Self::LessThanOrEqual, 1),
            "greaterThan" => (Self::GreaterThan, 1),
            "greaterThanOrEqual" => (Self::GreaterThanOrEqual, 1),
            _ => return None,
        })
    }
}
