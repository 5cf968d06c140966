//! OpenAI Chat Completions: nameless chunks whose deltas grow one message, in the spelling of many servers.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::draft::{Block, Draft, Maker};
use super::super::fault;
use super::super::json::{self, Loose, Str};
use super::{bad_gateway, cut, response, tokens};
use crate::message::Message;
use crate::sse;
use crate::stream::{Delta, ModelError, ModelErrorClass, ModelResponse, StopReason, TokenUsage};

#[derive(Debug)]
pub(super) struct Reader {
    draft: Draft,
    calls: Vec<Slot>,
    /// The block that keeps a router's reasoning records for the way back.
    details: Option<usize>,
    /// `[DONE]`.
    done: bool,
    stop: Option<StopReason>,
    refused: bool,
    usage: Value,
    model: String,
    id: Option<String>,
}

/// Which of the provider's calls is which of our blocks.
#[derive(Debug)]
struct Slot {
    index: Option<i64>,
    id: String,
    place: usize,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    object: Option<Str<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<MessageFrame<'a>>,
    /// Of a whole answer: rare, and so not in the way of the others.
    #[serde(borrow, default)]
    message: Option<Box<MessageFrame<'a>>>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageFrame<'a> {
    #[serde(borrow, default)]
    content: Loose<'a>,
    #[serde(borrow, default)]
    refusal: Option<Str<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Loose<'a>,
    #[serde(borrow, default)]
    reasoning: Loose<'a>,
    #[serde(default)]
    reasoning_details: Option<Vec<Value>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallFrame<'a>>>,
}

#[derive(Deserialize)]
struct CallFrame<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionFrame<'a>>,
}

#[derive(Deserialize)]
struct FunctionFrame<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    arguments: Loose<'a>,
}

impl Reader {
    pub(super) const fn new(maker: Maker) -> Self {
        Self {
            draft: Draft::new(maker),
            calls: Vec::new(),
            details: None,
            done: false,
            stop: None,
            refused: false,
            usage: Value::Null,
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
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(false);
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(true);
        }
        if event.name == "error" {
            return Err(fault::in_answer(&json::parse(data).unwrap_or_else(|_| data.into())));
        }
        self.chunk(data, on_delta)
    }

    fn chunk(&mut self, data: &str, on_delta: &mut dyn FnMut(Delta)) -> Result<bool, ModelError> {
        let mended;
        let chunk = match serde_json::from_str::<Chunk<'_>>(data) {
            Ok(chunk) => chunk,
            Err(error) => {
                mended = json::mend(data).unwrap_or_default();
                match serde_json::from_str(&mended) {
                    Ok(chunk) => chunk,
                    Err(_) => return Err(unreadable(data, &error)),
                }
            }
        };
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            return Err(fault::in_answer(&json::parse(data).unwrap_or_default()));
        }
        let known = chunk.choices.is_some() || chunk.usage.is_some();
        self.identify(&chunk);
        self.count(chunk.usage);
        for choice in chunk.choices.into_iter().flatten() {
            self.count(choice.usage);
            if let Some(error) = choice.error {
                return Err(fault::in_answer(
                    &serde_json::json!({ "error": json::parse::<Value>(error.get()).unwrap_or_default() }),
                ));
            }
            for message in [choice.delta, choice.message.map(|message| *message)].into_iter().flatten() {
                self.grow(message, on_delta)?;
            }
            if let Some(reason) = &choice.finish_reason {
                self.stop = self.stopped(reason)?;
            }
        }
        Ok(known)
    }

    fn identify(&mut self, chunk: &Chunk<'_>) {
        if let (true, Some(model)) = (self.model.is_empty(), &chunk.model) {
            self.model.push_str(model);
        }
        if let (None, Some(id)) = (&self.id, &chunk.id) {
            self.id = (!id.is_empty()).then(|| id.to_string());
        }
    }

    /// Usage is cumulative wherever it stands: the last one counts.
    fn count(&mut self, usage: Option<&RawValue>) {
        if let Some(usage @ Value::Object(_)) = usage.and_then(|raw| json::parse(raw.get()).ok()) {
            self.usage = usage;
        }
    }

    fn grow(&mut self, message: MessageFrame<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        for detail in message.reasoning_details.into_iter().flatten() {
            self.add_detail(detail)?;
        }
        // A server that sends both sends the same words twice.
        let reasoning =
            if message.reasoning_content == Loose::Nothing { message.reasoning } else { message.reasoning_content };
        if let Loose::Text(text) = &reasoning {
            self.think(text, on_delta)?;
        }
        match message.content {
            Loose::Text(text) => self.say(&text, on_delta)?,
            Loose::Other(value) => {
                for part in value.as_array().into_iter().flatten() {
                    self.part(part, on_delta)?;
                }
            }
            Loose::Nothing => {}
        }
        if let Some(words) = message.refusal.as_deref().filter(|words| !words.is_empty()) {
            self.refused = true;
            let place = match self.draft.last() {
                Some(Block::Refusal(_)) => self.draft.len() - 1,
                _ => self.draft.open(Block::Refusal(String::new()))?,
            };
            self.draft.add_text(place, words, on_delta)?;
        }
        for call in message.tool_calls.into_iter().flatten() {
            self.call(call, on_delta)?;
        }
        Ok(())
    }

    /// Content as a list: `{type: text, text}` and `{type: thinking, thinking: [{text}]}`.
    fn part(&mut self, part: &Value, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        match part["type"].as_str() {
            Some("thinking") => match &part["thinking"] {
                Value::Array(pieces) => {
                    for text in pieces.iter().filter_map(|piece| piece["text"].as_str()) {
                        self.think(text, on_delta)?;
                    }
                    Ok(())
                }
                other => self.think(other.as_str().unwrap_or_default(), on_delta),
            },
            _ => self.say(part["text"].as_str().unwrap_or_default(), on_delta),
        }
    }

    fn say(&mut self, text: &str, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        if text.is_empty() {
            return Ok(());
        }
        let place = match self.draft.last() {
            Some(Block::Text { .. }) => self.draft.len() - 1,
            _ => self.draft.open(Block::Text { text: String::new(), citations: Vec::new() })?,
        };
        self.draft.add_text(place, text, on_delta)
    }

    fn think(&mut self, text: &str, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        if text.is_empty() {
            return Ok(());
        }
        let place = match self.draft.last() {
            Some(Block::Thinking { .. }) => self.draft.len() - 1,
            _ => self.draft.open(Block::Thinking { text: String::new(), signature: String::new() })?,
        };
        self.draft.add_text(place, text, on_delta)
    }

    /// A router's reasoning records: pieces of one record are joined, whole ones are listed.
    fn add_detail(&mut self, detail: Value) -> Result<(), ModelError> {
        let bytes = detail.to_string().len();
        let place = match self.details {
            Some(place) => place,
            None => {
                let block = serde_json::json!({ "type": REASONING_DETAILS, "details": [] });
                let place = self.draft.open(Block::Opaque { block, input: String::new() })?;
                *self.details.insert(place)
            }
        };
        self.draft.with(place, bytes, |block| {
            let Block::Opaque { block, .. } = block else { return };
            let Some(details) = block["details"].as_array_mut() else { return };
            match details.last_mut() {
                Some(last) if continues(last, &detail) => join(last, &detail),
                _ => details.push(detail),
            }
        })
    }

    fn call(&mut self, call: CallFrame<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        let function = call.function.unwrap_or(FunctionFrame { name: None, arguments: Loose::Nothing });
        let name = function.name.as_deref().unwrap_or_default();
        let id = call.id.as_deref().unwrap_or_default();
        let place = match self.slot(call.index, id, name) {
            Some(place) => {
                self.draft.name_call(place, name, on_delta)?;
                place
            }
            None => {
                let place = self.draft.open_call(name, on_delta)?;
                self.calls.push(Slot { index: call.index, id: id.to_owned(), place });
                place
            }
        };
        match function.arguments {
            Loose::Text(piece) => self.draft.add_arguments(place, &piece, on_delta),
            Loose::Other(value) => match *value {
                Value::Object(map) => self.draft.set_arguments(place, map, on_delta),
                other => self.draft.add_arguments(place, &other.to_string(), on_delta),
            },
            Loose::Nothing => Ok(()),
        }
    }

    /// The call a delta belongs to. By index; a second call under the same index has another id and a name. Without an
    /// index by id, and without either it is the last one, unless it has a name of its own.
    fn slot(&self, index: Option<i64>, id: &str, name: &str) -> Option<usize> {
        let fresh = |slot: &&Slot| !name.is_empty() && !id.is_empty() && !slot.id.is_empty() && slot.id != id;
        let slot = match index {
            Some(index) => self.calls.iter().rev().find(|slot| slot.index == Some(index)).filter(|slot| !fresh(slot)),
            None if !id.is_empty() => self.calls.iter().rev().find(|slot| slot.id == id),
            None if name.is_empty() => self.calls.last(),
            None => None,
        };
        slot.map(|slot| slot.place)
    }

    fn stopped(&self, reason: &str) -> Result<Option<StopReason>, ModelError> {
        Ok(Some(match reason {
            "" => return Ok(self.stop),
            "tool_calls" | "function_call" => StopReason::ToolUse,
            "length" => StopReason::MaxTokens,
            "content_filter" => StopReason::ContentFilter,
            "model_length" => StopReason::ContextOverflow,
            "error" => return Err(ModelError::new(ModelErrorClass::ServerError, "the provider stopped with an error")),
            "insufficient_system_resource" => {
                return Err(ModelError::new(ModelErrorClass::Overloaded, "the provider ran out of resources"));
            }
            _ => StopReason::EndTurn,
        }))
    }

    /// A whole answer of a server that does not stream.
    pub(super) fn body(&mut self, body: &Value, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        if !body["choices"].is_array() {
            return Err(bad_gateway("the answer is JSON, but not a completion"));
        }
        self.chunk(&body.to_string(), on_delta)?;
        self.done = true;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ModelResponse, ModelError> {
        // Some servers leave out `[DONE]`, some the reason: either one says that the answer is whole.
        let stop = match (self.stop, self.done) {
            (Some(stop), _) => stop,
            (None, true) => StopReason::EndTurn,
            (None, false) => return Err(cut("the stream ended before finish_reason and [DONE]")),
        };
        let stop = if self.refused && stop == StopReason::EndTurn { StopReason::Refusal } else { stop };
        Ok(response(self.draft.finish(stop), stop, usage(self.usage), self.model, self.id))
    }
}

/// The `type` of our own opaque block for a router's reasoning records.
pub(in crate::provider) const REASONING_DETAILS: &str = "reasoning_details";

fn unreadable(data: &str, error: &serde_json::Error) -> ModelError {
    // An error object may look like anything.
    match json::parse::<Value>(data) {
        Ok(body) if body.get("error").is_some_and(|error| !error.is_null()) => fault::in_answer(&body),
        Ok(_) => bad_gateway(format!("a chunk is not as it should be: {error}")),
        Err(_) => bad_gateway(format!("a chunk is not JSON: {error}")),
    }
}

fn continues(last: &Value, next: &Value) -> bool {
    let whole = next["type"].as_str().is_none_or(|kind| kind.ends_with("encrypted"));
    !whole && last["type"] == next["type"] && last["index"] == next["index"]
}

fn join(last: &mut Value, next: &Value) {
    let (Some(last), Some(next)) = (last.as_object_mut(), next.as_object()) else { return };
    for (key, value) in next.iter().filter(|(_, value)| !value.is_null()) {
        match (key.as_str(), last.get_mut(key), value) {
            ("text" | "summary", Some(Value::String(text)), Value::String(more)) => text.push_str(more),
            _ => {
                last.insert(key.clone(), value.clone());
            }
        }
    }
}

fn usage(raw: Value) -> TokenUsage {
    if raw.is_null() {
        return TokenUsage::default();
    }
    let first = |paths: &[&[&str]]| paths.iter().map(|path| tokens(&raw, path)).find(|count| *count > 0).unwrap_or(0);
    let prompt = tokens(&raw, &["prompt_tokens"]);
    let read = first(&[&["prompt_tokens_details", "cached_tokens"], &["prompt_cache_hit_tokens"], &["cached_tokens"]])
        .min(prompt);
    let write = tokens(&raw, &["prompt_tokens_details", "cache_write_tokens"]).min(prompt - read);
    let completion = tokens(&raw, &["completion_tokens"]);
    let reasoning = first(&[&["completion_tokens_details", "reasoning_tokens"], &["reasoning_tokens"]]);
    // Reasoning is part of the completion, except where the sum says otherwise (xAI).
    let apart = reasoning > 0 && tokens(&raw, &["total_tokens"]) == prompt + completion + reasoning;
    let output = if apart { completion + reasoning } else { completion };
    TokenUsage {
        input_uncached: prompt - read - write,
        input_cache_read: read,
        input_cache_write: write,
        output_total: output,
        output_reasoning: reasoning.min(output),
        raw,
    }
}
