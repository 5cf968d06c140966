//! What runs reach through connections, outside the process that is killed: an API, a mail server, a database. Each remembers
//! what it was made to do, so that an effect that is lost or done twice shows, whatever the log says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use livery_testkit::fake_smtp::Evil;
use livery_testkit::{FakeApi, FakeSmtp, Postgres};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cell::{Life, with};
use super::scenario::Scenario;
use crate::check;
use crate::node::{LOOK_EVERY, PATIENCE};

/// The slot of every scenario's connection, and the connection's name.
pub const SLOT: &str = "outside";
/// Stands for the cell's name in scripts.
pub const CELL: &str = "THIS-CELL";
/// The credential of all three.
const SECRET: &str = "a-credential-that-nobody-sees-0123456789";
/// How long the API takes to answer what it has done: long enough to die meanwhile.
const API_PAUSE: Duration = Duration::from_millis(50);
/// The database of the statements, and its user.
const DATABASE: &str = "outside";
const USER: &str = "agent";
/// Everything is asked about.
const POLICY: &str = "@ask(\"A person looks at it\") permit (principal, action in Action::\"call\", resource);";

/// What a run reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The API, by `call_api`.
    Api,
    /// The mail server, by `send_email`.
    Mail,
    /// The database, by `query_sql`.
    Database,
}

impl Way {
    /// The connector of its connection.
    pub const fn connector(self) -> &'static str {
        match self {
            Self::Api => "http",
            Self::Mail => "smtp",
            Self::Database => "postgres",
        }
    }

    /// The tool.
    pub const fn tool(self) -> &'static str {
        match self {
            Self::Api => "call_api",
            Self::Mail => "send_email",
            Self::Database => "query_sql",
        }
    }
}

/// All three.
pub struct Outside {
    api: FakeApi,
    mail: FakeSmtp,
    mail_address: SocketAddr,
    /// The mail server's sessions, for as long as this lives.
    _sessions: JoinSet<()>,
    /// None where no Postgres server is installed.
    database: Option<Arc<Mutex<Postgres>>>,
}

/// What a cell made happen.
#[derive(Debug)]
pub struct Done {
    /// How often.
    pub times: usize,
    /// What was wrong with it beside the number.
    pub wrong: Vec<String>,
}

impl Outside {
    /// Listens.
    ///
    /// # Errors
    /// No port is free, or the database cannot be made.
    pub async fn start(database: Option<Arc<Mutex<Postgres>>>) -> anyhow::Result<Self> {
        let api = FakeApi::start(API_PAUSE).await.context("the API")?;
        let mail = FakeSmtp::new(Evil::None, USER, SECRET);
        let (mail_address, sessions) = mail.listen().await.context("the mail server")?;
        if let Some(server) = &database {
            with(server, |server| {
                server.create_database(DATABASE)?;
                server.sql(DATABASE, &format!("create role {USER} login password '{SECRET}'"))?;
                server.sql(DATABASE, "create table marks (cell text not null)")?;
                server.sql(DATABASE, &format!("grant insert on marks to {USER}"))
            })
            .await?;
        }
        Ok(Self { api, mail, mail_address, _sessions: sessions, database })
    }

    /// Whether there is what this way leads to.
    pub const fn has(&self, way: Way) -> bool {
        !matches!(way, Way::Database) || self.database.is_some()
    }

    /// The body that makes a connection to it.
    async fn connection(&self, way: Way) -> anyhow::Result<Value> {
        let login = json!({"username": USER, "password": SECRET});
        let (settings, credential) = match way {
            Way::Api => {
                let slot = json!({"in": "header", "name": "x-key"});
                (json!({"base_url": self.api.url(), "slot": slot}), json!({"value": SECRET}))
            }
            Way::Mail => {
                let (host, port) = (self.mail_address.ip(), self.mail_address.port());
                (json!({"host": host, "port": port, "tls": "none", "from": "ada@example.com"}), login)
            }
            Way::Database => {
                let server = self.database.as_ref().context("no Postgres server is installed")?;
                let port = with(server, |server| Ok(server.port())).await?;
                let settings = json!({"host": "127.0.0.1", "port": port, "database": DATABASE,
                    "sslmode": "disable", "read_only": false});
                (settings, login)
            }
        };
        Ok(json!({"name": SLOT, "connector": way.connector(), "settings": settings, "credential": credential}))
    }

    /// What a cell of this name made happen.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn done(&self, way: Way, name: &str) -> anyhow::Result<Done> {
        match way {
            Way::Api => Ok(self.called(name)),
            Way::Mail => {
                let subject = format!("Subject: {name}\r\n");
                let times = self.mail.mails().iter().filter(|mail| mail.data.contains(&subject)).count();
                Ok(Done { times, wrong: Vec::new() })
            }
            Way::Database => {
                let server = self.database.as_ref().context("no Postgres server is installed")?;
                let count = format!("select count(*) from marks where cell = '{name}'");
                let times = with(server, move |server| server.sql(DATABASE, &count)).await?;
                Ok(Done { times: times.parse().context("a count")?, wrong: Vec::new() })
            }
        }
    }

    /// A request that changes nothing may come again, and any other under its key; as the same request both times.
    fn called(&self, name: &str) -> Done {
        let calls = self.api.calls(&format!("/{name}"));
        let effects = calls.iter().filter(|call| call.is_effect).count();
        let is_read = calls.iter().all(|call| matches!(call.method.as_str(), "GET" | "HEAD"));
        let same = |call: &livery_testkit::fake_api::ApiCall| {
            (call.method.clone(), call.body.clone(), call.header("idempotency-key").map(str::to_owned))
        };
        let mut wrong = Vec::new();
        if calls.iter().any(|call| same(call) != same(&calls[0])) {
            wrong.push(format!("what came again is another request: {calls:?}"));
        }
        Done { times: if is_read { calls.len().min(1) } else { effects }, wrong }
    }
}

/// What is wrong with how often it was done, by what the log says of it.
pub fn once(way: Way, times: usize, events: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let unknown = check::count(events, "tool.outcome_unknown");
    if times > 1 || (unknown == 0 && times != 1) {
        wrong.push(format!("done {times} times outside, with {unknown} outcomes called unknown"));
    }
    let told = events.iter().filter(|event| event["type"] == "tool.outcome_unknown");
    for words in told.map(|event| event["data"]["result"].as_str().unwrap_or_default()) {
        if way == Way::Mail && !words.contains("may have been sent") {
            wrong.push(format!("the model is not told that the message may have been sent: {words}"));
        }
    }
    wrong
}

/// What is wrong with how often a person was asked, and what came of the answer.
pub fn asked_once(approvals: &[Value], events: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let unknown = check::count(events, "tool.outcome_unknown");
    let in_log = ["approval.requested", "approval.decided", "tool.resumed"].map(|kind| check::count(events, kind));
    let asked = approvals.len();
    if in_log != [asked; 3] || asked > 1 || (unknown == 0 && asked != 1) {
        wrong.push(format!("asked {asked} times, with {unknown} outcomes called unknown: {:?}", check::kinds(events)));
    }
    let unused = approvals.iter().filter(|approval| approval["status"] != "used");
    wrong.extend(unused.map(|approval| format!("an approval is left: {approval}")));
    wrong
}

impl Life {
    /// Makes the scenario's connection, and the policy that has it asked about; what the run names.
    pub(super) async fn connect(&mut self, outside: &Outside, scenario: &Scenario) -> anyhow::Result<Value> {
        let Some(way) = scenario.way else { return Ok(json!({})) };
        let connection = outside.connection(way).await?;
        let connection = self.post("/v1/connections", "connection", &connection).await?;
        if scenario.asks {
            self.post("/v1/policies", "policy", &json!({"name": "ask", "text": POLICY})).await?;
        }
        Ok(json!({SLOT: connection["id"]}))
    }

    /// Says yes to what the run asks, unless it ends without asking.
    pub(super) async fn approve(&mut self, run: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let view = self.ask("GET", &format!("/v1/runs/{run}"), &[], b"").await?;
            if !view["finished_at"].is_null() {
                return Ok(());
            }
            let open = self.approvals(run).await?;
            if view["status"] == "waiting"
                && let Some(id) = open.first().and_then(|approval| approval["id"].as_str())
            {
                let path = format!("/v1/approvals/{id}");
                return self.post(&path, "decision", &json!({"decision": "approve"})).await.map(drop);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "nobody is asked: {view}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All approvals of a run.
    pub(super) async fn approvals(&mut self, run: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.ask("GET", &format!("/v1/approvals?run={run}"), &[], b"").await?;
        Ok(page["data"].as_array().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Way, asked_once, once};

    const UNKNOWN: &str = "tool.outcome_unknown";

    fn events(kinds: &[&str]) -> Vec<Value> {
        kinds.iter().map(|kind| json!({"type": kind, "data": {"result": "nobody knows"}})).collect()
    }

    #[test]
    fn a_loss_a_double_and_a_wrong_word_are_found() {
        assert!(once(Way::Api, 1, &events(&[])).is_empty());
        assert!(once(Way::Api, 0, &events(&[UNKNOWN])).is_empty());
        assert_eq!(once(Way::Api, 0, &events(&[])).len(), 1);
        assert_eq!(once(Way::Api, 2, &events(&[UNKNOWN])).len(), 1);
        assert_eq!(once(Way::Mail, 1, &events(&[UNKNOWN])).len(), 1);
    }

    #[test]
    fn a_second_question_and_a_yes_that_is_left_are_found() {
        let log = ["approval.requested", "approval.decided", "tool.resumed"];
        let (used, open) = (json!({"status": "used"}), json!({"status": "pending"}));
        assert!(asked_once(std::slice::from_ref(&used), &events(&log)).is_empty());
        assert!(asked_once(&[], &events(&[UNKNOWN])).is_empty());
        assert_eq!(asked_once(&[], &events(&[])).len(), 1);
        assert_eq!(asked_once(&[open], &events(&log)).len(), 1);
        assert_eq!(asked_once(&[used.clone(), used], &events(&[log, log].concat())).len(), 1);
    }
}
