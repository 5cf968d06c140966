//! What must hold for any bytes, one function for each parser of hostile input. The targets in `fuzz_targets/` feed them.
//!
//! A function panics when a property is broken and returns when it holds. None of them does I/O beyond its own memory, so a finding is repeated
//! by its bytes alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use livery_broker::Secret;
use livery_broker::guard::{CanonicalRequest, PARAMETERS_MAX, Target};
use livery_broker::mail::Reply;
use livery_broker::proxy::hello::{HELLO_BYTES_MAX, server_name};
use livery_broker::proxy::placeholder::Finder;
use livery_broker::postgres::{Frames, FromClient, without};
use livery_broker::scrub::{Framing, Matcher, Scrubber};
use livery_broker::sql::{Class, Rules, TEXT_BYTES_MAX as SQL_BYTES_MAX, Token, judge, tokens};
use livery_core::agent::{Agent, Folder};
use livery_core::finding::FINDINGS_MAX;
use livery_core::inbound::{Filter, Message, Template, read_body, read_query};
use livery_core::id::RunId;
use livery_core::receipt::Receipt;
use livery_core::receipt::log::{Chain, FINDINGS_MAX as RECEIPT_FINDINGS_MAX, parse_events};
use livery_harness::Loop;
use livery_harness::replay::bundle::{Bundle, EVENTS_MAX as BUNDLE_EVENTS_MAX};
use livery_harness::replay::{Logged, replay};
use livery_llm::provider::{Decoder, Dialect};
use livery_llm::request::{ModelRequest, ToolChoice};
use livery_llm::script::Script;

mod guest;
pub mod http_framing;
pub mod image;
mod spoken;

pub use guest::{flow_ledger, guest_wire, monitor_answer, terminal_ledger, terminal_text};
pub use spoken::{graphql, graphql_request, grpc_message, websocket};

/// The first byte says where the rest is cut in two, as a share of its length.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    rest.split_at_checked(rest.len() * usize::from(*first) / 255)
}

/// A message is read or refused; a template that is read is filled in from any message, within its limit; a filter that is
/// accepted answers.
pub fn trigger_message(bytes: &[u8]) {
    const INSERTED_MAX: usize = 4096;
    let Some((template, body)) = cut(bytes) else { return };
    let query = read_query(&String::from_utf8_lossy(body));
    for media_type in [None, Some("application/x-www-form-urlencoded")] {
        let Ok(read) = read_body(media_type, body) else { continue };
        let message = Message { body: read, headers: query.clone(), query: query.clone() };
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(template) {
            if let Ok(read) = Template::new(&value) {
                if let Ok(input) = read.render(&message, INSERTED_MAX) {
                    // Text inside text is escaped once more: at most six bytes for one.
                    let most = 6 * (INSERTED_MAX + value.to_string().len());
                    assert!(input.to_string().len() <= most, "an input beyond its limit");
                }
            }
            if let Ok(filter) = serde_json::from_value::<Filter>(value) {
                if filter.check().is_ok() {
                    let _ = filter.matches(&message);
                }
            }
        }
    }
}

/// A text of SQL is judged or refused, and read-only is never more than reading; what is in quotes is one token, and a statement
/// behind it is seen.
pub fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(judged) = judge(text, Rules { read_only: true }) {
        assert!(judged.class <= Class::Read, "more than reading");
        assert!(judge(text, Rules { read_only: false }).is_ok(), "read-only allows more");
        let more = judge(&format!("{text}\n;drop table users"), Rules { read_only: true });
        assert!(more.is_err(), "what follows is not seen");
    }
    let quoted = format!("'{}'", text.replace('\'', "''"));
    if !text.contains('\0') && quoted.len() <= SQL_BYTES_MAX {
        assert_eq!(tokens(&quoted), Ok(vec![Token::Text]));
    }
}

/// Messages of a program come alike however the bytes are cut; each is read to its last byte or refused, and written again is the
/// same.
pub fn postgres_message(bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut frames, mut all) = (Frames::of_client(), Vec::new());
        for piece in pieces {
            frames.push(piece);
            loop {
                match frames.take() {
                    Ok(Some(frame)) => all.push(frame),
                    Ok(None) => break,
                    Err(malformed) => return (all, Some(malformed)),
                }
            }
        }
        (all, None)
    };
    let Some((one, two)) = cut(bytes) else { return };
    let whole = read(&[&bytes[1..]]);
    assert_eq!(whole, read(&[one, two]), "a cut changes messages");
    let mut written = Vec::new();
    for frame in &whole.0 {
        let _ = FromClient::read(frame);
        written.push(frame.tag);
        written.extend((frame.body.len() as u32 + 4).to_be_bytes());
        written.extend_from_slice(&frame.body);
    }
    assert!(bytes[1..].starts_with(&written), "a message is written otherwise");
}

/// Messages of a server come alike however the bytes are cut; each is passed on as the same kind and without the password, or not at
/// all. The password stands in them as it is, wherever the first byte says.
pub fn postgres_answer(bytes: &[u8]) {
    const PASSWORD: &[u8] = b"not-in-the-sandbox-4fGh7Kq2Zx9";
    let Some((one, two)) = cut(bytes) else { return };
    let whole = [one, PASSWORD, two].concat();
    let read = |pieces: &[&[u8]]| {
        let (mut frames, mut all) = (Frames::of_server(), Vec::new());
        for piece in pieces {
            frames.push(piece);
            while let Ok(Some(frame)) = frames.take() {
                all.push(frame);
            }
        }
        all
    };
    let frames = read(&[&whole]);
    assert_eq!(frames, read(&[one, PASSWORD, two]), "a cut changes messages");
    for frame in frames {
        let tag = frame.tag;
        if let Ok(clean) = without(frame, &Secret::new(PASSWORD.to_vec())) {
            assert_eq!(clean.tag, tag);
            assert!(!clean.body.windows(16).any(|part| PASSWORD.windows(16).any(|own| own == part)), "it is passed on");
        }
    }
}

/// A first message of TLS names one host, is refused or waits for more, and waits for no more than its limit; what is decided stays
/// decided, whatever follows.
pub fn client_hello(bytes: &[u8]) {
    let whole = server_name(bytes);
    if bytes.len() >= HELLO_BYTES_MAX {
        assert_ne!(whole, Ok(None), "waits beyond its limit");
    }
    if let Some((one, two)) = cut(bytes) {
        if let Ok(Some(name)) = server_name(one) {
            assert!(!name.is_empty() && name.is_ascii());
            assert_eq!(server_name(&[one, two].concat()), Ok(Some(name)), "what follows changes a name");
        }
    }
}

/// A reply of a mail server is read, refused or waited for within its limit, and what follows it changes nothing.
pub fn mail_reply(bytes: &[u8]) {
    let whole = Reply::parse(bytes);
    if bytes.len() >= 64 * 1024 {
        assert_ne!(whole, Ok(None), "waits beyond its limit");
    }
    if let Ok(Some((reply, end))) = &whole {
        assert!((200..600).contains(&reply.code) && !reply.lines.is_empty() && *end <= bytes.len());
        assert_eq!(Reply::parse(&bytes[..*end]), whole, "what follows changes a reply");
    }
    if let Some((one, two)) = cut(bytes) {
        match Reply::parse(one) {
            Ok(None) => {}
            Ok(early) => assert_eq!(Ok(early), Reply::parse(&[one, two].concat()), "more bytes change a reply"),
            Err(_) => assert!(Reply::parse(&[one, two].concat()).is_err(), "more bytes make good what was refused"),
        }
    }
}

/// Placeholders are found alike however the bytes are cut, and one that stands in them as it is, is found.
pub fn placeholder(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let whole = Finder::all_in(&bytes[1..]);
    let mut finder = Finder::default();
    let mut pieces = finder.push(one);
    pieces.extend(finder.push(two));
    assert_eq!(whole, pieces, "a cut changes what is found");
    for window in bytes[1..].windows(36) {
        let plain = window.strip_prefix(b"lvp_").is_some_and(|random| random.iter().all(u8::is_ascii_alphanumeric));
        assert!(!plain || whole.iter().any(|found| found == window), "one that was missed");
    }
}

/// The answer of a provider is the same however its bytes are cut.
pub fn model_stream(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    for kind in ["anthropic", "openai"] {
        let Ok(dialect) = Dialect::of(kind, None) else { continue };
        let whole = answer(&dialect, &[&bytes[1..]]);
        assert_eq!(whole, answer(&dialect, &[one, two]), "a cut changes the answer of {kind}");
    }
}

fn answer(dialect: &Dialect, pieces: &[&[u8]]) -> Result<String, String> {
    let request = ModelRequest {
        model: "m".to_owned(),
        system: String::new(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 1,
    };
    let mut decoder = Decoder::new(dialect, &request, "call");
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut |_| {}) {
            let _ = decoder.partial();
            return Err(format!("{error:?}"));
        }
    }
    match decoder.finish() {
        Ok(response) => Ok(format!("{response:?}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// A manifest gives an agent or findings; findings are bounded and point into the file.
pub fn agent_md(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(folder) = Folder::from_inline(text, &BTreeMap::new()) else { return };
    let report = Agent::check(&folder);
    assert!(report.agent.is_some() || !report.findings.is_empty(), "refused without a word");
    assert!(report.findings.len() <= FINDINGS_MAX + 1, "findings without end");
    for finding in &report.findings {
        assert!(finding.line >= 1 && finding.column >= 1, "{finding}");
    }
    if let Some(agent) = report.agent {
        let _ = agent.validate_input(&serde_json::json!({"month": "2026-10"}));
    }
}

/// A receipt is what it reads as and nothing else; exported events are checked against it without an end to the findings.
pub fn receipt(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(receipt) = Receipt::parse(text) {
        assert_eq!(receipt.text(), text.trim_ascii(), "two texts for one receipt");
    }
    let Ok(events) = parse_events(text) else { return };
    let log = Chain::new(RunId::from_bits(1), events.len() as u64).finish();
    let checked = log.check(RunId::from_bits(1), &events);
    assert!(checked.findings.len() <= RECEIPT_FINDINGS_MAX, "findings without end");
    assert_eq!(checked.findings.is_empty(), events.is_empty(), "the log has no event");
}

/// A bundle is written as it was read; the replay of what it claims comes to an end with a report.
pub fn bundle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(bundle) = Bundle::parse(text) else { return };
    assert!(bundle.events.len() <= BUNDLE_EVENTS_MAX, "events without end");
    let again = Bundle::parse(&bundle.clone().text()).expect("what was read can be written");
    assert_eq!(again, bundle, "two bundles for one text");
    let Ok(rules) = Loop::new(bundle.setup) else { return };
    // Without digests: a wrong one leads to a search that has a limit of its own, and takes it.
    let events: Vec<Logged> = bundle.events.into_iter().map(|event| Logged { digest: None, ..event }).collect();
    assert_eq!(replay(&rules, &events).events, events.len() as u64);
}

/// A script has turns or findings.
pub fn script_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Script::parse("scripts/x.yaml", text) {
        Ok(script) => assert!(!script.is_empty(), "a script without a turn"),
        Err(findings) => assert!(!findings.is_empty(), "refused without a word"),
    }
}

/// A URL that was understood once is understood the same way again, and joining a path never leaves its origin.
pub fn upstream_url(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let (Ok(url), Ok(suffix)) = (std::str::from_utf8(one), std::str::from_utf8(two)) else { return };
    if let Ok(target) = Target::full_url(url) {
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let again = Target::full_url(&format!("{}{}{query}", target.origin(), target.path()));
        assert!(again.as_ref() == Ok(&target), "{target:?} read again is {again:?}");
    }
    if let Ok(base) = Target::base_url(url)
        && let Ok(joined) = base.join(suffix)
    {
        assert_eq!(joined.origin(), base.origin(), "a path changed the origin");
        assert!(joined.path().starts_with(base.path()), "{joined:?} leaves its root {base:?}");
        assert!(!joined.path().split('/').any(|part| part == ".."), "{joined:?} climbs");
    }
}

/// A request that was taken is read the same by whoever reads what is sent; it stays at its origin and below its base, and a
/// parameter's text stays within the parameter.
pub fn egress_request(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let (Ok(path), Ok(value)) = (std::str::from_utf8(one), std::str::from_utf8(two)) else { return };
    let base = Target::base_url("https://api.example/v1").expect("a plain address");
    let parameters = [("p".to_owned(), value.to_owned())];
    let Ok(request) = CanonicalRequest::below(&base, "POST", path, &parameters) else { return };
    let line = request.line();
    let url = line.strip_prefix("POST ").expect("the line begins with the method");
    assert!(url.is_ascii() && url.starts_with("https://api.example/v1/"), "{line} leaves its base");
    let again = CanonicalRequest::at("POST", url).expect("what is sent can be read");
    assert_eq!(again.line(), line, "two forms of one request");
    assert_eq!(again.query_keys(), request.query_keys(), "two readings of one query");
    assert!(again.query_keys().iter().any(|key| key == "p") && again.query_keys().len() <= PARAMETERS_MAX);
    let query = request.target().query().unwrap_or_default();
    let sent = query.rsplit_once("p=").map(|(_, sent)| sent.matches(['&', '#', ' ']).count());
    assert_eq!(sent, Some(0), "a value ends its parameter: {query}");
}

/// The key the answers are scrubbed of.
const KEY: &[u8] = b"sk-ant-api03-Zq7+/w==x9~Kd2%4fT\"8";
/// A run of the key that long may never be delivered.
const RUN: usize = 16;

/// No answer that holds the key delivers 16 bytes of it, however it is cut; an answer without it passes unchanged.
pub fn scrubber(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let Some(matcher) = Matcher::new(&[&Secret::new(KEY.to_vec())], "fuzz") else { return };
    let matcher = Arc::new(matcher);
    // The fuzzer will not guess the key: a byte that is no UTF-8 stands for the next piece of it.
    let answer: Vec<u8> = [one, two].concat().into_iter().flat_map(plant).collect();
    let at = one.len().min(answer.len());
    for framing in [Framing::None, Framing::Lines, Framing::Events] {
        let whole = scrubbed(&matcher, framing, &[&answer]);
        let pieces = scrubbed(&matcher, framing, &[&answer[..at], &answer[at..]]);
        assert_eq!(whole, pieces, "a cut changes what is delivered");
        if let Some(out) = whole {
            assert!(!KEY.windows(RUN).any(|run| find(&out, run)), "a run of the key was delivered");
        }
    }
}

fn plant(byte: u8) -> Vec<u8> {
    match byte {
        0xff => KEY.to_vec(),
        0xfe => KEY[..20].to_vec(),
        0xfd => KEY[10..].to_vec(),
        0xfc => KEY[5..21].iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect(),
        _ => vec![byte],
    }
}

fn scrubbed(matcher: &Arc<Matcher>, framing: Framing, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut scrubber = Scrubber::new(Some(Arc::clone(matcher)), framing);
    let mut out = Vec::new();
    for piece in pieces {
        scrubber.push(piece, &mut out).ok()?;
    }
    scrubber.finish(&mut out);
    Some(out)
}

fn find(text: &[u8], run: &[u8]) -> bool {
    text.windows(run.len()).any(|window| window == run)
}

#[cfg(test)]
mod tests;
