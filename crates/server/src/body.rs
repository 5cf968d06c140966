//! Bodies: typed, bounded, in time. Authentication comes first, so a stranger's body is never read.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;
use livery_core::{Error, FieldError};
use livery_platform::Caller;
use livery_platform::agents::{AgentUpload, InlineAgent};
use livery_platform::objects::Spooled;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::app::App;
use crate::auth::Opening;
use crate::json::{self, Fault, FaultKind};
use crate::options::BODY_BYTES_UNCOUNTED;
use crate::params::Params;
use crate::path::{Id, Noun};
use crate::problem::{Problem, Result};

/// A POST with a JSON body: who asks, and for what.
pub(crate) struct Post<T> {
    pub(crate) caller: Caller,
    pub(crate) body: T,
}

/// A POST that says everything in its path: who asks, and to what.
pub(crate) struct PostTo<T> {
    pub(crate) caller: Caller,
    pub(crate) id: T,
}

/// A POST that says everything by being made: who asks.
pub(crate) struct PostBare {
    pub(crate) caller: Caller,
}

/// A POST or PATCH with a JSON body to something in the path: who asks, to what, and for what.
pub(crate) struct PostIn<I, T> {
    pub(crate) caller: Caller,
    pub(crate) id: I,
    pub(crate) body: T,
}

/// A POST of an agent's folder, as a zip or as JSON. Holds its share of the body budget.
pub(crate) struct PostAgent {
    pub(crate) caller: Caller,
    pub(crate) upload: AgentUpload,
    _share: Share,
}

/// A POST of a file's bytes, which were received to disk.
pub(crate) struct PostFile {
    pub(crate) caller: Caller,
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) content: Spooled,
}

impl<T: DeserializeOwned> FromRequest<App> for Post<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        require_json(&parts.headers)?;
        let (bytes, _share) = collect(body, &parts.headers, app.options.json_bytes_max, app).await?;
        let value = json::parse(&bytes)?;
        let caller = caller_of(opening, &value);
        Ok(Self { caller, body: typed(value)? })
    }
}

impl<T: FromStr + Noun + Send> FromRequest<App> for PostTo<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        let Id(id) = Id::from_request_parts(&mut parts, app).await?;
        nothing(body, &parts.headers, app).await?;
        // An empty object says no more than no body, so it is the same request.
        Ok(Self { caller: opening.caller(|| json::digest(&Value::Null)), id })
    }
}

impl FromRequest<App> for PostBare {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        nothing(body, &parts.headers, app).await?;
        Ok(Self { caller: opening.caller(|| json::digest(&Value::Null)) })
    }
}

/// Reads a body that has nothing to say: none, or an empty object.
async fn nothing(body: Body, headers: &HeaderMap, app: &App) -> Result<()> {
    let (bytes, _share) = collect(body, headers, app.options.json_bytes_max, app).await?;
    if !bytes.is_empty() {
        require_json(headers)?;
        let Nothing {} = typed(json::parse(&bytes)?)?;
    }
    Ok(())
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<I: FromStr + Noun + Send, T: DeserializeOwned> FromRequest<App> for PostIn<I, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        let Id(id) = Id::from_request_parts(&mut parts, app).await?;
        require_json(&parts.headers)?;
        let (bytes, _share) = collect(body, &parts.headers, app.options.json_bytes_max, app).await?;
        let value = json::parse(&bytes)?;
        let caller = caller_of(opening, &value);
        Ok(Self { caller, id, body: typed(value)? })
    }
}

impl FromRequest<App> for PostAgent {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        let media = media_type(&parts.headers);
        refuse_encoding(&parts.headers)?;
        match media.as_deref() {
            Some("application/zip") => {
                let (bytes, share) = collect(body, &parts.headers, app.options.agent_zip_bytes_max, app).await?;
                let caller = opening.caller(|| Sha256::digest(&bytes).into());
                Ok(Self { caller, upload: AgentUpload::Zip(bytes), _share: share })
            }
            Some(media) if is_json(media) => {
                let (bytes, share) = collect(body, &parts.headers, app.options.json_bytes_max, app).await?;
                let value = json::parse(&bytes)?;
                let caller = caller_of(opening, &value);
                Ok(Self { caller, upload: AgentUpload::Inline(typed::<InlineAgent>(value)?), _share: share })
            }
            _ => Err(Problem::unsupported_media_type("application/json or application/zip")),
        }
    }
}

impl FromRequest<App> for PostFile {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let opening = Opening::of(&parts, app).await?;
        let name = file_name(&parts.uri)?;
        refuse_encoding(&parts.headers)?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("application/octet-stream").to_owned();
        let content = receive(body, &parts.headers, app).await?;
        let caller = opening.caller(|| {
            let hasher = Sha256::new().chain_update(&content_type).chain_update(b"\n");
            hasher.chain_update(&content.sha256).finalize().into()
        });
        Ok(Self { caller, name, content_type, content })
    }
}

/// Receives a file's bytes to disk, piece by piece. What breaks off or is too large leaves nothing behind.
async fn receive(mut body: Body, headers: &HeaderMap, app: &App) -> Result<Spooled> {
    let limit = app.options.file_bytes_max;
    if declared(headers).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut spool = app.platform.receive_file().await?;
    while let Some(data) = next_data(&mut body, app).await? {
        if spool.bytes() + data.len() as u64 > limit as u64 {
            return Err(too_large(limit));
        }
        spool.write(data).await?;
    }
    Ok(spool.finish().await?)
}

/// The next piece of a body, in time.
async fn next_data(body: &mut Body, app: &App) -> Result<Option<Bytes>> {
    loop {
        let frame = timeout(app.options.body_idle, body.frame()).await;
        let frame = frame.map_err(|_| Problem::request_timeout("the body"))?;
        let Some(frame) = frame else { return Ok(None) };
        if let Ok(data) = frame.map_err(|_| Problem::broken_body())?.into_data() {
            return Ok(Some(data));
        }
    }
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

fn file_name(uri: &Uri) -> Result<String> {
    let params = Params::parse(uri.query().unwrap_or(""))?;
    let name = params.text("name").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| Problem::invalid_parameter("name", "is missing: name the file"))
}

fn caller_of(opening: Opening, value: &Value) -> Caller {
    opening.caller(|| json::digest(value))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    json::read(value).map_err(|Fault { kind, pointer, detail }| {
        let error = FieldError::new(pointer, kind.code(), detail);
        match kind {
            FaultKind::UnknownField => Problem::unknown_field(error),
            FaultKind::MissingField | FaultKind::WrongType | FaultKind::InvalidValue => Problem::invalid_value(error),
        }
    })
}

fn require_json(headers: &HeaderMap) -> Result<()> {
    refuse_encoding(headers)?;
    match media_type(headers) {
        Some(media) if is_json(&media) => Ok(()),
        _ => Err(Problem::unsupported_media_type("application/json")),
    }
}

pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::unsupported_media_type("the body without a Content-Encoding"))
        }
        _ => Ok(()),
    }
}

/// The media type without its parameters, lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    (!media.is_empty()).then_some(media)
}

fn is_json(media: &str) -> bool {
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// A share of the budget for larger bodies, given back when the request is done with.
pub(crate) type Share = Option<OwnedSemaphorePermit>;

/// Reads a body to its end.
///
/// # Errors
/// Larger than `limit`, too slow, broken, or no room for it in time.
pub(crate) async fn collect(mut body: Body, headers: &HeaderMap, limit: usize, app: &App) -> Result<(Bytes, Share)> {
    let declared = declared(headers);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let share = share(declared.unwrap_or(limit), app).await?;
    let mut collected = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(data) = next_data(&mut body, app).await? {
        if first.len() + collected.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies come in one piece and are taken as they are.
        if first.is_empty() && collected.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            collected.extend_from_slice(&std::mem::take(&mut first));
        }
        collected.extend_from_slice(&data);
    }
    Ok((if collected.is_empty() { first } else { collected.freeze() }, share))
}

async fn share(length: usize, app: &App) -> Result<Share> {
    if length <= BODY_BYTES_UNCOUNTED {
        return Ok(None);
    }
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    let permits = std::sync::Arc::clone(&app.body_budget).acquire_many_owned(kib);
    let busy = || Error::Unavailable { detail: "too many large bodies arrive at once".to_owned(), retry_after_s: 2 };
    // The semaphore is never closed, so either error means: no room.
    timeout(app.options.body_idle, permits).await.ok().and_then(Result::ok).map(Some).ok_or_else(|| busy().into())
}

fn too_large(limit: usize) -> Problem {
    Error::TooLarge { what: "the body", limit_bytes: u64::try_from(limit).unwrap_or(u64::MAX) }.into()
}
