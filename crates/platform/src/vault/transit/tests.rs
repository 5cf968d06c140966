//! Addresses that are refused, and every way a transit engine says no, over a server that really encrypts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::Secret;
use livery_testkit::FakeTransit;
use livery_testkit::fake_transit::Mood;
use serde_json::json;
use tempfile::TempDir;

use super::{ANSWER_BYTES_MAX, TRIES_MAX, Transit, TransitAccess, TransitRefused};
use crate::startup::Startup;
use crate::vault::RootKey;
use crate::{Clock, Platform, testing};

const TOKEN: &str = "hvs.a-token-of-tests";
/// Where the database keeps the wrapped key.
const PLACE: &str = "vault_transit:/v1/transit/keys/livery";

fn access(token: &str) -> TransitAccess {
    TransitAccess { token: Secret::from(token.to_owned()), namespace: Some("team".to_owned()), ca: None }
}

fn transit(server: &FakeTransit, name: &str, token: &str) -> Transit {
    Transit::parse(&server.address(name), &access(token)).unwrap()
}

/// A data directory, and the service its nodes start with.
struct Site {
    data: TempDir,
    server: FakeTransit,
}

impl Site {
    async fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), server: FakeTransit::start(TOKEN).await.unwrap() }
    }

    /// A node with the key `livery`; what it says when it does not start.
    async fn start(&self) -> Result<Platform, String> {
        self.start_with(transit(&self.server, "livery", TOKEN), vec![]).await
    }

    async fn start_with(&self, current: Transit, others: Vec<RootKey>) -> Result<Platform, String> {
        let mut parts = testing::parts(&self.data, &Clock::system());
        parts.root_keys.current = RootKey::Transit(Box::new(current));
        parts.root_keys.others = others;
        Platform::open(parts).await.map_err(|error| error.to_string())
    }

    /// What a node says that must not start.
    async fn refused(&self) -> String {
        self.start().await.map(drop).unwrap_err()
    }
}

async fn wrapped(platform: &Platform) -> String {
    platform.store.system_get_meta(PLACE).await.unwrap().unwrap()
}

/// What the service opens `wrapped` to.
async fn root_key(server: &FakeTransit, wrapped: &str) -> Secret {
    transit(server, "livery", TOKEN).opened(wrapped).await.unwrap()
}

async fn put(platform: &Platform, key: &'static str, value: String) {
    let write = platform.store.write(move |tx| Box::pin(async move { tx.system_set_meta(key, &value).await }));
    write.await.unwrap();
}

#[test]
fn an_address_names_one_key_over_https_or_on_loopback() {
    let parse = |text: &str| Transit::parse(text, &access(TOKEN)).map(|key| (key.mount, key.name));
    let good = [
        ("transit:https://kms.example.com/v1/transit/keys/livery", "/v1/transit"),
        ("transit:https://kms.example.com:8200/v1/a/b/keys/livery", "/v1/a/b"),
        ("transit:http://127.0.0.1:8200/v1/transit/keys/livery", "/v1/transit"),
        ("transit:http://localhost/v1/transit/keys/livery", "/v1/transit"),
        ("transit:http://[::1]:8200/v1/transit/keys/livery", "/v1/transit"),
    ];
    for (text, mount) in good {
        assert_eq!(parse(text).unwrap(), (mount.to_owned(), "livery".to_owned()), "{text}");
    }
    for bad in [
        "",
        "/v1/transit/livery",
        "/transit/keys/livery",
        "/v1/keys/livery",
        "/v1/transit/keys/",
        "/v1/transit/keys/a%2fb",
        "/v1/transit/keys/livery?x=1",
        "/v1/../sys/keys/livery",
        "/v1/transit/keys/..",
        "/v1//keys/livery",
    ] {
        let refused = parse(&format!("transit:https://kms.example.com{bad}"));
        assert!(matches!(refused, Err(TransitRefused::Address)), "{bad}: {refused:?}");
    }
    for plain in ["kms.example.com", "10.0.0.1", "localhost.example.com"] {
        let refused = parse(&format!("transit:http://{plain}/v1/transit/keys/livery"));
        assert!(matches!(refused, Err(TransitRefused::Plaintext)), "{plain}: {refused:?}");
    }
    for token in ["", " \n", "a\nb"] {
        let refused = Transit::parse(good[0].0, &access(token)).map(drop);
        assert!(matches!(refused, Err(TransitRefused::Token)), "{token:?}");
    }
    let missing = TransitAccess { ca: Some("/nowhere/ca.pem".into()), ..access(TOKEN) };
    let refused = Transit::parse(good[0].0, &missing).map(drop);
    assert!(matches!(refused, Err(TransitRefused::Ca(_))), "{refused:?}");
}

#[tokio::test]
async fn the_wrapped_key_follows_the_versions_of_the_transit_key() {
    let site = Site::new().await;
    let first = site.start().await.unwrap();
    let before = wrapped(&first).await;
    assert!(before.starts_with("vault:v1:"), "{before}");
    drop(first);
    let again = site.start().await.unwrap();
    assert_eq!(wrapped(&again).await, before, "nothing newer, nothing exchanged");
    drop(again);

    site.server.rotate("livery");
    let newer = site.start().await.unwrap();
    assert!(wrapped(&newer).await.starts_with("vault:v2:"));
    drop(newer);
    site.server.retire("livery");
    site.server.rotate("livery");
    site.server.deny("rewrap");
    let denied = site.start().await.unwrap();
    assert!(wrapped(&denied).await.starts_with("vault:v2:"), "a token without that right starts too");
    drop(denied);
    let opened = site.server.opened();
    assert!(opened.iter().all(|key| key.len() == 32 && *key == opened[0]), "always the same key");

    site.server.retire("livery");
    let lost = site.refused().await;
    assert!(lost.contains("cannot open the wrapped root key") && lost.contains("LIVERY_ROOT_KEY"), "{lost}");
}

/// The database holds the only copy of the wrapped key: what does not open to the same never takes its place.
#[tokio::test]
async fn what_does_not_open_to_the_root_key_is_not_kept() {
    let site = Site::new().await;
    let before = wrapped(&site.start().await.unwrap()).await;
    for lie in
        [json!({"ciphertext": "vault:v9:AAAA"}), json!({"ciphertext": before.replacen("v1", "v2", 1)}), json!({})]
    {
        site.server.lie("rewrap", lie.clone());
        assert_eq!(wrapped(&site.start().await.unwrap()).await, before, "{lie}");
    }

    let site = Site::new().await;
    site.server.deny("decrypt");
    assert!(site.refused().await.contains("`update` on datakey/wrapped/livery and decrypt/livery"));
    let held = testing::Node::at(livery_core::Timestamp::from_micros(1)).await;
    let made = transit(&site.server, "livery", TOKEN).root_key(&held.platform.store, Startup::begin(true), true).await;
    assert!(made.is_err());
    let kept = held.platform.store.system_get_meta(PLACE).await.unwrap();
    assert_eq!(kept, None, "a key that nobody can open is not kept");
}

#[tokio::test]
async fn a_refusal_names_the_setting_and_makes_no_key() {
    let site = Site::new().await;
    let no_key = site.start_with(transit(&site.server, "other", TOKEN), vec![]).await.map(drop).unwrap_err();
    assert!(no_key.contains("no key other") && no_key.contains("LIVERY_ROOT_KEY"), "{no_key}");
    let token = site.start_with(transit(&site.server, "livery", "hvs.wrong"), vec![]).await.map(drop).unwrap_err();
    assert!(token.contains("403") && token.contains("LIVERY_KMS_TOKEN") && !token.contains("hvs.wrong"), "{token}");
    let elsewhere = site.server.address("livery").replace("/v1/transit/", "/v1/elsewhere/");
    let elsewhere = Transit::parse(&elsewhere, &access(TOKEN)).unwrap();
    let mount = site.start_with(elsewhere, vec![]).await.map(drop).unwrap_err();
    assert!(mount.contains("404") && mount.contains("check mount and name"), "{mount}");
    site.server.ail(Mood::Sealed, usize::MAX);
    let sealed = site.refused().await;
    assert!(sealed.contains("503") && sealed.contains("unseal it"), "{sealed}");
    site.server.heal();
    assert!(site.server.opened().is_empty());

    drop(site.start().await.unwrap());
    site.server.rotate("second");
    let second = transit(&site.server, "second", TOKEN);
    let other = site.start_with(second.clone(), vec![]).await.map(drop).unwrap_err();
    assert!(other.contains("LIVERY_ROOT_KEY_OTHERS"), "{other}");
    let first = RootKey::Transit(Box::new(transit(&site.server, "livery", TOKEN)));
    site.start_with(second, vec![first]).await.map(drop).unwrap();
}

#[tokio::test]
async fn a_start_waits_for_what_passes_and_not_for_what_stays() {
    let site = Site::new().await;
    site.server.ail(Mood::Sealed, TRIES_MAX as usize - 1);
    drop(site.start().await.unwrap());
    let asked = site.server.asked();
    assert_eq!(
        asked[..4],
        ["datakey/wrapped/livery", "datakey/wrapped/livery", "datakey/wrapped/livery", "decrypt/livery"]
    );

    let mut slow = transit(&site.server, "livery", TOKEN);
    slow.patience = Duration::from_millis(200);
    site.server.ail(Mood::Silent, usize::MAX);
    let late = site.start_with(slow, vec![]).await.map(drop).unwrap_err();
    assert!(late.contains("no answer within"), "{late}");
    assert_eq!(site.server.asked().len(), TRIES_MAX as usize);

    let elsewhere = FakeTransit::start(TOKEN).await.unwrap();
    site.server.ail(Mood::Redirects(elsewhere.url()), usize::MAX);
    let redirected = site.refused().await;
    assert!(redirected.contains("redirects"), "{redirected}");
    assert_eq!(site.server.asked(), ["decrypt/livery"], "asked once");
    assert!(elsewhere.asked().is_empty(), "nobody else gets the token");

    let Site { data, server } = site;
    let gone = transit(&server, "livery", TOKEN);
    drop(server);
    let site = Site { data, server: FakeTransit::start(TOKEN).await.unwrap() };
    let away = site.start_with(gone, vec![]).await.map(drop).unwrap_err();
    assert!(away.contains("cannot be reached"), "{away}");
}

#[tokio::test]
async fn nonsense_is_named_and_never_repeated() {
    let site = Site::new().await;
    drop(site.start().await.unwrap());
    let key = |bytes: usize| STANDARD.encode(vec![7; bytes]);
    let nonsense: [(u16, String); 8] = [
        (200, String::new()),
        (200, "<html>SECRET</html>".to_owned()),
        (200, json!({"data": {"plaintext": 7, "x": "SECRET"}}).to_string()),
        (200, json!({"data": {"plaintext": "SECRET!"}}).to_string()),
        (200, json!({"data": {"plaintext": key(31)}}).to_string()),
        (200, json!({"data": {"plaintext": key(33)}}).to_string()),
        (200, json!({"data": {}}).to_string()),
        (200, json!({"errors": ["SECRET"]}).to_string()),
    ];
    for (status, body) in nonsense {
        site.server.ail(Mood::Says(status, body.clone()), usize::MAX);
        let refused = site.refused().await;
        assert!(refused.contains("no transit engine's answer") && !refused.contains("SECRET"), "{body}: {refused}");
    }
    for (body, expected) in [("x".repeat(ANSWER_BYTES_MAX + 1), "too long"), (json!([]).to_string(), "no reason")] {
        site.server.ail(Mood::Says(if expected == "no reason" { 418 } else { 200 }, body), usize::MAX);
        let refused = site.refused().await;
        assert!(refused.contains(expected), "{refused}");
    }
    let words = json!({"errors": [format!("\u{1b}[31m{}", "red ".repeat(1000))]}).to_string();
    site.server.ail(Mood::Says(400, words), usize::MAX);
    let refused = site.refused().await;
    assert!(!refused.contains('\u{1b}') && refused.contains("red red") && refused.len() < 1000, "{refused}");
}

/// The right service opens it, and it is still not the key of this database.
#[tokio::test]
async fn a_wrapped_key_of_another_database_is_refused() {
    let (site, other) = (Site::new().await, tempfile::tempdir().unwrap());
    let first = site.start().await.unwrap();
    let own = wrapped(&first).await;
    let neighbour = Site { data: other, server: site.server };
    let foreign = wrapped(&neighbour.start().await.unwrap()).await;
    let site = Site { data: site.data, server: neighbour.server };
    put(&first, PLACE, foreign).await;
    drop(first);
    let refused = site.refused().await;
    assert!(refused.contains("not the one this database was sealed under"), "{refused}");

    // Only the one that was there before opens this database again.
    let key = RootKey::Text(root_key(&site.server, &own).await);
    let mut parts = testing::parts(&site.data, &Clock::system());
    parts.root_keys = key.into();
    put(&Platform::open(parts).await.unwrap(), PLACE, own).await;
    drop(site.start().await.unwrap());
}

/// Both make a key; one of the two is everybody's.
#[tokio::test]
async fn nodes_that_start_at_once_have_one_root_key() {
    let site = Site::new().await;
    let node = testing::Node::at(livery_core::Timestamp::from_micros(1)).await;
    let transit = transit(&site.server, "livery", TOKEN);
    let ask = || transit.root_key(&node.platform.store, Startup::begin(true), true);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    let made = site.server.asked().iter().filter(|asked| asked.starts_with("datakey")).count();
    assert_eq!(made, 3, "they did start at once");
    assert!(one.ct_eq(two.expose_secret()) && one.ct_eq(three.expose_secret()));
    assert!(wrapped(&node.platform).await.starts_with("vault:v1:"));
}
