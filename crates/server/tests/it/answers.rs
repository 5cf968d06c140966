//! What is answered is what is published: real answers against the schemas of the document, and closed ones at that.

use axum::body::Body;
use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::site::{Actor, Answer, Site};

/// The document, with every object closed: a member that nobody published is found too.
struct Published(Value);

impl Published {
    fn new() -> Self {
        let mut document: Value = serde_json::from_str(&livery_server::document()).unwrap();
        close(&mut document["components"]["schemas"]);
        Self(document)
    }

    /// The schema of an answer, by operation and status.
    fn validator(&self, operation: &str, status: u16) -> Validator {
        let mut operations =
            self.0["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let operation = operations.find(|candidate| candidate["operationId"] == operation).unwrap();
        let response = &operation["responses"][status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        let content =
            response["content"].as_object().unwrap().iter().find(|(media, _)| media.contains("json")).unwrap().1;
        let schema = json!({"allOf": [content["schema"]], "components": self.0["components"]});
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap()
    }

    fn check(&self, operation: &str, answer: &Answer) -> Value {
        let value = answer.json();
        let findings: Vec<_> = self
            .validator(operation, answer.status.as_u16())
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(findings.is_empty(), "{operation}: {findings:#?}\n{value:#}");
        value
    }
}

/// Objects with published members have no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let combined = members.contains_key("allOf");
            for member in members.iter_mut().filter(|(name, _)| *name != "allOf").map(|(_, member)| member) {
                close(member);
            }
            if combined {
                members.insert("unevaluatedProperties".to_owned(), json!(false));
            } else if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

async fn upload(actor: &Actor<'_>) -> Answer {
    let request = actor.request(Method::POST, "/v1/files?name=data%2Fbank.csv").header("content-type", "text/csv");
    actor.send(request.body(Body::from("a,b\n1,2\n")).unwrap()).await
}

#[tokio::test]
async fn answers_fit_the_published_schemas() {
    let (site, published) = (Site::new().await, Published::new());
    let actor = site.operator();

    let run = actor.finished_run().await;
    let id = run["id"].as_str().unwrap();
    published.check("get_run", &actor.get(&format!("/v1/runs/{id}")).await);
    published.check("list_runs", &actor.get("/v1/runs?status=succeeded&metadata[ticket]=42").await);
    published.check("list_run_events", &actor.get(&format!("/v1/runs/{id}/events")).await);
    published.check("list_run_artifacts", &actor.get(&format!("/v1/runs/{id}/artifacts")).await);
    let replayed = actor.post(&format!("/v1/runs/{id}/replay"), &json!({"mode": "recorded"})).await;
    assert_eq!(published.check("replay_run", &replayed)["result"], "identical", "{}", replayed.text());
    let live = actor.post(&format!("/v1/runs/{id}/replay"), &json!({"mode": "live"})).await;
    assert_eq!(published.check("replay_run", &live)["replay_of"], id, "{}", live.text());
    let forked = actor.post(&format!("/v1/runs/{id}/fork"), &json!({"from_seq": 5})).await;
    assert_eq!(published.check("fork_run", &forked)["forked_from"]["run"], id, "{}", forked.text());
    let bundle = actor.get(&format!("/v1/runs/{id}/bundle")).await;
    assert_eq!((bundle.status.as_u16(), bundle.header("content-type")), (200, "application/jsonl"));
    let read = livery_platform::replay::Bundle::parse(std::str::from_utf8(&bundle.body).unwrap()).unwrap();
    assert_eq!((read.run.to_string().as_str(), read.events.len() as u64), (id, run["last_seq"].as_u64().unwrap()));
    published.check("get_run_receipt", &actor.get(&format!("/v1/runs/{id}/receipt")).await);
    published.check("rotate_receipt_key", &actor.post("/v1/receipt_keys", &json!({})).await);
    let tiers = published.check("list_sandbox_tiers", &actor.get("/v1/sandboxes/tiers").await);
    let names: Vec<_> = tiers["data"].as_array().unwrap().iter().map(|tier| &tier["tier"]).collect();
    assert_eq!(names, ["container", "gvisor", "microvm", "isolate"], "{tiers}");
    let vault = published.check("get_vault", &actor.get("/v1/vault").await);
    assert_eq!((&vault["keys_pending"], &vault["root_key"]), (&json!(0), &vault["node_root_key"]), "{vault}");
    published
        .check("rewrap_vault", &actor.post("/v1/vault/rewrap", &json!({"root_key": vault["node_root_key"]})).await);
    let organization = json!({"organization": actor.get("/v1/runs?limit=1").await.json()["data"][0]["organization"]});
    published.check("rotate_data_key", &actor.post("/v1/vault/data_keys", &organization).await);
    published.check("list_receipt_keys", &site.nobody().get("/v1/receipt_keys").await);
    published.check("cancel_run", &actor.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await);

    let agent = json!({"agent_md": "---\nname: a\ndescription: d\nmodel: scripted/talk\n---\nx\n", "files": {"scripts/talk.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
    published.check("validate_agent", &actor.post("/v1/agents/validate", &agent).await);
    let invalid =
        published.check("validate_agent", &actor.post("/v1/agents/validate", &json!({"agent_md": "x"})).await);
    assert_eq!(invalid["valid"], false);
    let created = actor.post("/v1/agents", &agent).await;
    assert_eq!((created.status.as_u16(), created.header("location")), (201, "/v1/agents/a"));
    published.check("create_agent_version", &created);
    published.check("get_agent", &actor.get("/v1/agents/a@1").await);
    published.check("list_agents", &actor.get("/v1/agents").await);
    published.check("list_agent_versions", &actor.get("/v1/agents/a/versions").await);
    let accepted = actor.post("/v1/runs", &json!({"agent": "a"})).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    published.check("start_run", &accepted);

    published.check(
        "create_api_key",
        &actor
            .post("/v1/api_keys", &json!({"name": "k", "scopes": ["runs:read"], "expires_at": "2099-01-01T00:00:00Z"}))
            .await,
    );
    published.check("list_api_keys", &actor.get("/v1/api_keys").await);
    let hook = published.check(
        "create_webhook",
        &actor.post("/v1/webhooks", &json!({"url": "https://example.com/", "events": ["run.*"]})).await,
    );
    let hook = hook["id"].as_str().unwrap();
    published.check("get_webhook", &actor.get(&format!("/v1/webhooks/{hook}")).await);
    published.check("list_webhooks", &actor.get("/v1/webhooks").await);
    published.check("list_webhook_deliveries", &actor.get(&format!("/v1/webhooks/{hook}/deliveries")).await);
    let both = json!({"signatures": ["v1", "v1a"], "description": null, "url": "https://nowhere.invalid/"});
    let changed = actor.request(Method::PATCH, &format!("/v1/webhooks/{hook}"));
    let changed = changed.header("content-type", "application/json").body(Body::from(both.to_string())).unwrap();
    published.check("change_webhook", &actor.send(changed).await);
    let rotated =
        published.check("rotate_webhook", &actor.post(&format!("/v1/webhooks/{hook}/rotate"), &json!({})).await);
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    assert!(rotated["public_key"].as_str().unwrap().starts_with("whpk_"));
    published.check("test_webhook", &actor.post(&format!("/v1/webhooks/{hook}/test"), &json!({})).await);
    assert_eq!(actor.delete(&format!("/v1/webhooks/{hook}")).await.status, 204);

    published.check(
        "create_model_provider",
        &actor
            .post("/v1/model_providers", &json!({"name": "p", "kind": "anthropic", "api_key": "sk-000000000000000x"}))
            .await,
    );
    published.check("get_model_provider", &actor.get("/v1/model_providers/p").await);
    let providers = actor.get("/v1/model_providers").await;
    assert!(!providers.text().contains("000000000000000x"), "a key is never shown");
    published.check("list_model_providers", &providers);
    published.check("create_organization", &actor.post("/v1/organizations", &json!({"name": "o"})).await);

    let user = published.check("create_end_user", &actor.post("/v1/end_users", &json!({"external_id": "ada"})).await);
    published.check("get_end_user", &actor.get(&format!("/v1/end_users/{}", user["id"].as_str().unwrap())).await);
    published.check("list_end_users", &actor.get("/v1/end_users").await);
    published.check("list_workspaces", &actor.get("/v1/workspaces?agent=a").await);
    let file = published.check("upload_file", &upload(&actor).await);
    let file = file["id"].as_str().unwrap();
    published.check("get_file", &actor.get(&format!("/v1/files/{file}")).await);

    for (operation, answer) in [
        ("get_run", actor.get("/v1/runs/nothing").await),
        ("start_run", actor.post("/v1/runs", &json!({"agent": "a", "x": 1})).await),
        ("start_run", actor.post("/v1/runs", &json!({})).await),
        ("list_runs", site.nobody().get("/v1/runs").await),
        ("get_readiness", site.nobody().get("/readyz").await),
    ] {
        answer.problem();
        published.check(operation, &answer);
    }
    published.check("get_health", &site.nobody().get("/healthz").await);
}

/// The names of members that a published body has at a place.
fn members<'a>(document: &'a Value, schema: &'a Value, place: &str) -> Vec<&'a str> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if let Some(member) = place.strip_prefix('/') {
        return members(document, &schema["properties"][member], "");
    }
    let parts = ["oneOf", "allOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    own.chain(parts.flat_map(|part| members(document, part, ""))).collect()
}

/// Each refuses an unknown member and says which it knows: those are the published ones, no more and no fewer.
#[tokio::test]
async fn requests_take_what_is_published() {
    let site = Site::new().await;
    let document: Value = serde_json::from_str(&livery_server::document()).unwrap();
    for (target, place) in [
        ("/v1/runs", ""),
        ("/v1/runs", "/agent"),
        ("/v1/runs", "/sandbox"),
        ("/v1/runs", "/workspace"),
        ("/v1/end_users", ""),
        ("/v1/runs", "/limits"),
        ("/v1/runs", "/webhook"),
        ("/v1/agents", ""),
        ("/v1/api_keys", ""),
        ("/v1/webhooks", ""),
        ("/v1/model_providers", ""),
        ("/v1/organizations", ""),
    ] {
        let unknown = json!({"unknown": 1});
        let body = place.strip_prefix('/').map_or_else(|| unknown.clone(), |member| json!({member: unknown}));
        let answer = site.operator().post(target, &body).await;
        assert_eq!(answer.problem(), "unknown_field", "{target}{place}: {}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let mut known: Vec<_> = detail.split_once("known are: ").unwrap().1.split(", ").collect();
        let schema = &document["paths"][target]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let mut published = members(&document, schema, place);
        known.sort_unstable();
        published.sort_unstable();
        published.dedup();
        assert_eq!(published, known, "{target}{place}");
    }
}

#[tokio::test]
async fn a_file_comes_back_as_an_attachment() {
    let site = Site::new().await;
    let actor = site.operator();
    let file = upload(&actor).await.json();
    let answer = actor.get(&format!("/v1/files/{}/content", file["id"].as_str().unwrap())).await;
    assert_eq!(&answer.body[..], b"a,b\n1,2\n");
    assert_eq!(answer.header("content-type"), "text/csv");
    assert_eq!(answer.header("content-disposition"), "attachment; filename*=UTF-8''data%2Fbank%2Ecsv");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn a_list_is_walked_page_by_page() {
    let site = Site::new().await;
    let actor = site.operator();
    for number in 0..5 {
        let created = actor.post("/v1/api_keys", &json!({"name": format!("k{number}"), "scopes": []})).await;
        assert_eq!(created.status, 201);
    }
    let mut target = "/v1/api_keys?limit=2".to_owned();
    let mut names = Vec::new();
    loop {
        let answer = actor.get(&target).await;
        let page = answer.json();
        names.extend(page["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        let link = answer.header("link");
        assert_eq!(link.is_empty(), page["next_cursor"].is_null());
        let Some(next) = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")) else { break };
        target = next.to_owned();
    }
    assert_eq!(names.len(), 6, "five and the first one: {names:?}");
    assert_eq!(names[..5], ["k4", "k3", "k2", "k1", "k0"]);
}

#[tokio::test]
async fn an_agent_may_be_called_validate() {
    let site = Site::new().await;
    let actor = site.operator();
    assert_eq!(actor.get("/v1/agents/validate").await.problem(), "not_found");
    let agent = json!({"agent_md": "---\nname: validate\ndescription: d\nmodel: scripted/talk\n---\nx\n", "files": {"scripts/talk.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
    assert_eq!(actor.post("/v1/agents", &agent).await.status, 201);
    assert_eq!(actor.get("/v1/agents/validate").await.json()["name"], "validate");
}
