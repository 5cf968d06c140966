//! From a [`Prepared`] request and its secret to an [`Answer`], or to words about why there is none.

use http::Method;
use livery_core::connector::CredentialSlot;
use tokio::time::timeout;

use super::{Answer, Failed, Prepared};
use crate::error::Phase;
use crate::transport::{Broker, Credential, Inbound, Outbound, Relayed, SIGNED_BYTES_MAX, Slot, Timeouts};
use crate::{Error, Result};

impl Slot {
    /// The slot a connector names.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when its header's name is none, which no checked connector has.
    pub fn of(slot: &CredentialSlot) -> Result<Self> {
        Ok(match slot {
            CredentialSlot::Header { name, prefix } => Self::Header {
                name: name
                    .parse()
                    .map_err(|_| Error::BadRequest { why: "the credential's header has no valid name" })?,
                prefix: prefix.clone().into(),
            },
            CredentialSlot::Basic => Self::Basic,
            CredentialSlot::BasicToken { username } => Self::BasicToken { username: username.clone() },
            CredentialSlot::Query { name } => Self::Query { name: name.clone() },
            CredentialSlot::Sigv4 { region, service } => {
                Self::Sigv4 { region: region.clone(), service: service.clone() }
            }
            CredentialSlot::ClientCertificate => Self::ClientCertificate,
            CredentialSlot::Postgres => Self::Postgres,
            CredentialSlot::Smtp => Self::Smtp,
        })
    }
}

/// How a prepared request is sent.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Its waits.
    pub timeouts: Timeouts,
    /// Largest answer, in bytes.
    pub answer_bytes_max: u64,
    /// What of the answer's head comes back.
    pub relayed: Relayed,
}

impl Broker {
    /// Sends a prepared request with its credential, put where the connection says, and reads the whole answer.
    ///
    /// # Errors
    /// [`Failed`], whose error says whether anything was sent ([`Error::nothing_sent`]).
    pub async fn call(&self, prepared: Prepared, credential: Credential, how: How) -> Result<Answer, Failed> {
        Answer::read(self.begin(prepared, credential, how).await?).await
    }

    /// The same, up to the head of the answer: its body is to be read in pieces.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn begin(&self, prepared: Prepared, credential: Credential, how: How) -> Result<Inbound, Failed> {
        let unsent = |error| Failed { error, findings: Vec::new(), dialled: None };
        let mut outbound = outbound(prepared, credential, how).map_err(unsent)?;
        let is_signed = |credential: &Credential| matches!(credential.slot, Slot::Sigv4 { .. });
        if outbound.credential.as_ref().is_some_and(is_signed) {
            // The digest of the body stands in the head, so all of it has to be here before anything is sent.
            let whole = std::mem::take(&mut outbound.body).whole(SIGNED_BYTES_MAX);
            let whole = timeout(how.timeouts.total, whole).await;
            outbound.body = whole.unwrap_or(Err(Error::Timeout { phase: Phase::Total })).map_err(unsent)?.into();
        }
        self.send(outbound).await.map_err(unsent)
    }
}

fn outbound(prepared: Prepared, credential: Credential, how: How) -> Result<Outbound> {
    if !prepared.is_as_approved() {
        return Err(Error::BadRequest { why: "the request is not the one that was approved" });
    }
    let Prepared { access, request, headers, body, speech, idempotency_key, .. } = prepared;
    // The slot is the one that was looked at: a connection may have been changed since.
    let owner = format!("{}/{}", access.connection, access.name);
    let credential = Credential { slot: Slot::of(&access.slot)?, owner, ..credential };
    if !credential.is_scrubbable() {
        return Err(Error::BadRequest { why: "the credential is too short to be kept out of answers" });
    }
    let method = Method::from_bytes(request.method().as_str().as_bytes())
        .map_err(|_| Error::BadRequest { why: "the method is not allowed" })?;
    let mut outbound = Outbound::post(access.org, request.target().clone(), body);
    outbound.method = method;
    outbound.headers = headers;
    outbound.credential = Some(credential);
    outbound.idempotency_key = idempotency_key;
    outbound.timeouts = how.timeouts;
    outbound.response_bytes_max = how.answer_bytes_max;
    outbound.relayed = how.relayed;
    outbound.speech = speech;
    Ok(outbound)
}

impl Answer {
    /// Reads an answer to its end. One that breaks off is none: what was read of it goes nowhere, what was found in it is told.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn read(mut inbound: Inbound) -> Result<Self, Failed> {
        let (dialled, took) = (inbound.dialled, inbound.took);
        let mut body = Vec::new();
        while let Some(piece) = inbound.body.next().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(error) => {
                    let mut findings = inbound.findings;
                    findings.extend(inbound.body.findings());
                    return Err(Failed { error, findings, dialled: Some(dialled) });
                }
            }
        }
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = inbound.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let mut findings = inbound.findings;
        findings.extend(inbound.body.findings());
        Ok(Self { status: inbound.status.as_u16(), headers, body: body.into(), findings, dialled, took })
    }
}
