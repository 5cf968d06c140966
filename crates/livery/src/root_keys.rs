//! Where a node's root keys are: in the environment, or in files of its data directory.

use std::path::Path;

use livery_broker::Secret;
use livery_platform::{RootKey, RootKeys};

use crate::exit;

/// The key that wraps, below the data directory, unless the environment has it.
pub(crate) const FILE: &str = "root.key";
/// The one before it, while a rotation is under way.
pub(crate) const OLD_FILE: &str = "root.key.old";
/// The key that wraps.
const CURRENT: &str = "LIVERY_ROOT_KEY";
/// Further ones, separated by commas.
const OTHERS: &str = "LIVERY_ROOT_KEY_OTHERS";
/// Keys in [`OTHERS`] at most.
const OTHERS_MAX: usize = 8;

/// The root keys of the node whose data directory is `data`.
///
/// # Errors
/// The environment names too many.
pub(crate) fn of(data: &Path) -> anyhow::Result<RootKeys> {
    let current = variable(CURRENT).map_or_else(|| RootKey::File(data.join(FILE)), RootKey::Text);
    let mut others = others()?;
    let old = data.join(OLD_FILE);
    if old.exists() {
        others.push(RootKey::File(old));
    }
    Ok(RootKeys { current, others })
}

fn others() -> anyhow::Result<Vec<RootKey>> {
    let Some(text) = variable(OTHERS) else { return Ok(Vec::new()) };
    let keys: Vec<&[u8]> = text.expose_secret().split(|byte| *byte == b',').collect();
    if keys.len() > OTHERS_MAX {
        return Err(exit::Usage(format!("{OTHERS} holds {} keys; {OTHERS_MAX} is the most", keys.len())).into());
    }
    let key = |key: &[u8]| RootKey::Text(Secret::new(key.trim_ascii().to_vec()));
    Ok(keys.into_iter().filter(|text| !text.trim_ascii().is_empty()).map(key).collect())
}

fn variable(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::from)
}
