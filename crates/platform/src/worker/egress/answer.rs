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

use super::told::{Entry, Outcome, millis};
use super::watch::Watched;
use super::{Door, socket};

/// Pieces on their way between the upstream and a program.
const PIECES_MAX: usize = 2;

/// What ends when the answer does.
pub(super) struct Under {
    pub(super) door: Arc<Door>,
    pub(super) entry: Arc<Entry>,
    /// Of a body that was sent while it came.
    pub(super) account: Option<Account>,
    /// None to a host that the agent names.
    pub(super) credential: Option<Lent>,
    /// Its place among the requests under way.
    pub(super) place: OwnedSemaphorePermit,
    /// Named where the program breaks a rule.
    pub(super) host: String,
}

/// The credential a request was sent with.
pub(super) struct Lent {
    pub(super) watched: Watched,
    pub(super) version: u32,
}

impl Under {
    /// Of the credential.
    pub(super) fn version(&self) -> Option<u32> {
        self.credential.as_ref().map(|lent| lent.version)
    }

    /// Resolves when it is to be cut: the credential is not the one any more, or the run is over.
    pub(super) async fn is_over(&self) {
        let revoked = async {
            match &self.credential {
                Some(lent) => lent.watched.is_old().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revoked => {}
            () = self.door.closed() => {}
        }
    }
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

/// Hands the head on; what comes behind it follows.
pub(super) fn relay(under: Under, mut inbound: Inbound) -> Answered {
    if let Some(socket) = inbound.socket.take() {
        return socket::relay(under, inbound, socket);
    }
    let (sender, receiver) = mpsc::channel::<Said>(PIECES_MAX);
    let (status, headers) = (inbound.status, inbound.headers.clone());
    let platform = under.door.platform().clone();
    platform.tasks.spawn(async move { Box::pin(follow(under, inbound, sender)).await });
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

async fn follow(under: Under, mut inbound: Inbound, sender: mpsc::Sender<Said>) {
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let end = {
        let mut cut = pin!(under.is_over());
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
    let finished = under.door.finish(&under.entry, under.version(), outcome).await;
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
