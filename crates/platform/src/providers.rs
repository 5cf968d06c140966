//! Model providers: where models are asked, with keys that only the broker reads.

use livery_broker::scrub::{SECRET_BYTES_MIN, is_scrubbable};
use livery_broker::{Secret, Target};
use livery_core::agent::ModelRef;
use livery_core::id::{OrgId, ProviderId, RunId};
use livery_core::{Error, ErrorCode, Result, RunError, Timestamp};
use livery_llm::provider::Dialect;
use livery_store::ProviderRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::note;
use crate::{Caller, Page, Platform, Posted, Principal, Scope};

/// Longest API key of a provider.
pub const API_KEY_BYTES_MAX: usize = 4096;
/// Where `run.queued` keeps the names of providers that were the organization's own.
pub(crate) const OWN_PROVIDERS: &str = "own_providers";
/// What a provider's key is sealed as.
pub(crate) const KEY_FIELD: &str = "api_key";

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

/// Providers from the environment of the process: `ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, or `--model` with `--base-url`.
#[derive(Default)]
pub struct EnvironmentProviders {
    providers: Vec<EnvironmentProvider>,
}

/// One of them.
pub struct EnvironmentProvider {
    /// The part before the slash.
    pub name: String,
    /// Its wire format.
    pub kind: ProviderKind,
    /// Where it is; the kind's own place when absent.
    pub base_url: Option<String>,
    /// Its key, if it wants one.
    pub api_key: Option<Secret>,
}

impl EnvironmentProviders {
    /// These providers; a later one of the same name replaces an earlier one.
    pub fn new(providers: Vec<EnvironmentProvider>) -> Self {
        Self { providers }
    }

    fn find(&self, name: &str) -> Option<&EnvironmentProvider> {
        self.providers.iter().rev().find(|provider| provider.name == name)
    }
}

/// A provider ready to be asked. No `Debug`: the key is in it.
pub(crate) struct Provider {
    pub(crate) kind: ProviderKind,
    pub(crate) base_url: String,
    pub(crate) dialect: Dialect,
    pub(crate) api_key: Option<Secret>,
    pub(crate) owner: String,
}

impl ProviderKind {
    /// The name in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Google => "google",
            Self::Mistral => "mistral",
            Self::Ollama => "ollama",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(Error::internal)
    }
}

impl Platform {
    /// Creates a model provider of the caller's organization.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a name in use; [`Error::Invalid`] for a bad name, kind, address or key.
    pub async fn create_model_provider(
        &self,
        caller: &Caller,
        new: NewModelProvider,
    ) -> Result<Posted<ModelProviderView>> {
        let principal = &caller.principal;
        principal.require(Scope::ModelProvidersWrite)?;
        check_provider_name(&new.name)?;
        let base_url = self.check_base_url(&new)?;
        let (org, now, id) = (principal.org, self.clock.now(), ProviderId::from_bits(self.mint()));
        let actor = principal.key;
        let sealed_key = match checked_key(new.api_key)? {
            Some(key) => Some(self.vault.seal(&self.store, org, &id.to_string(), KEY_FIELD, &key, now).await?),
            None => None,
        };
        let row = ProviderRow {
            id,
            org,
            name: new.name,
            kind: new.kind.as_str().to_owned(),
            base_url: Some(base_url),
            sealed_key,
            created_at: now,
            updated_at: now,
        };
        let view = view_of(row.clone())?;
        self.post(caller, move |tx| {
            Box::pin(async move {
                match tx.insert_provider(&row).await {
                    Err(livery_store::Error::Exists { .. }) => {
                        let detail = format!("there is a model provider named {}; delete it first", row.name);
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    other => other?,
                }
                note(
                    tx,
                    org,
                    "model_provider.created",
                    now,
                    actor,
                    json!({"model_provider": row.id, "name": row.name, "kind": row.kind}),
                )
                .await?;
                Ok(view)
            })
        })
        .await
    }

    /// The providers of the caller's organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `model_providers:read`.
    pub async fn list_model_providers(&self, principal: &Principal) -> Result<Page<ModelProviderView>> {
        principal.require(Scope::ModelProvidersRead)?;
        let rows = self.store.list_providers(principal.org).await?;
        Ok(Page::whole(rows.into_iter().map(view_of).collect::<Result<_>>()?))
    }

    /// One provider, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_model_provider(&self, principal: &Principal, id_or_name: &str) -> Result<ModelProviderView> {
        principal.require(Scope::ModelProvidersRead)?;
        view_of(self.provider_row(principal, id_or_name).await?)
    }

    /// Deletes a provider. Runs that began with it fail from then on, also when the environment has a provider of that name:
    /// what they say was meant for the organization's own provider, and its bill.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_model_provider(&self, caller: &Caller, id_or_name: &str) -> Result<()> {
        let principal = &caller.principal;
        principal.require(Scope::ModelProvidersWrite)?;
        let row = self.provider_row(principal, id_or_name).await?;
        let (org, now, actor) = (principal.org, self.clock.now(), principal.key);
        let owner = row.id.to_string();
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.delete_provider(org, row.id).await?;
                    note(
                        tx,
                        org,
                        "model_provider.deleted",
                        now,
                        actor,
                        json!({"model_provider": row.id, "name": row.name}),
                    )
                    .await
                })
            })
            .await?;
        // Connections that were opened with its key go with it.
        self.broker.forget(org, &owner);
        Ok(())
    }

    /// The wire format of a provider that a run may name; `None`: there is no such provider.
    pub(crate) async fn provider_kind(&self, org: OrgId, name: &str) -> Result<Option<ProviderKind>> {
        match self.store.find_provider(org, name).await? {
            Some(row) => ProviderKind::parse(&row.kind).map(Some),
            None => Ok(self.environment.find(name).map(|provider| provider.kind)),
        }
    }

    /// Which of these models' providers are the organization's own and not the environment's: `run.queued` keeps them.
    pub(crate) async fn own_providers(&self, org: OrgId, models: &[ModelRef]) -> Result<Vec<String>> {
        let mut own: Vec<String> = Vec::new();
        for model in models.iter().filter(|model| !model.is_scripted()) {
            if !own.contains(&model.provider) && self.store.find_provider(org, &model.provider).await?.is_some() {
                own.push(model.provider.clone());
            }
        }
        Ok(own)
    }

    /// Whether a run began when its organization had a provider of its own with this name.
    async fn began_with_own(&self, org: OrgId, run: RunId, name: &str) -> Result<bool> {
        let first = self.store.stored_events_after(org, run, 0, 1).await?;
        let data = first.first().and_then(|event| event.data.as_ref()?.parse::<Value>().ok()).unwrap_or_default();
        let own = data[OWN_PROVIDERS].as_array();
        Ok(own.is_some_and(|own| own.iter().any(|own| own == name)))
    }

    async fn provider_row(&self, principal: &Principal, id_or_name: &str) -> Result<ProviderRow> {
        let row = match id_or_name.parse::<ProviderId>() {
            Ok(id) => self.store.get_provider(principal.org, id).await?,
            Err(_) => self.store.find_provider(principal.org, id_or_name).await?,
        };
        row.ok_or(Error::NotFound { what: "model provider" })
    }

    /// The address, checked as far as it can be without dialling: a private one is refused here already.
    fn check_base_url(&self, new: &NewModelProvider) -> Result<String> {
        Dialect::of(new.kind.as_str(), new.base_url.as_deref())
            .map_err(|error| Error::invalid_field("/kind", error.to_string()))?;
        let base_url = match (&new.base_url, new.kind) {
            (Some(base_url), _) => base_url.clone(),
            (None, ProviderKind::OpenaiCompatible) => {
                return Err(Error::invalid_field(
                    "/base_url",
                    "openai_compatible needs a base_url, such as https://HOST/v1",
                ));
            }
            (None, kind) => default_base_url(kind)?.to_owned(),
        };
        let target =
            Target::base_url(&base_url).map_err(|refused| Error::invalid_field("/base_url", refused.to_string()))?;
        self.broker.check(&target).map_err(|refused| Error::invalid_field("/base_url", refused.to_string()))?;
        Ok(base_url)
    }

    /// The provider that a model of `run` names, with its key opened.
    ///
    /// # Errors
    /// A sentence for the run: no such provider, one that was deleted since the run began, or a key that cannot be opened or
    /// kept out of answers. Retryable: the database is away, and nothing is known of the provider.
    pub(crate) async fn provider_for(&self, org: OrgId, run: RunId, name: &str) -> Result<Provider, RunError> {
        let internal = |error: Error| RunError {
            code: ErrorCode::Internal,
            message: error.to_string(),
            retryable: matches!(error, Error::Unavailable { .. }),
        };
        let missing = |message: String| RunError::fatal(ErrorCode::CredentialUnavailable, message);
        let stored = self.store.find_provider(org, name).await.map_err(|error| internal(error.into()))?;
        let provider = match (stored, self.environment.find(name)) {
            (Some(row), _) => self.stored_provider(row).await.map_err(internal)?,
            (None, None) => {
                let how = "create it with POST /v1/model_providers";
                return Err(missing(format!("there is no model provider named {name}; {how}")));
            }
            (None, Some(_)) if self.began_with_own(org, run, name).await.map_err(internal)? => {
                let detail = "the server's own of that name is not asked in its place";
                return Err(missing(format!("the model provider {name} was deleted since the run began; {detail}")));
            }
            (None, Some(found)) => environment_provider(found)?,
        };
        if provider.api_key.as_ref().is_some_and(|key| !is_scrubbable(key)) {
            let detail = format!("the key of the model provider {name} is shorter than {SECRET_BYTES_MIN} characters");
            return Err(missing(format!("{detail}, so answers could not be searched for it")));
        }
        Ok(provider)
    }

    async fn stored_provider(&self, row: ProviderRow) -> Result<Provider> {
        let kind = ProviderKind::parse(&row.kind)?;
        let dialect = Dialect::of(kind.as_str(), row.base_url.as_deref()).map_err(Error::internal)?;
        let owner = row.id.to_string();
        let api_key = match &row.sealed_key {
            Some(sealed) => {
                Some(self.vault.unseal(&self.store, row.org, &owner, KEY_FIELD, sealed, self.clock.now()).await?)
            }
            None => None,
        };
        let base_url = row.base_url.map_or_else(|| default_base_url(kind).map(str::to_owned), Ok)?;
        Ok(Provider { kind, base_url, dialect, api_key, owner })
    }
}

fn environment_provider(found: &EnvironmentProvider) -> Result<Provider, RunError> {
    let unusable = |error: String| RunError::fatal(ErrorCode::ModelError, error);
    let dialect = Dialect::of(found.kind.as_str(), found.base_url.as_deref()).map_err(|e| unusable(e.to_string()))?;
    let own_place = || default_base_url(found.kind).map(str::to_owned).map_err(|error| unusable(error.to_string()));
    Ok(Provider {
        kind: found.kind,
        base_url: found.base_url.clone().map_or_else(own_place, Ok)?,
        dialect,
        api_key: found.api_key.as_ref().map(|key| Secret::new(key.expose_secret().to_vec())),
        owner: format!("provider-{}", found.name),
    })
}

fn default_base_url(kind: ProviderKind) -> Result<&'static str> {
    Dialect::default_base_url(kind.as_str())
        .ok_or_else(|| Error::invalid_field("/base_url", format!("{} needs a base_url", kind.as_str())))
}

fn check_provider_name(name: &str) -> Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !fits {
        return Err(Error::invalid_field("/name", "a provider's name has 1 to 64 of a-z, 0-9 and -"));
    }
    if name == "scripted" {
        return Err(Error::invalid_field(
            "/name",
            "`scripted` is the name of models that play a script; choose another",
        ));
    }
    Ok(())
}

fn checked_key(api_key: Option<String>) -> Result<Option<Secret>> {
    let Some(key) = api_key else { return Ok(None) };
    let fits = (SECRET_BYTES_MIN..=API_KEY_BYTES_MAX).contains(&key.len());
    if !fits || !key.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        let detail = format!(
            "a key has {SECRET_BYTES_MIN} to {API_KEY_BYTES_MAX} visible ASCII characters, no spaces or line breaks: answers are \
             searched for it, and a shorter one cannot be told from ordinary words. Leave it out where none is wanted"
        );
        return Err(Error::invalid_field("/api_key", detail));
    }
    Ok(Some(Secret::from(key)))
}

fn view_of(row: ProviderRow) -> Result<ModelProviderView> {
    Ok(ModelProviderView {
        id: row.id,
        name: row.name,
        kind: ProviderKind::parse(&row.kind)?,
        base_url: row.base_url.unwrap_or_default(),
        has_api_key: row.sealed_key.is_some(),
        organization: row.org,
        created_at: row.created_at,
    })
}
