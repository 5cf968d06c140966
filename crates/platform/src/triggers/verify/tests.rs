use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::Secret;
use livery_core::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Headers, Refused, Verification, Verified, mac};

/// `standards.md` §2, the vector of the public libraries.
const LIBRARY: (&str, &str, &str, &str, &str) = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "1614265330",
    r#"{"test": 2432232314}"#,
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
);

fn kind(value: Value) -> Verification {
    serde_json::from_value(value).unwrap()
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn hex(secret_text: &str, signed: &str) -> String {
    mac(&secret(secret_text), &[signed.as_bytes()]).expose_secret().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn standard(id: &str, stamp: &str, signature: &str) -> Result<Verified, Refused> {
    let fields = [("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signature)];
    let secrets = [secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), secret(LIBRARY.0)];
    kind(json!({"kind": "standard_webhooks"})).verify(
        &secrets,
        &headers(&fields),
        LIBRARY.3.as_bytes(),
        at(1_614_265_330),
    )
}

#[test]
fn the_published_vector_is_believed_and_nothing_beside_it() {
    let (_, id, stamp, _, signature) = LIBRARY;
    assert_eq!(standard(id, stamp, signature).unwrap().id.as_deref(), Some(id));
    let rotated = format!("v1a,x v1,AAAA {signature}");
    assert!(standard(id, stamp, &rotated).is_ok(), "of several, one fits; unknown versions are no matter");
    for (id, stamp, signature) in [
        ("msg_other", stamp, signature),
        (id, "1614265331", signature),
        (id, "soon", signature),
        (id, "", signature),
        (id, "-1614265330", signature),
        ("", stamp, signature),
        ("a.b", stamp, signature),
        (id, stamp, ""),
        (id, stamp, "v1,"),
        (id, stamp, signature.trim_end_matches('=')),
        (id, stamp, &signature.replace("v1,", "v2,")),
    ] {
        assert!(standard(id, stamp, signature).is_err(), "{id} {stamp} {signature}");
    }
    let missing = kind(json!({"kind": "standard_webhooks"}));
    assert!(missing.verify(&[secret(LIBRARY.0)], &headers(&[("webhook-id", id)]), b"", at(1_614_265_330)).is_err());
}

#[test]
fn a_message_is_believed_for_five_minutes_both_ways() {
    let verify = |now: i64| {
        let fields = [("webhook-id", LIBRARY.1), ("webhook-timestamp", LIBRARY.2), ("webhook-signature", LIBRARY.4)];
        let secrets = [secret(LIBRARY.0)];
        kind(json!({"kind": "standard_webhooks"}))
            .verify(&secrets, &headers(&fields), LIBRARY.3.as_bytes(), at(now))
            .is_ok()
    };
    let signed = 1_614_265_330;
    assert_eq!([-301, -300, 0, 300, 301].map(|off| verify(signed + off)), [false, true, true, true, false]);
}

/// The example of GitHub's own documentation.
#[test]
fn github() {
    let scheme = kind(json!({"kind": "github"}));
    let secrets = [secret("It's a Secret to Everybody")];
    let verify = |signature: &str, body: &str| {
        let fields = [("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e")];
        scheme.verify(&secrets, &headers(&fields), body.as_bytes(), at(0))
    };
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let verified = verify(signature, "Hello, World!").unwrap();
    // The delivery's id is not signed: it tells nobody apart.
    assert_eq!((verified.id, verified.claimed.as_deref()), (None, Some("72d3162e")));
    assert!(verify(signature, "Hello, World?").is_err());
    assert!(verify(&signature.to_uppercase(), "Hello, World!").is_err(), "the prefix is `sha256=`");
    assert!(verify("sha256=", "Hello, World!").is_err() && verify("", "").is_err());
}

/// The example of Slack's own documentation.
#[test]
fn slack() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let verify = |now: i64| {
        let fields = [("x-slack-request-timestamp", "1531420618"), ("x-slack-signature", signature)];
        let secrets = [secret("8f742231b10e8888abcd99yyyzzz85a5")];
        kind(json!({"kind": "slack"})).verify(&secrets, &headers(&fields), body.as_bytes(), at(now))
    };
    assert!(verify(1_531_420_618).is_ok());
    assert!(verify(1_531_421_000).is_err());
}

#[test]
fn stripe() {
    let (body, stamp) = (r#"{"id": "evt_1", "type": "charge.succeeded"}"#, "1700000000");
    let good = hex("whsec_stripe_secret", &format!("{stamp}.{body}"));
    let verify = |signature: String, now: i64| {
        let secrets = [secret("whsec_stripe_secret")];
        kind(json!({"kind": "stripe"})).verify(
            &secrets,
            &headers(&[("stripe-signature", &signature)]),
            body.as_bytes(),
            at(now),
        )
    };
    let zeros = "0".repeat(64);
    let verified = verify(format!("t={stamp},v1={zeros},v1={good},v0=x"), 1_700_000_100).unwrap();
    assert_eq!(verified.id_path.as_deref(), Some("body.id"));
    assert!(verify(format!("t={stamp},v0={good}"), 1_700_000_100).is_err(), "v0 is for tests");
    assert!(verify(format!("v1={good}"), 1_700_000_100).is_err());
    assert!(verify(format!("t={stamp},v1={good}"), 1_700_000_301).is_err());
    assert!(verify(format!("t=1700000001,v1={good}"), 1_700_000_100).is_err());
}

#[test]
fn a_senders_own_scheme() {
    let scheme = kind(json!({
        "kind": "hmac", "header": "X-Sign", "encoding": "base64", "prefix": "hmac ", "timestamp_header": "X-Time",
        "signed": "{timestamp}:{body}:end"
    }));
    assert!(scheme.check().is_ok());
    let good = STANDARD.encode(mac(&secret("0123456789abcdef"), &[b"100:{}:end"]).expose_secret());
    let verify = |signature: &str, stamp: &str| {
        let fields = [("x-sign", signature), ("x-time", stamp)];
        scheme.verify(&[secret("0123456789abcdef")], &headers(&fields), b"{}", at(110))
    };
    assert_eq!(verify(&format!("hmac {good}"), "100").unwrap().stamp.as_deref(), Some("100"));
    assert!(verify(&good, "100").is_err(), "without its prefix");
    assert!(verify(&format!("hmac {good}"), "101").is_err());

    let plain = kind(json!({"kind": "hmac", "header": "x-sign"}));
    let good = hex("0123456789abcdef", "{}");
    let secrets = [secret("fedcba9876543210"), secret("0123456789abcdef")];
    assert!(plain.verify(&secrets, &headers(&[("x-sign", &good)]), b"{}", at(0)).is_ok(), "either of two secrets");
    assert!(plain.verify(&secrets[..1], &headers(&[("x-sign", &good)]), b"{}", at(0)).is_err());
}

#[test]
fn a_token() {
    let scheme = kind(json!({"kind": "bearer", "id_header": "X-Id"}));
    let verify = |token: &str| {
        scheme.verify(&[secret("0123456789abcdef")], &headers(&[("authorization", token), ("x-id", "7")]), b"", at(0))
    };
    assert_eq!(verify("Bearer 0123456789abcdef").unwrap().id.as_deref(), Some("7"));
    for token in ["Bearer 0123456789abcdeX", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer ", ""] {
        assert!(verify(token).is_err(), "{token}");
    }
}

#[test]
fn a_scheme_that_cannot_be_is_named_by_its_field() {
    let wrong = |more: Value| {
        let mut scheme = json!({"kind": "hmac", "header": "x-sign"});
        scheme.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kind(scheme).check().unwrap_err().0
    };
    assert_eq!(wrong(json!({"header": "x sign"})), "/header");
    assert_eq!(wrong(json!({"header": ""})), "/header");
    assert_eq!(wrong(json!({"timestamp_header": "x\n"})), "/timestamp_header");
    assert_eq!(wrong(json!({"timestamp_header": "x-time"})), "/signed", "a time that is not signed says nothing");
    for signed in ["", "{timestamp}{body}", "{body}{body}"] {
        assert_eq!(wrong(json!({"signed": signed})), "/signed");
    }
    assert_eq!(wrong(json!({"id_path": "headers.x"})), "/id_path", "what is not signed tells nothing apart");
    for closed in [json!({"kind": "github", "colour": 1}), json!({"kind": "pgp"}), json!({})] {
        assert!(serde_json::from_value::<Verification>(closed).is_err());
    }
}

proptest! {
    /// No message of a stranger is believed, and none is too much.
    #[test]
    fn strangers_are_not_believed(
        value in "\\PC{0,80}", stamp in "[0-9]{0,14}", body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let schemes = [
            json!({"kind": "standard_webhooks"}), json!({"kind": "github"}), json!({"kind": "stripe"}), json!({"kind": "slack"}),
            json!({"kind": "hmac", "header": "x-sign"}), json!({"kind": "hmac", "header": "x-sign", "encoding": "base64"}),
            json!({"kind": "bearer"}),
        ];
        let prefixed = |prefix: &str| format!("{prefix}{value}");
        let fields = [
            ("webhook-id", value.clone()), ("webhook-timestamp", stamp.clone()), ("webhook-signature", prefixed("v1,")),
            ("x-hub-signature-256", prefixed("sha256=")), ("stripe-signature", format!("t={stamp},v1={value}")),
            ("x-slack-request-timestamp", stamp.clone()), ("x-slack-signature", prefixed("v0=")),
            ("x-sign", value.clone()), ("authorization", prefixed("Bearer ")),
        ];
        let fields: Headers = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let now = at(stamp.parse().unwrap_or(0).min(1_000_000_000_000));
        for scheme in schemes {
            prop_assert!(kind(scheme).verify(&[secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")], &fields, &body, now).is_err());
        }
    }
}
