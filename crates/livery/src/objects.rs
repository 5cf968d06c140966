//! `--objects`: where a node keeps files, from the flag and the environment.

use livery_broker::Secret;
use livery_platform::objects::{BucketSettings, Place};

use crate::{cli, exit};

/// The place the operator named, if any.
///
/// # Errors
/// What to change, as bad usage.
pub(crate) fn place(node: &cli::Node) -> anyhow::Result<Option<Place>> {
    let Some(text) = &node.objects else { return Ok(None) };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let settings = BucketSettings {
        endpoint: node.objects_endpoint.clone(),
        region: node.objects_region.clone().or_else(|| variable("AWS_REGION")),
        allow_http: node.objects_allow_http,
        key_id: variable("AWS_ACCESS_KEY_ID"),
        secret_key: variable("AWS_SECRET_ACCESS_KEY").map(Secret::from),
        session_token: variable("AWS_SESSION_TOKEN").map(Secret::from),
    };
    match Place::parse(text, settings) {
        Ok(Place::Folder(folder)) => Ok(Some(Place::Folder(std::path::absolute(folder)?))),
        Ok(bucket) => Ok(Some(bucket)),
        Err(error) => Err(exit::Usage(error.to_string()).into()),
    }
}
