//! News between nodes: after a commit one `NOTIFY` says "look again", on a connection of its own.
//!
//! Never inside the transaction: the server would commit notifying transactions one after the other. What is rung while a
//! `NOTIFY` is on its way shares the next one. A lost connection loses news, so every reader also polls, and whoever
//! reconnects rings everything.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use livery_core::id::RunId;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CONNECT_TIME_MAX, PostgresOptions, errors};
use crate::doorbell::Doorbells;
use crate::error::{Error, Result};
use crate::tx::Rings;

/// Runs named in one round; with more than that every bell is rung.
const RUNS_PER_ROUND_MAX: usize = 4096;
/// Bytes of one notification; the server refuses 8000.
const PAYLOAD_BYTES_MAX: usize = 7900;
/// Silence after which the connection is tried.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long one statement on this connection may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Waits between attempts to reconnect: the first, and the longest.
const RECONNECT_WAIT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(2);

/// The words of a notification, separated by blanks. Unknown ones are skipped: a newer node may say more.
const WORD_QUEUE: &str = "queue";
const WORD_DELIVERIES: &str = "deliveries";
const WORD_CONNECTIONS: &str = "connections";
const WORD_EVERYTHING: &str = "everything";

type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// The task that speaks and listens.
pub(super) struct Bells {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: TaskTracker,
}

struct Shared {
    pending: Mutex<Pending>,
    news: Notify,
    doorbells: Arc<Doorbells>,
}

/// What the other nodes have not been told yet.
#[derive(Default)]
struct Pending {
    runs: HashSet<RunId>,
    queue: bool,
    deliveries: bool,
    connections: bool,
    everything: bool,
}

impl Pending {
    fn add(&mut self, rings: &Rings) {
        self.queue |= rings.queue;
        self.deliveries |= rings.deliveries;
        self.connections |= rings.connections;
        self.runs.extend(&rings.runs);
        if self.runs.len() > RUNS_PER_ROUND_MAX {
            self.runs.clear();
            self.everything = true;
        }
    }

    fn payloads(self) -> Vec<String> {
        let words = [
            (self.everything, WORD_EVERYTHING),
            (self.queue, WORD_QUEUE),
            (self.deliveries, WORD_DELIVERIES),
            (self.connections, WORD_CONNECTIONS),
        ];
        let words = words.into_iter().filter(|(said, _)| *said).map(|(_, word)| word.to_owned());
        let mut payloads: Vec<String> = Vec::new();
        for word in words.chain(self.runs.iter().map(ToString::to_string)) {
            match payloads.last_mut() {
                Some(payload) if payload.len() + 1 + word.len() <= PAYLOAD_BYTES_MAX => {
                    payload.push(' ');
                    payload.push_str(&word);
                }
                _ => payloads.push(word),
            }
        }
        payloads
    }
}

impl Bells {
    /// Connects and listens; later losses are made good in the background.
    pub(super) async fn hang(options: &PostgresOptions, doorbells: Arc<Doorbells>) -> Result<Self> {
        let shared = Arc::new(Shared { pending: Mutex::default(), news: Notify::new(), doorbells });
        let (stop, task) = (CancellationToken::new(), TaskTracker::new());
        let first = dial(options).await?;
        task.spawn(serve(options.clone(), Arc::clone(&shared), stop.clone(), first));
        task.close();
        Ok(Self { shared, stop, task })
    }

    /// Has the other nodes told, soon.
    pub(super) fn tell(&self, rings: &Rings) {
        if rings.runs.is_empty() && !rings.queue && !rings.deliveries && !rings.connections {
            return;
        }
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).add(rings);
        self.shared.news.notify_one();
    }

    /// Tells what is pending, then stops.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        // Bounded: one round of statements, each with its deadline.
        self.task.wait().await;
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A connection that listens, and the id other nodes see its notifications under.
struct Line {
    client: Client,
    connection: Connection<Socket, Stream>,
}

async fn dial(options: &PostgresOptions) -> Result<Line> {
    match timeout(CONNECT_TIME_MAX, options.config().connect(options.tls()?)).await {
        Ok(connected) => errors::of_connect(connected).map(|(client, connection)| Line { client, connection }),
        Err(_) => Err(Error::Unavailable { reason: "the database did not answer in time".into() }),
    }
}

async fn serve(options: PostgresOptions, shared: Arc<Shared>, stop: CancellationToken, first: Line) {
    let mut line = Some(first);
    let mut wait = RECONNECT_WAIT_FIRST;
    loop {
        let connected = match line.take() {
            Some(line) => Ok(line),
            None => dial(&options).await,
        };
        match connected {
            Ok(line) => {
                wait = RECONNECT_WAIT_FIRST;
                attend(line, &shared, &stop).await;
            }
            Err(error) => tracing::warn!(%error, "no connection for news from other nodes; readers poll meanwhile"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => wait = (wait * 2).min(RECONNECT_WAIT_MAX),
        }
    }
}

/// Speaks and listens until the connection is lost or the store closes.
async fn attend(line: Line, shared: &Shared, stop: &CancellationToken) {
    let Line { client, mut connection } = line;
    let own = Mutex::new(None);
    let listen = poll_fn(|context| {
        loop {
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(news)))) => {
                    let own = *own.lock().unwrap_or_else(PoisonError::into_inner);
                    if own != Some(news.process_id()) {
                        shared.hear(news.payload());
                    }
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let speak = async {
        let id = in_time(async {
            // Nobody waits for a notification to be on the disk.
            client.batch_execute("listen livery; set synchronous_commit = off").await?;
            client.query_one("select pg_backend_pid()", &[]).await?.try_get::<_, i32>(0)
        })
        .await?;
        *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        // What was said while nobody listened here is looked up again.
        shared.doorbells.ring_everything();
        loop {
            tokio::select! {
                () = stop.cancelled() => return shared.speak(&client).await,
                () = shared.news.notified() => shared.speak(&client).await?,
                () = sleep(PING_INTERVAL) => in_time(client.batch_execute("")).await?,
            }
        }
    };
    let (listen, speak) = (pin!(listen), pin!(speak));
    tokio::select! {
        ended = listen => tracing::warn!(error = ?ended.err(), "the connection for news from other nodes was lost"),
        ended = speak => {
            if let Err(error) = ended {
                tracing::warn!(%error, "the connection for news from other nodes failed");
            }
        }
    }
}

impl Shared {
    fn hear(&self, payload: &str) {
        let mut rings = Rings::default();
        for word in payload.split(' ') {
            match word {
                WORD_EVERYTHING => self.doorbells.ring_everything(),
                WORD_QUEUE => rings.queue = true,
                WORD_DELIVERIES => rings.deliveries = true,
                WORD_CONNECTIONS => rings.connections = true,
                run => rings.runs.extend(run.parse::<RunId>().ok()),
            }
        }
        self.doorbells.ring(&rings);
    }

    async fn speak(&self, client: &Client) -> Result<()> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        for payload in pending.payloads() {
            in_time(client.execute("select pg_notify('livery', $1)", &[&payload])).await?;
        }
        Ok(())
    }
}

async fn in_time<T>(asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>) -> Result<T> {
    match timeout(ANSWER_TIME_MAX, asked).await {
        Ok(answer) => answer.map_err(|error| errors::translate(&error)),
        Err(_) => Err(Error::Unavailable { reason: "the database did not answer in time".into() }),
    }
}
