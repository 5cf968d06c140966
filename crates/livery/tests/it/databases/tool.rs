//! `query_sql` against the real server.

use serde_json::{Value, json};

use super::Site;
use super::site::assert_absent;

const AGENT: &str = "---\nname: asker\nmodel: scripted/s\ntools: [query_sql]\nsandbox: {network: none}\n\
    connections:\n  db: {connector: postgres}\n---\nWork.\n";

/// What each statement was answered, and the run's whole log.
fn answers(site: &Site, connection: &str, statements: &[(&str, Value)]) -> (Vec<String>, Vec<Value>) {
    let turn = |(sql, parameters): &(&str, Value)| {
        let arguments = json!({"connection": "db", "sql": sql, "parameters": parameters});
        json!({"tools": [{"name": "query_sql", "arguments": arguments}]})
    };
    let turns: Vec<Value> = statements.iter().map(turn).chain([json!({"text": "done"})]).collect();
    let script = json!({"turns": turns}).to_string();
    let run = site.server.start_run(AGENT, Some(&script), &json!({"connections": {"db": connection}}));
    assert_eq!(site.server.ended(&run)["status"], "succeeded", "{:?}\n{}", site.server.events(&run), site.server.log());
    let events = site.server.events(&run);
    let finished = events.iter().filter(|event| event["type"] == "tool.finished");
    let results: Vec<String> = finished.map(|event| event["data"]["result"].as_str().unwrap().to_owned()).collect();
    assert_eq!(results.len(), statements.len());
    assert_absent(&json!(events).to_string());
    assert_absent(&site.server.log());
    (results, events)
}

/// F11: rows come back with names and types; what changes something meets the wall, and behind it the server; a password
/// in a row or an error is taken out.
#[test]
fn f11_a_model_asks_a_database_it_cannot_change() {
    let Some(site) = Site::new(&[]) else { return };
    let connection = site.connect("shop", &json!({"row_limit": 50}));
    let (status, tested) = site.server.post(&format!("/v1/connections/{connection}/test"), &json!({}));
    assert_eq!((status, &tested["outcome"]), (200, &json!("ok")), "{tested}");
    let none = json!([]);
    let (results, events) = answers(
        &site,
        &connection,
        &[
            ("select id, name, born, note from users where id = $1 or name = $2 order by id", json!([1, "Grace"])),
            ("DROP TABLE users", none.clone()),
            ("select value from secrets", none.clone()),
            ("select ('x' || (select value from secrets))::int", none.clone()),
            ("select generate_series(1, 1000) as n", none.clone()),
            ("select nope", none.clone()),
            (
                "select current_setting('transaction_read_only') as a, current_setting('statement_timeout') as b",
                none.clone(),
            ),
            ("select nextval('users_seq')", none.clone()),
            ("select 1; select 2", none.clone()),
            ("select set_config('transaction_read_only', 'off', false)", none),
        ],
    );
    let read =
        |at: usize| -> Value { serde_json::from_str(&results[at]).unwrap_or_else(|_| panic!("{}", results[at])) };
    let columns = json!([{"name": "id", "type": "int4"}, {"name": "name", "type": "text"}, {"name": "born", "type": "date"},
        {"name": "note", "type": "jsonb"}]);
    assert_eq!(read(0)["columns"], columns);
    assert_eq!(read(0)["rows"], json!([[1, "Ada", "1815-12-10", {"a": 1}], [2, "Grace", null, null]]));
    assert_eq!(read(0)["command"], "SELECT 2");
    assert!(results[1].starts_with("policy_denied: this connection is read-only, and DROP"), "{}", results[1]);
    assert_eq!(read(2)["rows"], json!([["[REDACTED:shop]"]]));
    assert!(results[3].contains("22P02") && results[3].contains("[REDACTED:shop]"), "{}", results[3]);
    assert_eq!(read(4)["rows"].as_array().unwrap().len(), 50);
    assert!(read(4)["truncated"].as_str().unwrap().starts_with("row_limit"), "{}", results[4]);
    assert!(results[5].starts_with("sql_error: ERROR 42703: column \"nope\" does not exist"), "{}", results[5]);
    assert_eq!(read(6)["rows"], json!([["on", "30s"]]));
    assert!(results[7].starts_with("policy_denied: this connection is read-only"), "{}", results[7]);
    assert!(results[8].starts_with("policy_denied:"), "{}", results[8]);
    assert!(results[9].starts_with("policy_denied:"), "{}", results[9]);
    assert_eq!(site.users(), "2");

    let of = |kind: &str| {
        events.iter().filter(|event| event["type"] == kind).map(|event| &event["data"]).collect::<Vec<_>>()
    };
    assert_eq!(of("egress.denied").len(), 4);
    let requested = of("egress.requested");
    assert_eq!(requested.len(), 6);
    assert_eq!(
        (&requested[0]["statement"], &requested[0]["host"], &requested[0]["verbs"]),
        (&json!("read"), &json!("db.localhost"), &json!(["SELECT"]))
    );
    assert_eq!(of("egress.finished").len(), 6);
    assert_eq!(of("egress.redacted").len(), 2);
}

/// The server itself says no where the wall has no eyes: a function that writes, in a session that is read-only from its first
/// message on; and no certificate of another name, no wrong password.
#[test]
fn f11_the_server_is_the_first_wall() {
    let Some(site) = Site::new(&[]) else { return };
    let make = "create function wipe() returns int language sql as 'delete from users returning 1'";
    site.postgres.sql("shop", make).unwrap();
    let connection =
        site.connect("shop", &json!({"role": "auditor", "search_path": "public", "statement_timeout_s": 1}));
    let none = json!([]);
    let (results, _) = answers(
        &site,
        &connection,
        &[
            ("select wipe()", none.clone()),
            ("select current_user, session_user", none.clone()),
            ("select pg_sleep(20)", none.clone()),
            ("select * from secrets", none),
        ],
    );
    assert!(results[0].contains("25006"), "{}", results[0]);
    assert!(results[1].contains("[[\"auditor\",\"app\"]]"), "{}", results[1]);
    assert!(results[2].contains("57014"), "{}", results[2]);
    assert!(results[3].contains("42501"), "{}", results[3]);
    assert_eq!(site.users(), "2");
    let test = |settings: Value| {
        let id = site.connect(&format!("c{}", settings.to_string().len()), &settings);
        site.server.post(&format!("/v1/connections/{id}/test"), &json!({})).1["reason"]
            .as_str()
            .unwrap_or("ok")
            .to_owned()
    };
    let named = test(json!({"host": "other.localhost"}));
    assert!(named.contains("its certificate is for another name"), "{named}");
    assert_eq!(test(json!({"database": "nowhere"})), "the server does not accept the login (3D000)");
    // Without TLS, to a private address that the operator allowed: R2.
    assert_eq!(test(json!({"sslmode": "disable", "read_only": false})), "ok");
    site.postgres
        .sql("shop", "set password_encryption = 'md5'; alter role app password 'pw-n0t-in-the-sandbox-4fGh7Kq2Zx9'")
        .unwrap();
    let hba = std::fs::read_to_string(site.postgres.data_dir().join("pg_hba.conf")).unwrap();
    std::fs::write(site.postgres.data_dir().join("pg_hba.conf"), hba.replace("scram-sha-256", "md5")).unwrap();
    site.postgres.sql("shop", "select pg_reload_conf()").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let weak = test(json!({"row_limit": 7}));
    assert!(weak.contains("the server asks for the password as MD5"), "{weak}");
}
