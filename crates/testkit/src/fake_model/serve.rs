//! One request: check the key, read it, answer or break, remember.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Response};
use livery_llm::script::turn_index;
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse};
use serde_json::json;

use super::chaos::{Failure, Fault, Per};
use super::keys::{Keys, Known};
use super::wire::{Asked, Wire};
use super::{Config, KeyCheck, Memory, Mode, Request};
use crate::listener::{Received, Step};

/// The most requests kept; the oldest go first.
const REQUESTS_MAX: usize = 100_000;

/// The most different bodies whose repetitions are counted; then counting begins anew.
const BODIES_MAX: usize = 100_000;

/// Characters to a streamed piece when nothing is configured.
const PIECE_CHARACTERS: usize = 24;

pub(super) struct State {
    pub(super) config: Config,
    pub(super) log: Mutex<Log>,
    counts: Mutex<Counts>,
    pub(super) keys: Mutex<Keys>,
    record: Option<Mutex<File>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) kept: VecDeque<Request>,
    pub(super) count: usize,
}

#[derive(Debug, Default)]
struct Counts {
    all: u64,
    bodies: HashMap<u64, u64>,
}

type Answered = Response<stream::Iter<std::vec::IntoIter<Step>>>;

impl State {
    pub(super) fn new(config: Config) -> std::io::Result<Self> {
        let open = |path| File::options().create(true).append(true).open(path);
        let record = config.record.as_ref().map(open).transpose()?.map(Mutex::new);
        Ok(Self { config, log: Mutex::default(), counts: Mutex::default(), keys: Mutex::default(), record })
    }

    /// The fault this request meets, and how many requests there have been.
    fn fault(&self, body: &[u8]) -> (Option<Fault>, u64) {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let all = counts.all;
        counts.all += 1;
        if counts.bodies.len() >= BODIES_MAX {
            counts.bodies.clear();
        }
        let same = counts.bodies.entry(hasher.finish()).or_insert(0);
        let (mut of_all, mut of_same) = (all, *same);
        *same += 1;
        // One fault after the other: the second begins when the first has struck as often as it should.
        for chaos in &self.config.chaos {
            let count = match chaos.per {
                Per::Server => &mut of_all,
                Per::Body => &mut of_same,
                // Nothing is used up: the ones between are left to whatever comes next in the list.
                Per::Every if all % chaos.requests.max(1) == chaos.requests.saturating_sub(1) => {
                    return (Some(chaos.fault.clone()), all);
                }
                Per::Every => continue,
            };
            if *count < chaos.requests {
                return (Some(chaos.fault.clone()), all);
            }
            *count -= chaos.requests;
        }
        (None, all)
    }

    fn remember(&self, received: &Received, key: KeyCheck, status: u16, fault: Option<&Fault>) {
        let request = Request {
            at_ms: u64::try_from(received.at.as_millis()).unwrap_or(u64::MAX),
            method: received.method.to_string(),
            path: received.path.clone(),
            headers: received
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: received.body.to_vec(),
            key,
            status,
            fault: fault.map(|fault| format!("{fault:?}")),
        };
        if let Some(record) = &self.record {
            let line = json!({"at_ms": request.at_ms, "method": request.method, "path": request.path, "headers": request.headers,
                "body": String::from_utf8_lossy(&request.body), "key": format!("{key:?}"), "status": status, "fault": request.fault});
            let mut file = record.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not end the test that looks at something else.
            let _ = writeln!(file, "{line}");
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.count += 1;
        if self.config.memory == Memory::Everything {
            if log.kept.len() >= REQUESTS_MAX {
                log.kept.pop_front();
            }
            log.kept.push_back(request);
        }
    }
}

pub(super) async fn answer(state: Arc<State>, received: Received) -> Answered {
    let Some(wire) = Wire::of(&received.path).filter(|_| received.method == Method::POST) else {
        state.remember(&received, KeyCheck::Right, 404, None);
        let message = "this server knows POST …/messages and POST …/chat/completions";
        return json_response(404, Wire::Chat.error(404, message));
    };
    let key = check_key(wire, &received.headers, state.config.key.as_deref());
    if key != KeyCheck::Right {
        state.remember(&received, key, 401, None);
        return json_response(401, wire.error(401, "Incorrect API key provided."));
    }
    let known = state.keys.lock().unwrap_or_else(PoisonError::into_inner).find(&received);
    if let Known::Other = known {
        state.remember(&received, key, 409, None);
        return json_response(409, wire.error(409, "this Idempotency-Key was used with another body"));
    }
    let (fault, number) = state.fault(&received.body);
    if let Some(Fault::SlowHeaders { ms }) = fault {
        tokio::time::sleep(Duration::from_millis(ms.min(u64::from(u32::MAX)))).await;
    }
    if let Some(failure) = fault.as_ref().and_then(|fault| fault.failure(wire)) {
        state.remember(&received, key, failure.status, fault.as_ref());
        return failure.into_response();
    }
    let played = wire.parse(&received.body).map_err(|message| (400, message)).and_then(|asked| {
        let (answer, delay) = match known {
            Known::Same(answer) => (answer, Duration::ZERO),
            _ => play(&state.config.mode, &asked).map_err(|error| (error.status.unwrap_or(400), error.message))?,
        };
        Ok((asked, answer, delay))
    });
    let (asked, mut answer, delay) = match played {
        Ok(played) => played,
        Err((status, message)) => {
            state.remember(&received, key, status, fault.as_ref());
            return json_response(status, wire.error(status, &message));
        }
    };
    answer.response_id.get_or_insert_with(|| format!("msg_fake_{number}"));
    state.keys.lock().unwrap_or_else(PoisonError::into_inner).keep(&received, &answer);
    state.remember(&received, key, 200, fault.as_ref());
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    respond(&state.config, wire, &asked, &answer, fault.as_ref(), number)
}

fn play(mode: &Mode, asked: &Asked) -> Result<(ModelResponse, Duration), ModelError> {
    match mode {
        Mode::Script(script) => {
            let turn = turn_index(&asked.request);
            let (answer, delay_ms) = script.play(turn, &asked.request, &format!("call_t{turn}"))?;
            Ok((answer, Duration::from_millis(delay_ms)))
        }
        Mode::Policy(policy) => Ok((policy.answer(&asked.request), Duration::ZERO)),
        Mode::Function(function) => function(&asked.request).map_err(|error| match error.status {
            Some(_) => error,
            None => ModelError { status: Some(status_of(error.class)), ..error },
        }),
    }
}

const fn status_of(class: ModelErrorClass) -> u16 {
    match class {
        ModelErrorClass::RateLimited | ModelErrorClass::QuotaExhausted => 429,
        ModelErrorClass::Overloaded => 529,
        ModelErrorClass::ServerError
        | ModelErrorClass::Timeout
        | ModelErrorClass::StreamCut
        | ModelErrorClass::BadGateway => 500,
        ModelErrorClass::Unauthorized | ModelErrorClass::Denied => 401,
        ModelErrorClass::ModelNotFound => 404,
        ModelErrorClass::TooLarge => 413,
        ModelErrorClass::ContextOverflow | ModelErrorClass::ContentFilter | ModelErrorClass::InvalidRequest => 400,
    }
}

fn respond(
    config: &Config,
    wire: Wire,
    asked: &Asked,
    answer: &ModelResponse,
    fault: Option<&Fault>,
    number: u64,
) -> Answered {
    let piece = if config.piece_characters == 0 { PIECE_CHARACTERS } else { config.piece_characters };
    let frames = if asked.stream { wire.events(answer, asked, piece) } else { vec![wire.body(answer)] };
    let steps = match fault {
        Some(fault) => fault.steps(wire, frames, number),
        None => vec![Step::Send(frames.concat().into())],
    };
    let content_type = match (fault, asked.stream) {
        (Some(Fault::WrongContentType), _) => "text/plain",
        (_, true) => "text/event-stream; charset=utf-8",
        (_, false) => "application/json",
    };
    let id = format!("req_fake_{number}");
    let mut headers = vec![("content-type", content_type.to_owned()), ("request-id", id.clone()), ("x-request-id", id)];
    if fault == Some(&Fault::Gzip) {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    build(200, headers, steps)
}

fn check_key(wire: Wire, headers: &HeaderMap, wanted: Option<&str>) -> KeyCheck {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let given = match wire {
        Wire::Anthropic => header("x-api-key").or(bearer),
        Wire::Chat => bearer,
    };
    // Anywhere at all, whatever key is wanted.
    let is_placeholder = |text: &str| text.to_ascii_lowercase().contains("placeholder");
    if headers.values().filter_map(|value| value.to_str().ok()).any(is_placeholder) {
        return KeyCheck::Placeholder;
    }
    match (wanted, given) {
        (None, _) => KeyCheck::Right,
        (Some(_), None) => KeyCheck::Missing,
        (Some(wanted), Some(given)) if wanted == given => KeyCheck::Right,
        (Some(_), Some(_)) => KeyCheck::Wrong,
    }
}

impl Failure {
    fn into_response(self) -> Answered {
        build(self.status, self.headers, vec![Step::Send(self.body)])
    }
}

fn json_response(status: u16, body: Bytes) -> Answered {
    build(status, vec![("content-type", "application/json".to_owned())], vec![Step::Send(body)])
}

fn build(status: u16, headers: Vec<(&'static str, String)>, steps: Vec<Step>) -> Answered {
    let mut response = Response::new(stream::iter(steps));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Ok(value) = http::HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
