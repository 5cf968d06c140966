//! Hostile documents, answers and callbacks: what is taken, what is refused, and that nothing of them is repeated.

use livery_core::Timestamp;
use livery_core::connector::{ClientAuth, Endpoint, OauthServer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answer::{Unreadable, read_device, read_token};
use super::metadata::read_metadata;
use super::*;

const TOKEN: &str = "at_0123456789abcdef";

fn now() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn token(answer: Value) -> Result<TokenAnswer, Unreadable> {
    read_token(answer.to_string().as_bytes(), now())
}

fn refused<T>(result: Result<T, Unreadable>) -> Unreadable {
    result.err().unwrap()
}

#[test]
fn a_token_is_read_in_the_spellings_servers_have() {
    let read = token(json!({
        "access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt_0123456789abcdef",
        "scope": "read write", "id_token": "x",
    }))
    .unwrap();
    assert!(read.access_token.ct_eq(TOKEN.as_bytes()) && read.refresh_token.is_some());
    assert_eq!((read.expires_in_s, read.scopes), (Some(3600), Some(vec!["read".to_owned(), "write".to_owned()])));
    let github = token(json!({"token": TOKEN, "expires_at": "2026-11-23T09:00:00Z", "permissions": {}})).unwrap();
    assert_eq!(github.expires_in_s, Some(3600));
    let odd = token(
        json!({"access_token": TOKEN, "token_type": "bot", "expires_in": "60", "scope": "a,b", "refresh_token": ""}),
    );
    let odd = odd.unwrap();
    assert!(odd.refresh_token.is_none());
    assert_eq!((odd.expires_in_s, odd.scopes.map(|scopes| scopes.len())), (Some(60), Some(2)));
    assert_eq!(token(json!({"access_token": TOKEN, "expires_in": u64::MAX})).unwrap().expires_in_s, Some(316_224_000));
}

#[test]
fn what_is_no_token_is_refused_in_our_words() {
    assert_eq!(
        refused(token(json!({"error": "invalid_grant", "error_description": "secret things"}))),
        Unreadable::Refused(OauthError::InvalidGrant)
    );
    assert_eq!(refused(token(json!({"error": "<script>"}))), Unreadable::Refused(OauthError::Other));
    for answer in [
        json!([]),
        json!({}),
        json!({"access_token": 7}),
        json!({"access_token": "short"}),
        json!({"access_token": "with a space 0123456789"}),
        json!({"access_token": "0123456789abcdef\r\nx: y"}),
        json!({"access_token": "x".repeat(8193)}),
        json!({"access_token": TOKEN, "token_type": "DPoP"}),
        json!({"access_token": TOKEN, "scope": "é"}),
        json!({"access_token": TOKEN, "scope": "a ".repeat(129)}),
    ] {
        assert!(matches!(refused(token(answer)), Unreadable::Malformed(_)));
    }
    let twice = format!("{{\"access_token\": \"{TOKEN}\", \"access_token\": \"{TOKEN}\"}}");
    assert!(matches!(refused(read_token(twice.as_bytes(), now())), Unreadable::Malformed(_)));
}

/// A bare status says little: 401 is about the credential, 404 about a signed assertion's key, and 403 may be anybody's.
#[test]
fn a_bare_status_is_final_where_it_is_about_the_credential() {
    let is_final = |status| [false, true].map(|signed| ExchangeFailed::Status(status).is_final(signed));
    assert_eq!((is_final(401), is_final(403), is_final(404)), ([true; 2], [false; 2], [false, true]));
    assert_eq!((is_final(429), is_final(503)), ([false; 2], [false; 2]));
    assert!(ExchangeFailed::Refused(OauthError::InvalidGrant).is_final(false));
}

#[test]
fn a_device_code_is_plain_text_with_a_visible_host() {
    let device = |answer: Value| read_device(answer.to_string().as_bytes());
    let good = json!({
        "device_code": "dc_0123456789abcdef", "user_code": "WDJB-MJHT", "verification_uri": "https://example.com/device",
        "expires_in": 999_999, "interval": 0,
    });
    let read = device(good.clone()).unwrap();
    assert_eq!((read.user_code.as_str(), read.expires_in_s, read.interval_s), ("WDJB-MJHT", 3600, 1));
    assert_eq!(read.verification_uri.authority(), "example.com");
    for (field, value) in [
        ("user_code", json!("two words")),
        ("user_code", json!("x".repeat(65))),
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri", json!("https://a@evil.example/")),
        ("device_code", json!("short")),
    ] {
        let mut answer = good.clone();
        answer[field] = value;
        assert!(device(answer).is_err(), "{field}");
    }
}

fn issuer() -> Endpoint {
    "https://as.example.com/tenant".parse().unwrap()
}

fn metadata(change: Value) -> Result<OauthServer, MetadataRefused> {
    let mut document = json!({
        "issuer": "https://as.example.com/tenant",
        "authorization_endpoint": "https://as.example.com/authorize",
        "token_endpoint": "https://as.example.com/token",
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    read_metadata(document.to_string().as_bytes(), &issuer())
}

/// F6: a document of another issuer, without PKCE or with an endpoint that is not what it looks like.
#[test]
fn f6_a_document_says_who_it_is_and_keeps_to_tls() {
    let server = metadata(json!({})).unwrap();
    assert!(server.names_issuer && server.client_auth == Some(ClientAuth::Basic));
    assert_eq!(server.token_endpoint.unwrap().to_string(), "https://as.example.com/token");
    for change in [
        json!({"issuer": "https://evil.example/tenant"}),
        json!({"issuer": "https://as.example.com/tenant/"}),
        json!({"code_challenge_methods_supported": ["plain"]}),
        json!({"token_endpoint": "http://as.example.com/token"}),
        json!({"token_endpoint": "https://as.example.com@evil.example/token"}),
        json!({"token_endpoint": "https://as.example.com/token#x"}),
        json!({"token_endpoint": null}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
    ] {
        assert!(metadata(change.clone()).is_err(), "{change}");
    }
    let post = metadata(json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]})).unwrap();
    assert_eq!(post.client_auth, Some(ClientAuth::Post));
}

#[test]
fn the_authorization_request_says_each_thing_once() {
    let server = OauthServer {
        scopes: vec!["a".to_owned(), "b".to_owned()],
        resource: Some("https://api.example.com".parse().unwrap()),
        parameters: [("access_type".to_owned(), "offline".to_owned())].into(),
        ..metadata(json!({})).unwrap()
    };
    let pkce = Pkce::new().unwrap();
    assert_eq!((pkce.verifier.len(), pkce.challenge.len()), (43, 43));
    let redirect_uri = "http://127.0.0.1:7400/v1/oauth/callback";
    let request =
        AuthorizationRequest { server: &server, client_id: "client&x", redirect_uri, state: "s", challenge: "c" };
    assert_eq!(
        request.url().unwrap(),
        "https://as.example.com/authorize?access_type=offline&response_type=code&client_id=client%26x\
         &redirect_uri=http%3A%2F%2F127.0.0.1%3A7400%2Fv1%2Foauth%2Fcallback&state=s&code_challenge=c\
         &code_challenge_method=S256&scope=a+b&resource=https%3A%2F%2Fapi.example.com"
    );
}

/// F6: a callback without a state, with two answers, or with one thing said twice.
#[test]
fn f6_a_callback_has_one_state_and_one_outcome() {
    let good = Callback::parse("code=abc&state=xyz&iss=https%3A%2F%2Fas.example.com&session_state=1").unwrap();
    assert!(good.state.ct_eq(b"xyz") && good.outcome.is_ok_and(|code| code.ct_eq(b"abc")));
    assert_eq!(good.issuer.as_deref(), Some("https://as.example.com"));
    let denied = Callback::parse("error=access_denied&state=xyz").unwrap();
    assert_eq!(denied.outcome.err(), Some(OauthError::AccessDenied));
    for (query, why) in [
        ("code=abc", CallbackRefused::State),
        ("code=abc&state=", CallbackRefused::State),
        ("state=xyz", CallbackRefused::Outcome),
        ("state=xyz&code=", CallbackRefused::Outcome),
        ("state=xyz&code=a&error=access_denied", CallbackRefused::Outcome),
        ("state=xyz&code=a&code=b", CallbackRefused::Malformed),
        ("state=xyz&state=abc&code=b", CallbackRefused::Malformed),
        ("state=xyz&code=a%0d%0ab", CallbackRefused::Outcome),
    ] {
        assert_eq!(Callback::parse(query).err(), Some(why), "{query}");
    }
    assert_eq!(Callback::parse(&"x".repeat(8193)).err(), Some(CallbackRefused::Malformed));
}

proptest! {
    /// Whatever arrives, reading ends, and what is read can be sent or shown.
    #[test]
    fn hostile_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        let _ = read_device(&bytes);
        let _ = read_metadata(&bytes, &issuer());
        if let Ok(read) = read_token(&bytes, now()) {
            prop_assert!(read.access_token.expose_secret().iter().all(u8::is_ascii_graphic));
        }
        if let Ok(read) = token(json!({"access_token": text, "expires_in": text, "scope": text})) {
            prop_assert!(read.access_token.len() >= 16);
        }
        let _ = metadata(json!({"token_endpoint": text}));
        if let Ok(callback) = Callback::parse(&text) {
            prop_assert!(callback.state.expose_secret().iter().all(u8::is_ascii_graphic));
        }
    }
}
