//! From a policy's text to what an upstream gets: approved and sent once, denied and never, whenever a process dies.

use livery_core::id::{ApprovalId, RunId};
use livery_core::{ErrorCode, EventType, RunStatus};
use livery_store::RunRow;
use serde_json::{Value, json};

use super::is_below;
use crate::approvals::{ApprovalFilter, ApprovalView, DecideApproval};
use crate::policies::{NewPolicy, PolicyPatch};
use crate::worker::claim;
use crate::worker::tools::api::tests::{KEY, Site, Upstream, call};
use crate::{PageRequest, Posted};

const READ: &str = "permit (principal, action in Action::\"read\", resource);";
const ASK: &str = "@ask(\"Money moves\") permit (principal, action in Action::\"write\", resource);";
/// A quarter of an hour and a second, in milliseconds.
const TOO_LATE_MS: i64 = 901_000;

#[test]
fn a_prefix_is_whole_segments() {
    for (path, prefix, expected) in [
        ("/v1/refunds", "/v1/refunds", true),
        ("/v1/refunds/1", "/v1/refunds", true),
        ("/v1/refunds/", "/v1/refunds", true),
        ("/v1/refunds/1", "/v1/refunds/", true),
        ("/v1/refundsx", "/v1/refunds", false),
        ("/v1", "/v1/refunds", false),
        ("/anything", "/", true),
    ] {
        assert_eq!(is_below(path, prefix), expected, "{path} below {prefix}");
    }
}

fn post(path: &str, body: Value) -> Value {
    json!({"name": "call_api", "arguments": {"connection": "crm", "method": "POST", "path": path, "body": body}})
}

impl Site {
    async fn policy(&self, text: &str) -> livery_core::id::PolicyId {
        let new = NewPolicy { name: "p".into(), text: text.into(), application: None };
        match self.node.platform.create_policy(&self.node.caller, new).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!("no key was sent"),
        }
    }

    async fn approvals(&self, run: RunId) -> Vec<ApprovalView> {
        let filter = ApprovalFilter { status: None, run: Some(run) };
        let principal = &self.node.caller.principal;
        self.node.platform.list_approvals(principal, filter, PageRequest::default()).await.unwrap().data
    }

    async fn decide(&self, id: ApprovalId, decision: &str) -> livery_core::Result<()> {
        let request: DecideApproval = serde_json::from_value(json!({"decision": decision, "note": "said so"})).unwrap();
        self.node.platform.decide_approval(&self.node.caller, id, request, Some("192.0.2.1".into())).await.map(drop)
    }

    /// What the model was told, call by call.
    async fn told(&self, row: &RunRow) -> Vec<String> {
        let finished = self.of_type(row.id, EventType::ToolFinished).await;
        finished.iter().map(|data| data["result"].as_str().unwrap().to_owned()).collect()
    }

    async fn types(&self, run: RunId) -> Vec<String> {
        self.events(run).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}

async fn site() -> (Upstream, Site) {
    let upstream = Upstream::start(KEY).await;
    let site = Site::new(&upstream, KEY).await;
    (upstream, site)
}

#[tokio::test]
async fn what_no_policy_permits_is_denied_and_said_in_the_log_with_its_rule() {
    let (upstream, site) = site().await;
    let id = site.policy(&format!("{READ}\n@reason(\"Not on a Sunday\") forbid (principal, action == Action::\"GET\", resource) when {{ resource.path like \"/no*\" }};")).await;
    let row = site.play(&upstream, &[call("GET", "/fine"), call("GET", "/no"), post("/x", json!({}))]).await;
    assert_eq!(row.status, RunStatus::Succeeded);
    let told = site.told(&row).await;
    assert!(told[0].contains("this is fine"), "{told:?}");
    assert_eq!(told[1], "policy_denied: Not on a Sunday. Nothing was sent.");
    assert_eq!(told[2], "policy_denied: no policy permits this request. Nothing was sent.");
    assert_eq!(upstream.heads().len(), 1);
    let requested = &site.of_type(row.id, EventType::EgressRequested).await[0];
    let rule = |statement| json!({"policy": id, "name": "p", "version": 1, "statement": statement});
    assert_eq!((&requested["rule"], &requested["policy"]), (&json!("policy"), &rule(1)));
    let denied = site.of_type(row.id, EventType::EgressDenied).await;
    assert_eq!((&denied[0]["policy"], &denied[1]["policy"]), (&rule(2), &Value::Null));
}

#[tokio::test]
async fn an_amount_below_the_limit_goes_and_another_is_asked_about() {
    let (upstream, site) = site().await;
    site.policy(
        "permit (principal, action == Action::\"POST\", resource) when { resource.body.amount < 100 };
         @ask(\"A hundred or more\") permit (principal, action == Action::\"POST\", resource) when { resource.body.amount >= 100 };",
    )
    .await;
    let calls =
        [post("/a", json!({"amount": 99})), post("/b", json!({"amount": 99.5})), post("/c", json!({"amount": 100}))];
    let row = site.play(&upstream, &calls).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Waiting, 1));
    let told = site.told(&row).await;
    assert!(told[1].contains("cannot be evaluated"), "99.5 is no Long: {told:?}");
    let approval = &site.approvals(row.id).await[0];
    assert_eq!((approval.reason.as_str(), approval.status), ("A hundred or more", "pending"));
    assert!(
        approval.card.contains("{\\\"amount\\\":100}") && approval.card.contains("POST http://127.0.0.1"),
        "{}",
        approval.card
    );
}

#[tokio::test]
async fn a_changed_policy_holds_from_the_next_request_on() {
    let (upstream, site) = site().await;
    let id = site.policy(READ).await;
    assert_eq!(site.told(&site.play(&upstream, &[post("/x", json!({}))]).await).await.len(), 1);
    assert!(upstream.heads().is_empty());
    let all = "permit (principal, action in Action::\"call\", resource);".to_owned();
    let patch = PolicyPatch { name: None, text: Some(all) };
    assert_eq!(site.node.platform.replace_policy(&site.node.caller, id, patch).await.unwrap().version, 2);
    site.play(&upstream, &[post("/x", json!({}))]).await;
    assert_eq!(upstream.heads().len(), 1);
    site.node.platform.delete_policy(&site.node.caller, id).await.unwrap();
    site.play(&upstream, &[post("/x", json!({}))]).await;
    assert_eq!(upstream.heads().len(), 2, "without any policy the reach is the permit");
}

#[tokio::test]
async fn an_approved_request_is_sent_once_and_the_run_goes_on() {
    let (upstream, site) = site().await;
    site.policy(&format!("{READ}\n{ASK}")).await;
    let row = site.play(&upstream, &[post("/refunds", json!({"n": 1})), call("GET", "/after")]).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Waiting, 0));
    assert!(claim(&site.node.platform, 1).await.unwrap().is_empty(), "nothing to do until somebody answers");
    let approval = site.approvals(row.id).await.pop().unwrap();
    site.decide(approval.id, "approve").await.unwrap();
    let second = site.decide(approval.id, "deny").await.unwrap_err();
    assert_eq!(second.code(), "approval_closed");
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!(row.status, RunStatus::Succeeded, "{:?}", row.error);
    let heads = upstream.heads();
    assert_eq!(heads.iter().filter(|head| head.starts_with("POST /refunds ")).count(), 1);
    assert_eq!(heads.len(), 2);
    let used = site.approvals(row.id).await.pop().unwrap();
    assert_eq!((used.status, used.note.as_deref()), ("used", Some("said so")));
    let requested = &site.of_type(row.id, EventType::EgressRequested).await[0];
    assert_eq!(requested["approval"], json!(approval.id));
    assert_eq!(requested["request_sha256"], serde_json::from_str::<Value>(used.subject.as_str()).unwrap()["sha256"]);
    let types = site.types(row.id).await;
    let order = [
        "approval.requested",
        "run.waiting",
        "approval.decided",
        "run.resumed",
        "run.recovered",
        "tool.resumed",
        "egress.requested",
    ];
    let places: Vec<usize> =
        order.iter().map(|name| types.iter().position(|found| found == name).expect(name)).collect();
    assert!(places.is_sorted(), "{types:?}");
    assert!(!types.contains(&"tool.outcome_unknown".to_owned()), "{types:?}");
}

#[tokio::test]
async fn a_denied_request_and_one_that_nobody_answers_are_never_sent() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let row = site.play(&upstream, &[post("/a", json!({})), post("/b", json!({}))]).await;
    let first = site.approvals(row.id).await.pop().unwrap();
    site.decide(first.id, "deny").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!(row.status, RunStatus::Waiting, "the second call asks too");
    site.node.clock.set(site.node.platform.now().plus_millis(TOO_LATE_MS));
    let second = site.approvals(row.id).await.remove(0);
    assert_eq!(second.status, "expired");
    assert_eq!(site.decide(second.id, "approve").await.unwrap_err().code(), "approval_closed");
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Succeeded, 0), "{:?}", row.error);
    let told = site.told(&row).await;
    assert_eq!(told[0], "policy_denied: a person looked at it and said no: said so. Nothing was sent.");
    assert_eq!(told[1], "policy_denied: a person had to approve it, and nobody did in time. Nothing was sent.");
    assert_eq!(site.of_type(row.id, EventType::ApprovalDecided).await[1]["status"], "expired");
}

#[tokio::test]
async fn a_no_holds_for_the_same_request_in_every_later_call() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let same = post("/a", json!({"n": 1}));
    let row = site.play(&upstream, &[same.clone(), same.clone(), same, post("/a", json!({"n": 2}))]).await;
    let first = site.approvals(row.id).await.pop().unwrap();
    site.decide(first.id, "deny").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!(
        (row.status, site.approvals(row.id).await.len()),
        (RunStatus::Waiting, 2),
        "another body is another question"
    );
    let told = site.told(&row).await;
    assert_eq!(told, ["policy_denied: a person looked at it and said no: said so. Nothing was sent."; 3]);
    let second = site.approvals(row.id).await.remove(0);
    site.decide(second.id, "approve").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Succeeded, 1), "{:?}", row.error);
}

/// Whoever was told no asks for something small at the same place, and a person says yes to all of the place.
#[tokio::test]
async fn a_no_to_one_request_is_not_undone_by_a_yes_to_what_is_around_it() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let (large, small) = (post("/refunds", json!({"amount": 1000})), post("/refunds", json!({"amount": 1})));
    let row = site.play(&upstream, &[large.clone(), small.clone(), large, small]).await;
    let first = site.approvals(row.id).await.pop().unwrap();
    site.decide(first.id, "deny").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    let second = site.approvals(row.id).await.remove(0);
    site.decide(second.id, "approve_for_run").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Succeeded, 2), "{:?}", row.error);
    let told = site.told(&row).await;
    for large in [&told[0], &told[2]] {
        assert_eq!(large, "policy_denied: a person looked at it and said no: said so. Nothing was sent.");
    }
}

#[tokio::test]
async fn a_yes_for_the_run_is_for_what_it_shows_and_no_more() {
    let (upstream, site) = site().await;
    let id = site.policy(ASK).await;
    let calls = [post("/refunds", json!({})), post("/refunds/1/note", json!({})), post("/refundsx", json!({}))];
    let row = site.play(&upstream, &calls).await;
    let first = site.approvals(row.id).await.pop().unwrap();
    assert!(
        first.for_run.starts_with("POST http://127.0.0.1:")
            && first.for_run.contains("/refunds and everything below it"),
        "{}",
        first.for_run
    );
    site.decide(first.id, "approve_for_run").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Waiting, 2), "/refundsx is another place");
    let patch = PolicyPatch { name: None, text: Some(format!("// again\n{ASK}")) };
    site.node.platform.replace_policy(&site.node.caller, id, patch).await.unwrap();
    let open = site.approvals(row.id).await.remove(0);
    site.decide(open.id, "approve").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Waiting, 2), "the policy changed: it is asked anew");
    assert_eq!(site.approvals(row.id).await.len(), 3);
}

/// A process dies between the yes and its use, and again between the use and the answer.
#[tokio::test]
async fn a_yes_is_one_request_whenever_a_process_dies() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let row = site.play(&upstream, &[post("/refunds", json!({}))]).await;
    let (org, platform) = (row.org, site.node.platform.clone());
    let approval = site.approvals(row.id).await.pop().unwrap();
    site.decide(approval.id, "approve").await.unwrap();
    // Taken, and nothing done with it: the lease is given back as after a crash.
    let lost = claim(&platform, 1).await.unwrap().pop().unwrap();
    let now = platform.now();
    platform.store.write(move |tx| Box::pin(async move { tx.expire_run(&lost.lease, now).await })).await.unwrap();
    let taken = claim(&platform, 1).await.unwrap().pop().unwrap();
    // Used, and dead before anything left: this is the commit that says so.
    let (lease, id, call_id) = (taken.lease, approval.id, approval.call_id.clone());
    let written = platform.store.write(move |tx| {
        Box::pin(async move {
            assert!(tx.use_approval(org, id, now).await?);
            assert!(!tx.use_approval(org, id, now).await?, "one yes is one use");
            let data = json!({"call_id": call_id, "approval": id});
            let event = livery_store::NewEvent::new(EventType::ToolResumed, "worker", now, &data)?;
            tx.append_run_events(&lease, &[event]).await?;
            tx.expire_run(&lease, now).await
        })
    });
    written.await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Succeeded, 0), "{:?}", row.error);
    let types = site.types(row.id).await;
    assert!(types.contains(&"tool.outcome_unknown".to_owned()), "nobody knows what became of it: {types:?}");
    assert_eq!(site.approvals(row.id).await.len(), 1);
}

#[tokio::test]
async fn a_run_that_is_over_has_nothing_to_approve() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let row = site.play(&upstream, &[post("/refunds", json!({}))]).await;
    let approval = site.approvals(row.id).await.pop().unwrap();
    site.node.platform.cancel_run(&site.node.caller, row.id).await.unwrap();
    assert_eq!(site.decide(approval.id, "approve").await.unwrap_err().code(), "approval_closed");
    let row = site.node.platform.store.get_run(row.org, row.id).await.unwrap().unwrap();
    assert_eq!(row.status, RunStatus::Cancelled);
    assert_eq!(row.error.map(|error| error.code), Some(ErrorCode::Cancelled));
    assert!(upstream.heads().is_empty());
}

/// A policy that changed asks anew, and nobody looks at the old question again: it must not make the run due for ever.
#[tokio::test]
async fn a_question_nobody_asks_any_more_runs_out_once() {
    let (upstream, site) = site().await;
    let id = site.policy(ASK).await;
    let row = site.play(&upstream, &[post("/refunds", json!({}))]).await;
    let patch = PolicyPatch { name: None, text: Some(format!("// again\n{ASK}")) };
    site.node.platform.replace_policy(&site.node.caller, id, patch).await.unwrap();
    site.node.clock.set(site.node.platform.now().plus_millis(TOO_LATE_MS));
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!(row.status, RunStatus::Waiting, "it is asked anew");
    let decided = site.of_type(row.id, EventType::ApprovalDecided).await;
    assert_eq!((decided.len(), &decided[0]["status"]), (1, &json!("expired")));
    // The log said that something was decided, so the run looks once more, and then it waits.
    assert_eq!(site.go_on(&upstream, row.id).await.status, RunStatus::Waiting);
    assert!(claim(&site.node.platform, 1).await.unwrap().is_empty(), "nothing to do until somebody answers");
    assert_eq!(site.of_type(row.id, EventType::ApprovalDecided).await.len(), 1);
    let open = site.approvals(row.id).await.remove(0);
    site.decide(open.id, "approve").await.unwrap();
    let row = site.go_on(&upstream, row.id).await;
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Succeeded, 1), "{:?}", row.error);
}

#[tokio::test]
async fn nobody_is_asked_about_headers_they_cannot_be_shown() {
    let (upstream, site) = site().await;
    site.policy(ASK).await;
    let padded = |count: usize| {
        let mut call = post("/refunds", json!({"to": "them", "note": "n".repeat(1900)}));
        let headers = (0..count).map(|at| (format!("x-pad-{at}"), json!("p".repeat(60))));
        call["arguments"]["headers"] = headers.collect::<serde_json::Map<_, _>>().into();
        call
    };
    let row = site.play(&upstream, &[padded(60), padded(5)]).await;
    let told = site.told(&row).await;
    assert_eq!(
        told[0],
        "policy_denied: a person would have to approve it, and it has more than a person can be shown. Nothing was sent."
    );
    assert_eq!((row.status, upstream.heads().len()), (RunStatus::Waiting, 0));
    let card = site.approvals(row.id).await.remove(0).card;
    assert!(card.contains("\\\"to\\\":\\\"them\\\"") && !card.contains("(cut)"), "{card}");
    assert!(card.find("body of").unwrap() < card.find("header x-pad-0").unwrap() && card.contains("x-pad-4"), "{card}");
}
