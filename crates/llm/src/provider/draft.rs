//! The answer while it is being made. Both formats write into it; it mints call ids, counts bytes and tells the reader.
//!
//! Refused: more than [`ANSWER_BYTES_MAX`] or [`BLOCKS_MAX`]. A call above [`ARGUMENTS_BYTES_MAX`] is kept as unusable.

use serde_json::{Map, Value};

use super::arguments::{self, ARGUMENTS_BYTES_MAX, Ending};
use super::names::ToolNames;
use crate::message::{Arguments, Message, Part, Role, Thinking, ToolCall};
use crate::stream::{Delta, ModelError, ModelErrorClass, StopReason};

/// The most bytes of one answer, all blocks together.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most blocks of one answer.
pub const BLOCKS_MAX: usize = 4_096;

/// Who made the answer, for the blocks that only go back to their maker.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) provider: &'static str,
    pub(super) model: String,
    pub(super) call_id_prefix: String,
    pub(super) names: ToolNames,
}

/// A block that may still grow.
#[derive(Debug)]
pub(super) enum Block {
    Text {
        text: String,
        citations: Vec<Value>,
    },
    Thinking {
        text: String,
        signature: String,
    },
    Redacted(String),
    Refusal(String),
    Call(Call),
    /// `input` is JSON text that replaces the block's `input` when it is whole.
    Opaque {
        block: Value,
        input: String,
    },
}

/// A tool call that may still grow.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: String,
    /// On the wire.
    name: String,
    text: String,
    /// Given as an object, not as text.
    whole: Option<Map<String, Value>>,
    too_long: bool,
}

/// The blocks so far. A block's place never changes.
#[derive(Debug)]
pub(super) struct Draft {
    maker: Maker,
    blocks: Vec<Block>,
    calls: usize,
    bytes: usize,
}

impl Draft {
    pub(super) const fn new(maker: Maker) -> Self {
        Self { maker, blocks: Vec::new(), calls: 0, bytes: 0 }
    }

    /// Forgets everything: the provider started over.
    pub(super) fn restart(&mut self) {
        self.blocks.clear();
        self.calls = 0;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn last(&self) -> Option<&Block> {
        self.blocks.last()
    }

    /// Adds a block and answers its place.
    pub(super) fn open(&mut self, block: Block) -> Result<usize, ModelError> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(too_large(format!("the answer has more than {BLOCKS_MAX} blocks")));
        }
        self.blocks.push(block);
        Ok(self.blocks.len() - 1)
    }

    /// Adds a tool call; its name may follow.
    pub(super) fn open_call(&mut self, name: &str, on_delta: &mut dyn FnMut(Delta)) -> Result<usize, ModelError> {
        self.calls += 1;
        let id = format!("{}_{}", self.maker.call_id_prefix, self.calls);
        let place = self.open(Block::Call(Call { id, ..Call::default() }))?;
        self.name_call(place, name, on_delta)?;
        Ok(place)
    }

    /// Names a call that has no name yet; a repeated or empty name is nothing new.
    pub(super) fn name_call(
        &mut self,
        place: usize,
        name: &str,
        on_delta: &mut dyn FnMut(Delta),
    ) -> Result<(), ModelError> {
        self.count(name.len())?;
        let Some(Block::Call(call)) = self.blocks.get_mut(place) else { return Ok(()) };
        if name.is_empty() || !call.name.is_empty() {
            return Ok(());
        }
        name.clone_into(&mut call.name);
        on_delta(Delta::ToolCall { id: call.id.clone(), name: self.maker.names.ours(name).to_owned() });
        if !call.text.is_empty() {
            on_delta(Delta::Arguments { id: call.id.clone(), text: call.text.clone() });
        }
        Ok(())
    }

    /// More of a call's arguments as text.
    pub(super) fn add_arguments(
        &mut self,
        place: usize,
        piece: &str,
        on_delta: &mut dyn FnMut(Delta),
    ) -> Result<(), ModelError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.count(piece.len())?;
        match self.blocks.get_mut(place) {
            Some(Block::Call(call)) => {
                if call.too_long || call.text.len() + piece.len() > ARGUMENTS_BYTES_MAX {
                    call.too_long = true;
                    return Ok(());
                }
                call.text.push_str(piece);
                if !call.name.is_empty() {
                    on_delta(Delta::Arguments { id: call.id.clone(), text: piece.to_owned() });
                }
            }
            Some(Block::Opaque { input, .. }) => input.push_str(piece),
            _ => {}
        }
        Ok(())
    }

    /// A call's arguments as an object; text that follows wins over it.
    pub(super) fn set_arguments(
        &mut self,
        place: usize,
        map: Map<String, Value>,
        on_delta: &mut dyn FnMut(Delta),
    ) -> Result<(), ModelError> {
        let text = serde_json::to_string(&map).unwrap_or_default();
        self.count(text.len())?;
        if let Some(Block::Call(call)) = self.blocks.get_mut(place) {
            call.too_long |= text.len() > ARGUMENTS_BYTES_MAX;
            if !map.is_empty() && !call.too_long {
                on_delta(Delta::Arguments { id: call.id.clone(), text });
            }
            call.whole = Some(map);
        }
        Ok(())
    }

    /// More text, of whatever the block holds.
    pub(super) fn add_text(
        &mut self,
        place: usize,
        piece: &str,
        on_delta: &mut dyn FnMut(Delta),
    ) -> Result<(), ModelError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.count(piece.len())?;
        match self.blocks.get_mut(place) {
            Some(Block::Text { text, .. } | Block::Refusal(text)) => {
                text.push_str(piece);
                on_delta(Delta::Text { text: piece.to_owned() });
            }
            Some(Block::Thinking { text, .. }) => {
                text.push_str(piece);
                on_delta(Delta::Thinking { text: piece.to_owned() });
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes a block in place, when it is there; `bytes` is what it grows by.
    pub(super) fn with(
        &mut self,
        place: usize,
        bytes: usize,
        change: impl FnOnce(&mut Block),
    ) -> Result<(), ModelError> {
        self.count(bytes)?;
        if let Some(block) = self.blocks.get_mut(place) {
            change(block);
        }
        Ok(())
    }

    /// The message, once the stream said how it ended.
    pub(super) fn finish(self, stop: StopReason) -> Message {
        let last = self.blocks.len().saturating_sub(1);
        let maker = self.maker;
        let mut parts = Vec::with_capacity(self.blocks.len());
        for (place, block) in self.blocks.into_iter().enumerate() {
            let cut = place == last && matches!(stop, StopReason::MaxTokens | StopReason::ContextOverflow);
            let ending = if cut { Ending::Cut } else { Ending::Whole };
            push_part(&mut parts, block, ending, &maker);
        }
        Message { role: Role::Assistant, parts }
    }

    /// The text and reasoning so far; a call or a block that may not be whole is left out, reasoning loses its proof.
    pub(super) fn partial(&self) -> Message {
        let parts = self.blocks.iter().filter_map(|block| match block {
            Block::Text { text, .. } if !text.is_empty() => Some(Part::Text { text: text.clone() }),
            Block::Refusal(text) => Some(Part::Refusal { text: text.clone() }),
            Block::Thinking { text, .. } if !text.is_empty() => {
                Some(Part::Thinking(thinking(text.clone(), None, &self.maker)))
            }
            _ => None,
        });
        Message { role: Role::Assistant, parts: parts.collect() }
    }

    fn count(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(too_large(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

fn push_part(parts: &mut Vec<Part>, block: Block, ending: Ending, maker: &Maker) {
    let opaque = |block| Part::Opaque { provider: maker.provider.to_owned(), model: maker.model.clone(), block };
    match block {
        Block::Text { text, citations } => {
            if !text.is_empty() {
                parts.push(Part::Text { text });
                if !citations.is_empty() {
                    parts.push(opaque(serde_json::json!({ "type": CITATIONS, "citations": citations })));
                }
            }
        }
        Block::Thinking { text, signature } => {
            if !text.is_empty() || !signature.is_empty() {
                let signature = (!signature.is_empty()).then_some(signature);
                parts.push(Part::Thinking(thinking(text, signature, maker)));
            }
        }
        Block::Redacted(data) => {
            parts.push(Part::Thinking(Thinking { redacted: Some(data), ..thinking(String::new(), None, maker) }));
        }
        Block::Refusal(text) => parts.push(Part::Refusal { text }),
        Block::Call(call) => parts.push(Part::ToolCall(call.finish(ending, &maker.names))),
        Block::Opaque { mut block, input } => {
            // An input that was cut off would be refused when it goes back.
            match (input.is_empty(), super::json::parse::<Value>(&input)) {
                (false, Ok(whole)) => block["input"] = whole,
                (false, Err(_)) => return,
                (true, _) => {}
            }
            parts.push(opaque(block));
        }
    }
}

/// The `type` of our own opaque block for the citations of the text before it.
pub(super) const CITATIONS: &str = "text_citations";

impl Call {
    fn finish(self, ending: Ending, names: &ToolNames) -> ToolCall {
        let arguments = if self.too_long {
            arguments::unusable(&self.text, &format!("the arguments are larger than {ARGUMENTS_BYTES_MAX} bytes"))
        } else if let (Some(map), true) = (self.whole, self.text.is_empty()) {
            // An empty object may be a place-holder for text that the limit cut off before it began.
            if map.is_empty() { arguments::read("", ending) } else { Arguments::Object(map) }
        } else {
            arguments::read(&self.text, ending)
        };
        ToolCall { id: self.id, name: names.ours(&self.name).to_owned(), arguments }
    }
}

fn thinking(text: String, signature: Option<String>, maker: &Maker) -> Thinking {
    Thinking { text, signature, redacted: None, provider: maker.provider.to_owned(), model: maker.model.clone() }
}

/// Too large now is too large next time.
fn too_large(message: String) -> ModelError {
    ModelError { should_retry: Some(false), ..ModelError::new(ModelErrorClass::BadGateway, message) }
}
