//! A statement that a person has to approve: shown whole, run once, and no other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Site;

const AGENT: &str = "---\nname: clerk\nmodel: scripted/s\ntools: [query_sql]\nsandbox: {network: none}\n\
    connections:\n  db: {connector: postgres}\n---\nWork.\n";
const POLICY: &str = "permit (principal, action in Action::\"read\", resource);
@ask(\"Changes are looked at\")
permit (principal, action == Action::\"query_sql\", resource) when { resource.statement == \"write\" };
forbid (principal, action == Action::\"query_sql\", resource in Connector::\"postgres\") when { resource.verbs.contains(\"TRUNCATE\") };
";
const PATIENCE: Duration = Duration::from_secs(60);

fn pending(site: &Site) -> Value {
    let begun = Instant::now();
    loop {
        let (_, page) = site.server.get("/v1/approvals?status=pending");
        if let Some(found) = page["data"].as_array().and_then(|all| all.first()) {
            return found.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "nobody is asked: {page}\n{}", site.server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_person_approves_one_statement_and_no_other() {
    let Some(site) = Site::new(&[]) else { return };
    let connection = site.connect("shop", &json!({"read_only": false}));
    let (status, policy) = site.server.post("/v1/policies", &json!({"name": "sql", "text": POLICY}));
    assert_eq!(status, 201, "{policy}");
    let turn = |sql: &str, parameters: Value| json!({"tools": [{"name": "query_sql", "arguments": {"connection": "db", "sql": sql, "parameters": parameters}}]});
    let insert = "insert into orders values ($1) returning id";
    let long = format!("insert into orders values (1) /* {} */", "x".repeat(4000));
    let turns = json!({"turns": [
        turn("select count(*) from orders", json!([])),
        turn(insert, json!([7])),
        turn(insert, json!([8])),
        turn("truncate orders", json!([])),
        turn("drop table orders", json!([])),
        turn(&long, json!([])),
        {"text": "done"},
    ]});
    let run = site.server.start_run(AGENT, Some(&turns.to_string()), &json!({"connections": {"db": connection}}));
    let first = pending(&site);
    let card = first["card"].as_str().unwrap();
    assert!(
        card.contains("\"insert into orders values ($1) returning id\"") && card.contains("parameter $1: 7"),
        "{card}"
    );
    assert!(first["for_run"].as_str().unwrap().contains("this very statement with these parameters"), "{first}");
    let decide = |approval: &Value, decision: &str| {
        let path = format!("/v1/approvals/{}", approval["id"].as_str().unwrap());
        let (status, view) = site.server.post(&path, &json!({"decision": decision}));
        assert_eq!(status, 200, "{view}");
    };
    decide(&first, "approve_for_run");
    let second = pending(&site);
    assert!(second["card"].as_str().unwrap().contains("parameter $1: 8"), "a yes is for these parameters: {second}");
    decide(&second, "deny");
    assert_eq!(site.server.ended(&run)["status"], "succeeded", "{:?}", site.server.events(&run));
    let events = site.server.events(&run);
    let finished = events.iter().filter(|event| event["type"] == "tool.finished");
    let results: Vec<&str> = finished.map(|event| event["data"]["result"].as_str().unwrap()).collect();
    assert!(results[1].contains("[[7]]"), "{}", results[1]);
    assert!(results[2].contains("said no"), "{}", results[2]);
    assert!(results[3].contains("the policy sql forbids it"), "{}", results[3]);
    assert!(results[4].contains("no policy permits this request"), "{}", results[4]);
    assert!(results[5].contains("more than a person can be shown"), "{}", results[5]);
    assert_eq!(site.postgres.sql("shop", "select count(*), max(id) from orders").unwrap(), "1|7");
}
