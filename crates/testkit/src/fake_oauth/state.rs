//! What the server remembers, and what it hands out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{CANARY, CLIENT_ID};

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    /// Seconds an access token lives; 0 says nothing.
    pub expires_in: u64,
    /// How long the token endpoint takes.
    pub token_delay: Duration,
    /// Answers with this status instead of a token.
    pub token_status: Option<u16>,
    /// Members of the metadata that are others.
    pub metadata: Option<Value>,
    /// The issuer that answers name.
    pub issuer: Option<String>,
    /// What tokens are for; anything else is refused.
    pub resource: Option<String>,
    /// Questions for a device's token that are told to slow down.
    pub slow_downs: u32,
}

/// What it saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Requests to the token endpoint, by grant type.
    pub grants: Vec<String>,
    /// Refreshes that gave a token.
    pub refreshes: u32,
    /// Refresh tokens that came twice.
    pub reused: u32,
    /// What was given back.
    pub revoked: Vec<String>,
    /// Claims of signed assertions.
    pub assertions: Vec<Value>,
    /// Bodies that asked for an installation's token.
    pub installations: Vec<Value>,
    /// Calls of the API: whether each had a good token.
    pub calls: Vec<bool>,
    /// Every token it gave out.
    pub tokens: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Code {
    pub(super) challenge: String,
    pub(super) redirect_uri: String,
    pub(super) resource: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) base: String,
    redirect_uri: String,
    pub(super) knobs: Knobs,
    pub(super) seen: Seen,
    counter: u32,
    access: HashSet<String>,
    pub(super) refresh: HashSet<String>,
    pub(super) spent: HashSet<String>,
    pub(super) codes: HashMap<String, Code>,
    pub(super) devices: HashMap<String, (String, bool)>,
}

impl State {
    pub(super) fn new(redirect_uri: &str) -> Self {
        let knobs = Knobs { expires_in: 3600, ..Knobs::default() };
        Self { redirect_uri: redirect_uri.to_owned(), knobs, ..Self::default() }
    }

    /// Forty characters that no two share sixteen of, but for the beginning.
    pub(super) fn word(&mut self, kind: &str) -> String {
        self.counter += 1;
        let digest = Sha256::digest(format!("{}/{kind}/{}", self.base, self.counter));
        format!("{CANARY}{kind}_{}", URL_SAFE_NO_PAD.encode(&digest[..24]))
    }

    pub(super) fn metadata(&self) -> Value {
        let base = &self.base;
        let mut document = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "device_authorization_endpoint": format!("{base}/device"),
            "revocation_endpoint": format!("{base}/revoke"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        if let (Some(all), Some(others)) =
            (document.as_object_mut(), self.knobs.metadata.as_ref().and_then(Value::as_object))
        {
            all.extend(others.clone());
        }
        document
    }

    pub(super) fn agree(&mut self, url: &str) -> Result<String, String> {
        let query = url.strip_prefix(&format!("{}/authorize?", self.base)).ok_or("another page")?;
        let fields = form(query)?;
        let field = |name: &str| fields.get(name).cloned().ok_or_else(|| format!("no {name}"));
        for (name, value) in [("response_type", "code"), ("client_id", CLIENT_ID), ("code_challenge_method", "S256")] {
            if field(name)? != value {
                return Err(format!("another {name}"));
            }
        }
        let (redirect_uri, state, challenge) = (field("redirect_uri")?, field("state")?, field("code_challenge")?);
        if redirect_uri != self.redirect_uri {
            return Err("an address that is not registered".to_owned());
        }
        if challenge.len() != 43 {
            return Err("no challenge of SHA-256".to_owned());
        }
        let resource = fields.get("resource").cloned();
        if self.knobs.resource != resource {
            return Err("invalid_target".to_owned());
        }
        let code = self.word("cod");
        let issuer = self.knobs.issuer.clone().unwrap_or_else(|| self.base.clone());
        let back = format!("{redirect_uri}?code={code}&state={state}&iss={}", encode(&issuer));
        self.codes.insert(code, Code { challenge, redirect_uri, resource });
        Ok(back)
    }

    pub(super) fn approve_device(&mut self, user_code: &str) -> bool {
        let device = self.devices.values_mut().find(|(code, _)| code == user_code);
        device.map(|(_, approved)| *approved = true).is_some()
    }

    pub(super) fn spoil(&mut self) {
        self.access.clear();
    }

    pub(super) fn calls(&mut self, token: &str) -> bool {
        let known = self.access.contains(token);
        self.seen.calls.push(known);
        known
    }

    pub(super) fn hand_out(&mut self, refreshable: bool) -> Value {
        let access = self.word("acc");
        self.access.insert(access.clone());
        self.seen.tokens.push(access.clone());
        let mut answer = json!({"access_token": access, "token_type": "Bearer", "scope": "read"});
        if self.knobs.expires_in > 0 {
            answer["expires_in"] = self.knobs.expires_in.into();
        }
        if refreshable {
            let refresh = self.word("ref");
            self.refresh.insert(refresh.clone());
            self.seen.tokens.push(refresh.clone());
            answer["refresh_token"] = refresh.into();
        }
        answer
    }
}

/// A form or query; a name that comes twice is refused, as the texts say.
pub(super) fn form(text: &str) -> Result<HashMap<String, String>, String> {
    let mut fields = HashMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if fields.insert(decode(name), decode(value)).is_some() {
            return Err(format!("{name} twice"));
        }
    }
    Ok(fields)
}

pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
