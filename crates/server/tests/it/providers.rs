//! Model providers: whose key is used, and which keys are taken at all.

use livery_platform::providers::{EnvironmentProvider, EnvironmentProviders, ProviderKind};
use livery_server::Options;
use livery_testkit::fake_model::{Chaos, Config, Delay, FakeModel, Fault};
use serde_json::{Value, json};

use crate::site::{PATIENCE, Site};

const OPERATORS: &str = "sk-operator-000000000000";
const TENANTS: &str = "sk-tenant-00000000000000";
const AGENT: &str = "---\nname: asker\nmodel: acme/some-model\ntools: []\n---\nAnswer.\n";

async fn model(key: &str, chaos: Vec<Chaos>) -> FakeModel {
    FakeModel::start(Config { key: Some(key.to_owned()), chaos, ..Config::default() }).await.unwrap()
}

/// A site whose operator has a provider `acme` in the environment.
async fn site(operators: &FakeModel) -> Site {
    let acme = EnvironmentProvider {
        name: "acme".to_owned(),
        kind: ProviderKind::Anthropic,
        base_url: Some(operators.anthropic_base_url()),
        api_key: Some(OPERATORS.to_owned().into()),
    };
    Site::changed(Options::default(), |parts| {
        parts.broker.allow_upstream = vec!["127.0.0.0/8".parse().unwrap()];
        parts.environment = EnvironmentProviders::new(vec![acme]);
    })
    .await
}

fn run() -> Value {
    json!({"agent": {"agent_md": AGENT, "files": {}}, "input": {}})
}

/// Deleting a provider must not send the rest of a conversation to the operator's provider of the same name, on its bill.
#[tokio::test]
async fn a_deleted_provider_is_not_replaced_by_the_operators() {
    let operators = model(OPERATORS, Vec::new()).await;
    let fault = Fault::Status { status: 503, delay: Delay::Milliseconds(300) };
    let tenants = model(TENANTS, vec![Chaos::always(fault)]).await;
    let site = site(&operators).await;
    let actor = site.operator();
    let own =
        json!({"name": "acme", "kind": "anthropic", "base_url": tenants.anthropic_base_url(), "api_key": TENANTS});
    let own = actor.post("/v1/model_providers", &own).await;
    assert_eq!(own.status, 201, "{}", own.text());
    let started = actor.post("/v1/runs", &run()).await;
    assert_eq!(started.status, 202, "{}", started.text());
    let begun = std::time::Instant::now();
    while tenants.count() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody was asked");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let deleted = format!("/v1/model_providers/{}", own.json()["id"].as_str().unwrap());
    assert_eq!(actor.delete(&deleted).await.status, 204);
    let path = format!("/v1/runs/{}?wait=30", started.json()["id"].as_str().unwrap());
    let ended = actor.get(&path).await.json();
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("credential_unavailable")),
        "{ended}"
    );
    assert!(ended["error"]["message"].as_str().unwrap().contains("acme was deleted since the run began"), "{ended}");
    assert_eq!(operators.count(), 0, "nothing of it went to the operator's provider");

    // A run that begins now means the operator's.
    let next = actor.post_with("/v1/runs", &run(), &[("prefer", "wait=30")]).await.json();
    assert_eq!((&next["status"], operators.count()), (&json!("succeeded"), 1), "{next}");
}

/// Answers are searched for the key. One too short to be told from ordinary words is not taken.
#[tokio::test]
async fn a_key_that_could_not_be_kept_out_of_answers_is_refused() {
    let site = Site::new().await;
    let actor = site.operator();
    let new = |key: &str| json!({"name": "acme", "kind": "anthropic", "api_key": key});
    for key in ["", "ollama", "sk-000000000000"] {
        let refused = actor.post("/v1/model_providers", &new(key)).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "invalid_value"), "{key}");
        let finding = &refused.json()["errors"][0];
        assert_eq!(finding["pointer"], "/api_key", "{finding}");
        assert!(finding["detail"].as_str().unwrap().contains("16 to 4096"), "{finding}");
    }
    assert_eq!(actor.post("/v1/model_providers", &new("sk-0000000000000")).await.status, 201);
}
