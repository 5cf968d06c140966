//! Which model: `PROVIDER/MODEL`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of a provider.
pub const PROVIDER_CHARS_MAX: usize = 64;
/// Longest name of a model at its provider.
pub const MODEL_CHARS_MAX: usize = 256;
/// Most models of one agent: the first and its fallbacks.
pub const MODELS_MAX: usize = 8;
/// The provider whose models are scripts in the agent's own folder.
pub const SCRIPTED: &str = "scripted";

/// A model at a provider, as an agent or a run names it. The model part may have slashes (`openrouter/meta/llama`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelRef {
    /// Name of the provider: `[a-z0-9_-]{1,64}`.
    pub provider: String,
    /// What the provider calls the model.
    pub model: String,
}

/// Text that names no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model is written PROVIDER/MODEL, like anthropic/claude-sonnet-4-6")]
pub struct ParseModelError;

impl ModelRef {
    /// Whether a script in the agent's folder plays this model.
    pub fn is_scripted(&self) -> bool {
        self.provider == SCRIPTED
    }

    /// The script of a scripted model: `scripts/NAME.yaml`.
    pub fn script_path(&self) -> Option<String> {
        self.is_scripted().then(|| format!("scripts/{}.yaml", self.model))
    }
}

impl FromStr for ModelRef {
    type Err = ParseModelError;

    fn from_str(text: &str) -> Result<Self, ParseModelError> {
        let (provider, model) = text.split_once('/').ok_or(ParseModelError)?;
        let provider_fits = (1..=PROVIDER_CHARS_MAX).contains(&provider.len())
            && provider.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        let model_fits = (1..=MODEL_CHARS_MAX).contains(&model.len())
            && model.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        let script_fits = provider != SCRIPTED
            || model.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-'));
        if !(provider_fits && model_fits && script_fits) {
            return Err(ParseModelError);
        }
        Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl Serialize for ModelRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
