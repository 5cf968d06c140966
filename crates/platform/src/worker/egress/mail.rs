//! Messages through the [`Door`]: the same questions, the same events and the same count of what came back as for requests. The
//! intent is committed before the secret is opened, so a message whose outcome nobody wrote down is never sent again.

use livery_broker::mail::{Mailed, Mailing, Message, MessageId, MessageRefused, TIMEOUTS, Unmailed};
use livery_core::connector::MailServer;
use livery_core::{EventType, RunError, Timestamp};
use serde_json::json;

use super::door::{Denied, Door};
use super::told::{Outcome, Told};
use crate::effects::EffectKind;
use crate::worker::ask::{self, Leave};

/// A message that may leave.
pub(in crate::worker) struct Letter {
    /// The message.
    pub(in crate::worker) message: Message,
    leave: Leave,
}

/// Why a message that may leave was not taken.
pub(in crate::worker) enum Unsent {
    /// There is no credential to log in with, in words.
    Unavailable(&'static str),
    /// The server, or the way to it.
    Failed(Unmailed),
    /// The run is over, or somebody else's.
    Gone(RunError),
}

impl Door {
    /// Whether a message may leave. A refusal is in the log when this answers.
    pub(in crate::worker) async fn admit_mail(
        &self,
        told: &Told,
        server: &MailServer,
        made: Result<Message, MessageRefused>,
    ) -> Result<Letter, Denied> {
        let (rule, reason, more) = match made {
            Err(refused) => (refused.rule(), refused.to_string(), json!({})),
            Ok(message) => match Box::pin(self.judge_mail(told, server, &message)).await {
                Ok(leave) => return Ok(Letter { message, leave }),
                Err(ask::Denied::Held) => return Err(Denied::Held),
                Err(ask::Denied::Gone(error)) => return Err(Denied::Gone(error)),
                Err(ask::Denied::No { rule, reason, more }) => (rule, reason, more),
            },
        };
        self.log(vec![told.denied(rule, &reason, more)]).await;
        Err(Denied::No { rule, reason })
    }

    async fn judge_mail(&self, told: &Told, server: &MailServer, message: &Message) -> Result<Leave, ask::Denied> {
        let policies = ask::policies(self).await?;
        let looked = ask::look_at_mail(&policies, self, told, server, message);
        ask::settle(self, told.call_id(), looked).await
    }

    /// Sends a message that was admitted: the very value that was looked at. Its events are in the log when this answers.
    pub(in crate::worker) async fn send_mail(
        &self,
        told: &Told,
        server: &MailServer,
        letter: Letter,
        id: &MessageId,
        at: Timestamp,
    ) -> Result<Mailed, Unsent> {
        let Letter { message, leave } = letter;
        let bytes = message.render(id, at);
        let requested = told.mail_requested(server, &message, (id, bytes.len()), &leave.told);
        if leave.is_noted_first() {
            leave.note(self, vec![requested]).await.map_err(Unsent::Gone)?;
        } else {
            self.log_with(vec![requested], None).await.map_err(Unsent::Gone)?;
        }
        let credential = match self.credential(told.bound.connection).await {
            Ok(credential) => credential,
            Err(why) => {
                self.log(told.entry.ended(None, &Outcome::unavailable())).await;
                return Err(Unsent::Unavailable(why));
            }
        };
        let version = credential.version;
        let mailing = Mailing { tenant: self.row().org, server, credential, timeouts: TIMEOUTS };
        let sending = self.platform().broker.send_mail(mailing, &message, &bytes);
        let sent = self.platform().during(EffectKind::SendEmail, sending).await;
        self.finish(&told.entry, Some(version), Outcome::mailed(&sent)).await.map_err(Unsent::Gone)?;
        sent.map_err(Unsent::Failed)
    }
}

impl Told {
    fn mail_requested(
        &self,
        server: &MailServer,
        message: &Message,
        (id, bytes): (&MessageId, usize),
        leave: &serde_json::Value,
    ) -> super::Event {
        let data = json!({
            "method": "SEND",
            "scheme": server.tls.scheme(),
            "host": server.host,
            "port": server.port,
            "from": message.from().address,
            "recipients": message.recipients(),
            "message_id": id.as_str(),
            "request_bytes": bytes,
            "request_sha256": message.digest(),
        });
        self.event(EventType::EgressRequested, super::told::with(data, leave.clone()))
    }
}

impl Outcome {
    /// What a mail server said to a message.
    fn mailed(sent: &Result<Mailed, Unmailed>) -> Self {
        match sent {
            Ok(mailed) => Self {
                data: json!({"outcome": "answered", "sent": true, "dialled": mailed.dialled.to_string()}),
                findings: mailed.findings.clone(),
            },
            Err(unmailed) => Self {
                data: json!({
                    "outcome": unmailed.why.kind(),
                    "sent": unmailed.perhaps_sent,
                    "dialled": unmailed.dialled.map(|address| address.to_string()),
                }),
                findings: unmailed.findings.clone(),
            },
        }
    }
}
