//! What the endpoints that give tokens out demand.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::state::{State, decode, form};
use super::{CLIENT_ID, CLIENT_SECRET};
use crate::listener::Received;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

type Fields = std::collections::HashMap<String, String>;

fn refuse(code: &str) -> (u16, Value) {
    (if code == "invalid_client" { 401 } else { 400 }, json!({"error": code, "error_description": "<b>not shown</b>"}))
}

impl State {
    pub(super) fn token(&mut self, received: &Received) -> (u16, Value) {
        let Ok(fields) = form(&String::from_utf8_lossy(&received.body)) else { return refuse("invalid_request") };
        let grant = fields.get("grant_type").cloned().unwrap_or_default();
        self.seen.grants.push(grant.clone());
        if let Some(status) = self.knobs.token_status {
            return (status, json!({}));
        }
        if grant == JWT_GRANT {
            return self.assertion(&fields);
        }
        if !is_client(received, &fields) {
            return refuse("invalid_client");
        }
        if fields.get("resource") != self.knobs.resource.as_ref() && grant != DEVICE_GRANT {
            return refuse("invalid_target");
        }
        match grant.as_str() {
            "authorization_code" => self.code(&fields),
            "refresh_token" => self.refresh(&fields),
            "client_credentials" => (200, self.hand_out(false)),
            DEVICE_GRANT => self.device_token(&fields),
            _ => refuse("unsupported_grant_type"),
        }
    }

    fn code(&mut self, fields: &Fields) -> (u16, Value) {
        let get = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let Some(code) = self.codes.remove(get("code")) else { return refuse("invalid_grant") };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
        let fits = challenge == code.challenge
            && get("redirect_uri") == code.redirect_uri
            && fields.get("resource") == code.resource.as_ref();
        if fits { (200, self.hand_out(true)) } else { refuse("invalid_grant") }
    }

    /// Each refresh token once. One that comes again ends them all: somebody has a copy.
    fn refresh(&mut self, fields: &Fields) -> (u16, Value) {
        let token = fields.get("refresh_token").cloned().unwrap_or_default();
        if self.spent.contains(&token) {
            self.seen.reused += 1;
            self.refresh.clear();
            return refuse("invalid_grant");
        }
        if !self.refresh.remove(&token) {
            return refuse("invalid_grant");
        }
        self.spent.insert(token);
        self.seen.refreshes += 1;
        (200, self.hand_out(true))
    }

    pub(super) fn device(&mut self, received: &Received) -> (u16, Value) {
        let Ok(fields) = form(&String::from_utf8_lossy(&received.body)) else { return refuse("invalid_request") };
        if !is_client(received, &fields) {
            return refuse("invalid_client");
        }
        let (device, user_code) = (self.word("dev"), "WDJB-MJHT".to_owned());
        self.devices.insert(device.clone(), (user_code.clone(), false));
        let uri = format!("{}/activate", self.base);
        (
            200,
            json!({"device_code": device, "user_code": user_code, "verification_uri": uri, "expires_in": 600, "interval": 1}),
        )
    }

    fn device_token(&mut self, fields: &Fields) -> (u16, Value) {
        if self.knobs.slow_downs > 0 {
            self.knobs.slow_downs -= 1;
            return refuse("slow_down");
        }
        match self.devices.get(fields.get("device_code").map(String::as_str).unwrap_or_default()) {
            None => refuse("expired_token"),
            Some((_, false)) => refuse("authorization_pending"),
            Some((_, true)) => {
                self.devices.clear();
                (200, self.hand_out(true))
            }
        }
    }

    /// The claims alone: who signed is the business of whoever has the public key.
    fn assertion(&mut self, fields: &Fields) -> (u16, Value) {
        let Some(claims) = fields.get("assertion").and_then(|token| claims(token)) else {
            return refuse("invalid_grant");
        };
        let (at, until) = (claims["iat"].as_i64().unwrap_or_default(), claims["exp"].as_i64().unwrap_or_default());
        let aud = claims["aud"] == format!("{}/token", self.base);
        self.seen.assertions.push(claims);
        if aud && (1..=3600).contains(&(until - at)) { (200, self.hand_out(false)) } else { refuse("invalid_grant") }
    }

    pub(super) fn installation(&mut self, received: &Received, path: &str) -> (u16, Value) {
        let token = received.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(claims) = token.strip_prefix("Bearer ").and_then(claims) else {
            return (401, json!({"message": "no"}));
        };
        let life = claims["exp"].as_i64().unwrap_or_default() - claims["iat"].as_i64().unwrap_or_default();
        self.seen.assertions.push(claims);
        self.seen.installations.push(serde_json::from_slice(&received.body).unwrap_or_default());
        if !(1..=660).contains(&life) || path != "/app/installations/42/access_tokens" {
            return (404, json!({"message": "Not Found"}));
        }
        let answer = self.hand_out(false);
        (201, json!({"token": answer["access_token"], "expires_at": "2126-01-01T00:00:00Z", "permissions": {}}))
    }

    pub(super) fn revoke(&mut self, received: &Received) -> (u16, Value) {
        let Ok(fields) = form(&String::from_utf8_lossy(&received.body)) else { return refuse("invalid_request") };
        if !is_client(received, &fields) {
            return refuse("invalid_client");
        }
        let token = fields.get("token").cloned().unwrap_or_default();
        self.refresh.remove(&token);
        self.seen.revoked.push(token);
        (200, json!({}))
    }
}

/// Basic or the form, and not both.
fn is_client(received: &Received, fields: &Fields) -> bool {
    let basic = received.headers.get("authorization").and_then(|value| value.to_str().ok());
    let basic = basic.and_then(|text| text.strip_prefix("Basic ")).and_then(|text| STANDARD.decode(text).ok());
    let basic = basic.and_then(|pair| String::from_utf8(pair).ok());
    let basic = basic.and_then(|pair| pair.split_once(':').map(|(id, secret)| (decode(id), decode(secret))));
    let posted = fields.get("client_id").cloned().zip(fields.get("client_secret").cloned());
    let good = |(id, secret): (String, String)| id == CLIENT_ID && secret == CLIENT_SECRET;
    match (basic, posted) {
        (Some(client), None) | (None, Some(client)) => good(client),
        _ => false,
    }
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let whole = parts.next().is_none() && signature.len() > 300 && read(header)?["alg"] == "RS256";
    whole.then(|| read(claims)).flatten()
}
