//! A person's consent over HTTP, against an authorization server that takes nothing on trust; and what is exchanged for tokens
//! without a person. By the numbers of the attack list.

use std::path::Path;
use std::time::Duration;

use http::Method;
use livery_server::Options;
use livery_testkit::FakeOauth;
use livery_testkit::fake_oauth::{CANARY, CLIENT_ID, CLIENT_SECRET};
use serde_json::{Value, json};

use crate::site::{Actor, Answer, PATIENCE, Site};

const PUBLIC: &str = "http://127.0.0.1:7400";
const CALLBACK: &str = "http://127.0.0.1:7400/v1/oauth/callback";

async fn site() -> Site {
    Site::changed(Options::default(), |parts| {
        parts.broker.allow_upstream = vec!["127.0.0.0/8".parse().unwrap()];
        parts.config.public_url = Some(PUBLIC.to_owned());
    })
    .await
}

/// A connection to the fake's API whose endpoints are found by its name.
fn connection(fake: &FakeOauth, kind: &str) -> Value {
    json!({
        "name": "crm", "connector": "http",
        "settings": {"base_url": format!("{}/api", fake.url()), "oauth": {"issuer": fake.url(), "scopes": ["read"]}, "test_path": "/me"},
        "credential": {"kind": kind, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    })
}

async fn created(actor: &Actor<'_>, body: &Value) -> String {
    let answer = actor.post("/v1/connections", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("location").to_owned()
}

/// A browser: it has a cookie once it was given one.
async fn visit(site: &Site, url: &str, cookie: Option<&str>) -> Answer {
    let target = url.strip_prefix(PUBLIC).unwrap();
    let mut request = site.nobody().request(Method::GET, target);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    site.nobody().send(request.body(axum::body::Body::empty()).unwrap()).await
}

fn cookie_of(answer: &Answer) -> String {
    let field = answer.header("set-cookie");
    assert!(field.contains("HttpOnly") && field.contains("SameSite=Lax"), "{field}");
    field.split(';').next().unwrap().to_owned()
}

/// From the request for a consent to the address the browser is sent back to, and the cookie it then has.
async fn agreed(site: &Site, actor: &Actor<'_>, fake: &FakeOauth, path: &str) -> (String, String) {
    let asked = actor.post(&format!("{path}/authorize"), &json!({})).await;
    assert_eq!(asked.status, 200, "{}", asked.text());
    let begun = visit(site, asked.json()["url"].as_str().unwrap(), None).await;
    assert_eq!(begun.status, 303, "{}", begun.text());
    (fake.agree(begun.header("location")).unwrap(), cookie_of(&begun))
}

async fn status(actor: &Actor<'_>, path: &str) -> String {
    actor.get(path).await.json()["status"].as_str().unwrap().to_owned()
}

async fn tested(actor: &Actor<'_>, path: &str) -> Value {
    actor.post(&format!("{path}/test"), &json!({})).await.json()
}

fn assert_absent(place: &str, bytes: &[u8]) {
    for needle in [CANARY, CLIENT_SECRET] {
        let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!found, "{place} holds a secret");
    }
}

fn assert_absent_below(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => assert_absent_below(&entry.path()),
            false => assert_absent(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_consent_from_its_request_to_its_end_leaks_nothing() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let actor = site.tenant("one").await;
    let path = created(&actor, &connection(&fake, "oauth2")).await;
    let shown = actor.get(&path).await.json();
    assert_eq!(shown["status"], "needs_reauth", "nobody has agreed yet");
    assert_eq!(shown["settings"]["oauth"]["token_endpoint"], format!("{}/token", fake.url()), "found once, kept");
    let early = tested(&actor, &path).await;
    assert_eq!(early["code"], "conflict", "{early}");
    let (back, cookie) = agreed(&site, &actor, &fake, &path).await;
    let done = visit(&site, &back, Some(&cookie)).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (200, ""), "{}", done.text());
    assert_eq!(status(&actor, &path).await, "active");
    let test = tested(&actor, &path).await;
    assert_eq!(test["outcome"], "ok", "{test}");
    assert_eq!(fake.seen().calls, [true]);
    let again = visit(&site, &back, Some(&cookie)).await;
    assert_eq!(again.status, 404, "a consent ends once");

    assert_eq!(actor.delete(&path).await.status, 204);
    let given_back = async || {
        while fake.seen().revoked.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back()).await.unwrap();
    let revoked = fake.seen().revoked[0].clone();
    assert!(revoked.contains("_ref_"), "the refresh token, and with it all the others");
    for answer in [done, again, actor.get("/v1/connections").await] {
        assert_absent("an answer", answer.text().as_bytes());
    }
    assert_absent("the test", test.to_string().as_bytes());
    assert_absent_below(site.data());
}

/// F6: an answer without the state or the browser that began, of another issuer, or with somebody else's code.
#[tokio::test]
async fn f6_only_the_browser_that_began_brings_an_answer_of_the_right_issuer() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let actor = site.operator();
    let path = created(&actor, &connection(&fake, "oauth2")).await;

    let (back, cookie) = agreed(&site, &actor, &fake, &path).await;
    for (url, cookie, code) in [
        (CALLBACK.to_owned(), Some(cookie.as_str()), 422),
        (back.replace("&state=", "&other="), Some(cookie.as_str()), 422),
        (format!("{back}&code=another"), Some(cookie.as_str()), 422),
        (back.clone(), None, 404),
        (back.clone(), Some("livery_oauth=somebody-else"), 404),
        (format!("{CALLBACK}?code=x&state={}", "A".repeat(43)), Some(cookie.as_str()), 404),
    ] {
        let answer = visit(&site, &url, cookie).await;
        assert_eq!(answer.status, code, "{url}: {}", answer.text());
    }
    assert_eq!(status(&actor, &path).await, "needs_reauth");
    assert!(fake.seen().grants.is_empty(), "no code went anywhere");

    // Code injection: a code that was got for another challenge is not taken with this verifier.
    let (theirs, _) = agreed(&site, &actor, &fake, &path).await;
    let (mine, cookie) = agreed(&site, &actor, &fake, &path).await;
    let code = |url: &str| url.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let injected = visit(&site, &mine.replace(&code(&mine), &code(&theirs)), Some(&cookie)).await;
    assert_eq!(
        (injected.status.as_u16(), injected.text().contains("invalid_grant")),
        (403, true),
        "{}",
        injected.text()
    );

    // Mix-up: another issuer, or none where this one always says its name.
    fake.set(|knobs| knobs.issuer = Some("https://evil.example".to_owned()));
    let (mixed, cookie) = agreed(&site, &actor, &fake, &path).await;
    let mixed = visit(&site, &mixed, Some(&cookie)).await;
    assert_eq!((mixed.status.as_u16(), mixed.text().contains("another_issuer")), (403, true), "{}", mixed.text());
    let (silent, cookie) = agreed(&site, &actor, &fake, &path).await;
    let silent = visit(&site, silent.split("&iss=").next().unwrap(), Some(&cookie)).await;
    assert_eq!(silent.status, 403);
    assert_eq!(status(&actor, &path).await, "needs_reauth");
    assert_eq!(fake.seen().grants.len(), 1, "the codes of other issuers were not sent anywhere");

    // The address is opened once: a second browser is told nothing.
    let asked = actor.post(&format!("{path}/authorize"), &json!({})).await.json();
    assert_eq!(visit(&site, asked["url"].as_str().unwrap(), None).await.status, 303);
    assert_eq!(visit(&site, asked["url"].as_str().unwrap(), None).await.status, 404);
}

/// F6: discovery leads nowhere private, and believes nobody but the issuer that was named.
#[tokio::test]
async fn f6_discovery_is_guarded_and_believes_the_named_issuer_alone() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let actor = site.operator();
    for (metadata, says) in [
        (json!({"token_endpoint": "http://169.254.169.254/token"}), "refused"),
        (json!({"token_endpoint": "https://10.0.0.1/token"}), "refused"),
        (json!({"issuer": "https://evil.example"}), "another issuer"),
        (json!({"code_challenge_methods_supported": ["plain"]}), "S256"),
        (json!({"token_endpoint": null}), "no token endpoint"),
    ] {
        fake.set(|knobs| knobs.metadata = Some(metadata.clone()));
        let refused = actor.post("/v1/connections", &connection(&fake, "oauth2")).await;
        assert_eq!(refused.status, 422, "{metadata}: {}", refused.text());
        let error = &refused.json()["errors"][0];
        assert_eq!(error["pointer"], "/settings/oauth");
        assert!(error["detail"].as_str().unwrap().contains(says), "{error}");
    }
    let mut private = connection(&fake, "client_credentials");
    private["settings"]["oauth"] = json!({"token_endpoint": "https://169.254.169.254/token"});
    assert_eq!(actor.post("/v1/connections", &private).await.status, 422);
    let mut fixed = json!({
        "name": "g", "connector": "google", "settings": {"oauth": {"token_endpoint": format!("{}/token", fake.url())}},
        "credential": {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    });
    let refused = actor.post("/v1/connections", &fixed).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/settings/oauth", "a connector's own endpoint is fixed");
    fixed["settings"]["oauth"] = json!({"scopes": ["a b\""]});
    assert_eq!(actor.post("/v1/connections", &fixed).await.status, 422);
}

/// F6: nobody gets a person's consent at one server and sends the code to another.
#[tokio::test]
async fn f6_endpoints_are_one_servers() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let elsewhere = FakeOauth::start(CALLBACK).await.unwrap();
    let actor = site.operator();
    let (own, theirs) = (fake.url(), elsewhere.url());
    for (oauth, says) in [
        (json!({"issuer": own, "token_endpoint": format!("{theirs}/token")}), "another token_endpoint"),
        (
            json!({"issuer": own, "authorization_endpoint": format!("{theirs}/authorize"), "token_endpoint": format!("{own}/token")}),
            "another authorization_endpoint",
        ),
        (json!({"issuer": own, "names_issuer": false}), "names_issuer"),
        (
            json!({"authorization_endpoint": format!("{own}/authorize"), "token_endpoint": format!("{theirs}/token")}),
            "without an issuer, authorization_endpoint",
        ),
        (
            json!({"device_authorization_endpoint": format!("{own}/device"), "token_endpoint": format!("{theirs}/token")}),
            "without an issuer, device_authorization_endpoint",
        ),
    ] {
        let mut body = connection(&fake, "oauth2");
        body["settings"]["oauth"] = oauth.clone();
        let refused = actor.post("/v1/connections", &body).await;
        assert_eq!(refused.status, 422, "{oauth}: {}", refused.text());
        let error = &refused.json()["errors"][0];
        assert_eq!(error["pointer"], "/settings/oauth");
        assert!(error["detail"].as_str().unwrap().contains(says), "{error}");
    }
    let mut slack = json!({
        "name": "s", "connector": "slack", "settings": {"oauth": {"device_authorization_endpoint": format!("{theirs}/device")}},
        "credential": {"kind": "oauth2", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    });
    let refused = actor.post("/v1/connections", &slack).await;
    assert_eq!(refused.status, 422, "beside a connector's own endpoints: {}", refused.text());
    slack["settings"] = json!({});
    created(&actor, &slack).await;

    // What its issuer says of itself may be said again.
    let mut body = connection(&fake, "oauth2");
    body["settings"]["oauth"] = json!({"issuer": own, "names_issuer": true, "token_endpoint": format!("{own}/token")});
    let path = created(&actor, &body).await;
    let (back, cookie) = agreed(&site, &actor, &fake, &path).await;
    assert_eq!(visit(&site, &back, Some(&cookie)).await.status, 200);

    // Where no issuer is known, an answer that names one is somebody else's.
    body["name"] = json!("nameless");
    body["settings"]["oauth"] =
        json!({"authorization_endpoint": format!("{own}/authorize"), "token_endpoint": format!("{own}/token")});
    let path = created(&actor, &body).await;
    let (back, cookie) = agreed(&site, &actor, &fake, &path).await;
    let named = visit(&site, &back, Some(&cookie)).await;
    assert_eq!((named.status.as_u16(), named.text().contains("another_issuer")), (403, true), "{}", named.text());
    let (back, cookie) = agreed(&site, &actor, &fake, &path).await;
    let silent = visit(&site, back.split("&iss=").next().unwrap(), Some(&cookie)).await;
    assert_eq!(silent.status, 200, "{}", silent.text());
}

/// F6: a token for another resource is not asked for, and none is given for it.
#[tokio::test]
async fn f6_a_wrong_resource_is_refused() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let actor = site.operator();
    fake.set(|knobs| knobs.resource = Some("https://api.example.com".to_owned()));
    let mut body = connection(&fake, "client_credentials");
    body["settings"]["oauth"]["resource"] = json!("https://other.example.com");
    let wrong = created(&actor, &body).await;
    let test = actor.post(&format!("{wrong}/test"), &json!({})).await;
    assert_eq!(test.status, 503, "{}", test.text());
    assert!(test.text().contains("invalid_target"), "{}", test.text());
    body["name"] = json!("right");
    body["settings"]["oauth"]["resource"] = json!("https://api.example.com");
    let right = created(&actor, &body).await;
    assert_eq!(tested(&actor, &right).await["outcome"], "ok");
}

#[tokio::test]
async fn a_device_waits_for_its_person_and_slows_down_when_told() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let actor = site.operator();
    let path = created(&actor, &connection(&fake, "oauth2")).await;
    let asked = actor.post(&format!("{path}/authorize"), &json!({"flow": "device"})).await;
    assert_eq!(asked.status, 200, "{}", asked.text());
    let asked = asked.json();
    assert_eq!((&asked["user_code"], &asked["url"]), (&json!("WDJB-MJHT"), &json!(format!("{}/activate", fake.url()))));
    assert_absent("the answer", asked.to_string().as_bytes());
    fake.set(|knobs| knobs.slow_downs = 1);
    assert!(fake.approve_device("WDJB-MJHT"));
    let active = async || {
        while status(&actor, &path).await != "active" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, active()).await.unwrap();
    assert_eq!(tested(&actor, &path).await["outcome"], "ok");
}

/// Another tenant's connection does not exist, for any of the calls.
#[tokio::test]
async fn another_tenants_connection_can_not_be_changed_or_authorised() {
    let (site, fake) = (site().await, FakeOauth::start(CALLBACK).await.unwrap());
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let path = created(&one, &connection(&fake, "oauth2")).await;
    assert_eq!(two.post(&format!("{path}/authorize"), &json!({})).await.status, 404);
    assert_eq!(two.patch(&path, &json!({"name": "mine"})).await.status, 404);
    let changed = one.patch(&path, &json!({"name": "other", "methods": ["GET"], "paths": ["/api/me"]})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!((&changed.json()["name"], &changed.json()["settings"]["methods"]), (&json!("other"), &json!(["GET"])));
    assert_eq!(one.patch(&path, &json!({"paths": ["/elsewhere"]})).await.json()["errors"][0]["pointer"], "/paths");
    let wider = one.patch(&path, &json!({"methods": null, "paths": null})).await.json();
    assert!(wider["settings"]["methods"].is_null() && wider["settings"]["paths"].is_null(), "{wider}");
    assert_eq!(one.patch(&path, &json!({"settings": {}})).await.status, 400, "what is fixed is no member");
    let key = json!({"name": "k", "connector": "stripe", "credential": {"value": "sk_test_0123456789abcdef"}});
    let plain = created(&one, &key).await;
    let refused = one.post(&format!("{plain}/authorize"), &json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "conflict"));
}
