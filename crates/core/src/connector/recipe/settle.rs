//! From a recipe and the settings of one connection to a connector with nothing left open.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::{AppInstallation, GraphqlRule, PostgresServer};
use super::{
    AuthKind, Connector, CredentialSlot, Method, OauthServer, Origin, PATHS_MAX, PathPattern, Reach, Recipe, Scheme,
    SettingKind, Settings, TestCall, origin,
};
use crate::FieldError;

mod mail;

/// What every connector can be narrowed to.
const METHODS: &str = "methods";
const PATHS: &str = "paths";
const GRAPHQL: &str = "graphql";
/// Longest address or test path in bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// Reads settings one by one and notes everything that is wrong with them.
struct Reader<'a> {
    recipe: &'a Recipe,
    settings: &'a Settings,
    errors: Vec<FieldError>,
}

pub(super) fn settle(recipe: &Recipe, settings: &Settings) -> Result<Connector, Vec<FieldError>> {
    let mut reader = Reader { recipe, settings, errors: Vec::new() };
    reader.refuse_unknown();
    let slot = reader.slot();
    let (origins, base_path) = reader.origins();
    let methods = reader.methods();
    let paths = reader.paths(&base_path);
    let graphql = reader.graphql(&base_path, &paths);
    let test = reader.test(&base_path);
    let oauth = reader.oauth();
    let installation = reader.installation();
    let postgres = reader.postgres();
    let mail = reader.mail();
    if !reader.errors.is_empty() {
        return Err(reader.errors);
    }
    let plaintext = origins.iter().any(|origin| origin.scheme == Scheme::Http);
    Ok(Connector {
        name: recipe.name.clone(),
        title: recipe.title.clone(),
        auth: recipe.auth.clone(),
        reach: Reach {
            guarded: guarded(recipe, (&origins, &base_path), oauth.as_ref()),
            origins,
            base_path,
            methods,
            paths,
            plaintext,
            graphql,
        },
        slot,
        oauth,
        installation,
        token_api: recipe.token_api.clone(),
        postgres,
        mail,
        headers: recipe.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        test,
        idempotency_key: recipe.idempotency_key,
        variable: recipe.variable.clone(),
        base_url: recipe.base_url.clone(),
    })
}

/// Wherever tokens come from, of every kind the connector takes: a caller with one kind asks for no token of another.
fn guarded(
    recipe: &Recipe,
    (origins, base_path): (&[Origin], &str),
    oauth: Option<&OauthServer>,
) -> Vec<(Origin, PathPattern)> {
    let app = format!("{base_path}/app/installations/*/access_tokens").to_ascii_lowercase().parse::<PathPattern>().ok();
    let app = app.filter(|_| recipe.auth.contains(&AuthKind::GithubApp));
    let paths: Vec<PathPattern> = recipe.guarded.iter().cloned().chain(app).collect();
    let own = origins.iter().flat_map(|origin| paths.iter().map(|path| (origin.clone(), path.clone())));
    let endpoints = oauth.into_iter().flat_map(OauthServer::guarded).flat_map(|endpoint| {
        // In lower case and without its last slash too: servers differ in what they take for the same path.
        let plain = endpoint.path().trim_end_matches('/').to_ascii_lowercase();
        let spellings = [endpoint.path().to_owned(), plain];
        let patterns = spellings.into_iter().filter_map(|path| path.parse::<PathPattern>().ok());
        patterns.map(|path| (endpoint.origin().clone(), path)).collect::<Vec<_>>()
    });
    own.chain(endpoints).collect()
}

impl Reader<'_> {
    fn error(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("/settings/{name}"), "invalid_value", detail));
    }

    fn refuse_unknown(&mut self) {
        let mut known: Vec<&str> = self.recipe.settings.keys().map(String::as_str).collect();
        // What is no request has neither.
        if !matches!(self.recipe.slot, CredentialSlot::Postgres | CredentialSlot::Smtp) {
            known.extend([METHODS, PATHS, GRAPHQL]);
        }
        for name in self.settings.keys().filter(|name| !known.contains(&name.as_str())) {
            let detail = format!("{} has no such setting; it has: {}", self.recipe.name, known.join(", "));
            self.errors.push(FieldError::new(format!("/settings/{}", pointer_part(name)), "unknown_field", detail));
        }
        for (name, setting) in &self.recipe.settings {
            if setting.required && !self.settings.contains_key(name) {
                let detail = format!("{} needs this setting: {}", self.recipe.name, setting.about);
                self.errors.push(FieldError::new(format!("/settings/{name}"), "invalid_value", detail));
            }
        }
    }

    /// The value of the setting of this kind, and its name. An absent one that must be there was noted before.
    fn of(&self, kind: SettingKind) -> Option<(String, Value)> {
        let (name, _) = self.recipe.settings.iter().find(|(_, setting)| setting.kind == kind)?;
        Some((name.clone(), self.settings.get(name)?.clone()))
    }

    fn text_of(&mut self, kind: SettingKind) -> Option<(String, String)> {
        let (name, value) = self.of(kind)?;
        match value {
            Value::String(text) if text.len() <= TEXT_BYTES_MAX => Some((name, text)),
            _ => {
                self.error(&name, format!("must be text of at most {TEXT_BYTES_MAX} bytes"));
                None
            }
        }
    }

    fn slot(&mut self) -> CredentialSlot {
        let Some((name, value)) = self.of(SettingKind::Slot) else { return self.filled_slot() };
        match serde_json::from_value::<CredentialSlot>(value) {
            Ok(CredentialSlot::Postgres) => self.error(&name, "that slot belongs to the connector postgres"),
            Ok(slot) => match slot.check() {
                Ok(()) => return slot,
                Err(malformed) => self.error(&name, malformed.to_string()),
            },
            Err(_) => self.error(
                &name,
                "one of {\"in\": \"header\", \"name\": …, \"prefix\": …}, {\"in\": \"query\", \"name\": …}, {\"in\": \"basic\"}, \
                 {\"in\": \"basic_token\", \"username\": …}, {\"in\": \"sigv4\", \"region\": …, \"service\": …}, \
                 {\"in\": \"client_certificate\"}",
            ),
        }
        self.recipe.slot.clone()
    }

    /// The recipe's own slot, with its labels.
    fn filled_slot(&mut self) -> CredentialSlot {
        let CredentialSlot::Sigv4 { region, service } = &self.recipe.slot else { return self.recipe.slot.clone() };
        let (mut region, mut service) = (region.clone(), service.clone());
        let (mut complete, mut named) = (true, "service".to_owned());
        // A label that is missing or malformed is noted where the origins are made.
        for (name, setting) in &self.recipe.settings {
            if let (SettingKind::Label, Some(Value::String(label))) = (setting.kind, self.settings.get(name)) {
                let place = format!("{{{name}}}");
                if service.contains(&place) {
                    named.clone_from(name);
                }
                complete &= origin::is_label(label);
                region = region.replace(&place, label);
                service = service.replace(&place, label);
            }
        }
        let complete = complete && !region.contains('{') && !service.contains('{');
        let slot = CredentialSlot::Sigv4 { region, service };
        if let (true, Err(malformed)) = (complete, slot.check()) {
            self.error(&named, malformed.to_string());
        }
        slot
    }

    /// Where tokens come from: what the file says, and what the connection says beside it.
    fn oauth(&mut self) -> Option<OauthServer> {
        let known = self.recipe.oauth.clone();
        let Some((name, value)) = self.of(SettingKind::Oauth) else { return known };
        match serde_json::from_value::<OauthServer>(value) {
            Ok(said) => match known.unwrap_or_default().with(said) {
                Ok(server) => return Some(server),
                Err(malformed) => self.error(&name, malformed.to_string()),
            },
            Err(_) => self.error(
                &name,
                "an object with issuer, authorization_endpoint, token_endpoint, device_authorization_endpoint, \
                 revocation_endpoint, resource (addresses), scopes, subject, client_auth (basic, post), parameters",
            ),
        }
        None
    }

    fn installation(&mut self) -> Option<AppInstallation> {
        let (name, value) = self.of(SettingKind::Installation)?;
        match serde_json::from_value::<AppInstallation>(value) {
            Ok(installation) => match installation.check() {
                Ok(()) => return Some(installation),
                Err(malformed) => self.error(&name, malformed.to_string()),
            },
            Err(_) => self.error(&name, "an object with app_id, installation_id, repositories, permissions"),
        }
        None
    }

    /// The database, where the slot is that of one.
    fn postgres(&mut self) -> Option<PostgresServer> {
        if self.recipe.slot != CredentialSlot::Postgres || !self.errors.is_empty() {
            return None;
        }
        PostgresServer::settle(self.settings).map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// The origins, and the path that every path of theirs begins with.
    fn origins(&mut self) -> (Vec<Origin>, String) {
        if self.recipe.origins.is_empty() {
            let Some((name, url)) = self.text_of(SettingKind::BaseUrl) else { return Default::default() };
            return match split_base(&url) {
                Ok((origin, path)) => (vec![origin], path),
                Err(detail) => {
                    self.error(&name, detail);
                    Default::default()
                }
            };
        }
        let labels = self.labels();
        let mut origins = Vec::new();
        for template in &self.recipe.origins {
            let mut text = template.clone();
            for (name, label) in &labels {
                text = text.replace(&format!("{{{name}}}"), label);
            }
            // A missing label left its braces, which no origin has; that was noted before.
            origins.extend(text.parse::<Origin>());
        }
        (origins, String::new())
    }

    fn labels(&mut self) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for (name, setting) in self.recipe.settings.iter().filter(|(_, setting)| setting.kind == SettingKind::Label) {
            match self.settings.get(name) {
                Some(Value::String(label)) if origin::is_label(label) => labels.push((name.clone(), label.clone())),
                Some(_) => {
                    let detail = format!("one part of a host name, in lower case: {}", setting.about);
                    self.errors.push(FieldError::new(format!("/settings/{name}"), "invalid_value", detail));
                }
                None => {}
            }
        }
        labels
    }

    fn methods(&mut self) -> Vec<Method> {
        let own = self.recipe.methods.clone();
        let Some(wanted) = self.list::<Method>(METHODS, "a list of GET, HEAD, POST, PUT, PATCH, DELETE") else {
            return own;
        };
        if !own.is_empty() && wanted.iter().any(|method| !own.contains(method)) {
            self.error(METHODS, format!("a connection can only narrow what {} allows", self.recipe.name));
        }
        wanted
    }

    fn paths(&mut self, base_path: &str) -> Vec<PathPattern> {
        let mut own = self.recipe.paths.clone();
        if !base_path.is_empty() {
            own.extend(format!("{base_path}/**").parse::<PathPattern>());
        }
        let Some(wanted) =
            self.list::<PathPattern>(PATHS, "a list of paths such as /v1/invoices/*, or /v1/** for the rest")
        else {
            return own;
        };
        let outside = |pattern: &PathPattern| !own.iter().any(|outer| pattern.is_within(outer));
        if !own.is_empty()
            && let Some(pattern) = wanted.iter().find(|pattern| outside(pattern))
        {
            let detail =
                format!("{pattern} is not within what this connection can reach; a connection can only narrow it");
            self.error(PATHS, detail);
        }
        wanted
    }

    fn graphql(&mut self, base_path: &str, paths: &[PathPattern]) -> Option<GraphqlRule> {
        let mut value = self.settings.get(GRAPHQL)?.clone();
        if let Value::Object(fields) = &mut value {
            fields.entry("path").or_insert_with(|| Value::String(format!("{base_path}/graphql")));
        }
        let refused = match serde_json::from_value::<GraphqlRule>(value) {
            Err(_) => {
                "an object with path, queries, mutations, subscriptions (lists of names of fields, or *), persisted (SHA-256)"
                    .to_owned()
            }
            Ok(rule) => match rule.check() {
                Err(malformed) => malformed.to_string(),
                Ok(()) if paths.is_empty() || paths.iter().any(|outer| rule.path.is_within(outer)) => return Some(rule),
                Ok(()) => format!("{} is not within what this connection can reach", rule.path),
            },
        };
        self.error(GRAPHQL, refused);
        None
    }

    /// A list that says something: an empty one would read as "nothing" and mean "everything".
    fn list<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Option<Vec<T>> {
        let value = self.settings.get(name)?;
        match serde_json::from_value::<Vec<T>>(value.clone()) {
            Ok(list) if (1..=PATHS_MAX).contains(&list.len()) => Some(list),
            _ => {
                self.error(name, format!("{what}, 1 to {PATHS_MAX} of them"));
                None
            }
        }
    }

    fn test(&mut self, base_path: &str) -> Option<TestCall> {
        let Some((name, path)) = self.text_of(SettingKind::TestPath) else { return self.recipe.test.clone() };
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.error(&name, format!("an absolute path, to be appended to the base address{}", shown(base_path)));
        }
        Some(TestCall { method: Method::Get, path, body: None, expect: None })
    }
}

fn shown(base_path: &str) -> String {
    if base_path.is_empty() { String::new() } else { format!(" (which ends in {base_path})") }
}

fn split_base(url: &str) -> Result<(Origin, String), String> {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    let (origin, path) = url.split_at(end);
    let origin: Origin = origin.parse().map_err(|malformed: super::Malformed| malformed.to_string())?;
    if !origin.is_exact() {
        return Err("the address names one host, without a star".into());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = path.parse::<PathPattern>().is_ok() && !path.contains('*');
    match path.is_empty() || plain {
        true => Ok((origin, path.to_owned())),
        false => Err("the path of the address is not in its canonical form, or is followed by more".into()),
    }
}

/// A key as a part of a JSON Pointer, shortened.
fn pointer_part(name: &str) -> String {
    name.chars().take(super::super::NAME_BYTES_MAX).collect::<String>().replace('~', "~0").replace('/', "~1")
}
