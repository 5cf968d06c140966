//! Calls whose credential is exchanged for a token: one more try when it is not taken, and no token anywhere.

use livery_testkit::FakeOauth;
use livery_testkit::fake_oauth::{CANARY, CLIENT_ID, CLIENT_SECRET};

use super::*;

/// R9, R12, A16: a 401 is followed by one try with the next token where a second copy does no harm; what the API echoes is
/// taken out; and no request of a run reaches the token endpoint, though it is on the same host.
#[tokio::test]
async fn r9_a16_a_token_that_is_not_taken_is_replaced_once_and_never_shown() {
    let nobody = Upstream::start(KEY).await;
    let mut site = Site::new(&nobody, KEY).await;
    let fake = FakeOauth::start("http://127.0.0.1:7400/v1/oauth/callback").await.unwrap();
    let body = json!({
        "name": "tokens", "connector": "http",
        "settings": {"base_url": fake.url(), "oauth": {"issuer": fake.url()}},
        "credential": {"kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    });
    let new: NewConnection = serde_json::from_value(body).unwrap();
    site.connection = match site.node.platform.create_connection(&site.node.caller, new).await.unwrap() {
        Posted::Fresh(view) => view.id,
        Posted::Replayed(_) => unreachable!("no key was sent"),
    };
    let spoil = || {
        fake.spoil_access_tokens();
        site.node.clock.set(site.node.platform.now().plus_millis(60_000));
    };
    let mut logs = String::new();
    for (method, status, version, calls) in
        [("GET", 200, 1, &[true][..]), ("GET", 200, 2, &[false, true]), ("POST", 401, 2, &[false])]
    {
        let before = fake.seen().calls.len();
        let row = site.play(&nobody, &[call(method, "/api/me")]).await;
        assert_eq!(row.status, RunStatus::Succeeded, "{:?}", row.error);
        let finished = &site.of_type(row.id, EventType::EgressFinished).await[0];
        assert_eq!(
            (&finished["status"], &finished["credential_version"]),
            (&json!(status), &json!(version)),
            "{finished}"
        );
        assert_eq!(&fake.seen().calls[before..], calls);
        for event in site.events(row.id).await {
            logs.push_str(&event.to_string());
        }
        spoil();
    }
    assert!(logs.contains("[REDACTED:tokens]"), "the API gave the token back");
    let row = site.play(&nobody, &[call("POST", "/token")]).await;
    let denied = &site.of_type(row.id, EventType::EgressDenied).await[0];
    assert_eq!(denied["rule"], "token_endpoint", "{denied}");
    assert!(!logs.contains(CANARY) && !logs.contains(CLIENT_SECRET), "{logs}");
    assert_eq!(fake.seen().grants.len(), 2);
}
