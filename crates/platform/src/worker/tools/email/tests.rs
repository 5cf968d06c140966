//! `send_email` from the model's turn to the log and to a mail server that keeps what it is given.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_core::id::{ConnectionId, RunId};
use livery_core::{EventType, RunStatus, Timestamp};
use livery_store::RunRow;
use livery_testkit::FakeSmtp;
use livery_testkit::fake_smtp::Evil;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Posted;
use crate::approvals::{ApprovalFilter, DecideApproval};
use crate::connections::NewConnection;
use crate::policies::NewPolicy;
use crate::runs::StartRun;
use crate::testing::Node;
use crate::worker::{claim, drive};
use crate::{PageRequest, Principal};

const PASSWORD: &str = "correct-horse-battery-staple";

struct Site {
    node: Node,
    server: FakeSmtp,
    connection: ConnectionId,
    _tasks: JoinSet<()>,
}

fn mail(to: &[&str], more: Value) -> Value {
    let mut arguments = json!({"connection": "post", "to": to, "subject": "The bill", "text": "Here it is."});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "send_email", "arguments": arguments})
}

impl Site {
    async fn new(evil: Evil, more: Value) -> Self {
        let server = FakeSmtp::new(evil, "ada", PASSWORD);
        let (address, tasks) = server.listen().await.unwrap();
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let node = Node::with(now, |parts| parts.broker.allow_upstream = vec!["127.0.0.1/32".parse().unwrap()]).await;
        let mut settings =
            json!({"host": "127.0.0.1", "port": address.port(), "tls": "none", "from": "Ada <ada@example.com>"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let credential = json!({"username": "ada", "password": PASSWORD});
        let body = json!({"name": "office", "connector": "smtp", "settings": settings, "credential": credential});
        let new: NewConnection = serde_json::from_value(body).unwrap();
        let connection = fresh(node.platform.create_connection(&node.caller, new).await.unwrap()).id;
        Self { node, server, connection, _tasks: tasks }
    }

    /// Plays the calls, one turn each, and then ends.
    async fn play(&self, calls: &[Value]) -> RunRow {
        let mut turns: Vec<Value> = calls.iter().map(|call| json!({"tools": [call]})).collect();
        turns.push(json!({"text": "Done."}));
        let script = STANDARD.encode(json!({"turns": turns}).to_string());
        let agent_md = "---\nname: clerk\nmodel: scripted/a\ntools: [send_email]\nconnections:\n  post: {connector: smtp}\n---\nHi.\n";
        let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": script}});
        let request: StartRun =
            serde_json::from_value(json!({"agent": agent, "connections": {"post": self.connection}})).unwrap();
        let run = fresh(self.node.platform.start_run(&self.node.caller, request).await.unwrap()).id;
        self.go_on(run).await
    }

    async fn go_on(&self, run: RunId) -> RunRow {
        let claimed = claim(&self.node.platform, 1).await.unwrap().pop().expect("a run is due");
        let driven = Box::pin(drive::drive(self.node.platform.clone(), claimed));
        tokio::time::timeout(std::time::Duration::from_secs(60), driven).await.expect("the run comes to an end");
        self.node.platform.store.get_run(self.principal().org, run).await.unwrap().unwrap()
    }

    fn principal(&self) -> &Principal {
        &self.node.caller.principal
    }

    async fn of_type(&self, run: RunId, event_type: EventType) -> Vec<Value> {
        let events = self.node.platform.store.events_after(self.principal().org, run, 0, 1000).await.unwrap();
        let events = events.iter().filter(|event| event.event_type == event_type);
        events.map(|event| serde_json::to_value(event).unwrap()["data"].clone()).collect()
    }

    async fn told(&self, row: &RunRow) -> Vec<String> {
        let finished = self.of_type(row.id, EventType::ToolFinished).await;
        finished.iter().map(|data| data["result"].as_str().unwrap().to_owned()).collect()
    }

    async fn policy(&self, text: &str) {
        let new = NewPolicy { name: "p".into(), text: text.into(), application: None };
        self.node.platform.create_policy(&self.node.caller, new).await.unwrap();
    }

    /// All of the log.
    async fn log(&self, run: RunId) -> String {
        let events = self.node.platform.store.events_after(self.principal().org, run, 0, 1000).await.unwrap();
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
    }
}

fn fresh<T>(posted: Posted<T>) -> T {
    match posted {
        Posted::Fresh(value) => value,
        Posted::Replayed(_) => unreachable!("no key was sent"),
    }
}

#[tokio::test]
async fn a_message_is_sent_once_with_its_intent_in_the_log_and_no_password_anywhere() {
    let site = Site::new(Evil::None, json!({})).await;
    let row = site.play(&[mail(&["bob@example.com"], json!({"bcc": ["eve@example.com"], "html": "<b>x</b>"}))]).await;
    assert_eq!(row.status, RunStatus::Succeeded, "{:?}", row.error);
    let mails = site.server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].from.as_str(), mails[0].recipients.len()), ("ada@example.com", 2));
    let requested = &site.of_type(row.id, EventType::EgressRequested).await[0];
    assert_eq!((&requested["method"], &requested["front_end"]), (&json!("SEND"), &json!("send_email")));
    assert_eq!(requested["recipients"], json!(["bob@example.com", "eve@example.com"]));
    let id = requested["message_id"].as_str().unwrap();
    assert!(mails[0].data.contains(&format!("Message-ID: {id}\r\n")), "{}", mails[0].data);
    let finished = &site.of_type(row.id, EventType::EgressFinished).await[0];
    assert_eq!((&finished["outcome"], &finished["sent"]), (&json!("answered"), &json!(true)));
    let told: Value = serde_json::from_str(&site.told(&row).await[0]).unwrap();
    assert_eq!((&told["message_id"], &told["server"]), (&json!(id), &json!("250 queued as 1")));
    assert!(!site.log(row.id).await.contains(PASSWORD));
}

#[tokio::test]
async fn what_is_refused_is_said_to_the_model_and_reaches_no_server() {
    let site = Site::new(Evil::None, json!({"recipients": ["example.com"], "recipients_max": 2})).await;
    for (call, rule) in [
        (mail(&["bob@evil.example"], json!({})), "recipients"),
        (mail(&["a@example.com", "b@example.com"], json!({"cc": ["c@example.com"]})), "recipients_max"),
        (mail(&["bob@example.com\r\nDATA"], json!({})), "address"),
        (mail(&["bob@example.com"], json!({"subject": "x\r\nBcc: eve@evil.example"})), "message"),
        (mail(&["bob@example.com"], json!({"in_reply_to": "<a@b>\r\nBcc: x"})), "message"),
    ] {
        let row = site.play(&[call]).await;
        let told = site.told(&row).await;
        assert!(told[0].starts_with("policy_denied: ") && told[0].ends_with(" Nothing was sent."), "{told:?}");
        assert_eq!(site.of_type(row.id, EventType::EgressDenied).await[0]["rule"], rule, "{told:?}");
        assert!(site.of_type(row.id, EventType::EgressRequested).await.is_empty());
    }
    let other = site.play(&[mail(&["bob@example.com"], json!({"from": "boss@example.com"}))]).await;
    assert!(site.told(&other).await[0].contains("do not fit the schema"), "nobody chooses the sender");
    assert!(site.server.commands().is_empty());
}

#[tokio::test]
async fn policies_judge_all_recipients_of_a_message() {
    let site = Site::new(Evil::None, json!({})).await;
    site.policy(
        "permit (principal, action == Action::\"send_email\", resource);
         @reason(\"Only our own\") forbid (principal, action == Action::\"send_email\", resource)
         unless { [\"example.com\"].containsAll(resource.recipient_domains) };",
    )
    .await;
    let row = site
        .play(&[mail(&["bob@example.com"], json!({"cc": ["eve@evil.example"]})), mail(&["bob@example.com"], json!({}))])
        .await;
    let told = site.told(&row).await;
    assert_eq!(told[0], "policy_denied: Only our own. Nothing was sent.");
    assert_eq!(site.server.mails().len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_person_says_yes_to_one_message_and_it_is_sent_once() {
    let site = Site::new(Evil::None, json!({})).await;
    site.policy("@ask(\"It leaves the house\") permit (principal, action == Action::\"send_email\", resource);").await;
    let row = site.play(&[mail(&["bob@example.com"], json!({"bcc": ["eve@example.com"]}))]).await;
    assert_eq!((row.status, site.server.commands().len()), (RunStatus::Waiting, 0));
    let filter = ApprovalFilter { status: None, run: Some(row.id) };
    let page = site.node.platform.list_approvals(site.principal(), filter, PageRequest::default()).await.unwrap();
    let approval = &page.data[0];
    for shown in [
        "message from: Ada <ada@example.com>",
        "header to: bob@example.com",
        "header bcc: eve@example.com",
        "Here it is.",
        "The bill",
    ] {
        assert!(approval.card.contains(shown), "{shown}: {}", approval.card);
    }
    assert!(approval.for_run.contains("exactly bob@example.com, eve@example.com"), "{}", approval.for_run);
    let yes: DecideApproval = serde_json::from_value(json!({"decision": "approve"})).unwrap();
    site.node.platform.decide_approval(&site.node.caller, approval.id, yes, None).await.unwrap();
    let row = site.go_on(row.id).await;
    assert_eq!((row.status, site.server.mails().len()), (RunStatus::Succeeded, 1), "{:?}", row.error);
    let requested = &site.of_type(row.id, EventType::EgressRequested).await[0];
    assert_eq!(requested["approval"], json!(approval.id));
}

#[tokio::test]
async fn a_server_that_gives_the_login_back_is_heard_without_it() {
    let site = Site::new(Evil::EchoAccepting, json!({})).await;
    let row = site.play(&[mail(&["bob@example.com"], json!({}))]).await;
    let told = site.told(&row).await;
    assert!(told[0].contains("[REDACTED:office]"), "{told:?}");
    assert_eq!(site.of_type(row.id, EventType::EgressRedacted).await.len(), 2);
    assert!(!site.log(row.id).await.contains(PASSWORD));
}

#[tokio::test]
async fn without_the_last_word_the_model_is_told_that_it_may_have_been_sent() {
    let site = Site::new(Evil::CutAtEnd, json!({})).await;
    let row = site.play(&[mail(&["bob@example.com"], json!({}))]).await;
    let told = site.told(&row).await;
    assert!(told[0].contains("it may have been sent") && !told[0].contains("Nothing was sent"), "{told:?}");
    assert_eq!(site.of_type(row.id, EventType::EgressFinished).await[0]["sent"], true);
}

#[tokio::test]
async fn a_test_logs_in_and_sends_nothing() {
    for (evil, outcome) in [(Evil::None, "ok"), (Evil::EchoRefusing, "refused"), (Evil::NoLogin, "refused")] {
        let site = Site::new(evil, json!({})).await;
        let test = fresh(site.node.platform.test_connection(&site.node.caller, site.connection).await.unwrap());
        assert_eq!(test.outcome, outcome, "{:?}", test.reason);
        assert!(site.server.mails().is_empty() && !format!("{:?}", test.reason).contains(PASSWORD));
    }
}
