//! [`Recipe`]: a connector as its file says it, and what it becomes with the settings of one connection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AuthKind, BaseUrl, Connector, CredentialSlot, Endpoint, HEADERS_MAX, Malformed, Method, ORIGINS_MAX, OauthServer,
    Origin, PATHS_MAX, PathPattern, Reach, Scheme, TestCall, is_name, origin, slot,
};
use crate::FieldError;
use crate::finding::Findings;
use crate::yaml;

mod settle;

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 80;
/// Longest name of a variable, in bytes.
const VARIABLE_BYTES_MAX: usize = 64;
/// Longest explanation of a connector or setting, in characters.
const ABOUT_CHARS_MAX: usize = 500;

/// The settings of one connection, as they are given, stored and shown again. None of them is secret.
pub type Settings = Map<String, Value>;

/// A connector before anybody said what it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name: `jira`.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it is for, and where its credential comes from.
    pub about: String,
    /// The kinds of credentials it takes, the default first.
    pub auth: Vec<AuthKind>,
    /// What a connection has to say, or may say, beside its credential.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Origins; `{NAME}` stands for a setting of the kind `label`. None: the setting `base_url` says it.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Methods; none: all.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// Paths; none: all.
    #[serde(default)]
    pub paths: Vec<PathPattern>,
    /// Where the credential is put, unless a setting says it. `{NAME}` in a region or service stands for a label.
    pub slot: CredentialSlot,
    /// Where tokens come from, as far as it is the same for everybody.
    #[serde(default)]
    pub oauth: Option<OauthServer>,
    /// The API that gives tokens to an app's installation, where that is not the first origin.
    #[serde(default)]
    pub token_api: Option<Endpoint>,
    /// Paths that give tokens out, beside the endpoints of `oauth`.
    #[serde(default)]
    pub guarded: Vec<PathPattern>,
    /// Constant headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The harmless call.
    #[serde(default)]
    pub test: Option<TestCall>,
    /// Whether the upstream honours `Idempotency-Key`.
    #[serde(default)]
    pub idempotency_key: bool,
    /// The environment variable in which programs look for its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Where they look for its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<BaseUrl>,
}

/// One thing a connection may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What may be said.
    pub kind: SettingKind,
    /// Whether it must be.
    #[serde(default)]
    pub required: bool,
    /// What it is, for people.
    pub about: String,
}

/// What a setting holds. `methods`, `paths` and `graphql` narrow what the connector allows; every connector takes
/// those three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// One part of a host name, put into the origins.
    Label,
    /// The address of an API: origin and, if it has one, the path all its paths begin with.
    BaseUrl,
    /// Where the credential is put.
    Slot,
    /// The path of a harmless GET.
    TestPath,
    /// The authorization server, or what of it the connector does not say: [`OauthServer`].
    Oauth,
    /// The installation of an app: [`super::AppInstallation`].
    Installation,
    /// A text that the protocol of the slot reads: a host, a name.
    Text,
    /// A number that it reads.
    Number,
    /// A yes or no that it reads.
    Flag,
    /// A list of texts that it reads.
    Texts,
}

impl Recipe {
    /// Reads a connector's file and checks all of it, a settled example included.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut findings = Findings::new();
        let node = yaml::parse(file, text, 0, &mut findings);
        if let Some(finding) = findings.into_vec().first() {
            return Err(finding.to_string());
        }
        let node = node.ok_or_else(|| format!("{file}: empty"))?;
        let recipe: Self = serde_json::from_value(node.to_json()).map_err(|error| format!("{file}: {error}"))?;
        recipe.check().map_err(|malformed| format!("{file}: {malformed}"))?;
        Ok(recipe)
    }

    /// What a connection with these settings is.
    ///
    /// # Errors
    /// Everything that is missing, unknown or malformed, by its place below `/settings`.
    pub fn settle(&self, settings: &Settings) -> Result<Connector, Vec<FieldError>> {
        settle::settle(self, settings)
    }

    fn check(&self) -> Result<(), Malformed> {
        let said = |text: &str, max: usize| (1..=max).contains(&text.chars().count());
        if !is_name(&self.name) || !said(&self.title, TITLE_CHARS_MAX) || !said(&self.about, ABOUT_CHARS_MAX) {
            return Err(Malformed("its name, title or explanation is missing or too long"));
        }
        if self.auth.is_empty() {
            return Err(Malformed("`auth` names no kind of credential"));
        }
        let misplaced = self.auth.iter().any(|kind| !kind.fits(&self.slot));
        if misplaced && !self.has(SettingKind::Slot) {
            return Err(Malformed("it takes a kind of credential that its slot cannot hold"));
        }
        if self.auth.iter().any(|kind| kind.is_exchanged())
            && !self.has(SettingKind::Oauth)
            && !self.has(SettingKind::Installation)
        {
            return Err(Malformed(
                "credentials that are exchanged for tokens need a setting of the kind oauth or installation",
            ));
        }
        if let Some(oauth) = &self.oauth {
            oauth.check()?;
        }
        let has_address =
            self.has(SettingKind::BaseUrl) || matches!(self.slot, CredentialSlot::Postgres | CredentialSlot::Smtp);
        if self.origins.is_empty() != has_address {
            return Err(Malformed("a connector has origins, or a setting of the kind base_url, and not both"));
        }
        if self.settings.iter().any(|(name, setting)| !is_name(name) || !said(&setting.about, ABOUT_CHARS_MAX)) {
            return Err(Malformed("a setting has a malformed name or no explanation"));
        }
        if self.origins.len() > ORIGINS_MAX || self.paths.len() > PATHS_MAX || self.headers.len() > HEADERS_MAX {
            return Err(Malformed("it has too many origins, paths or headers"));
        }
        self.check_slot()?;
        if self.variable.as_deref().is_some_and(|name| !is_variable(name, &["_KEY", "_TOKEN", "_SECRET"])) {
            return Err(Malformed("its variable is not a plain name that ends in _KEY, _TOKEN or _SECRET"));
        }
        if self
            .base_url
            .as_ref()
            .is_some_and(|base| !is_variable(&base.variable, &["_BASE_URL"]) || !is_path(&base.path))
        {
            return Err(Malformed("its base_url is not a variable that ends in _BASE_URL, and a plain path"));
        }
        let constant = |(name, value): (&String, &String)| slot::is_header_name(name) && slot::is_header_text(value);
        if !self.headers.iter().all(constant) {
            return Err(Malformed("a constant header cannot be sent as it is"));
        }
        self.check_origins()
    }

    /// With a plain word in each place.
    fn check_slot(&self) -> Result<(), Malformed> {
        let example = |text: &str| {
            let labels = self.settings.iter().filter(|(_, setting)| setting.kind == SettingKind::Label);
            labels.fold(text.to_owned(), |text, (name, _)| text.replace(&format!("{{{name}}}"), "example"))
        };
        match &self.slot {
            CredentialSlot::Sigv4 { region, service } => {
                CredentialSlot::Sigv4 { region: example(region), service: example(service) }.check()
            }
            slot => slot.check(),
        }
    }

    /// With a plain word in each place, every origin has to be one, over TLS, and the first exact.
    fn check_origins(&self) -> Result<(), Malformed> {
        for (index, text) in self.origins.iter().enumerate() {
            let mut example = text.clone();
            for (name, _) in self.settings.iter().filter(|(_, setting)| setting.kind == SettingKind::Label) {
                example = example.replace(&format!("{{{name}}}"), "example");
            }
            let origin: Origin = example.parse()?;
            if origin.scheme != Scheme::Https || (index == 0 && !origin.is_exact()) {
                return Err(Malformed("an origin is https, and the first one has no star"));
            }
        }
        Ok(())
    }

    fn has(&self, kind: SettingKind) -> bool {
        self.settings.values().any(|setting| setting.kind == kind)
    }
}

/// A variable that holds a key: no other name could change how a program runs.
fn is_variable(name: &str, ends: &[&str]) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= VARIABLE_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(plain)
        && ends.iter().any(|end| name.ends_with(end))
}

/// Empty, or `/…` without a slash at its end.
fn is_path(path: &str) -> bool {
    path.is_empty() || (path.starts_with('/') && !path.ends_with('/') && path.parse::<PathPattern>().is_ok())
}
