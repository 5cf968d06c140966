//! From a [`Call`] to a [`Prepared`] request: canonical, permitted, stripped. No secret is anywhere near.

use livery_core::connector::{CredentialSlot, Method};
use sha2::{Digest, Sha256};

use super::encoded;
use super::overrides::refuse_method_overrides;
use super::{Access, Call, Passing, Refusal};
use crate::guard::{CanonicalRequest, Target, UrlRefused};
use crate::policy::{Sent, graphql};
use crate::proxy::placeholder::Finder;
use crate::transport::{Speech, Upload, folded, is_authentication_parameter, taken};

/// A request that may leave, in the form in which it leaves.
#[derive(Debug)]
pub struct Prepared {
    pub(super) access: Access,
    pub(super) request: CanonicalRequest,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Upload,
    pub(super) speech: Speech,
    pub(super) idempotency_key: Option<String>,
    pub(super) approved: Option<String>,
    facts: Facts,
}

/// What the transcript says about a request before it leaves. Nothing of it depends on a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The method.
    pub method: &'static str,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The canonical path.
    pub path: String,
    /// What is spoken.
    pub speech: Speech,
    /// Names of the query's parameters, without their values.
    pub query_keys: Vec<String>,
    /// Bytes of the body; `None` for one that is sent while it comes and does not say.
    pub request_bytes: Option<u64>,
    /// SHA-256 over method, target, headers and body before injection, hex; `None` for a body that is not whole yet.
    pub request_sha256: Option<String>,
}

impl Facts {
    /// Of a request with these headers as they leave.
    pub(crate) fn of(request: &CanonicalRequest, headers: &[(String, String)], body: &Upload, speech: Speech) -> Self {
        let target = request.target();
        Self {
            method: request.method().as_str(),
            scheme: target.scheme().as_str(),
            host: target.host().to_string(),
            port: target.port(),
            path: target.path().to_owned(),
            speech,
            query_keys: request.query_keys(),
            request_bytes: body.length(),
            request_sha256: match body {
                Upload::Whole(bytes) => Some(digest(request, headers, bytes)),
                Upload::Pieces { .. } => None,
            },
        }
    }
}

impl Prepared {
    /// Looks at a call, whose path is below the connection's base address.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent and nothing will be.
    pub fn new(access: Access, call: Call) -> Result<Self, Refusal> {
        let base = access.reach.base().ok_or(UrlRefused::Host).and_then(|text| Target::base_url(&text));
        let base = base.map_err(|refused| Refusal::Form(refused.into()))?;
        let request = CanonicalRequest::below(&base, &call.method, &call.path, &call.query)?;
        refuse_placeholders(&call)?;
        Self::of(access, request, call.headers, call.body.into(), Speech::Http)
    }

    /// Looks at a request that a program made itself, whose host it chose.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent and nothing will be.
    pub fn passing(access: Access, passing: Passing) -> Result<Self, Refusal> {
        let Passing { target, method, headers, body, speech } = passing;
        let request = CanonicalRequest::to(target, &method)?;
        Self::of(access, request, headers, body, speech)
    }

    fn of(
        access: Access,
        request: CanonicalRequest,
        headers: Vec<(String, String)>,
        body: Upload,
        speech: Speech,
    ) -> Result<Self, Refusal> {
        let decoded = encoded::decoded(&headers, &body, speech)?;
        refuse_method_overrides(&request, &headers, decoded.as_ref().unwrap_or(&body))?;
        let own = match &access.slot {
            CredentialSlot::Query { name } => Some(name.clone()),
            _ => None,
        };
        let is_own = |name: &str| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let request = request.without_parameters(|name| is_authentication_parameter(name) || is_own(name));
        access.reach.permits(request.method().as_str(), &request.origin(), request.target().path())?;
        let headers = headers_of(&access, headers);
        let facts = Facts::of(&request, &headers, &body, speech);
        let prepared = Self { access, request, headers, body, speech, idempotency_key: None, approved: None, facts };
        prepared.check_operations()?;
        Ok(prepared)
    }

    /// At the address of a GraphQL API the path says nothing: there the body is asked.
    fn check_operations(&self) -> Result<(), Refusal> {
        let Some(rule) = self.access.reach.graphql_at(self.request.target().path()) else { return Ok(()) };
        Ok(graphql::judge(rule, self.request.method(), &self.request.query_keys(), &self.sent())?)
    }

    /// Sends this as `Idempotency-Key`: for an upstream that knows a repeated request by it.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: String) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Sends it only if it is, byte for byte, the request with this [`Prepared::digest`], which somebody approved.
    #[must_use]
    pub fn only_as(mut self, digest: String) -> Self {
        self.approved = Some(digest);
        self
    }

    /// Whether what is about to be sent is what was approved, if anybody was asked.
    pub(super) fn is_as_approved(&self) -> bool {
        self.approved.as_ref().is_none_or(|approved| match &self.body {
            Upload::Whole(bytes) => *approved == digest(&self.request, &self.headers, bytes),
            Upload::Pieces { .. } => false,
        })
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.request.method()
    }

    /// The address with its whole query.
    pub fn url(&self) -> String {
        let line = self.request.line();
        line.split_once(' ').map_or_else(String::new, |(_, url)| url.to_owned())
    }

    /// The headers, as they are sent but for what the broker adds and strips.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body, when it is there whole.
    pub fn body(&self) -> Option<&[u8]> {
        match &self.body {
            Upload::Whole(bytes) => Some(bytes),
            Upload::Pieces { .. } => None,
        }
    }

    /// The body as policies look at it. JSON is what one `Content-Type` calls so: an upstream that is told something else reads
    /// something else.
    pub fn sent(&self) -> Sent<'_> {
        let bytes = match self.body() {
            // Nobody knows what will be said.
            _ if self.speech == Speech::WebSocket => return Sent::Unseen,
            None => return Sent::Unseen,
            Some([]) => return Sent::Nothing,
            Some(bytes) => bytes,
        };
        // `Content_Type` is a second opinion: some servers take it for the first.
        let named = |name: &'static str| self.headers.iter().filter(move |(header, _)| folded(header) == name);
        let mut types = named("content-type");
        let is_json = types.next().is_some_and(|(name, value)| !name.contains('_') && is_json(value))
            && types.next().is_none()
            && named("content-encoding").next().is_none();
        Sent::Whole { bytes, is_json }
    }

    /// Whether sending it twice does no more than sending it never.
    pub fn is_safe(&self) -> bool {
        self.request.method().is_safe() && self.speech == Speech::Http
    }

    /// The same once more, where sending it twice does no more than sending it once and all of it is here. What a person approved
    /// is never sent twice: one yes is one request.
    pub fn again(&self) -> Option<Self> {
        if self.approved.is_some() {
            return None;
        }
        let harmless = self.request.method().is_idempotent() || self.idempotency_key.is_some();
        let Upload::Whole(body) = &self.body else { return None };
        harmless.then(|| Self {
            access: self.access.clone(),
            request: self.request.clone(),
            headers: self.headers.clone(),
            body: Upload::Whole(body.clone()),
            speech: self.speech,
            idempotency_key: self.idempotency_key.clone(),
            approved: None,
            facts: self.facts.clone(),
        })
    }

    /// SHA-256 of the request before injection, hex; `None` for a body that is not whole yet.
    pub fn digest(&self) -> Option<&str> {
        self.facts.request_sha256.as_deref()
    }

    /// For the transcript.
    pub fn facts(&self) -> Facts {
        self.facts.clone()
    }
}

fn refuse_placeholders(call: &Call) -> Result<(), Refusal> {
    let pairs = call.query.iter().chain(&call.headers).flat_map(|(name, value)| [name, value]);
    let mut texts = pairs.chain([&call.path]).map(String::as_bytes).chain([call.body.as_ref()]);
    if texts.any(|text| !Finder::all_in(text).is_empty()) { Err(Refusal::Placeholder) } else { Ok(()) }
}

/// The caller's headers as far as they are sent, with the connection's own in place of those of the same name; without every
/// spelling of the credential's own. The transport takes nothing more away, so policies, digest and card show what leaves.
fn headers_of(access: &Access, given: Vec<(String, String)>) -> Vec<(String, String)> {
    let slot = match &access.slot {
        CredentialSlot::Header { name, .. } => Some(folded(name)),
        _ => None,
    };
    let own: Vec<String> = access.headers.iter().map(|(own, _)| folded(own)).chain(slot).collect();
    let is_taken = taken(&given);
    let mut headers: Vec<(String, String)> =
        given.into_iter().filter(|(name, _)| is_taken(name) && !own.contains(&folded(name))).collect();
    headers.extend(access.headers.iter().cloned());
    headers
}

/// `application/json` or `…+json`, in UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_json
        && parts
            .all(|part| !part.starts_with("charset") || matches!(part.as_str(), "charset=utf-8" | "charset=\"utf-8\""))
}

/// Each part with its length before it, so that no two requests read the same.
fn digest(request: &CanonicalRequest, headers: &[(String, String)], body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let line = request.line();
    let pairs = headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    for part in std::iter::once(line.as_bytes()).chain(pairs).chain([body]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
