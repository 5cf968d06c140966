//! An answer on its way to a program: each piece as it comes, scrubbed; its end in the log.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use livery_broker::Error;
use livery_broker::proxy::{Account, Answered, Refusal};
use livery_broker::transport::Inbound;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Door;
use super::door::Begun;
use super::told::{Outcome, Told, millis};
use super::watch::Watched;

/// Pieces on their way between the upstream and a program.
const PIECES_MAX: usize = 2;

/// What ends when the answer does.
pub(super) struct Under {
    pub(super) door: Arc<Door>,
    pub(super) told: Arc<Told>,
    /// Of a body that was sent while it came.
    pub(super) account: Option<Account>,
    pub(super) watched: Watched,
    /// Its place among the requests under way.
    pub(super) place: OwnedSemaphorePermit,
    /// Named where the program breaks a rule.
    pub(super) host: String,
}

/// How an answer came to its end.
enum End {
    /// Whole.
    Whole,
    /// The upstream's part broke off, or was too much.
    Broken(Error),
    /// The program hung up.
    Left,
}

/// Hands the head on; the body follows.
pub(super) fn relay(under: Under, begun: Begun) -> Answered {
    let (sender, receiver) = mpsc::channel::<Said>(PIECES_MAX);
    let (status, headers) = (begun.inbound.status, begun.inbound.headers.clone());
    let platform = under.door.platform().clone();
    platform.tasks.spawn(async move { Box::pin(follow(under, begun, sender)).await });
    Answered { status, headers, body: body_of(receiver), socket: None }
}

/// A part of an answer on its way.
enum Said {
    Piece(Bytes),
    Broken(Error),
    /// All of it, with what stands behind it.
    End(Option<HeaderMap>),
}

/// What is left unsaid by a task that is gone is no end: a body without its last word is broken off.
fn body_of(receiver: mpsc::Receiver<Said>) -> UnsyncBoxBody<Bytes, Error> {
    let pieces = stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Said::Piece(piece)) => Some((Ok(Frame::data(piece)), Some(receiver))),
            Some(Said::Broken(error)) => Some((Err(error), None)),
            Some(Said::End(trailers)) => trailers.map(|trailers| (Ok(Frame::trailers(trailers)), None)),
            None => Some((Err(Error::Cut), None)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

async fn follow(under: Under, begun: Begun, sender: mpsc::Sender<Said>) {
    let Begun { mut inbound, version } = begun;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let end = {
        let mut cut = pin!(async {
            tokio::select! {
                () = under.watched.is_old() => {}
                () = under.door.closed() => {}
            }
        });
        loop {
            let piece = tokio::select! {
                biased;
                () = &mut cut => break End::Broken(Error::Revoked),
                () = sender.closed() => break End::Left,
                piece = inbound.body.next() => piece,
            };
            let piece = match piece {
                None => break End::Whole,
                Some(Err(error)) => break End::Broken(error),
                Some(Ok(piece)) if !under.door.takes_in(piece.len()) => {
                    drop(piece);
                    break End::Broken(Error::TooLarge { what: "all that the run received" });
                }
                Some(Ok(piece)) => piece,
            };
            hash.update(&piece);
            bytes += piece.len() as u64;
            tokio::select! {
                biased;
                () = &mut cut => break End::Broken(Error::Revoked),
                sent = sender.send(Said::Piece(piece)) => if sent.is_err() { break End::Left },
            }
        }
    };
    let trailers = inbound.body.take_end();
    // What would still be sent behind the account is not sent.
    inbound.body.hang_up();
    let outcome = outcome(&inbound, &end, (bytes, hash), under.account.as_ref());
    drop(inbound);
    // Found before there was an answer, it is told where it is refused.
    let stopped = under.account.as_ref().and_then(Account::stopped);
    if let Some(Refusal::Placeholder(_)) = stopped {
        under.door.found("placeholder_in_body", &under.host).await;
    }
    let finished = under.door.finish(&under.told, version, outcome).await;
    if let Err(error) = finished {
        under.door.end_run(error).await;
        return;
    }
    let last = match end {
        End::Whole => Said::End(trailers),
        End::Broken(error) => Said::Broken(error),
        End::Left => return,
    };
    // A program that hung up meanwhile misses nothing.
    let _ = sender.send(last).await;
    drop(under.place);
}

fn outcome(inbound: &Inbound, end: &End, (bytes, hash): (u64, Sha256), account: Option<&Account>) -> Outcome {
    let word = match end {
        End::Whole => "answered",
        End::Broken(error) => error.kind(),
        End::Left => "client_gone",
    };
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut data = json!({
        "outcome": word,
        "sent": true,
        "status": inbound.status.as_u16(),
        "response_bytes": bytes,
        "response_sha256": digest,
        "dialled": inbound.dialled.to_string(),
        "first_byte_ms": millis(inbound.took.first_byte),
    });
    if let Some(account) = account {
        let (bytes, digest) = account.sum();
        data["request_bytes"] = bytes.into();
        data["request_body_sha256"] = Value::String(digest);
    }
    let mut findings = inbound.findings.clone();
    findings.extend(inbound.body.findings());
    Outcome { data, findings }
}
