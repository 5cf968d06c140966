//! Receipts: what a finished run was given and answered, and the head of its log, signed with the platform's own key.
//!
//! A receipt is made when it is asked for, from the run's row and the headers of its events; nothing about it is stored, and
//! the same run gives the same receipt until the key is rotated. It does not need payloads, so it can be had after they were
//! deleted. Read next: [`keys`] for who signs, [`verify`] for whoever checks.

pub mod keys;
pub mod verify;

use livery_core::agent::SandboxSpec;
use livery_core::id::RunId;
use livery_core::receipt::log::{Chain, Header};
use livery_core::receipt::{
    ALGORITHM, AgentStatement, ErrorStatement, NO_POLICY_SHA256, PolicyStatement, Receipt, SandboxStatement, Signature,
    Statement, VERSION,
};
use livery_core::{Error, Result, canonical};
use livery_store::{Json, RunRow};
use serde_json::Value;

pub use keys::ReceiptKeyView;
pub use livery_core::receipt::log;

use crate::{Platform, Principal, Scope};

/// Most events of a run whose receipt is made in one request.
pub const RECEIPT_EVENTS_MAX: u64 = 200_000;
/// Headers read at a time.
const HEADERS_READ: u32 = 1000;
/// What is said about the policy while a receipt covers none.
const NO_POLICY: &str = "policies are not part of this receipt; the run's egress events name each rule";

impl Platform {
    /// The signed receipt of a finished run.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a run that is not over; [`Error::Invalid`] beyond
    /// [`RECEIPT_EVENTS_MAX`].
    pub async fn receipt(&self, principal: &Principal, run: RunId) -> Result<Receipt> {
        principal.require(Scope::RunsRead)?;
        let row = self.visible_run(principal, run).await?;
        let Some(finished_at) = row.finished_at.filter(|_| row.status.is_terminal()) else {
            let detail = format!("the run is {}; it has a receipt once it is over", row.status);
            return Err(Error::Conflict { code: "conflict", detail });
        };
        let agent = self.store.get_agent(row.org, row.agent_id).await?.ok_or(Error::NotFound { what: "agent" })?;
        let receipt = Statement {
            version: VERSION,
            livery: env!("CARGO_PKG_VERSION").to_owned(),
            run: row.id,
            organization: row.org,
            application: row.application,
            end_user: row.end_user,
            status: row.status,
            agent: AgentStatement { name: row.agent_name.clone(), version: row.agent_version, sha256: agent.digest },
            model: row.model.clone(),
            sandbox: SandboxStatement {
                tier: row.sandbox.parse::<SandboxSpec>()?.tier.as_str().to_owned(),
                minimum_tier: row.minimum_tier,
            },
            policy: PolicyStatement { sha256: NO_POLICY_SHA256.to_owned(), note: NO_POLICY.to_owned() },
            input_sha256: digest_of(&row.input)?,
            output_sha256: row.output.as_ref().map(digest_of).transpose()?,
            error: row.error.as_ref().map(|error| ErrorStatement {
                code: error.code.as_str().to_owned(),
                sha256: canonical::sha256_hex(canonical::text(error)),
            }),
            log: self.log_of(&row).await?,
            usage: row.usage,
            cost: row.cost,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at,
        };
        let (key_id, key) = self.receipt_key().await?;
        let value = keys::encode(&key.sign(&receipt.signed_bytes()));
        Ok(Receipt { receipt, signature: Signature { algorithm: ALGORITHM.to_owned(), key_id, value } })
    }

    /// The head of a run's log.
    async fn log_of(&self, row: &RunRow) -> Result<log::LogStatement> {
        if row.last_seq > RECEIPT_EVENTS_MAX {
            let detail = format!("the run has {} events; at most {RECEIPT_EVENTS_MAX} can be receipted", row.last_seq);
            return Err(Error::invalid_field("", detail));
        }
        let mut chain = Chain::new(row.id, row.last_seq);
        let mut after = 0;
        loop {
            let headers = self.store.event_headers_after(row.org, row.id, after, HEADERS_READ).await?;
            if headers.is_empty() {
                return Ok(chain.finish());
            }
            for header in headers {
                after = header.seq;
                chain.push(&Header {
                    seq: header.seq,
                    event_type: &header.event_type,
                    actor: &header.actor,
                    at: &header.at.to_string(),
                    digest: &header.digest,
                });
            }
        }
    }
}

fn digest_of(json: &Json) -> Result<String> {
    Ok(canonical::sha256_hex(canonical::text(&json.parse::<Value>()?)))
}
