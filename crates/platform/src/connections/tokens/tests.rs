//! One renewal for many requests, whoever dies meanwhile; and each kind against a server that is strict about it.

use std::time::Duration;

use livery_core::Timestamp;
use livery_core::id::ConnectionId;
use livery_store::{ConnectionStatus, TokenClaim};
use livery_testkit::FakeOauth;
use livery_testkit::fake_oauth::{CLIENT_ID, CLIENT_SECRET};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::connections::{AuthorizeConnection, Consent, NewConnection, RotateConnection};
use crate::testing::Node;
use crate::{Caller, Posted};

const PUBLIC: &str = "http://127.0.0.1:7400";
const LONG: Duration = Duration::from_secs(60);

struct Site {
    node: Node,
    fake: FakeOauth,
}

fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn fresh<T>(posted: Posted<T>) -> T {
    match posted {
        Posted::Fresh(value) => value,
        Posted::Replayed(_) => panic!("nothing was sent twice"),
    }
}

impl Site {
    async fn new() -> Self {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let node = Node::with(now, |parts| {
            parts.broker.allow_upstream = vec!["127.0.0.0/8".parse().unwrap()];
            parts.config.public_url = Some(PUBLIC.to_owned());
        })
        .await;
        Self { node, fake: FakeOauth::start(&format!("{PUBLIC}/v1/oauth/callback")).await.unwrap() }
    }

    fn platform(&self) -> &Platform {
        &self.node.platform
    }

    fn caller(&self) -> &Caller {
        &self.node.caller
    }

    fn org(&self) -> OrgId {
        self.node.caller.principal.org
    }

    async fn create(&self, oauth: Value, credential: Value) -> ConnectionId {
        let settings = json!({
            "base_url": format!("{}/api", self.fake.url()), "oauth": oauth, "test_path": "/me",
            "installation": {"app_id": "7", "installation_id": 42, "repositories": ["shop"], "permissions": {"contents": "read"}},
        });
        let body = json!({"name": "crm", "connector": "http", "settings": settings, "credential": credential});
        fresh(self.platform().create_connection(self.caller(), read::<NewConnection>(body)).await.unwrap()).id
    }

    /// A connection that a person has agreed to.
    async fn agreed(&self) -> ConnectionId {
        let client = json!({"kind": "oauth2", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        let id = self.create(json!({"issuer": self.fake.url()}), client).await;
        self.agree(id).await;
        id
    }

    async fn agree(&self, id: ConnectionId) {
        let asked = self.platform().authorize_connection(self.caller(), id, AuthorizeConnection::default()).await;
        let url = fresh(asked.unwrap()).url;
        let begun = self.platform().begin_authorization(url.split("state=").nth(1).unwrap()).await.unwrap();
        let back = self.fake.agree(&begun.url).unwrap();
        let query = back.split_once('?').unwrap().1;
        let consent = self.platform().finish_authorization(query, Some(&begun.browser)).await.unwrap();
        assert_eq!(consent, Consent::Given);
    }

    async fn row(&self, id: ConnectionId) -> ConnectionRow {
        self.platform().store.get_connection(self.org(), id).await.unwrap().unwrap()
    }

    async fn token(&self, id: ConnectionId) -> ConnectionTokenRow {
        self.platform().store.get_connection_token(self.org(), id).await.unwrap().unwrap()
    }

    /// The access token as a request would get it, and its generation.
    async fn opened(&self, id: ConnectionId) -> Result<(String, u32)> {
        let credential = timeout(LONG, self.platform().materialise(self.org(), id)).await.unwrap()?;
        Ok((String::from_utf8(credential.secret.expose_secret().to_vec()).unwrap(), credential.version))
    }

    fn pass(&self, seconds: i64) {
        self.node.clock.set(self.platform().now().plus_millis(seconds * 1000));
    }
}

fn client() -> Value {
    json!({"kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
}

/// F5: a hundred requests find the token over at once, and the server is asked once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f5_a_hundred_requests_refresh_once() {
    let site = Site::new().await;
    let id = site.agreed().await;
    let (first, generation) = site.opened(id).await.unwrap();
    assert_eq!(generation, 1);
    site.pass(3590);
    site.fake.set(|knobs| knobs.token_delay = Duration::from_millis(300));
    let all = futures_util::future::join_all((0..100).map(|_| site.opened(id))).await;
    let (second, generation) = all[0].clone().unwrap();
    assert!(second != first && generation == 2);
    assert!(all.into_iter().all(|one| one == Ok((second.clone(), 2))));
    let seen = site.fake.seen();
    assert_eq!((seen.refreshes, seen.reused), (1, 0));
    assert_eq!(site.token(id).await.claimed_until, None);
}

/// F5: whoever asked for the refresh is gone before the answer comes; what was handed out is kept all the same.
#[tokio::test]
async fn f5_a_request_that_is_given_up_loses_no_refresh_token() {
    let site = Site::new().await;
    let id = site.agreed().await;
    for round in 2..5 {
        site.pass(3590);
        site.fake.set(|knobs| knobs.token_delay = Duration::from_millis(300));
        let (platform, org) = (site.platform().clone(), site.org());
        let asking = tokio::spawn(async move { platform.materialise(org, id).await.map(drop) });
        let claimed = async || {
            let is_under_way = |token: ConnectionTokenRow| token.claimed_until.is_some() || token.generation == round;
            while !is_under_way(site.token(id).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, claimed()).await.unwrap();
        asking.abort();
        let kept = async || {
            while site.token(id).await.generation < round {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, kept()).await.unwrap();
        let (_, generation) = site.opened(id).await.unwrap();
        assert_eq!(generation, round);
    }
    let seen = site.fake.seen();
    assert_eq!((seen.refreshes, seen.reused), (3, 0));
}

/// F5: a node dies with the claim before it asked. Others wait for the claim to run out, and then one of them asks.
#[tokio::test]
async fn f5_a_claim_of_a_dead_node_runs_out() {
    let site = Site::new().await;
    let id = site.agreed().await;
    site.pass(3590);
    let (org, now) = (site.org(), site.platform().now());
    let dead = TokenClaim { id: "dead".to_owned(), until: now.plus_millis(60_000) };
    let store = &site.platform().store;
    let claimed =
        store.write(move |tx| Box::pin(async move { tx.claim_connection_token(org, id, 1, &dead, now).await }));
    assert!(claimed.await.unwrap());
    let waiting = site.opened(id);
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(500), &mut waiting).await.is_err(), "nobody asks while it may be asking");
    assert_eq!(site.fake.seen().refreshes, 0);
    site.pass(61);
    let (_, generation) = waiting.await.unwrap();
    assert_eq!((generation, site.fake.seen().refreshes), (2, 1));
}

/// R21: a refresh that a node got and another one had replaced meanwhile is not written over it.
#[tokio::test]
async fn r21_a_token_is_written_over_the_one_it_follows_and_no_other() {
    let site = Site::new().await;
    let id = site.agreed().await;
    let (org, now, present) = (site.org(), site.platform().now(), site.token(id).await);
    let late = ConnectionTokenRow { generation: 1, sealed_access: Some("v1:late".into()), ..present.clone() };
    let store = &site.platform().store;
    let written = store.write(move |tx| Box::pin(async move { tx.renew_connection_token(org, id, &late, now).await }));
    assert!(!written.await.unwrap());
    assert_eq!(site.token(id).await, present);
}

/// A refusal that is final is noted once, and nobody asks again until a person has agreed anew.
#[tokio::test]
async fn an_invalid_grant_needs_a_person_and_no_further_question() {
    let site = Site::new().await;
    let id = site.agreed().await;
    site.pass(3590);
    // Somebody used the refresh token elsewhere: the server ends the family.
    let stolen = site.fake.seen().tokens.iter().find(|token| token.contains("_ref_")).unwrap().clone();
    site.fake.spend(&stolen);
    for _ in 0..3 {
        assert!(matches!(site.opened(id).await, Err(Error::Conflict { .. })));
    }
    assert_eq!(site.row(id).await.status, ConnectionStatus::NeedsReauth);
    assert_eq!(site.fake.seen().reused, 1, "asked once");
    site.agree(id).await;
    assert_eq!(site.row(id).await.status, ConnectionStatus::Active);
    assert!(site.opened(id).await.is_ok());
}

/// F5: a person agrees while the renewal of what they agreed to before is being refused. The refusal is about a token that is no
/// more, so it ends nothing.
#[tokio::test]
async fn f5_a_consent_during_a_renewal_that_is_refused_holds() {
    let site = Site::new().await;
    let id = site.agreed().await;
    site.pass(3590);
    let stolen = site.fake.seen().tokens.iter().find(|token| token.contains("_ref_")).unwrap().clone();
    site.fake.spend(&stolen);
    site.fake.set(|knobs| knobs.token_delay = Duration::from_secs(3));
    let asking = site.opened(id);
    let agreeing = async {
        while site.token(id).await.claimed_until.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The question is on its way; what is asked from now on is answered at once.
        tokio::time::sleep(Duration::from_millis(800)).await;
        site.fake.set(|knobs| knobs.token_delay = Duration::ZERO);
        site.agree(id).await;
    };
    let (asked, ()) = tokio::join!(asking, agreeing);
    assert_eq!(asked.unwrap().1, 2, "who waited for the renewal gets what the person agreed to");
    assert_eq!(site.row(id).await.status, ConnectionStatus::Active);
    assert_eq!(site.opened(id).await.unwrap().1, 2);
}

/// A server that is away for a while changes nothing, and a token that is still good is used meanwhile.
#[tokio::test]
async fn a_server_that_is_away_is_asked_again() {
    let site = Site::new().await;
    let id = site.create(json!({"issuer": site.fake.url()}), client()).await;
    site.fake.set(|knobs| knobs.token_status = Some(503));
    assert!(matches!(site.opened(id).await, Err(Error::Unavailable { .. })));
    assert_eq!(site.row(id).await.status, ConnectionStatus::Active);
    site.fake.set(|knobs| knobs.token_status = None);
    let (first, generation) = site.opened(id).await.unwrap();
    assert_eq!(generation, 1);
    site.pass(3590);
    site.fake.set(|knobs| knobs.token_status = Some(503));
    assert_eq!(site.opened(id).await.unwrap(), (first, 1), "ten seconds are left");
    site.pass(20);
    assert!(matches!(site.opened(id).await, Err(Error::Unavailable { .. })));
    // A rotated client starts anew.
    site.fake.set(|knobs| knobs.token_status = None);
    let rotate = read::<RotateConnection>(json!({"credential": client()}));
    let before = site.opened(id).await.unwrap();
    site.platform().rotate_connection(site.caller(), id, rotate).await.unwrap();
    assert!(site.opened(id).await.unwrap() != before);
    let wrong =
        json!({"kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": "not-the-clients-secret"});
    let rotate = read::<RotateConnection>(json!({"credential": wrong}));
    site.platform().rotate_connection(site.caller(), id, rotate).await.unwrap();
    assert!(matches!(site.opened(id).await, Err(Error::Conflict { .. })));
    assert_eq!(site.row(id).await.status, ConnectionStatus::NeedsReauth, "the client's secret is wrong for good");
}

/// A status without a word of the protocol, as a proxy sends it, changes nothing either.
#[tokio::test]
async fn a_bare_403_of_a_token_endpoint_passes() {
    let site = Site::new().await;
    let id = site.create(json!({"issuer": site.fake.url()}), client()).await;
    for status in [403, 404] {
        site.fake.set(|knobs| knobs.token_status = Some(status));
        assert!(matches!(site.opened(id).await, Err(Error::Unavailable { .. })), "{status}");
        assert_eq!(site.row(id).await.status, ConnectionStatus::Active);
    }
    site.fake.set(|knobs| knobs.token_status = None);
    assert!(site.opened(id).await.is_ok());
}

/// What cannot be opened cannot be given back, and is revoked all the same.
#[tokio::test]
async fn a_connection_whose_token_does_not_open_is_revoked() {
    let site = Site::new().await;
    let id = site.agreed().await;
    let (org, now) = (site.org(), site.platform().now());
    let broken = ConnectionTokenRow { sealed_refresh: Some("v1:broken".into()), generation: 2, ..site.token(id).await };
    let write = site
        .platform()
        .store
        .write(move |tx| Box::pin(async move { tx.replace_connection_token(org, id, &broken, now).await }));
    assert!(write.await.unwrap());
    site.platform().revoke_connection(site.caller(), id).await.unwrap();
    assert_eq!(site.row(id).await.status, ConnectionStatus::Revoked);
    assert!(site.platform().store.get_connection_token(org, id).await.unwrap().is_none());
    assert!(site.fake.seen().revoked.is_empty());
}

/// Nobody asks about a device's code any more once its connection is another one, or gone, or a later code was asked for.
#[tokio::test]
async fn a_device_flow_ends_with_what_it_was_for() {
    let site = Site::new().await;
    let client = json!({"kind": "oauth2", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    let id = site.create(json!({"issuer": site.fake.url()}), client.clone()).await;
    let flows = &site.platform().tokens.devices;
    let begin = async || {
        let device = read::<AuthorizeConnection>(json!({"flow": "device"}));
        site.platform().authorize_connection(site.caller(), id, device).await.map(fresh)
    };
    // Each flow that is under way holds on to the list it stands in.
    let left = async |count: usize| {
        let ended = async || {
            while Arc::strong_count(flows) != count + 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, ended()).await.unwrap();
    };
    begin().await.unwrap();
    begin().await.unwrap();
    left(1).await;
    let rotate = read::<RotateConnection>(json!({"credential": client}));
    site.platform().rotate_connection(site.caller(), id, rotate).await.unwrap();
    left(0).await;
    begin().await.unwrap();
    site.platform().revoke_connection(site.caller(), id).await.unwrap();
    left(0).await;
    assert!(site.fake.seen().tokens.is_empty());
}

/// R9: a token that an upstream does not take is replaced once; one that was just got is not doubted.
#[tokio::test]
async fn r9_a_doubted_token_is_replaced_once() {
    let site = Site::new().await;
    let id = site.create(json!({"issuer": site.fake.url()}), client()).await;
    let (_, generation) = site.opened(id).await.unwrap();
    let doubt = async |generation| site.platform().doubt_credential(site.org(), id, generation).await.unwrap();
    assert!(!doubt(generation).await, "it is seconds old");
    site.pass(60);
    assert!(doubt(generation).await);
    let (_, next) = site.opened(id).await.unwrap();
    assert_eq!(next, 2);
    assert!(doubt(generation).await, "whoever comes later with the old one is told that there is another");
    assert_eq!(site.opened(id).await.unwrap().1, 2);
    assert_eq!(site.fake.seen().grants.len(), 2);
}

#[tokio::test]
async fn a_service_account_and_an_app_sign_what_they_must_and_no_more() {
    let site = Site::new().await;
    let pem = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_pem();
    let file = json!({
        "type": "service_account", "client_email": "robot@example.iam.gserviceaccount.com", "private_key_id": "key-1",
        "private_key": pem, "token_uri": "https://evil.example/token",
    });
    let oauth = json!({"token_endpoint": format!("{}/token", site.fake.url()), "scopes": ["a", "b"], "subject": "ada@example.com"});
    let account = site.create(oauth, json!({"kind": "service_account", "value": file.to_string()})).await;
    assert_eq!(site.opened(account).await.unwrap().1, 1);
    let now_s = site.platform().now().as_seconds();
    let claims = json!({
        "iss": "robot@example.iam.gserviceaccount.com", "scope": "a b", "aud": format!("{}/token", site.fake.url()),
        "iat": now_s, "exp": now_s + 3600, "sub": "ada@example.com",
    });
    assert_eq!(site.fake.seen().assertions, [claims]);
    site.platform().revoke_connection(site.caller(), account).await.unwrap();
    assert!(site.platform().store.get_connection_token(site.org(), account).await.unwrap().is_none());
}

#[tokio::test]
async fn an_apps_token_is_for_what_its_connection_is_narrowed_to() {
    let site = Site::new().await;
    let pem = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_pem();
    // The API's own address has a path here: tokens come from below it.
    let settings = json!({
        "base_url": site.fake.url(),
        "installation": {"app_id": "7", "installation_id": 42, "repositories": ["shop"], "permissions": {"contents": "read"}},
    });
    let body = json!({"name": "app", "connector": "http", "settings": settings, "credential": {"kind": "github_app", "value": pem}});
    let id = fresh(site.platform().create_connection(site.caller(), read::<NewConnection>(body)).await.unwrap()).id;
    assert_eq!(site.opened(id).await.unwrap().1, 1);
    let seen = site.fake.seen();
    assert_eq!(seen.installations, [json!({"repositories": ["shop"], "permissions": {"contents": "read"}})]);
    let now_s = site.platform().now().as_seconds();
    assert_eq!(seen.assertions, [json!({"iss": "7", "iat": now_s - 60, "exp": now_s + 540})]);
}
