//! The weakest sandbox that an organization or an application lets its runs have, over HTTP.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::site::{Actor, Answer, Site};

async fn start(actor: &Actor<'_>, agents: &str, wish: Value) -> Answer {
    let md = format!("---\nname: a\nmodel: scripted/s\n{agents}---\nWork.\n");
    let agent = json!({"agent_md": md, "files": {"scripts/s.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
    actor.post("/v1/runs", &json!({"agent": agent, "sandbox": wish})).await
}

/// What a refusal says of itself.
fn refusal(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 422, "{}", answer.text());
    let code = answer.problem();
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/sandbox/tier", "{errors}");
    assert_eq!(errors[0]["code"], code, "{errors}");
    (code, errors[0]["detail"].as_str().unwrap().to_owned())
}

async fn organization_of(actor: &Actor<'_>) -> String {
    let page = actor.get("/v1/organizations").await.json();
    format!("/v1/organizations/{}", page["data"][0]["id"].as_str().unwrap())
}

async fn application_of(actor: &Actor<'_>) -> String {
    let page = actor.get("/v1/applications").await.json();
    format!("/v1/applications/{}", page["data"][0]["id"].as_str().unwrap())
}

async fn key(site: &Site, scopes: &[&str]) -> String {
    let created = site.operator().post("/v1/api_keys", &json!({"name": "k", "scopes": scopes})).await;
    created.json()["api_key"].as_str().unwrap_or_else(|| panic!("{}", created.text())).to_owned()
}

#[tokio::test]
async fn a_run_below_the_minimum_is_refused_and_told_who_demands_what() {
    let site = Site::new().await;
    let operator = site.operator();
    let (organization, application) = (organization_of(&operator).await, application_of(&operator).await);
    let accepted = start(&operator, "", json!({})).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    assert_eq!(accepted.json()["sandbox"], json!({"tier": "container", "minimum_tier": null}));

    let demand = |tier: Value| json!({"minimum_tier": tier});
    let changed = operator.patch(&application, &demand(json!("gvisor"))).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.json()["minimum_tier"]),
        (200, &json!("gvisor")),
        "{}",
        changed.text()
    );
    let (code, detail) = refusal(&start(&operator, "", json!({})).await);
    assert_eq!(code, "tier_below_minimum");
    assert!(
        detail.starts_with("the application demands gvisor or stronger, and this run asks for container"),
        "{detail}"
    );
    assert!(detail.contains("sandbox.or_stronger"), "{detail}");
    let (code, detail) = refusal(&start(&operator, "", json!({"tier": "isolate"})).await);
    assert!(
        code == "invalid_value" && detail.contains("the agent asks for container"),
        "an agent's own: {code} {detail}"
    );
    let (code, _) = refusal(&start(&operator, "sandbox: {tier: isolate}\n", json!({})).await);
    assert_eq!(code, "tier_below_minimum", "an isolate is not stronger than anything");

    let changed = operator.patch(&organization, &demand(json!("microvm"))).await;
    assert_eq!(changed.json()["minimum_tier"], "microvm", "{}", changed.text());
    let (code, detail) = refusal(&start(&operator, "sandbox: {tier: gvisor}\n", json!({})).await);
    assert!(code == "tier_below_minimum" && detail.starts_with("the organization demands microvm"), "{detail}");
    // Raised where it may be, and this node has none of the stronger ones: refused, and never run with less.
    for wish in [json!({"or_stronger": true}), json!({"tier": "microvm"})] {
        assert_eq!(refusal(&start(&operator, "", wish).await).0, "tier_unavailable");
    }
    let agent = json!({"agent_md": "---\nname: weak\nmodel: scripted/s\n---\nx\n", "files": {"scripts/s.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
    assert_eq!(operator.post("/v1/agents", &agent).await.status, 201);
    let schedule = json!({"name": "s", "agent": "weak", "cron": "@daily", "time_zone": "UTC"});
    assert_eq!(operator.post("/v1/schedules", &schedule).await.problem(), "tier_below_minimum");
    let path = format!("/v1/runs/{}/fork", accepted.json()["id"].as_str().unwrap());
    let fork = operator.post(&path, &json!({"from_seq": 1})).await;
    assert_eq!(fork.problem(), "tier_below_minimum");

    let earlier = operator.get(&format!("/v1/runs/{}", accepted.json()["id"].as_str().unwrap())).await.json();
    assert_eq!(earlier["sandbox"]["minimum_tier"], Value::Null, "what was accepted before says what held then");
    for (path, tier) in [(&organization, json!("container")), (&application, Value::Null)] {
        assert_eq!(operator.patch(path, &demand(tier.clone())).await.json()["minimum_tier"], tier);
    }
    let accepted = start(&operator, "", json!({})).await.json();
    let minimum = json!({"tier": "container", "demanded_by": "organization"});
    assert_eq!(accepted["sandbox"], json!({"tier": "container", "minimum_tier": minimum}));
    let events = operator.get(&format!("/v1/runs/{}/events", accepted["id"].as_str().unwrap())).await.json();
    assert_eq!(events["data"][0]["data"]["minimum_tier"], minimum, "{events}");
    assert_eq!(
        operator.patch(&organization, &json!({})).await.json()["minimum_tier"],
        "container",
        "what is absent stays"
    );
}

#[tokio::test]
async fn only_those_with_the_right_demand_and_only_of_their_own() {
    let site = Site::new().await;
    let operator = site.operator();
    let (organization, application) = (organization_of(&operator).await, application_of(&operator).await);
    let demand = json!({"minimum_tier": "gvisor"});

    let reader = key(&site, &["policies:read"]).await;
    let reader = site.with_key(&reader);
    for path in [&organization, &application] {
        assert_eq!(reader.get(path).await.status, 200);
        assert_eq!(reader.patch(path, &demand).await.problem(), "forbidden");
    }
    assert_eq!(reader.get("/v1/organizations").await.json()["data"].as_array().unwrap().len(), 1);
    let own = site.with_key(&key(&site, &["policies:write"]).await);
    assert_eq!(own.patch(&organization, &demand).await.problem(), "forbidden", "its key is bound to an application");
    assert_eq!(own.patch(&application, &json!({})).await.status, 200);
    let two = site.tenant("two").await;
    for path in [&organization, &application] {
        assert_eq!(two.get(path).await.problem(), "not_found");
        assert_eq!(two.patch(path, &demand).await.problem(), "not_found");
    }
    // Its first key is bound to its first application, which is not to loosen what holds for all.
    let (own_organization, own_application) = (organization_of(&two).await, application_of(&two).await);
    assert_eq!(two.patch(&own_organization, &demand).await.problem(), "forbidden");
    assert_eq!(two.patch(&own_application, &demand).await.status, 200);
    let listed = operator.get("/v1/organizations?limit=1").await.json();
    assert_eq!(own_organization, format!("/v1/organizations/{}", listed["data"][0]["id"].as_str().unwrap()));
    assert!(listed["next_cursor"].is_string(), "the operator sees all: {listed}");
    assert_eq!(operator.patch(&own_organization, &demand).await.json()["minimum_tier"], "gvisor");
    assert_eq!(two.get(&own_organization).await.json()["minimum_tier"], "gvisor");
    assert_eq!(
        operator.patch(&own_application, &demand).await.problem(),
        "not_found",
        "an application is its tenant's"
    );
    for wrong in [json!({"minimum_tier": "vault"}), json!({"minimum_tier": 3}), json!({"tier": "gvisor"}), json!([])] {
        let answer = operator.patch(&organization, &wrong).await;
        assert!(answer.status.is_client_error(), "{wrong}: {}", answer.text());
        answer.problem();
    }
    for path in ["/v1/organizations/org_1", "/v1/applications/nobody"] {
        let request = operator.request(Method::GET, path).body(Body::empty()).unwrap();
        assert_eq!(operator.send(request).await.problem(), "not_found");
    }
    assert_eq!(
        operator.get(&organization).await.json()["minimum_tier"],
        Value::Null,
        "nothing of this changed anything"
    );
}
