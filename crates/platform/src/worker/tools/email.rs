//! `send_email`: one message through a connection of the run, asked for by the model. What leaves passes the run's
//! [`Door`](crate::worker::egress::Door); here the call is put into its words, and what came of it into the model's.

use livery_broker::mail::{ATTACHMENTS_BYTES_MAX, Attachment, Message, MessageId, Unmailed, Wanted};
use livery_harness::ToolOutcome;
use livery_harness::tools::SendEmail;
use serde_json::json;

use super::files;
use super::{Trouble, api};
use crate::worker::egress::{FrontEnd, Told, Unsent};
use crate::worker::hands::Hands;

/// Performs a call that fits the tool's schema.
pub(super) async fn send(hands: &Hands, call_id: &str, call: SendEmail) -> Result<ToolOutcome, Trouble> {
    let (door, slot) = (&hands.door, call.connection.clone());
    let bound = door.bound(&slot).await.map_err(api::unavailable)?;
    let server = bound.as_ref().and_then(|bound| bound.connector.mail.clone());
    let (Some(bound), Some(server)) = (bound, server) else {
        return Err(Trouble::Answer(format!("policy_denied: the run has no mail connection `{slot}`.")));
    };
    let attachments = attached(hands, &call.attachments).await?;
    let told = Told::new(FrontEnd::SendEmail { call_id: call_id.to_owned() }, slot, bound);
    let made = Message::new(&server, wanted(call, attachments));
    let letter = door.admit_mail(&told, &server, made).await.map_err(api::denied)?;
    let id = MessageId::of(&hands.row.id.to_string(), call_id, &server.from.address);
    let recipients = letter.message.recipients();
    let at = hands.platform.clock.now();
    match door.send_mail(&told, &server, letter, &id, at).await {
        Ok(mailed) => {
            let text = json!({"message_id": id.as_str(), "recipients": recipients, "server": mailed.said});
            Ok(ToolOutcome::text(text.to_string()))
        }
        Err(Unsent::Unavailable(why)) => Err(api::unavailable(why)),
        Err(Unsent::Failed(unmailed)) => Err(Trouble::Answer(words(&unmailed, &id))),
        Err(Unsent::Gone(error)) => Err(Trouble::Fatal(error)),
    }
}

fn wanted(call: SendEmail, attachments: Vec<Attachment>) -> Wanted {
    Wanted {
        to: call.to,
        cc: call.cc,
        bcc: call.bcc,
        subject: call.subject,
        text: call.text,
        html: call.html,
        in_reply_to: call.in_reply_to,
        attachments,
    }
}

/// Files of the workspace, read now: what is approved and sent is what they hold at this moment.
async fn attached(hands: &Hands, paths: &[String]) -> Result<Vec<Attachment>, Trouble> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    if hands.platform.sandboxes.is_none() {
        return Err(Trouble::Answer(
            "there is no workspace, so there is nothing to attach. Nothing was sent.".to_owned(),
        ));
    }
    let sandbox = hands.sandbox().await.map_err(Trouble::Fatal)?;
    let (mut attachments, mut left) = (Vec::new(), ATTACHMENTS_BYTES_MAX);
    for path in paths {
        let bytes = files::get(&sandbox, path).await?;
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            Trouble::Answer(format!(
                "the attachments have more than {ATTACHMENTS_BYTES_MAX} bytes together. Nothing was sent."
            ))
        })?;
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        attachments.push(Attachment { name, bytes });
    }
    Ok(attachments)
}

/// What the model reads: nothing of the credential is in it.
fn words(unmailed: &Unmailed, id: &MessageId) -> String {
    let why = &unmailed.why;
    if unmailed.perhaps_sent {
        let id = id.as_str();
        return format!(
            "{}: {why}. The whole message {id} was handed over and the mail server's answer is missing: it may have been sent. Sending \
             it once more may bring it twice.",
            why.kind()
        );
    }
    format!("{}: {why}. Nothing was sent.", why.kind())
}

#[cfg(test)]
mod tests;
