//! What a new connection's authorization server is: its endpoints, found once and kept with the connection.
//!
//! From then on they are fixed. An issuer that later names other endpoints changes nothing, and no request of anybody reaches
//! those that give tokens out.

use livery_broker::Target;
use livery_core::connector::{AuthKind, Connector, Recipe, SettingKind, Settings};
use livery_core::id::OrgId;
use livery_core::{Error, Result};
use serde_json::Value;

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
        let server = connector.oauth.clone().unwrap_or_default();
        let connector = match (&server.token_endpoint, &server.issuer) {
            (None, Some(issuer)) => {
                let found = self.broker.discover(org, issuer).await.map_err(|refused| refuse(refused.to_string()))?;
                let mut kept = serde_json::to_value(&found).map_err(Error::internal)?;
                let said = settings.get(setting_of(recipe, SettingKind::Oauth)).and_then(Value::as_object);
                if let (Some(kept), Some(said)) = (kept.as_object_mut(), said) {
                    kept.extend(said.clone());
                }
                settings.insert(setting_of(recipe, SettingKind::Oauth).to_owned(), kept);
                recipe.settle(&settings).map_err(invalid_settings)?
            }
            (None, None) => return Err(refuse(format!("a {kind} credential needs an issuer, or a token_endpoint"))),
            _ => connector,
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

/// The name of the setting of a kind; one a connector does not have is named after its kind.
fn setting_of(recipe: &Recipe, kind: SettingKind) -> &str {
    let found = recipe.settings.iter().find(|(_, setting)| setting.kind == kind).map(|(name, _)| name.as_str());
    found.unwrap_or(if kind == SettingKind::Oauth { "oauth" } else { "installation" })
}
