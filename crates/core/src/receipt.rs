//! A receipt: what one run was given, what it answered, and the head of its log, signed, so that anybody can check it
//! without a server.
//!
//! A receipt is canonical JSON ([`crate::canonical`]), `{"receipt": STATEMENT, "signature": {algorithm, key_id, value}}`, and
//! in no other form: text that is not byte for byte the canonical form of what it says is refused, so that two readers cannot
//! read two things in it. The signature is Ed25519 (RFC 8032) over [`DOMAIN`], a line feed and the canonical statement; making
//! and checking it is left to whoever holds keys. Nothing in a statement is a fraction. Read next: [`log`] for the head.

pub mod log;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::sandbox::MinimumTier;
use crate::id::{AppId, EndUserId, OrgId, RunId};
use crate::run::{Cost, Usage};
use crate::{RunStatus, Timestamp, canonical};

/// Largest receipt that is read.
pub const RECEIPT_BYTES_MAX: usize = 64 * 1024;
/// The version of statements that is written.
pub const VERSION: u32 = 1;
/// What keeps these signatures apart from all others of the same key.
pub const DOMAIN: &str = "livery-receipt-1";
/// The one algorithm.
pub const ALGORITHM: &str = "ed25519";
/// SHA-256 of nothing: the digest of the policy where there is none.
pub const NO_POLICY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is signed. Digests are SHA-256, lower-case hex, over canonical JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`VERSION`].
    pub version: u32,
    /// The version of Livery that made the receipt.
    pub livery: String,
    /// The run.
    pub run: RunId,
    /// The tenant.
    pub organization: OrgId,
    /// The application that started it.
    pub application: Option<AppId>,
    /// The end user it acted for.
    pub end_user: Option<EndUserId>,
    /// How it ended.
    pub status: RunStatus,
    /// What ran.
    pub agent: AgentStatement,
    /// `PROVIDER/MODEL`, the first that was to be asked.
    pub model: String,
    /// Where its tools ran.
    pub sandbox: SandboxStatement,
    /// What it was allowed.
    pub policy: PolicyStatement,
    /// Digest of the input.
    pub input_sha256: String,
    /// Digest of the output, when it has one.
    pub output_sha256: Option<String>,
    /// Why it has none.
    pub error: Option<ErrorStatement>,
    /// The log.
    pub log: log::LogStatement,
    /// What it used.
    pub usage: Usage,
    /// What that cost.
    pub cost: Cost,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// The agent of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentStatement {
    /// Its name.
    pub name: String,
    /// Its version; null for an inline agent.
    pub version: Option<u32>,
    /// The digest of its folder, as `GET /v1/agents` shows it.
    pub sha256: String,
}

/// The sandbox of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxStatement {
    /// `container`, …
    pub tier: String,
    /// What was demanded of it when the run was accepted, where anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_tier: Option<MinimumTier>,
}

/// The policy a run stood under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyStatement {
    /// Its digest, [`NO_POLICY_SHA256`] without one.
    pub sha256: String,
    /// What there is to say about it.
    pub note: String,
}

/// The error of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorStatement {
    /// Its stable code.
    pub code: String,
    /// Digest of the whole error, `{code, message, retryable}`.
    pub sha256: String,
}

/// A signature and the name of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// [`ALGORITHM`].
    pub algorithm: String,
    /// Which key.
    pub key_id: String,
    /// 64 bytes, standard base64.
    pub value: String,
}

/// A statement and its signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What is signed.
    pub receipt: Statement,
    /// By whom.
    pub signature: Signature,
}

/// Why a text is no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefused {
    /// Too large.
    #[error("a receipt has at most {RECEIPT_BYTES_MAX} bytes")]
    TooLarge,
    /// No JSON, or not that of a receipt.
    #[error("this is no receipt: {0}")]
    Shape(String),
    /// The same value in another form.
    #[error(
        "the receipt is not in canonical form: at byte {byte} it was changed or written anew; use the file as it was issued"
    )]
    NotCanonical {
        /// The first byte that differs.
        byte: usize,
    },
    /// Of a version that this one does not know.
    #[error("the receipt is of version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// Signed in a way that this version does not know.
    #[error("the receipt is signed with {0:?}; this program knows {ALGORITHM}")]
    Algorithm(String),
}

impl Statement {
    /// What the signature is over.
    pub fn signed_bytes(&self) -> Vec<u8> {
        format!("{DOMAIN}\n{}", canonical::text(self)).into_bytes()
    }
}

impl Receipt {
    /// Reads a receipt. White space around it is no part of it. The signature is not checked here.
    ///
    /// # Errors
    /// When it is none, is not canonical, or is of a version that is not known.
    pub fn parse(text: &str) -> Result<Self, ReceiptRefused> {
        let text = text.trim_ascii();
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptRefused::TooLarge);
        }
        let shape = |error: serde_json::Error| ReceiptRefused::Shape(error.to_string());
        let value: Value = serde_json::from_str(text).map_err(shape)?;
        let plain = canonical::text(&value);
        if plain != text {
            let byte = plain.bytes().zip(text.bytes()).take_while(|(left, right)| left == right).count();
            return Err(ReceiptRefused::NotCanonical { byte });
        }
        // The version first: of another one, nothing else can be expected.
        let version = value["receipt"]["version"].as_u64().and_then(|version| u32::try_from(version).ok());
        if let Some(version) = version.filter(|version| *version != VERSION) {
            return Err(ReceiptRefused::Version(version));
        }
        let receipt = Self::deserialize(&value).map_err(shape)?;
        if receipt.signature.algorithm != ALGORITHM {
            return Err(ReceiptRefused::Algorithm(receipt.signature.algorithm));
        }
        // Members that a type reads with some freedom (a time in another zone) are what they are written as.
        let again = receipt.text();
        if again != text {
            let byte = again.bytes().zip(text.bytes()).take_while(|(left, right)| left == right).count();
            return Err(ReceiptRefused::NotCanonical { byte });
        }
        Ok(receipt)
    }

    /// The canonical text.
    pub fn text(&self) -> String {
        canonical::text(self)
    }
}

#[cfg(test)]
mod tests;
