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
const FILES: &[(&str, &str)] =
    files!["anthropic", "github", "http", "hubspot", "jira", "linear", "notion", "openai", "slack", "stripe"];

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
    use livery_core::connector::{OriginRef, Settings};
    use serde_json::json;

    use super::*;

    fn example(recipe: &Recipe) -> Settings {
        let value = match recipe.name.as_str() {
            "http" => json!({"base_url": "https://api.example.com", "test_path": "/me"}),
            "jira" => json!({"site": "acme"}),
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
            let base = Target::base_url(&connector.reach.base().unwrap()).unwrap();
            let test = connector.test.as_ref().unwrap_or_else(|| panic!("{} has no test", recipe.name));
            let target = base.join(&test.path).unwrap();
            let host = target.host().to_string();
            let origin = OriginRef { scheme: target.scheme().as_str(), host: &host, port: target.port() };
            connector.reach.permits(test.method.as_str(), &origin, target.path()).unwrap();
            assert!(!connector.reach.plaintext, "{}", recipe.name);
        }
    }
}
