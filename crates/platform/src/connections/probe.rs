//! The test call: one harmless request with the credential, judged in words of ours. Nothing of the answer goes anywhere.

use std::time::Duration;

use livery_broker::mail::{Mailing, TIMEOUTS, Why};
use livery_broker::policy::{Sent, graphql};
use livery_broker::postgres::{Failure, Question};
use livery_broker::{Credential, Outbound, Target, Timeouts};
use livery_core::connector::{Connector, MailServer, OriginRef, PostgresServer, TestCall};
use livery_core::id::{ConnectionId, OrgId};
use livery_core::{Error, Result};
use serde_json::json;

use super::settled;
use super::view::ConnectionTest;
use crate::audit::note;
use crate::{Caller, Platform, Posted};

/// Longest wait for the whole call.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

impl Platform {
    /// Makes the connector's test call with a connection's present value and notes how it went.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when the connection has no test call or is revoked. What the upstream said is
    /// the outcome and no error.
    pub async fn test_connection(&self, caller: &Caller, id: ConnectionId) -> Result<Posted<ConnectionTest>> {
        let row = self.writable_connection(caller, id).await?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let connector = settled(&row)?;
        if connector.test.is_none() && connector.mail.is_none() && connector.postgres.is_none() {
            let detail = "the connection has no test call: its settings name no test_path".to_owned();
            return Err(Error::Conflict { code: "conflict", detail });
        }
        let credential = self.materialise(row.org, id).await?;
        let version = row.version;
        let judged = match (&connector.mail, &connector.postgres, &connector.test) {
            (Some(server), ..) => self.try_login(row.org, server, credential).await,
            (None, Some(server), _) => {
                self.try_query(row.org, server, credential).await.map_err(|failure| failure.to_string())
            }
            (None, None, Some(test)) => self.probe(row.org, &connector, test, credential).await?,
            (None, None, None) => Err("there is nothing to try it with".to_owned()),
        };
        let (org, actor, now) = (row.org, caller.principal.key, self.clock.now());
        let outcome = if judged.is_ok() { "ok" } else { "refused" }.to_owned();
        let tested = ConnectionTest { outcome, reason: judged.err(), at: now };
        self.post(caller, move |tx| {
            Box::pin(async move {
                // A value that was rotated meanwhile is another one: then there is nothing to note about it.
                tx.note_connection_test(org, id, version, now, tested.reason.as_deref()).await?;
                let told =
                    json!({"connection": id, "version": version, "outcome": tested.outcome, "reason": tested.reason});
                note(tx, org, "connection.tested", now, actor, told).await?;
                Ok(tested)
            })
        })
        .await
    }

    /// Logs in at a mail server and says good-bye.
    async fn try_login(
        &self,
        org: OrgId,
        server: &MailServer,
        credential: Credential,
    ) -> std::result::Result<(), String> {
        let timeouts = Timeouts { first_byte: PATIENCE, total: PATIENCE, ..TIMEOUTS };
        let mailing = Mailing { tenant: org, server, credential, timeouts };
        let in_our_words = |why: &Why| match why {
            Why::Refused { step, .. } => format!("the mail server refuses {step}"),
            why => why.to_string(),
        };
        self.broker.try_mail(mailing).await.map_err(|unmailed| in_our_words(&unmailed.why))
    }

    /// Logs in to a database and asks it for nothing.
    async fn try_query(
        &self,
        org: OrgId,
        server: &PostgresServer,
        credential: Credential,
    ) -> std::result::Result<(), Failure> {
        let mut session = self.broker.log_in(org, server, credential).await?;
        let question = Question { text: "values (1)".to_owned(), parameters: Vec::new(), rows_max: 1, bytes_max: 64 };
        let answer = session.ask(server, &question).await;
        session.leave().await;
        answer.map(drop)
    }

    /// `Err` is why the credential is not known to work, in a sentence for its owner.
    async fn probe(
        &self,
        org: OrgId,
        connector: &Connector,
        test: &TestCall,
        credential: Credential,
    ) -> Result<std::result::Result<(), String>> {
        let target = match target_of(connector, test) {
            Ok(target) => target,
            Err(reason) => return Ok(Err(reason)),
        };
        let body = test.body.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut headers = connector.headers.clone();
        if test.body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let mut call = Outbound::post(org, target, body);
        call.method = http::Method::from_bytes(test.method.as_str().as_bytes()).map_err(Error::internal)?;
        call.headers = headers;
        call.timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: PATIENCE, ..Timeouts::default() };
        call.response_bytes_max = ANSWER_BYTES_MAX as u64;
        call.credential = Some(credential);
        let sent = self.broker.send(call).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let status = answer.status.as_u16();
        // The body decides only where the connector says so: an answer cut short is then not the one that was expected.
        let body = match test.expect {
            Some(_) => answer.collect(ANSWER_BYTES_MAX).await.unwrap_or_default(),
            None => bytes::Bytes::new(),
        };
        Ok(test.judge(status, &body))
    }
}

/// Where the test call goes: within what the connection can reach, like every other call.
fn target_of(connector: &Connector, test: &TestCall) -> Result<Target, String> {
    let base = connector.reach.base().unwrap_or_default();
    let target =
        Target::base_url(&base).and_then(|base| base.join(&test.path)).map_err(|refused| refused.to_string())?;
    let host = target.host().to_string();
    let origin = OriginRef { scheme: target.scheme().as_str(), host: &host, port: target.port() };
    connector.reach.permits(test.method.as_str(), &origin, target.path()).map_err(|refused| refused.to_string())?;
    if let Some(rule) = connector.reach.graphql_at(target.path()) {
        let body = test.body.as_ref().map(ToString::to_string).unwrap_or_default();
        let sent = Sent::Whole { bytes: body.as_bytes(), is_json: true };
        graphql::judge(rule, test.method, &[], &sent).map_err(|refused| refused.to_string())?;
    }
    Ok(target)
}
