//! A policy, and what is found in a text, as callers see them.

use livery_broker::policy::{self, Subject};
use livery_core::Timestamp;
use livery_core::id::{AppId, KeyId, OrgId, PolicyId};
use livery_store::PolicyRow;
use serde::Serialize;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// In Cedar.
    pub text: String,
    /// Counts the replacements, from 1.
    pub version: u32,
    /// The tenant.
    pub organization: OrgId,
    /// The application whose runs it speaks of; none: all of the tenant's.
    pub application: Option<AppId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

impl From<PolicyRow> for PolicyView {
    fn from(row: PolicyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            text: row.content,
            version: row.version,
            organization: row.org,
            application: row.application,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What is in a text, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyCheck {
    /// Whether it can be saved.
    pub valid: bool,
    /// Its statements, when it can.
    pub statements: Vec<PolicyStatement>,
    /// What is wrong, when it cannot.
    pub errors: Vec<PolicyFault>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyStatement {
    /// Its place in the text, from 1.
    pub statement: usize,
    /// `permit`, `ask` or `forbid`.
    pub effect: &'static str,
    /// `calls` or `tools`.
    pub about: &'static str,
    /// What it asks, or its reason.
    pub reason: Option<String>,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyFault {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl PolicyCheck {
    pub(super) fn of(text: &str) -> Self {
        match policy::check(text) {
            Ok(outline) => {
                let statements = outline.into_iter().map(|statement| PolicyStatement {
                    statement: statement.statement,
                    effect: statement.effect,
                    about: match statement.subject {
                        Subject::Calls => "calls",
                        Subject::Tools => "tools",
                    },
                    reason: statement.reason,
                });
                Self { valid: true, statements: statements.collect(), errors: Vec::new() }
            }
            Err(faults) => {
                let errors = faults.into_iter().map(|fault| PolicyFault {
                    line: fault.line,
                    column: fault.column,
                    detail: fault.detail,
                });
                Self { valid: false, statements: Vec::new(), errors: errors.collect() }
            }
        }
    }
}
