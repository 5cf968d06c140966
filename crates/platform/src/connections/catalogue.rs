//! The connectors that come with Livery: one file each, compiled in, read once.

use std::sync::OnceLock;

use livery_core::connector::Recipe;
use livery_core::{Error, Result};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("connectors/", $name, ".yaml")))),*]
    };
}

/// Name and text of each, by name.
const FILES: &[(&str, &str)] = files![
    "anthropic",
    "aws",
    "github",
    "github-git",
    "gmail",
    "google",
    "http",
    "hubspot",
    "jira",
    "linear",
    "notion",
    "openai",
    "postgres",
    "slack",
    "smtp",
    "stripe",
];

static RECIPES: OnceLock<Result<Vec<Recipe>, String>> = OnceLock::new();

/// All of them, by name.
///
/// # Errors
/// [`Error::Internal`] when a file is malformed, which a test rules out.
pub(super) fn recipes() -> Result<&'static [Recipe]> {
    let read = || FILES.iter().map(|(name, text)| Recipe::parse(&format!("{name}.yaml"), text)).collect();
    RECIPES.get_or_init(read).as_deref().map_err(Error::internal)
}

/// One of them.
///
/// # Errors
/// Those of [`recipes`].
pub(super) fn recipe(name: &str) -> Result<Option<&'static Recipe>> {
    Ok(recipes()?.iter().find(|recipe| recipe.name == name))
}

#[cfg(test)]
mod tests {
    use livery_broker::Target;
    use livery_core::connector::{OriginRef, Settings, tool_of};
    use serde_json::json;

    use super::*;

    fn example(recipe: &Recipe) -> Settings {
        let value = match recipe.name.as_str() {
            "http" => json!({"base_url": "https://api.example.com", "test_path": "/me"}),
            "jira" => json!({"site": "acme"}),
            "smtp" => json!({"host": "mail.example.com", "from": "Ada <ada@example.com>"}),
            "aws" => json!({"region": "eu-central-1", "service": "dynamodb"}),
            "google" => json!({"oauth": {"scopes": ["https://www.googleapis.com/auth/drive.readonly"]}}),
            "postgres" => json!({"host": "db.example.com", "database": "shop"}),
            _ => json!({}),
        };
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_file_is_a_connector_of_its_name() {
        let recipes = recipes().unwrap();
        assert_eq!(recipes.len(), FILES.len());
        for (recipe, (name, _)) in recipes.iter().zip(FILES) {
            assert_eq!(recipe.name, *name);
        }
        assert!(recipes.is_sorted_by(|one, two| one.name < two.name));
    }

    /// The guard takes every base address, and each test call is within what its own connector allows.
    #[test]
    fn every_connector_can_be_reached_and_tested() {
        for recipe in recipes().unwrap() {
            let connector = recipe.settle(&example(recipe)).unwrap();
            if connector.postgres.is_some() {
                continue;
            }
            assert_eq!(connector.mail.is_some(), tool_of(&recipe.name) == "send_email", "{}", recipe.name);
            if let Some(server) = &connector.mail {
                assert!(Target::mail(server).is_ok() && connector.reach.base().is_none() && connector.test.is_none());
                continue;
            }
            let base = Target::base_url(&connector.reach.base().unwrap()).unwrap();
            assert!(!connector.reach.plaintext, "{}", recipe.name);
            // Nothing harmless answers to whatever a connection of these is for.
            let untested = ["aws", "github-git", "google"].contains(&recipe.name.as_str());
            assert_eq!(connector.test.is_none(), untested, "{}", recipe.name);
            let Some(test) = &connector.test else { continue };
            let target = base.join(&test.path).unwrap();
            let host = target.host().to_string();
            let origin = OriginRef { scheme: target.scheme().as_str(), host: &host, port: target.port() };
            connector.reach.permits(test.method.as_str(), &origin, target.path()).unwrap();
        }
    }
    /// R12: where tokens come from is in no caller's reach, not even where the rest of the host is.
    #[test]
    fn r12_no_connector_lets_a_caller_ask_for_a_token() {
        for (name, method, url) in [
            ("slack", "POST", "https://slack.com/api/oauth.v2.access"),
            ("slack", "POST", "https://slack.com/api/OAuth.v2.Access/"),
            ("hubspot", "POST", "https://api.hubapi.com/oauth/v1/token"),
            ("github", "POST", "https://api.github.com/app/installations/7/access_tokens"),
            ("google", "POST", "https://www.googleapis.com/oauth2/v4/token"),
        ] {
            let recipe = recipe(name).unwrap().unwrap();
            let connector = recipe.settle(&example(recipe)).unwrap();
            let target = Target::full_url(url).unwrap();
            let host = target.host().to_string();
            let origin = OriginRef { scheme: "https", host: &host, port: 443 };
            let refused = connector.reach.permits(method, &origin, target.path()).unwrap_err();
            assert!(["token_endpoint", "reach_path"].contains(&refused.rule()), "{url}: {}", refused.rule());
        }
        let slack = recipe("slack").unwrap().unwrap().settle(&Settings::new()).unwrap();
        let origin = OriginRef { scheme: "https", host: "slack.com", port: 443 };
        let refused = slack.reach.permits("POST", &origin, "/api/oauth.v2.access").unwrap_err();
        assert_eq!(refused.rule(), "token_endpoint");
    }
}
