//! A WebSocket of a program: its messages pass as long as what it was opened with is good; its account is in the log at its end.

use http_body_util::{BodyExt, Empty};
use livery_broker::Error;
use livery_broker::proxy::{Answered, Spoken};
use livery_broker::transport::{Inbound, Socket};
use livery_broker::ws::{End, Ended, Side, Stream};
use serde_json::json;
use tokio::sync::oneshot;

use super::answer::Under;
use super::told::{Outcome, millis};

/// Hands the head of a `101` on; what is said follows.
///
/// A task of its own writes the account, so that it is written whoever hangs up. A WebSocket that gets no program's side, or
/// whose program is cut off, is over.
pub(super) fn relay(under: Under, inbound: Inbound, socket: Socket) -> Answered {
    let (status, headers) = (inbound.status, inbound.headers.clone());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let (hand, program) = oneshot::channel();
    let (held, cut) = oneshot::channel::<()>();
    let (over, done) = oneshot::channel::<()>();
    under.door.platform().clone().tasks.spawn(Box::pin(async move {
        let ended = match program.await {
            Ok(program) => Some(serve(&under, socket, program, cut).await),
            Err(_) => None,
        };
        finish(&under, ended.as_ref().map(|ended| ended.end), outcome(&inbound, ended)).await;
        drop((over, under.place));
    }));
    let spoken = Spoken::new(move |program| async move {
        let _held = held;
        let _ = hand.send(program);
        let _ = done.await;
    });
    Answered { status, headers, body, socket: Some(spoken) }
}

async fn serve(under: &Under, socket: Socket, program: Stream, cut: oneshot::Receiver<()>) -> Ended {
    let allows = |bytes| under.door.takes_in(bytes);
    let cut = async {
        tokio::select! {
            () = under.is_over() => {}
            _ = cut => {}
        }
    };
    socket.serve(program, allows, cut).await
}

async fn finish(under: &Under, end: Option<End>, outcome: Outcome) {
    let rule = match end {
        Some(End::Placeholder) => Some("placeholder_in_body"),
        Some(End::Violation(Side::Program, _)) => Some("websocket_violation"),
        _ => None,
    };
    if let Some(rule) = rule {
        under.door.found(rule, &under.host).await;
    }
    if let Err(error) = under.door.finish(&under.entry, under.version(), outcome).await {
        under.door.end_run(error).await;
    }
}

fn outcome(inbound: &Inbound, ended: Option<Ended>) -> Outcome {
    let mut findings = inbound.findings.clone();
    let mut data = json!({
        "outcome": word(ended.as_ref().map(|ended| ended.end)),
        "sent": true,
        "status": inbound.status.as_u16(),
        "dialled": inbound.dialled.to_string(),
        "first_byte_ms": millis(inbound.took.first_byte),
    });
    if let Some(ended) = ended {
        findings.extend(ended.finding);
        data["close_code"] = ended.code.into();
        for (of, sum) in [("request", ended.sent), ("response", ended.received)] {
            data[format!("{of}_messages")] = sum.messages.into();
            data[format!("{of}_bytes")] = sum.bytes.into();
            data[format!("{of}_sha256")] = sum.sha256.into();
        }
    }
    Outcome { data, findings }
}

const fn word(end: Option<End>) -> &'static str {
    match end {
        Some(End::Closed(_)) => "answered",
        None | Some(End::Gone(Side::Program)) => "client_gone",
        Some(End::Gone(Side::Upstream)) => Error::Cut.kind(),
        Some(End::Violation(Side::Program, _)) => "websocket_violation",
        Some(End::Violation(Side::Upstream, _)) => "bad_gateway",
        Some(End::Placeholder) => "placeholder_misplaced",
        Some(End::Idle) => "timeout",
        Some(End::Cut(error)) => error.kind(),
    }
}
