//! Anthropic Messages: named events that open, grow and close numbered blocks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::draft::{Block, Draft, Maker};
use super::super::fault;
use super::super::json::{self, Str};
use super::{bad_gateway, cut, response, tokens};
use crate::message::Message;
use crate::sse;
use crate::stream::{Delta, ModelError, ModelResponse, StopReason, TokenUsage};

#[derive(Debug)]
pub(super) struct Reader {
    draft: Draft,
    /// The provider's block numbers, and our places.
    places: BTreeMap<u32, usize>,
    started: bool,
    done: bool,
    stop: Option<StopReason>,
    usage: Map<String, Value>,
    model: String,
    id: Option<String>,
}

/// Any event; fields that another event has are absent.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Str<'a>,
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<DeltaFrame<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Any delta, of a block or of the message.
#[derive(Deserialize)]
struct DeltaFrame<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    citation: Option<&'a RawValue>,
    /// Of a compaction block.
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    stop_details: Option<&'a RawValue>,
}

const KNOWN: [&str; 8] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
];

impl Reader {
    pub(super) fn new(maker: Maker) -> Self {
        Self {
            draft: Draft::new(maker),
            places: BTreeMap::new(),
            started: false,
            done: false,
            stop: None,
            usage: Map::new(),
            model: String::new(),
            id: None,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn partial(&self) -> Message {
        self.draft.partial()
    }

    pub(super) fn event(&mut self, event: sse::Event<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<bool, ModelError> {
        if self.done || event.data.is_empty() || event.data == "[DONE]" {
            return Ok(false);
        }
        let mended;
        let frame = match serde_json::from_str::<Frame<'_>>(event.data) {
            Ok(frame) => frame,
            Err(error) => {
                mended = json::mend(event.data).unwrap_or_default();
                match serde_json::from_str(&mended) {
                    Ok(frame) => frame,
                    Err(_) => return unreadable(event, &error),
                }
            }
        };
        let kind = if frame.kind.is_empty() { event.name } else { &frame.kind };
        if kind == "error" {
            return Err(fault::in_answer(&value(event.data)));
        }
        self.frame(kind, &frame, on_delta)
    }

    /// Whether the event is one of the format's.
    fn frame(&mut self, kind: &str, frame: &Frame<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<bool, ModelError> {
        match (kind, frame.index) {
            ("message_start", _) => self.start(frame.message, on_delta),
            ("content_block_start", Some(index)) => {
                let raw = frame.content_block.map_or("null", RawValue::get);
                let place = self.open(value(raw), raw.len(), on_delta)?;
                self.places.insert(index, place);
            }
            ("content_block_delta", Some(index)) => {
                if let Some(delta) = &frame.delta {
                    self.grow(index, delta, on_delta)?;
                }
            }
            ("message_delta", _) => {
                self.add_usage(frame.usage);
                if let Some(delta) = &frame.delta {
                    let details = delta.stop_details.map_or(Value::Null, |raw| value(raw.get()));
                    self.stopped(delta.stop_reason.as_deref(), &details)?;
                }
            }
            ("message_stop", _) => self.done = true,
            (known, _) => return Ok(KNOWN.contains(&known)),
        }
        Ok(true)
    }

    fn start(&mut self, message: Option<&RawValue>, on_delta: &mut dyn FnMut(Delta)) {
        if self.started {
            // The provider began again; a reader only needs to hear of it when it has seen something.
            if !self.draft.is_empty() {
                on_delta(Delta::Reset);
            }
            self.draft.restart();
            self.places.clear();
            self.usage.clear();
            self.stop = None;
        }
        self.started = true;
        let message = message.map_or(Value::Null, |raw| value(raw.get()));
        self.identify(&message);
        self.merge_usage(message.get("usage"));
    }

    fn identify(&mut self, message: &Value) {
        message["model"].as_str().unwrap_or_default().clone_into(&mut self.model);
        self.id = message["id"].as_str().map(str::to_owned);
    }

    fn open(&mut self, mut block: Value, bytes: usize, on_delta: &mut dyn FnMut(Delta)) -> Result<usize, ModelError> {
        let text_of = |block: &Value, key: &str| block[key].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str() {
            Some("text") => {
                let citations = block["citations"].as_array().cloned().unwrap_or_default();
                let place = self.draft.open(Block::Text { text: String::new(), citations })?;
                self.draft.add_text(place, &text_of(&block, "text"), on_delta)?;
                Ok(place)
            }
            Some("thinking") => {
                let signature = text_of(&block, "signature");
                let place = self.draft.open(Block::Thinking { text: String::new(), signature })?;
                self.draft.add_text(place, &text_of(&block, "thinking"), on_delta)?;
                Ok(place)
            }
            Some("redacted_thinking") => self.draft.open(Block::Redacted(text_of(&block, "data"))),
            Some("tool_use") => {
                let place = self.draft.open_call(&text_of(&block, "name"), on_delta)?;
                match block["input"].take() {
                    Value::Object(map) => self.draft.set_arguments(place, map, on_delta)?,
                    Value::Null => {}
                    // An object in a string, of a server that forgot to read it.
                    Value::String(text) => self.draft.add_arguments(place, &text, on_delta)?,
                    other => self.draft.add_arguments(place, &other.to_string(), on_delta)?,
                }
                Ok(place)
            }
            _ => {
                let place = self.draft.open(Block::Opaque { block, input: String::new() })?;
                self.draft.with(place, bytes, |_| {})?;
                Ok(place)
            }
        }
    }

    fn grow(&mut self, index: u32, delta: &DeltaFrame<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        let place = match self.places.get(&index) {
            Some(place) => *place,
            None => {
                // A gateway that leaves the start out: the delta itself says what the block is.
                let block = match (&delta.text, &delta.thinking) {
                    (Some(_), _) => Block::Text { text: String::new(), citations: Vec::new() },
                    (_, Some(_)) => Block::Thinking { text: String::new(), signature: String::new() },
                    _ => return Ok(()),
                };
                let place = self.draft.open(block)?;
                self.places.insert(index, place);
                place
            }
        };
        if let Some(text) = delta.text.as_ref().or(delta.thinking.as_ref()) {
            return self.draft.add_text(place, text, on_delta);
        }
        if let Some(piece) = &delta.partial_json {
            return self.draft.add_arguments(place, piece, on_delta);
        }
        if let Some(piece) = &delta.signature {
            return self.draft.with(place, piece.len(), |block| {
                if let Block::Thinking { signature, .. } = block {
                    signature.push_str(piece);
                }
            });
        }
        if let Some(raw) = delta.citation {
            return self.draft.with(place, raw.get().len(), |block| {
                if let Block::Text { citations, .. } = block {
                    citations.push(value(raw.get()));
                }
            });
        }
        if let Some(raw) = delta.content {
            return self.draft.with(place, raw.get().len(), |block| add_content(block, value(raw.get())));
        }
        Ok(())
    }

    fn stopped(&mut self, reason: Option<&str>, details: &Value) -> Result<(), ModelError> {
        let Some(reason) = reason else { return Ok(()) };
        let stop = match reason {
            "tool_use" => StopReason::ToolUse,
            "max_tokens" => StopReason::MaxTokens,
            // The sequence itself may be an empty string; the reason is what counts.
            "stop_sequence" => StopReason::StopSequence,
            "pause_turn" => StopReason::Pause,
            "refusal" => StopReason::Refusal,
            "model_context_window_exceeded" => StopReason::ContextOverflow,
            _ => StopReason::EndTurn,
        };
        if stop == StopReason::Refusal && self.stop != Some(stop) {
            let words = details["explanation"].as_str().or_else(|| details["category"].as_str()).unwrap_or_default();
            self.draft.open(Block::Refusal(words.to_owned()))?;
        }
        self.stop = Some(stop);
        Ok(())
    }

    fn add_usage(&mut self, usage: Option<&RawValue>) {
        let usage = usage.map(|raw| value(raw.get()));
        self.merge_usage(usage.as_ref());
    }

    /// Later counters replace earlier ones: they are cumulative, never added.
    fn merge_usage(&mut self, usage: Option<&Value>) {
        let Some(Value::Object(usage)) = usage else { return };
        for (key, value) in usage.iter().filter(|(_, value)| !value.is_null()) {
            self.usage.insert(key.clone(), value.clone());
        }
    }

    /// A whole answer of a server that does not stream.
    pub(super) fn body(&mut self, mut body: Value, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        let Value::Array(content) = body["content"].take() else {
            return Err(bad_gateway("the answer is JSON, but not a message"));
        };
        self.identify(&body);
        self.merge_usage(body.get("usage"));
        for block in content {
            self.open(block, 0, on_delta)?;
        }
        self.stopped(body["stop_reason"].as_str(), &body["stop_details"])?;
        self.done = true;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ModelResponse, ModelError> {
        let (true, Some(stop)) = (self.done, self.stop) else {
            return Err(cut("the stream ended before message_stop"));
        };
        let usage = usage(self.usage);
        Ok(response(self.draft.finish(stop), stop, usage, self.model, self.id))
    }
}

/// Parts of JSON that was read once already; what cannot be read twice is as good as absent.
fn value(raw: &str) -> Value {
    json::parse(raw).unwrap_or(Value::Null)
}

/// An event of a type we do not know may look like anything; one that we know must be readable.
fn unreadable(event: sse::Event<'_>, error: &serde_json::Error) -> Result<bool, ModelError> {
    let Ok(body) = json::parse::<Value>(event.data) else {
        return Err(bad_gateway(format!("an event is not JSON: {error}")));
    };
    let kind = body["type"].as_str().unwrap_or(event.name);
    if kind == "error" {
        return Err(fault::in_answer(&body));
    }
    if KNOWN.contains(&kind) {
        return Err(bad_gateway(format!("a {kind} event is not as it should be: {error}")));
    }
    Ok(false)
}

fn add_content(block: &mut Block, content: Value) {
    let Block::Opaque { block: Value::Object(fields), .. } = block else { return };
    match (fields.get_mut("content"), content) {
        (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
        (_, content) => {
            fields.insert("content".to_owned(), content);
        }
    }
}

fn usage(raw: Map<String, Value>) -> TokenUsage {
    if raw.is_empty() {
        return TokenUsage::default();
    }
    let raw = Value::Object(raw);
    TokenUsage {
        input_uncached: tokens(&raw, &["input_tokens"]),
        input_cache_read: tokens(&raw, &["cache_read_input_tokens"]),
        input_cache_write: tokens(&raw, &["cache_creation_input_tokens"]),
        output_total: tokens(&raw, &["output_tokens"]),
        output_reasoning: tokens(&raw, &["output_tokens_details", "thinking_tokens"]),
        raw,
    }
}
