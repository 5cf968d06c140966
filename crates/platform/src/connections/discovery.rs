//! What a new connection's authorization server is: its endpoints, found once and kept with the connection.
//!
//! From then on they are fixed. An issuer that later names other endpoints changes nothing, and no request of anybody reaches
//! those that give tokens out. All of them are one server's: its issuer's document says so, or they share an origin.

use livery_broker::Target;
use livery_core::connector::{AuthKind, Connector, Endpoint, OauthServer, Recipe, SettingKind, Settings};
use livery_core::id::OrgId;
use livery_core::{Error, Result};
use serde_json::{Map, Value};

use super::invalid_settings;
use crate::Platform;

impl Platform {
    /// The connector of a new connection of this kind, its server's endpoints found and checked, and the settings with them.
    ///
    /// # Errors
    /// [`Error::Invalid`] at the setting that is missing or leads where nothing may be dialled.
    pub(super) async fn discovered(
        &self,
        org: OrgId,
        recipe: &Recipe,
        kind: AuthKind,
        mut settings: Settings,
    ) -> Result<(Connector, Settings)> {
        let connector = recipe.settle(&settings).map_err(invalid_settings)?;
        let at = format!("/settings/{}", setting_of(recipe, SettingKind::Oauth));
        let refuse = |detail: String| Error::invalid_field(at.clone(), detail);
        if kind == AuthKind::GithubApp {
            let at = format!("/settings/{}", setting_of(recipe, SettingKind::Installation));
            let missing = || Error::invalid_field(at, "a github_app credential needs app_id and installation_id");
            connector.installation.as_ref().ok_or_else(missing)?;
            return Ok((connector, settings));
        }
        if !kind.is_exchanged() {
            return Ok((connector, settings));
        }
        let stated = stated(recipe, &settings);
        let known = connector.oauth.as_ref().and_then(|server| server.token_endpoint.as_ref());
        let connector = match (&stated.issuer, known) {
            (Some(issuer), _) => {
                let found = self.broker.discover(org, issuer).await.map_err(|refused| refuse(refused.to_string()))?;
                let name = setting_of(recipe, SettingKind::Oauth);
                let said = settings.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
                agrees(&found, &stated, &said).map_err(&refuse)?;
                let mut kept = serde_json::to_value(&found).map_err(Error::internal)?;
                if let Some(kept) = kept.as_object_mut() {
                    kept.extend(said);
                }
                settings.insert(name.to_owned(), kept);
                recipe.settle(&settings).map_err(invalid_settings)?
            }
            (None, Some(token)) => {
                one_origin(token, &stated).map_err(&refuse)?;
                connector
            }
            (None, None) => return Err(refuse(format!("a {kind} credential needs an issuer, or a token_endpoint"))),
        };
        let server = connector.oauth.clone().unwrap_or_default();
        if kind == AuthKind::Oauth2
            && server.authorization_endpoint.is_none()
            && server.device_authorization_endpoint.is_none()
        {
            return Err(refuse("an oauth2 credential needs an authorization_endpoint or a device endpoint".to_owned()));
        }
        for endpoint in server.guarded() {
            let target = Target::full_url(&endpoint.to_string()).map_err(|refused| refuse(refused.to_string()))?;
            self.broker.check(&target).map_err(|refused| refuse(refused.to_string()))?;
        }
        Ok((connector, settings))
    }
}

/// What the connection's own settings say of its server; they were read once before, as a part of the connector.
fn stated(recipe: &Recipe, settings: &Settings) -> OauthServer {
    let value = settings.get(setting_of(recipe, SettingKind::Oauth)).cloned();
    value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

/// The endpoints of a server, by the names they have in settings.
fn endpoints(server: &OauthServer) -> [(&'static str, Option<&Endpoint>); 4] {
    [
        ("authorization_endpoint", server.authorization_endpoint.as_ref()),
        ("token_endpoint", server.token_endpoint.as_ref()),
        ("device_authorization_endpoint", server.device_authorization_endpoint.as_ref()),
        ("revocation_endpoint", server.revocation_endpoint.as_ref()),
    ]
}

/// Whether all that is stated beside an issuer is what the issuer says of itself. Else a person would agree at an honest server
/// and their code would go to another one (RFC 9700 §4.4).
fn agrees(found: &OauthServer, stated: &OauthServer, said: &Map<String, Value>) -> Result<(), String> {
    for ((name, found), (_, stated)) in endpoints(found).into_iter().zip(endpoints(stated)) {
        if stated.is_some() && stated != found {
            return Err(format!("the issuer's document names another {name}; leave it out"));
        }
    }
    match said.get("names_issuer") {
        Some(names) if *names != found.names_issuer => {
            Err("the issuer's document says otherwise of names_issuer; leave it out".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether all that is stated without an issuer is where the tokens come from: nobody vouches for two servers as one. What a
/// connector's own file names is vouched for by the file.
fn one_origin(token: &Endpoint, stated: &OauthServer) -> Result<(), String> {
    let elsewhere = |(_, endpoint): &(_, Option<&Endpoint>)| endpoint.is_some_and(|at| at.origin() != token.origin());
    match endpoints(stated).into_iter().find(elsewhere) {
        Some((name, _)) => {
            Err(format!("without an issuer, {name} is on the host of the token_endpoint, {}", token.origin()))
        }
        None => Ok(()),
    }
}

/// The name of the setting of a kind; one a connector does not have is named after its kind.
fn setting_of(recipe: &Recipe, kind: SettingKind) -> &str {
    let found = recipe.settings.iter().find(|(_, setting)| setting.kind == kind).map(|(name, _)| name.as_str());
    found.unwrap_or(if kind == SettingKind::Oauth { "oauth" } else { "installation" })
}
