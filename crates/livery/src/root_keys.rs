//! Where a node's root keys are: in the environment, in files of its data directory, in its user's keyring, or behind a key
//! management service.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use livery_broker::Secret;
use livery_broker::keyring::Keyring;
use livery_platform::{RootKey, RootKeys, Transit, TransitAccess};

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
/// Who asks the key management service.
const KMS_TOKEN: &str = "LIVERY_KMS_TOKEN";
/// A file that holds the token instead.
const KMS_TOKEN_FILE: &str = "LIVERY_KMS_TOKEN_FILE";
/// Longest file of a token read.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// The root keys that the environment names.
pub(crate) struct Named {
    current: Option<RootKey>,
    others: Vec<RootKey>,
}

impl Named {
    /// Reads the environment, and the file of the token. Asks nobody.
    ///
    /// # Errors
    /// It names too many, or one that cannot be asked for.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let current = variable(CURRENT).map(|text| key(CURRENT, text.expose_secret())).transpose()?;
        Ok(Self { current, others: others()? })
    }

    /// All root keys of the node whose data directory is `data`. A key file beside a keyring or a key management service is one
    /// that is being exchanged.
    pub(crate) fn beside(self, data: &Path) -> RootKeys {
        let Self { current, mut others } = self;
        let (file, old) = (data.join(FILE), data.join(OLD_FILE));
        if matches!(current, Some(RootKey::Transit(_) | RootKey::Keyring(_))) && file.exists() {
            others.push(RootKey::File(file.clone()));
        }
        if old.exists() {
            others.push(RootKey::File(old));
        }
        RootKeys { current: current.unwrap_or(RootKey::File(file)), others }
    }
}

fn others() -> anyhow::Result<Vec<RootKey>> {
    let Some(text) = variable(OTHERS) else { return Ok(Vec::new()) };
    let keys: Vec<&[u8]> = text.expose_secret().split(|byte| *byte == b',').collect();
    if keys.len() > OTHERS_MAX {
        return Err(exit::Usage(format!("{OTHERS} holds {} keys; {OTHERS_MAX} is the most", keys.len())).into());
    }
    keys.into_iter().filter(|text| !text.trim_ascii().is_empty()).map(|text| key(OTHERS, text)).collect()
}

fn key(setting: &str, text: &[u8]) -> anyhow::Result<RootKey> {
    let text = text.trim_ascii();
    let is_keyring = Keyring::is_meant(text);
    if !is_keyring && !Transit::is_meant(text) {
        return Ok(RootKey::Text(Secret::new(text.to_vec())));
    }
    let usage = |error: String| exit::Usage(format!("{setting}: {error}"));
    let address = std::str::from_utf8(text).map_err(|error| usage(error.to_string()))?;
    if is_keyring {
        let entry = Keyring::parse(address, &session_bus()).map_err(|error| usage(error.to_string()))?;
        return Ok(RootKey::Keyring(entry));
    }
    let transit = Transit::parse(address, &access(setting)?).map_err(|error| usage(error.to_string()))?;
    Ok(RootKey::Transit(Box::new(transit)))
}

/// Where the session bus of whoever starts this is.
fn session_bus() -> String {
    let usual = || said("XDG_RUNTIME_DIR").map(|folder| format!("unix:path={folder}/bus"));
    said("DBUS_SESSION_BUS_ADDRESS").or_else(usual).unwrap_or_default()
}

fn access(setting: &str) -> anyhow::Result<TransitAccess> {
    let token = match (variable(KMS_TOKEN), said(KMS_TOKEN_FILE)) {
        (Some(token), None) => token,
        (None, Some(file)) => token_in(Path::new(&file))?,
        (Some(_), Some(_)) => return Err(exit::Usage(format!("{KMS_TOKEN} or {KMS_TOKEN_FILE}, not both")).into()),
        (None, None) => {
            let why =
                format!("{setting} names a transit key; it needs {KMS_TOKEN} or {KMS_TOKEN_FILE} in the environment");
            return Err(exit::Usage(why).into());
        }
    };
    Ok(TransitAccess { token, namespace: said("LIVERY_KMS_NAMESPACE"), ca: said("LIVERY_KMS_CA").map(PathBuf::from) })
}

fn token_in(file: &Path) -> anyhow::Result<Secret> {
    let refused = |why: String| exit::Usage(format!("{KMS_TOKEN_FILE}: {}: {why}", file.display()));
    let mut token = Vec::with_capacity(1024);
    let read = File::open(file).and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut token));
    let token = Secret::new(token);
    read.map_err(|error| refused(error.to_string()))?;
    if token.len() as u64 > TOKEN_BYTES_MAX {
        return Err(refused(format!("no token has more than {TOKEN_BYTES_MAX} bytes")).into());
    }
    Ok(token)
}

fn variable(name: &str) -> Option<Secret> {
    said(name).map(Secret::from)
}

/// What the environment says; nothing is not said.
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
