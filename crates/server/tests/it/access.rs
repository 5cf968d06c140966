//! Who may do what: every operation of the published document, for everybody who may not.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::site::{Actor, Answer, Site};

/// Every operation that needs a key, with ids filled in.
fn operations(fill: impl Fn(&str) -> String) -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(&livery_server::document()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"][0] != "system" {
                let method = method.to_uppercase().parse().unwrap();
                all.push((method, fill(path)));
            }
        }
    }
    assert!(all.len() > 20);
    all
}

async fn call(actor: &Actor<'_>, method: &Method, target: &str) -> Answer {
    let target = if target == "/v1/files" { "/v1/files?name=x" } else { target };
    let request = actor.request(method.clone(), target).header("content-type", "application/json");
    let body = match *method {
        Method::POST if target.ends_with("/replay") => r#"{"mode": "recorded"}"#,
        Method::POST if target.starts_with("/v1/approvals/") => r#"{"decision": "deny"}"#,
        Method::POST if target.ends_with("/restore") => r#"{"snapshot": "snp_00000000000000000000000001"}"#,
        Method::POST if target.ends_with("/fork") => r#"{"from_seq": 1}"#,
        Method::POST | Method::PATCH => "{}",
        _ => "",
    };
    actor.send(request.body(Body::from(body)).unwrap()).await
}

fn any_id(path: &str) -> String {
    let id = |prefix: &str| format!("{prefix}_00000000000000000000000001");
    let own = match path.split('/').nth(2).unwrap_or("") {
        "runs" => id("run"),
        "webhooks" => id("whk"),
        "schedules" => id("sch"),
        "triggers" => id("trg"),
        "connections" => id("con"),
        "policies" => id("pol"),
        "organizations" => id("org"),
        "applications" => id("app"),
        "approvals" => id("apr"),
        "api_keys" => id("key"),
        "files" => id("fil"),
        "end_users" => id("eu"),
        "workspaces" => id("wsp"),
        _ => "nobody".to_owned(),
    };
    path.replace("{id}", &own)
        .replace("{delivery}", &id("whd"))
        .replace("{snapshot}", &id("snp"))
        .replace("{name}", "nobody")
        .replace("{provider}", "nobody")
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_answered() {
    let site = Site::new().await;
    let tenant = site.tenant("revoked").await;
    let created = tenant.post("/v1/api_keys", &json!({"name": "short", "scopes": ["runs:read"]})).await.json();
    let revoked = site.with_key(created["api_key"].as_str().unwrap());
    assert_eq!(revoked.get("/v1/runs").await.status, 200);
    let path = format!("/v1/api_keys/{}", created["id"].as_str().unwrap());
    assert_eq!(tenant.delete(&path).await.status, 200);

    let wrong = site.with_key("lvk_00000000000000000000000000000000");
    for (method, target) in operations(any_id) {
        for (who, actor) in [("nobody", &site.nobody()), ("a wrong key", &wrong), ("a revoked key", &revoked)] {
            let answer = call(actor, &method, &target).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (401, "unauthenticated"),
                "{who}: {method} {target}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn a_key_comes_in_one_way_only() {
    let site = Site::new().await;
    let key = &site.key;
    for value in [format!("Basic {key}"), key.clone(), "Bearer ".to_owned(), format!("Bearer {}", "x".repeat(600))] {
        let request = site.nobody().request(Method::GET, "/v1/runs").header("authorization", value);
        assert_eq!(site.nobody().send(request.body(Body::empty()).unwrap()).await.problem(), "unauthenticated");
    }
    let twice = site.operator().request(Method::GET, "/v1/runs").header("authorization", format!("Bearer {key}"));
    assert_eq!(site.nobody().send(twice.body(Body::empty()).unwrap()).await.problem(), "unauthenticated");
    assert_eq!(site.nobody().get(&format!("/v1/runs?api_key={key}")).await.problem(), "unauthenticated");
    let lower = site.nobody().request(Method::GET, "/v1/runs").header("authorization", format!("bearer {key}"));
    assert_eq!(site.nobody().send(lower.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_key_without_scopes_may_do_nothing() {
    let site = Site::new().await;
    let created = site.operator().post("/v1/api_keys", &json!({"name": "none", "scopes": []})).await.json();
    let powerless = site.with_key(created["api_key"].as_str().unwrap());
    for (method, target) in operations(any_id) {
        let answer = call(&powerless, &method, &target).await;
        let code = answer.problem();
        // A body that is wrong anyway may be refused before the right is asked for; nothing else may come.
        let refused = code == "forbidden"
            || (method == Method::POST && matches!(code.as_str(), "invalid_value" | "unsupported_media_type"));
        assert!(refused, "{method} {target}: {}", answer.text());
    }
    let behalf =
        powerless.post_with("/v1/runs", &json!({}), &[("livery-on-behalf-of", "eu_00000000000000000000000001")]).await;
    assert_eq!(behalf.problem(), "forbidden");
}

#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let site = Site::new().await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let run = one.finished_run().await["id"].as_str().unwrap().to_owned();
    let agent = json!({"agent_md": "---\nname: secret-agent\ndescription: d\nmodel: scripted/talk\n---\nx\n", "files": {"scripts/talk.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
    assert_eq!(one.post("/v1/agents", &agent).await.status, 201);
    let file = one.request(Method::POST, "/v1/files?name=a.txt").body(Body::from("secret")).unwrap();
    let file = one.send(file).await.json()["id"].as_str().unwrap().to_owned();
    let key =
        one.post("/v1/api_keys", &json!({"name": "k", "scopes": []})).await.json()["id"].as_str().unwrap().to_owned();
    let hook = one.post("/v1/webhooks", &json!({"url": "https://example.com/", "events": ["run.*"]})).await;
    let hook = hook.json()["id"].as_str().unwrap_or_else(|| panic!("{}", hook.text())).to_owned();
    let provider = json!({"name": "mine", "kind": "openai", "api_key": "sk-000000000000000x"});
    assert_eq!(one.post("/v1/model_providers", &provider).await.status, 201);

    let schedule = json!({"name": "s", "agent": "secret-agent", "cron": "@daily", "time_zone": "UTC"});
    let schedule = one.post("/v1/schedules", &schedule).await.json()["id"].as_str().unwrap().to_owned();

    let trigger = json!({"name": "t", "agent": "secret-agent", "verification": {"kind": "github"}});
    let trigger = one.post("/v1/triggers", &trigger).await.json()["id"].as_str().unwrap().to_owned();

    let connection = json!({"name": "c", "connector": "stripe", "credential": {"value": "sk_test_0123456789"}});
    let connection = one.post("/v1/connections", &connection).await.json()["id"].as_str().unwrap().to_owned();

    let policy = json!({"name": "p", "text": "permit (principal, action in Action::\"read\", resource);"});
    let policy = one.post("/v1/policies", &policy).await.json()["id"].as_str().unwrap().to_owned();
    let own = async |list: &str| one.get(list).await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let (organization, application) = (own("/v1/organizations").await, own("/v1/applications").await);
    let end_user =
        one.post("/v1/end_users", &json!({"external_id": "ada"})).await.json()["id"].as_str().unwrap().to_owned();
    // One that a run has saved is in the tests of the whole binary.
    let workspace = "wsp_00000000000000000000000001".to_owned();
    // One that waits is in the tests of approvals.
    let approval = "apr_00000000000000000000000001".to_owned();

    let fill = |path: &str| {
        let own = match path.split('/').nth(2).unwrap_or("") {
            "runs" => &run,
            "webhooks" => &hook,
            "api_keys" => &key,
            "files" => &file,
            "schedules" => &schedule,
            "triggers" => &trigger,
            "connections" => &connection,
            "policies" => &policy,
            "organizations" => &organization,
            "applications" => &application,
            "approvals" => &approval,
            "end_users" => &end_user,
            "workspaces" => &workspace,
            _ => "",
        };
        let path = path.replace("{snapshot}", "snp_00000000000000000000000001");
        path.replace("{id}", own).replace("{name}", "secret-agent").replace("{provider}", "mine")
    };
    // The last of these is about the node, and names no tenant's thing.
    let named_nothing = ["/validate", "/preview", "/sandboxes/tiers"];
    let named = operations(fill)
        .into_iter()
        .filter(|(_, target)| target.split('/').count() > 3 && !named_nothing.iter().any(|end| target.ends_with(end)));
    for (method, target) in named {
        let answer = call(&two, &method, &target).await;
        // Images are the operator's, and a tenant's keys have no right over them.
        if target.starts_with("/v1/images/") {
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "forbidden"), "{method} {target}");
            continue;
        }
        // An agent nobody has, has no versions: the list is empty for a name of another tenant as for a name of none.
        if target.ends_with("/versions") && answer.status == 200 {
            assert_eq!(answer.json()["data"], json!([]));
            continue;
        }
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"), "{method} {target}");
    }
    for list in [
        "runs",
        "agents",
        "schedules",
        "triggers",
        "webhooks",
        "model_providers",
        "connections",
        "policies",
        "approvals",
        "end_users",
        "workspaces",
    ] {
        assert_eq!(two.get(&format!("/v1/{list}")).await.json()["data"], json!([]), "{list}");
    }
    assert_eq!(one.get(&format!("/v1/runs/{run}")).await.status, 200, "it is still there for its owner");
    assert_eq!(one.get(&format!("/v1/webhooks/{hook}")).await.status, 200);
}

#[tokio::test]
async fn a_key_has_its_rate_and_is_told() {
    let options = livery_server::Options { rate_per_s: 1, rate_burst: 3, ..Default::default() };
    let site = Site::with(options).await;
    let tenant = site.tenant("busy").await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(tenant.get("/v1/runs").await);
    }
    assert_eq!(answers[0].header("ratelimit-policy"), "\"default\";q=3;w=3");
    assert_eq!(answers[0].header("ratelimit"), "\"default\";r=2;t=1");
    assert_eq!(answers[3].problem(), "rate_limited");
    assert_eq!((answers[3].status.as_u16(), answers[3].header("retry-after")), (429, "1"));
    for _ in 0..20 {
        let answer = site.operator().get("/v1/runs").await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, ""), "the first key has no rate");
    }
}
