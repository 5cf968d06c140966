//! Tables: a text, a request, what comes of it.

use livery_core::connector::Method;
use proptest::prelude::*;

use super::{Agent, Asked, Decision, Policies, Question, Request, Sent, Source, Verb, check};

const AGENT: Agent<'static> =
    Agent { name: "clerk", version: Some(3), organization: "org_1", application: "app_1", end_user: "" };

fn request(method: Method, path: &str) -> Request<'_> {
    Request {
        front_end: "call_api",
        connection: "billing",
        connector: "stripe",
        verb: Verb::Method(method),
        recipients: &[],
        scheme: "https",
        host: "api.stripe.com",
        port: 443,
        path,
        query_keys: &[],
        body: Sent::Nothing,
    }
}

fn json(bytes: &str) -> Sent<'_> {
    Sent::Whole { bytes: bytes.as_bytes(), is_json: true }
}

fn policies(texts: &[&str]) -> Policies {
    let source = |(at, text): (usize, &&str)| Source {
        id: format!("pol_{at}"),
        name: format!("p{at}"),
        version: 1,
        text: (*text).to_owned(),
    };
    Policies::parse(&texts.iter().enumerate().map(source).collect::<Vec<_>>())
}

/// `permit 0/1`, `ask 0/1`, `deny 0/1` or `deny`: the effect, the policy and the statement.
fn word(decision: &Decision) -> String {
    let (effect, rule) = match decision {
        Decision::Permit(rule) => ("permit", rule.as_ref()),
        Decision::Ask { rule, .. } => ("ask", Some(rule)),
        Decision::Deny { rule, .. } => ("deny", rule.as_ref()),
    };
    rule.map_or_else(|| effect.to_owned(), |rule| format!("{effect} {}/{}", &rule.policy[4..], rule.statement))
}

fn decide(texts: &[&str], request: Request<'_>) -> String {
    word(&policies(texts).decide(&Question { agent: AGENT, asked: Asked::Call(request) }))
}

fn tool(texts: &[&str], name: &str) -> String {
    word(&policies(texts).decide(&Question { agent: AGENT, asked: Asked::Tool { name } }))
}

/// Whether `condition` holds for a POST of this body.
fn holds(condition: &str, body: Sent<'_>) -> Result<bool, String> {
    let text = format!("permit (principal, action in Action::\"call\", resource) when {{ {condition} }};");
    let request = Request { body, query_keys: &["limit".to_owned()], ..request(Method::Post, "/v1/charges") };
    match policies(&[&text]).decide(&Question { agent: AGENT, asked: Asked::Call(request) }) {
        Decision::Permit(_) => Ok(true),
        Decision::Deny { rule: None, detail: None, .. } => Ok(false),
        other => Err(format!("{other:?}")),
    }
}

const PERMIT_ALL: &str = "permit (principal, action in Action::\"call\", resource);";
const READ: &str = "permit (principal, action in Action::\"read\", resource);";
const ASK_WRITE: &str = "@ask(\"Money moves\") permit (principal, action in Action::\"write\", resource);";
const NO_DELETE: &str =
    "@reason(\"Nothing is deleted here\") forbid (principal, action == Action::\"DELETE\", resource);";

#[test]
fn without_a_policy_the_reach_is_the_permit_and_with_one_everything_else_is_denied() {
    assert_eq!(decide(&[], request(Method::Post, "/x")), "permit");
    assert_eq!(decide(&[READ], request(Method::Get, "/x")), "permit 0/1");
    assert_eq!(decide(&[READ], request(Method::Post, "/x")), "deny");
    assert_eq!(decide(&[NO_DELETE], request(Method::Get, "/x")), "deny", "a forbid alone permits nothing");
    let about_tools = "forbid (principal, action == Action::\"use_tool\", resource == Tool::\"shell\");";
    assert_eq!(decide(&[about_tools], request(Method::Post, "/x")), "permit", "it does not speak of requests");
}

#[test]
fn the_strictest_statement_that_matches_wins() {
    let all = [PERMIT_ALL, ASK_WRITE, NO_DELETE];
    assert_eq!(decide(&all, request(Method::Get, "/x")), "permit 0/1");
    assert_eq!(decide(&all, request(Method::Post, "/x")), "ask 1/1");
    assert_eq!(decide(&all, request(Method::Delete, "/x")), "deny 2/1");
    let turned = [NO_DELETE, ASK_WRITE, PERMIT_ALL];
    assert_eq!(decide(&turned, request(Method::Delete, "/x")), "deny 0/1");
    assert_eq!(decide(&turned, request(Method::Post, "/x")), "ask 1/1");
    let asked = policies(&all).decide(&Question { agent: AGENT, asked: Asked::Call(request(Method::Put, "/")) });
    assert!(matches!(asked, Decision::Ask { reason, .. } if reason == "Money moves"));
    let denied = policies(&all).decide(&Question { agent: AGENT, asked: Asked::Call(request(Method::Delete, "/")) });
    assert!(matches!(denied, Decision::Deny { reason, .. } if reason == "Nothing is deleted here"));
}

#[test]
fn scopes_name_agents_connections_and_actions() {
    let of = |scope: &str| decide(&[&format!("permit ({scope});")], request(Method::Post, "/x"));
    for scope in [
        "principal == Agent::\"clerk\", action == Action::\"POST\", resource",
        "principal in Organization::\"org_1\", action in [Action::\"GET\", Action::\"write\"], resource",
        "principal is Agent in Application::\"app_1\", action in Action::\"call\", resource in Connection::\"billing\"",
        "principal, action in Action::\"write\", resource is Request in Connector::\"stripe\"",
    ] {
        assert_eq!(of(scope), "permit 0/1", "{scope}");
    }
    for scope in [
        "principal == Agent::\"inline:clerk\", action == Action::\"POST\", resource",
        "principal in Organization::\"org_2\", action in Action::\"call\", resource",
        "principal, action == Action::\"PUT\", resource",
        "principal, action in Action::\"read\", resource",
        "principal, action in Action::\"call\", resource in Connection::\"stripe\"",
    ] {
        assert_eq!(of(scope), "deny", "{scope}");
    }
}

#[test]
fn an_agent_that_came_with_its_run_is_not_the_published_one() {
    let text = "permit (principal == Agent::\"clerk\", action in Action::\"call\", resource);";
    let inline = Agent { version: None, ..AGENT };
    let asked = Asked::Call(request(Method::Get, "/x"));
    assert_eq!(word(&policies(&[text]).decide(&Question { agent: inline, asked })), "deny");
    let named = "permit (principal, action in Action::\"call\", resource) when { principal.published && principal.version >= 3 };";
    assert_eq!(word(&policies(&[named]).decide(&Question { agent: inline, asked })), "deny");
    assert_eq!(word(&policies(&[named]).decide(&Question { agent: AGENT, asked })), "permit 0/1");
}

#[test]
fn conditions_mean_what_cedar_says() {
    let body = json(
        r#"{"amount": 99, "part": 99.5, "whole": 99.0, "tags": ["a", "b"], "to": {"city": "Graz"}, "none": null}"#,
    );
    for condition in [
        "resource.body.amount < 100",
        "resource.body.whole == 99",
        "resource.body.part.lessThan(decimal(\"100.0\"))",
        "resource.body.part == decimal(\"99.50\")",
        "resource.body.tags.contains(\"a\") && !resource.body.tags.contains(\"c\")",
        "resource.body.tags.containsAll([\"b\", \"a\", \"a\"]) && resource.body.tags.containsAny([\"z\", \"a\"])",
        "resource.body.to.city like \"G*z\" && !(resource.body.to.city like \"G\\*z\")",
        "resource.body has to.city && !(resource.body has to.zip) && !(resource.body has zip.city)",
        "resource.body[\"amount\"] == 90 + 3 * 3",
        "resource.body.none == {}",
        "resource.path like \"/v1/*\" && resource.host == \"api.stripe.com\" && resource.port == 443",
        "resource.query_keys == [\"limit\"] && resource.scheme == \"https\"",
        "if resource.method == \"POST\" then true else resource.nothing.at.all",
        "false && resource.body.missing || true",
        "true || resource.body.missing",
        "resource in [Connection::\"x\", Connection::\"billing\"] && resource is Request in Connector::\"stripe\"",
        "action in Action::\"write\" && action != Action::\"PUT\"",
        "principal.end_user == \"\" && principal.application == \"app_1\" && context.front_end == \"call_api\"",
        "resource.body.amount == \"99\" || -1 < 0 && 2 - 1 - 1 == 0",
        "[].isEmpty() && {a: 1} has a && {\"b c\": 1}[\"b c\"] == 1",
    ] {
        let condition = condition.replace("resource.nothing.at.all", "resource.body.nothing");
        assert_eq!(holds(&condition, body), Ok(true), "{condition}");
    }
    assert_eq!(holds("resource.body.amount < 99", body), Ok(false));
    assert_eq!(
        holds("resource.body.tags == \"a\"", body),
        Ok(false),
        "values of two kinds are not equal, which is no error"
    );
}

#[test]
fn what_cannot_be_evaluated_is_denied() {
    let body = json(r#"{"amount": 99.5, "text": "1", "huge": 18446744073709551615, "fine": 0.123456}"#);
    for condition in [
        "resource.body.amount < 100",
        "resource.body.text < 100",
        "resource.body.huge > 100",
        "resource.body.fine.lessThan(decimal(\"1.0\"))",
        "resource.body.missing == 1",
        "resource.body.text.missing",
        "resource.body.amount",
        "!resource.body.text",
        "1 && true",
        "9223372036854775807 + 1 > 0",
        "decimal(\"1\") == decimal(\"1.0\")",
        "resource in \"text\"",
        "[1].contains(resource.body.missing)",
    ] {
        let answer = holds(condition, body).unwrap_err();
        assert!(answer.contains("cannot be evaluated") && answer.contains("detail: Some"), "{condition}: {answer}");
    }
    let forbid = "forbid (principal, action in Action::\"call\", resource) when { resource.body.amount > 100 };";
    let request = Request { body, ..request(Method::Post, "/x") };
    assert_eq!(decide(&[PERMIT_ALL, forbid], request), "deny 1/1", "a forbid that cannot be evaluated is no yes");
}

#[test]
fn a_body_that_cannot_be_read_is_denied_where_a_statement_looks_at_bodies() {
    let limit = "permit (principal, action in Action::\"call\", resource) unless { resource has body && resource.body.amount > 100 };";
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(super::BODY_BYTES_MAX));
    for body in [
        json("{\"amount\": 5, \"amount\": 5000}"),
        json("{\"amount\": 5, \"Amount\": 5000}"),
        json("{\"amount\": 1e400}"),
        json("[{\"amount\": 5}]"),
        json("{\"amount\": 5} {}"),
        json("\u{feff}{\"amount\": 5}"),
        json("amount=5000"),
        json(&deep),
        json(&large),
        Sent::Whole { bytes: b"{\"amount\": 5}", is_json: false },
        Sent::Unseen,
    ] {
        let asked = Request { body, ..request(Method::Post, "/x") };
        assert_eq!(decide(&[limit], asked), "deny");
        assert_eq!(decide(&[PERMIT_ALL], asked), "permit 0/1", "nobody looks at the body");
    }
    let of = |text| decide(&[limit], Request { body: json(text), ..request(Method::Post, "/x") });
    assert_eq!([of("{\"amount\": 100}"), of("{}"), of("{\"amount\": 101}")], ["permit 0/1", "deny 0/1", "deny"]);
    assert_eq!(decide(&[limit], request(Method::Get, "/x")), "permit 0/1");
}

/// However it is reached, the body that is looked at has to be readable.
#[test]
fn a_statement_that_reaches_the_body_by_a_detour_looks_at_it() {
    let unread = Request { body: Sent::Unseen, ..request(Method::Post, "/x") };
    for condition in [
        "resource.body has amount",
        "resource[\"body\"] has amount",
        "(resource).body has amount",
        "(if true then resource else resource) has body",
        "(if true then resource else resource).body has amount",
        "{of: resource}.of.body has amount",
        "{of: resource} has of.body",
        "Request::\"request\" has body",
    ] {
        let text = format!("forbid (principal, action in Action::\"call\", resource) when {{ {condition} }};");
        assert_eq!(decide(&[PERMIT_ALL, &text], unread), "deny", "{condition}");
    }
}

#[test]
fn what_takes_too_long_is_denied() {
    let text =
        |condition: &str| format!("permit (principal, action in Action::\"call\", resource) when {{ {condition} }};");
    let long = format!("{{\"text\": \"{}\"}}", "a".repeat(500_000));
    let slow = format!("!(resource.body.text like \"*{}b\")", "a".repeat(200));
    let answer = holds(&slow, json(&long)).unwrap_err();
    assert!(answer.contains("more than 2000000 steps"), "{answer}");
    assert_eq!(holds("!(resource.body.text like \"*b\")", json(&long)), Ok(true), "once through is no trouble");
    let items = (0..15_000).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    let items = format!("{{\"a\": [{items}], \"b\": [{items}]}}");
    assert_eq!(holds("resource.body.a == resource.body.b", json(&items)), Ok(false), "more values than are looked at");
    let items = (0..15_000).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    let items = format!("{{\"a\": [{items}]}}");
    let many = vec!["resource.body.a.containsAll(resource.body.a)"; 20].join(" && ");
    let answer = holds(&many, json(&items)).unwrap_err();
    assert!(answer.contains("more than 2000000 steps"), "{answer}");
    assert_eq!(holds("resource.body.a.contains(14999)", json(&items)), Ok(true));
    let wide = format!("{}1 > 0", "1 + ".repeat(6000));
    let faults = check(&text(&wide)).unwrap_err();
    assert!(faults[0].detail.contains("at most 5000 values and operations"), "{faults:?}");
    assert!(check(&text(&format!("{}1 > 0", "1 + ".repeat(4000)))).is_ok());
    let apart = text(&format!("{}1 > 0", "1 + ".repeat(1500))).repeat(4);
    assert_eq!(check(&apart).unwrap_err()[0].line, 1, "the limit is the text's, not a statement's");
    assert!(check(&text(&format!("true{}", ".a".repeat(6000)))).is_err());
}

#[test]
fn a_tool_may_be_used_unless_a_policy_says_otherwise() {
    let no_shell = "forbid (principal, action == Action::\"use_tool\", resource == Tool::\"shell\");";
    let ask = "@ask(\"It writes\") permit (principal, action == Action::\"use_tool\", resource) when { resource.name like \"write_*\" };";
    assert_eq!(tool(&[], "shell"), "permit");
    assert_eq!(tool(&[no_shell, ask, READ], "shell"), "deny 0/1");
    assert_eq!(tool(&[no_shell, ask, READ], "write_file"), "ask 1/1");
    assert_eq!(tool(&[no_shell, ask, READ], "read_file"), "permit");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let faults = |text: &str| -> Vec<String> {
        let faults = check(text).unwrap_err();
        faults.iter().map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.detail)).collect()
    };
    for (text, expected) in [
        ("", "1:1 there is no statement in it; a policy has one at least"),
        ("allow (principal, action, resource);", "1:1 `permit` or `forbid` is expected here"),
        ("permit (principal, action, resource);", "1:26 say what it is about"),
        ("permit (principal, action == Action::\"pay\", resource);", "1:38 there is no action \"pay\""),
        ("permit (principal, action == Action::\"call\", resource);", "call is a group"),
        ("permit (principal == User::\"x\", action in Action::\"call\", resource);", "1:22 there is no type User here"),
        (
            "permit (principal, action in [Action::\"call\", Action::\"use_tool\"], resource);",
            "about requests or about tools",
        ),
        (
            "// a\npermit (principal, action in Action::\"call\", resource)\nwhen { resource.hots == \"x\" };",
            "3:16 there is no resource.hots",
        ),
        (
            "permit (principal, action in Action::\"call\", resource) when { context has body };",
            "there is no context.body",
        ),
        ("permit (principal, action in Action::\"call\", resource == Tool::\"shell\");", "there is no type Tool here"),
        (
            "forbid (principal, action in Action::\"call\", resource == Connection::\"billing\");",
            "1:55 a resource here is never Connection: it is one Request, `resource == Request::\"…\"`; write `resource in \
             Connection::\"…\"` or `in Connector::\"…\"`",
        ),
        (
            "forbid (principal, action in Action::\"call\", resource is Connector);",
            "1:55 a resource here is never Connector",
        ),
        ("forbid (principal, action in Action::\"call\", resource in Application::\"a\");", "never Application"),
        (
            "forbid (principal in Agent::\"a\", action in Action::\"call\", resource);",
            "1:19 a principal here is never Agent",
        ),
        ("forbid (principal == Organization::\"a\", action in Action::\"call\", resource);", "never Organization"),
        ("forbid (principal is Application, action in Action::\"call\", resource);", "it is one Agent"),
        ("forbid (principal, action == Action::\"use_tool\", resource in Tool::\"shell\");", "it is in nothing"),
        ("forbid (principal, action == Action::\"use_tool\", resource == Agent::\"shell\");", "it is one Tool"),
        (
            "forbid (principal, action == Action::\"use_tool\", resource == Tool::\"call_api\");",
            "what call_api does is a request: write `action in Action::\"call\"`",
        ),
        ("permit (principal, action in Action::\"call\", resource) when { ip(\"::1\") };", "there is no function ip"),
        (
            "permit (principal, action in Action::\"call\", resource) when { resource.path.matches(\"x\") };",
            "there is no method matches",
        ),
        ("permit (principal == ?principal, action in Action::\"call\", resource);", "a name is expected here"),
        ("@ask(\"x\") forbid (principal, action in Action::\"call\", resource);", "`@ask` belongs to a permit"),
        ("@ask(\" \") permit (principal, action in Action::\"call\", resource);", "has 1 to 500 characters"),
        ("@advice(\"x\") permit (principal, action in Action::\"call\", resource);", "`@advice` means nothing here"),
        ("permit (principal, action in Action::\"call\", resource) when { \"a", "1:63 a string has no end"),
        (
            "permit (principal, action in Action::\"call\", resource) when { 9223372036854775808 };",
            "more than a Long holds",
        ),
        (
            "permit (principal, action in Action::\"call\", resource) when { true }",
            "`when`, `unless` or `;` is expected here",
        ),
    ] {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}\n{found:?}");
    }
    let two = faults("permit (principal, action, resource);\nforbid (principal, action, resource);");
    assert_eq!(two.len(), 2, "{two:?}");
    assert!(two[1].starts_with("2:26"), "{two:?}");
    let deep = format!(
        "permit (principal, action in Action::\"call\", resource) when {{ {}1{} == 1 }};",
        "(".repeat(60),
        ")".repeat(60)
    );
    assert!(faults(&deep)[0].contains("deep at most"));
    let good = "@ask(\"x\") permit (principal, action in Action::\"call\", resource);";
    assert_eq!(check(good).unwrap()[0].effect, "ask");
    assert!(faults(&good.repeat(101))[0].contains("at most 100 statements"));
    assert!(faults(&format!("{good}// {}", "x".repeat(super::TEXT_BYTES_MAX)))[0].contains("at most 65536 bytes"));
}

#[test]
fn a_text_that_no_longer_reads_closes_everything() {
    assert_eq!(decide(&[PERMIT_ALL, "permit (everything);"], request(Method::Get, "/x")), "deny");
    assert_eq!(tool(&["permit (everything);"], "shell"), "deny");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Any text is a policy or a list of faults; any body is read or not.
    #[test]
    fn no_text_and_no_body_is_too_strange(text in "\\PC{0,60}", body in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Err(faults) = check(&text) {
            prop_assert!(!faults.is_empty());
        }
        let condition = format!("permit (principal, action in Action::\"call\", resource) when {{ {text} }};");
        let request = Request { body: Sent::Whole { bytes: &body, is_json: true }, ..request(Method::Post, "/x") };
        decide(&[&condition, "permit (principal, action in Action::\"call\", resource) when { resource.body has a };"], request);
    }
}

const MAIL_INSIDE: &str = "permit (principal, action == Action::\"send_email\", resource);
    forbid (principal, action == Action::\"send_email\", resource) unless { [\"example.com\"].containsAll(resource.recipient_domains) };";

fn mail(recipients: &[String], body: &'static str) -> String {
    let own = request(Method::Post, "");
    let request =
        Request { verb: Verb::Mail, front_end: "send_email", connector: "smtp", recipients, body: json(body), ..own };
    decide(
        &[
            MAIL_INSIDE,
            "forbid (principal, action in Action::\"write\", resource) when { resource.body.subject like \"*secret*\" };",
        ],
        request,
    )
}

#[test]
fn a_message_is_judged_by_all_its_recipients() {
    let to = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let plain = "{\"subject\": \"x\"}";
    assert_eq!(mail(&to(&["a@example.com", "b@example.com"]), plain), "permit 0/1");
    assert_eq!(mail(&to(&["a@example.com", "b@evil.example"]), plain), "deny 0/2");
    assert_eq!(mail(&to(&["a@sub.example.com"]), plain), "deny 0/2");
    assert_eq!(mail(&to(&["a@example.com"]), "{\"subject\": \"a secret\"}"), "deny 1/1");
    let http = decide(&[MAIL_INSIDE], request(Method::Post, "/x"));
    assert_eq!(http, "deny", "a policy of messages permits no request");
    let read = decide(
        &["permit (principal, action in Action::\"read\", resource);"],
        Request { verb: Verb::Mail, ..request(Method::Get, "") },
    );
    assert_eq!(read, "deny", "a message is no reading");
}
