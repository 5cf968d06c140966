//! Programs of a run that speak PostgreSQL: they find the proxy's own address, and their first byte says that they are no HTTP.
//!
//! A program logs in as the slot, with the slot's stand-in for a password. It gets a session of the connection, whose every
//! statement passes the run's door; and a key of ours with which it can cancel, good for as long as the session lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_broker::postgres::{
    BackendKey, End, Frames, Gate, Hello, Refusal, Relay, Session, Start, Statement, greet, password, refuse,
};
use livery_broker::sql::{Refused, Rules};
use livery_broker::transport::{Finding, Place};
use livery_core::connector::PostgresServer;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::door::{Denied, Door};
use super::gate::{Route, RunGate};
use super::statement::Wanted;
use super::told::{FrontEnd, Outcome, Told};
use crate::connections::Bound;

/// How long a program's statements may be kept waiting because they come too fast.
const PACE: std::time::Duration = std::time::Duration::from_millis(50);

/// What cancels the statements of a run's sessions, by the keys their programs were told.
#[derive(Default)]
pub(super) struct Cancels(Mutex<HashMap<(i32, i32), (PostgresServer, BackendKey)>>);

/// A key that is good until it is dropped.
struct Lent<'c> {
    cancels: &'c Cancels,
    key: (i32, i32),
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Cancels {
    /// A key that nobody can guess, for one of the server's.
    fn lend(&self, server: &PostgresServer, own: Option<BackendKey>) -> Option<(Lent<'_>, BackendKey)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).ok()?;
        let [a, b, c, d, e, f, g, h] = random;
        // A process has a number above nothing.
        let key = (i32::from_be_bytes([a & 0x7f, b, c, d]).max(1), i32::from_be_bytes([e, f, g, h]));
        if let Some(own) = own {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(key, (server.clone(), own));
        }
        Some((Lent { cancels: self, key }, BackendKey::new(key.0, key.1)))
    }

    fn of(&self, key: (i32, i32)) -> Option<(PostgresServer, BackendKey)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}

/// Serves one connection of a program to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(gate: &RunGate, mut stream: S) {
    match greet(&mut stream).await {
        Ok(Some(Hello::Start(start))) => Box::pin(session(gate, stream, start)).await,
        // A key that is not known is not answered, and neither is one that is.
        Ok(Some(Hello::Cancel { process, secret })) => {
            // Each of them is a connection to the server: they come no faster than requests do.
            let is_in_pace = gate.door().is_ok_and(|door| door.is_in_pace());
            if let Some((server, key)) = gate.cancels.of((process, secret)).filter(|_| is_in_pace) {
                let _ = gate.platform.broker.cancel_statement(&server, key).await;
            }
        }
        Ok(None) => {}
        Err(refusal) => refuse(&mut stream, &refusal).await,
    }
}

async fn session<S: AsyncRead + AsyncWrite + Send + Unpin>(gate: &RunGate, mut stream: S, start: Start) {
    let mut frames = Frames::of_client();
    let Some(shown) = password(&mut stream, &mut frames).await else { return };
    let opened = match known(gate, &start, &shown) {
        Some(route) => open(gate, route, &start).await,
        None => {
            gate.tried(&start.user).await;
            Err(Refusal::login(&start.user))
        }
    };
    let (open, session) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return refuse(&mut stream, &refusal).await,
    };
    let Some((_lent, key)) = gate.cancels.lend(&open.server, session.key()) else { return };
    let rules = Rules { read_only: open.server.read_only };
    let relay = Relay::new(stream, frames, session, &open, (rules, open.server.row_limit));
    let watched = gate.watch.of(open.bound.connection, open.bound.version);
    let cut = async {
        tokio::select! {
            () = watched.is_old() => Refusal::new("57P01", "the connection was revoked or its credential replaced"),
            () = open.door.closed() => Refusal::new("57P01", "the run is over"),
        }
    };
    let running = Box::pin(relay.run(key, &start.settings, cut)).await;
    if let Some(key) = running {
        // Nobody waits for what it does any more.
        let _ = gate.platform.broker.cancel_statement(&open.server, key).await;
    }
}

/// The slot of this name with this stand-in, of this run. Each is compared, in a time that says nothing.
fn known<'g>(gate: &'g RunGate, start: &Start, shown: &[u8]) -> Option<&'g Route> {
    let fits = |route: &Route| {
        let same = route.placeholder.is(shown);
        same && route.slot == start.user && route.connector.postgres.is_some()
    };
    gate.routes.iter().fold(None, |found, route| if fits(route) { Some(route) } else { found })
}

/// The session of a connection as it is now.
async fn open<'g>(gate: &'g RunGate, route: &'g Route, start: &Start) -> Result<(Open, Session), Refusal> {
    let unavailable = |why: &str| Refusal::new("57P03", format!("there is no way to the database: {why}"));
    let over = || unavailable("the run is over");
    let door = gate.door().map_err(|_| over())?;
    let place =
        door.enter().map_err(|_| Refusal::new("53300", "too many sessions and requests of this run at once"))?;
    let bound = door.bound(&route.slot).await.map_err(unavailable)?;
    let bound = bound.ok_or_else(|| unavailable("the connection does not exist any more"))?;
    let server = bound.connector.postgres.clone().ok_or_else(|| unavailable("the connection is no database's"))?;
    if start.database != server.database && start.database != start.user {
        let words = format!("this connection goes to the database \"{}\" only", server.database);
        return Err(Refusal::new("3D000", words));
    }
    let credential = door.credential(bound.connection).await.map_err(unavailable)?;
    let session = gate.platform.broker.log_in(door.row().org, &server, credential).await;
    let session = session.map_err(|failure| unavailable(&failure.to_string()))?;
    let (slot, peer) = (route.slot.clone(), session.peer().to_string());
    let version = session.version();
    Ok((Open { door, slot, bound, server, peer, version, _place: place }, session))
}

/// An open session: who is asked about its statements.
struct Open {
    door: Arc<Door>,
    slot: String,
    bound: Bound,
    server: PostgresServer,
    peer: String,
    version: u32,
    /// Its place among the run's requests under way.
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Open {
    fn told(&self) -> Told {
        Told::new(FrontEnd::Postgres, self.slot.clone(), self.bound.clone())
    }

    /// The connection as it is now may have other rules than the session began with: then it is cut, by its watch.
    fn wanted(&self, statement: &Statement) -> Wanted {
        Wanted {
            server: self.server.clone(),
            text: String::new(),
            parameters: Vec::new(),
            judged: statement.judged.clone(),
            passing: Some((statement.sha256.clone(), statement.bytes)),
        }
    }

    async fn admitted(&self, told: &Told, wanted: &Wanted) -> Result<crate::worker::ask::Leave, String> {
        match self.door.admit_statement(told, Ok(wanted)).await {
            Ok(leave) => Ok(leave),
            Err(Denied::No { reason, .. }) => Err(reason),
            Err(Denied::Held) => Err("a person has to approve it".to_owned()),
            Err(Denied::Gone(error)) => {
                self.door.end_run(error).await;
                Err("the run is over".to_owned())
            }
        }
    }
}

impl Gate for Open {
    type Ticket = Told;

    async fn may(&self, statement: &Statement) -> Result<(), String> {
        self.admitted(&self.told(), &self.wanted(statement)).await.map(drop)
    }

    async fn begin(&self, statement: &Statement) -> Result<Told, String> {
        while !self.door.is_in_pace() {
            tokio::time::sleep(PACE).await;
        }
        let (told, wanted) = (self.told(), self.wanted(statement));
        let leave = self.admitted(&told, &wanted).await?;
        match self.door.intend_statement(&told, &wanted, &leave).await {
            Ok(()) => Ok(told),
            Err(error) => {
                self.door.end_run(error).await;
                Err("the run is over".to_owned())
            }
        }
    }

    async fn stopped(&self, refused: &Refused) {
        // It says why in the log; the program is told by the relay.
        let _ = self.door.admit_statement(&self.told(), Err(refused)).await;
    }

    async fn end(&self, ticket: Told, end: End) -> bool {
        let (count, variants) = end.redactions;
        let data = json!({
            "outcome": end.outcome,
            "sent": true,
            "sql_code": end.code,
            "command": end.command,
            "rows": end.rows,
            "response_bytes": end.bytes,
            "dialled": self.peer,
        });
        let findings = if count > 0 { vec![Finding { place: Place::Body, variants }] } else { Vec::new() };
        match self.door.finish(&ticket.entry, Some(self.version), Outcome { data, findings }).await {
            Ok(()) => true,
            Err(error) => {
                self.door.end_run(error).await;
                false
            }
        }
    }

    fn takes_in(&self, bytes: usize) -> bool {
        self.door.takes_in(bytes)
    }
}
