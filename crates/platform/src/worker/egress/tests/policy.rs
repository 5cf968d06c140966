//! What leaves and what does not.

use livery_core::EventType;
use serde_json::json;

use super::scene::{KEY, Scene, assert_absent, start, way};
use crate::policies::NewPolicy;

/// R7, R11: the credential is put in by the way a request takes; what the program brings along is no part of it.
#[tokio::test]
async fn a_request_gets_the_credential_by_its_way_and_loses_its_own() {
    let scene = Scene::new().await;
    let own = "Authorization: Bearer theirs\r\nX-Key: theirs\r\nX_KEY: theirs\r\nCookie: a=theirs\r\nX-Ok: 1\r\n";
    let answer = scene.ask("GET", "/v1/./things?a=1&access_token=theirs", own).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nthis is /v1/things?a=1\r\n"), "{answer}");
    assert!(!answer.contains("etag"), "what tells of the bytes before they were scrubbed stays: {answer}");
    let head = &scene.upstream.seen()[0].head;
    assert!(head.starts_with("GET /v1/things?a=1 HTTP/1.1\r\n") && head.contains("\r\nx-ok: 1\r\n"), "{head}");
    assert!(!head.contains("theirs") && head.matches(KEY).count() == 1, "{head}");
    let requested = &scene.told(EventType::EgressRequested, 1).await[0];
    assert_eq!((&requested["front_end"], &requested["slot"]), (&json!("proxy"), &json!("crm")));
    assert_eq!((&requested["path"], &requested["query_keys"]), (&json!("/v1/things"), &json!(["a"])));
    let finished = &scene.told(EventType::EgressFinished, 1).await[0];
    assert_eq!((&finished["outcome"], &finished["status"]), (&json!("answered"), &json!(200)));
    assert_eq!((&finished["response_bytes"], &finished["credential_version"]), (&json!(22), &json!(1)));
    assert!(finished["call_id"].is_null());
    assert_absent(&format!("{answer}{}{:?}", scene.log().await, scene.variables()));
}

/// C3: what may change something is in the log before a byte leaves.
#[tokio::test]
async fn the_intent_of_what_changes_something_is_committed_first() {
    let scene = Scene::new().await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = scene.ask(method, "/things", "Content-Length: 0\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer}");
    }
    for (at, seen) in scene.upstream.seen().iter().enumerate() {
        let intents = seen.logged.iter().filter(|logged| *logged == "egress.requested").count();
        assert_eq!(intents, at + 1, "{:?}", seen.logged);
    }
}

/// D1, D2, D3, B11, B12, and the reach of the connection: refused with the rule's name, sent to nobody, told in the log.
#[tokio::test]
async fn d_what_the_rules_do_not_allow_is_refused_and_told() {
    let scene = Scene::with(json!({"methods": ["GET", "POST"], "paths": ["/v1/**"]}), &["crm"]).await;
    for (method, path, rule) in [
        ("DELETE", "/v1/x", "reach_method"),
        ("OPTIONS", "/v1/x", "canonical_form"),
        ("GET", "/v2/x", "reach_path"),
        ("GET", "/v1/../admin", "reach_path"),
        ("POST", "/v1/x?_method=DELETE", "method_override"),
    ] {
        let answer = scene.ask(method, path, "").await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains(&format!("\"code\":\"{rule}\"")),
            "{path}: {answer}"
        );
    }
    for path in ["/v1/%2e%2e/admin", "//admin", "/v1/..;/admin", "/v1/a%00"] {
        assert!(scene.ask("GET", path, "").await.starts_with("HTTP/1.1 400 "), "{path}");
    }
    let evil = scene.say("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(evil.contains("host_not_allowed"), "{evil}");
    let denied = scene.told(EventType::EgressDenied, 6).await;
    let rules: Vec<&str> = denied.iter().map(|event| event["rule"].as_str().unwrap()).collect();
    let expected =
        ["reach_method", "canonical_form", "reach_path", "reach_path", "method_override", "host_not_allowed"];
    assert_eq!(rules, expected);
    assert_eq!(denied[5]["host"], "evil.example");
    assert!(denied.iter().all(|event| event["front_end"] == "proxy"));
    assert!(scene.upstream.seen().is_empty());
    assert!(scene.events(EventType::EgressRequested).await.is_empty());
}

/// R4, A24, F4: a placeholder in another place, an unknown one, another run's: 403, told, and nothing sent.
#[tokio::test]
async fn a24_f4_a_placeholder_anywhere_else_is_refused_and_told() {
    let scene = Scene::new().await;
    let token = scene.placeholder();
    let other_run = start(&scene.node, scene.connection, &["crm"]).await;
    let foreign = way(&scene.node, &other_run).await.unwrap().environment();
    let foreign = &foreign.iter().find(|(name, _)| name == "LIVERY_CRM_KEY").unwrap().1;
    assert_ne!(*foreign, token);
    let unknown = "lvp_0123456789abcdefghijklmnopqrstuv";
    let length = token.len();
    let refused = [
        scene.ask("GET", "/x", &format!("Authorization: Bearer {token}\r\n")).await,
        scene.ask("GET", &format!("/x?key={token}"), "").await,
        scene.ask("GET", &format!("/{token}"), "").await,
        scene.ask("GET", "/x", &format!("X-Key: {foreign}\r\n")).await,
        scene.ask("GET", "/x", &format!("X-Key: {unknown}\r\n")).await,
        scene.say(format!("{}{token}", scene.request("POST", "/x", &format!("Content-Length: {length}\r\n")))).await,
    ];
    for answer in &refused {
        let same = |answer: &str| answer.lines().filter(|line| !line.starts_with("date")).collect::<String>();
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("lvp_"), "{answer}");
        assert_eq!(same(answer), same(&refused[0]), "nothing tells one from another");
    }
    let denied = scene.told(EventType::EgressDenied, 6).await;
    let mut rules: Vec<&str> = denied.iter().map(|event| event["rule"].as_str().unwrap()).collect();
    rules.sort_unstable();
    let (header, target) = ("placeholder_in_header", "placeholder_in_target");
    assert_eq!(rules, ["placeholder_in_body", header, header, header, target, target]);
    assert!(scene.upstream.seen().is_empty());
    assert!(!scene.log().await.contains("lvp_"), "no placeholder is in the log");
}

/// In its own place it makes room for the key; the same one in every life of the run.
#[tokio::test]
async fn a_placeholder_in_its_slot_becomes_the_key_and_outlives_a_restart() {
    let scene = Scene::new().await;
    let token = scene.placeholder();
    let answer = scene.ask("GET", "/x", &format!("X-Key: {token}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(scene.upstream.seen()[0].head.contains(&format!("\r\nx-key: {KEY}\r\n")));
    let again = way(&scene.node, &scene.row).await.unwrap().environment();
    assert!(again.contains(&("LIVERY_CRM_KEY".to_owned(), token)), "{again:?}");
}

/// Two connections that lead to one host: which one is meant is never guessed.
#[tokio::test]
async fn several_connections_to_one_host_are_told_apart_by_the_placeholder_alone() {
    let scene = Scene::with(json!({}), &["crm", "other"]).await;
    let answer = scene.ask("GET", "/x", "").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("ambiguous_connection"), "{answer}");
    let token = scene.variables()["LIVERY_OTHER_KEY"].clone();
    assert!(scene.ask("GET", "/x", &format!("X-Key: {token}\r\n")).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(scene.told(EventType::EgressRequested, 1).await[0]["slot"], "other");
    assert_eq!(scene.told(EventType::EgressDenied, 1).await[0]["rule"], "ambiguous_connection");
}

/// For programs that trust no certificate but their own: below the slot's name at the proxy's address, with the placeholder.
#[tokio::test]
async fn a_base_url_on_loopback_takes_the_placeholder_and_nothing_less() {
    let scene = Scene::new().await;
    let (token, variables) = (scene.placeholder(), scene.variables());
    assert_eq!(variables["LIVERY_CRM_BASE_URL"], "http://127.0.0.1:17400/crm");
    let ask = async |path: &str, host: &str, headers: &str| {
        scene.say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")).await
    };
    let (own, keyed) = ("127.0.0.1:17400", format!("X-Key: {token}\r\n"));
    let answer = ask("/crm/v1/x?a=1", own, &keyed).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nthis is /v1/x?a=1\r\n"), "{answer}");
    for (path, host, headers, status) in [
        ("/crm/v1/x", own, "", 401),
        ("/crm/v1/x", own, "X-Key: guessed\r\n", 401),
        ("/crm/v1/x", own, "Authorization: Bearer lvp_0123456789abcdefghijklmnopqrstuv\r\n", 403),
        ("/crm/v1/x", "evil.example", keyed.as_str(), 421),
        ("/other/v1/x", own, keyed.as_str(), 403),
        ("/crm", own, keyed.as_str(), 400),
        ("/crm//evil.example/", own, keyed.as_str(), 400),
        ("/crm/../x", own, keyed.as_str(), 400),
    ] {
        let answer = ask(path, host, headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {host} {headers}: {answer}");
    }
    assert_eq!(scene.upstream.seen().len(), 1);
}

/// The tenant's policies are asked for every request of a program, as they are then; it cannot wait for a person, and is told.
#[tokio::test]
async fn a_tenants_policies_hold_for_programs_too() {
    let scene = Scene::new().await;
    let text = "permit (principal, action in Action::\"read\", resource);
        @ask(\"It writes\") permit (principal, action == Action::\"POST\", resource);
        permit (principal, action == Action::\"PUT\", resource) when { resource.body.amount < 100 };";
    let new = NewPolicy { name: "p".into(), text: text.into(), application: None };
    scene.node.platform.create_policy(&scene.node.caller, new).await.unwrap();
    assert!(scene.ask("GET", "/x", "").await.starts_with("HTTP/1.1 200 "));
    for (method, rule, words) in
        [("POST", "approval", "a person has to approve it (It writes)"), ("DELETE", "policy", "no policy permits")]
    {
        let answer = scene.ask(method, "/x", "Content-Length: 0\r\n").await;
        let code = format!("\"code\":\"{rule}\"");
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(&code) && answer.contains(words), "{answer}");
    }
    let put = |amount: u32| {
        let body = json!({"amount": amount}).to_string();
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        scene.request("PUT", "/x", &headers) + &body
    };
    assert!(scene.say(put(99)).await.starts_with("HTTP/1.1 200 "));
    assert!(scene.say(put(100)).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(scene.upstream.seen().len(), 2);
    let denied = scene.told(EventType::EgressDenied, 3).await;
    assert_eq!((&denied[0]["rule"], &denied[0]["policy"]["statement"]), (&json!("approval"), &json!(2)));
}
