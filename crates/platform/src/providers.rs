//! Model providers: where models are asked, with keys that only the broker reads.

use livery_core::Timestamp;
use livery_core::id::{OrgId, ProviderId};
use serde::{Deserialize, Serialize};

/// Longest API key of a provider.
pub const API_KEY_BYTES_MAX: usize = 4096;

/// Which wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions at OpenAI.
    Openai,
    /// OpenAI Chat Completions elsewhere (vLLM, llama.cpp, …).
    OpenaiCompatible,
    /// Gemini; comes later.
    Google,
    /// Mistral; comes later.
    Mistral,
    /// Ollama, through its OpenAI-compatible API.
    Ollama,
}

/// `POST /v1/model_providers`.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewModelProvider {
    /// The part before the slash in `PROVIDER/MODEL`: `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Which wire format.
    pub kind: ProviderKind,
    /// The root that the format's paths are appended to; the kind's own when absent.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Write-only.
    #[serde(default)]
    pub api_key: Option<String>,
}

/// A provider without its key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelProviderView {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
    /// Its wire format.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: String,
    /// Whether a key is stored.
    pub has_api_key: bool,
    /// The tenant.
    pub organization: OrgId,
    /// When it was created.
    pub created_at: Timestamp,
}
