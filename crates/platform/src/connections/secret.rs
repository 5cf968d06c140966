//! What a connection's value may be: something a request can carry, and an answer can be searched for.

use livery_broker::scrub::SECRET_BYTES_MIN;
use livery_broker::seal::PLAINTEXT_BYTES_MAX;
use livery_broker::transport::check_identity;
use livery_broker::{Secret, jwt};
use livery_core::connector::{AuthKind, Connector};
use livery_core::{Error, Result};
use serde::Deserialize;

use super::NewCredential;

/// Longest value in bytes: what fits into a request's head.
const VALUE_BYTES_MAX: usize = 4096;
/// Longest user name in bytes.
const USERNAME_BYTES_MAX: usize = 256;

/// The kind and the value of a credential, in the form in which it is sealed. What consists of parts is sealed in lines:
/// [`super::material`] reads them.
///
/// # Errors
/// [`Error::Invalid`] that says what is wrong and repeats nothing of the value.
pub(super) fn checked(connector: &Connector, credential: NewCredential) -> Result<(AuthKind, Secret)> {
    let kind = kind_of(connector, &credential)?;
    check_members(connector, kind, &credential)?;
    let missing = || Error::internal("a member that was just there");
    let value = match kind {
        AuthKind::ApiKey | AuthKind::Bearer => {
            let value = credential.value.ok_or_else(missing)?;
            check_text("/credential/value", &value)?;
            value
        }
        AuthKind::Basic => basic(&credential.username.ok_or_else(missing)?, &credential.password.ok_or_else(missing)?)?,
        AuthKind::Oauth2 | AuthKind::ClientCredentials => {
            client(&credential.client_id.ok_or_else(missing)?, credential.client_secret.as_ref())?
        }
        AuthKind::Aws => access_key(
            &credential.access_key_id.ok_or_else(missing)?,
            &credential.secret_access_key.ok_or_else(missing)?,
            credential.session_token.as_ref(),
        )?,
        AuthKind::ServiceAccount => account(&credential.value.ok_or_else(missing)?)?,
        AuthKind::GithubApp => {
            let pem = credential.value.ok_or_else(missing)?;
            let refuse = |refused: jwt::KeyRefused| Error::invalid_field("/credential/value", refused.to_string());
            jwt::check_rsa_key(pem.expose_secret()).map_err(refuse)?;
            pem
        }
        AuthKind::ClientCertificate => {
            let pem = credential.value.ok_or_else(missing)?;
            check_identity(&pem).map_err(|refused| Error::invalid_field("/credential/value", refused.to_string()))?;
            pem
        }
    };
    match value.len() <= PLAINTEXT_BYTES_MAX {
        true => Ok((kind, value)),
        false => Err(Error::invalid_field("/credential", format!("longer than {PLAINTEXT_BYTES_MAX} bytes"))),
    }
}

/// The kind that is named, or the connector's first; one that its slot can hold.
fn kind_of(connector: &Connector, credential: &NewCredential) -> Result<AuthKind> {
    let kinds: Vec<AuthKind> = connector.auth.iter().copied().filter(|kind| kind.fits(&connector.slot)).collect();
    match (credential.kind, kinds.first()) {
        (Some(kind), _) if kinds.contains(&kind) => Ok(kind),
        (None, Some(first)) => Ok(*first),
        _ => {
            let known = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            let detail = format!("{} takes credentials of these kinds with its slot: {known}", connector.name);
            Err(Error::invalid_field("/credential/kind", detail))
        }
    }
}

/// The members a kind has, those that may be left out last; and what it says to somebody who sent others.
const fn members(kind: AuthKind) -> (&'static [&'static str], &'static [&'static str], &'static str) {
    match kind {
        AuthKind::ApiKey | AuthKind::Bearer => (&["value"], &[], "`value`"),
        AuthKind::Basic => {
            (&["username", "password"], &[], "`username` and `password` (a token goes into the password)")
        }
        AuthKind::Oauth2 => {
            (&["client_id"], &["client_secret"], "`client_id` and, unless it is public, `client_secret`")
        }
        AuthKind::ClientCredentials => (&["client_id", "client_secret"], &[], "`client_id` and `client_secret`"),
        AuthKind::Aws => (
            &["access_key_id", "secret_access_key"],
            &["session_token"],
            "`access_key_id`, `secret_access_key` and, for a temporary key, `session_token`",
        ),
        AuthKind::ServiceAccount => (&["value"], &[], "`value`: the text of the account's JSON key file"),
        AuthKind::GithubApp => (&["value"], &[], "`value`: the app's private key, in PEM"),
        AuthKind::ClientCertificate => (&["value"], &[], "`value`: the certificate chain and its private key, in PEM"),
    }
}

fn check_members(connector: &Connector, kind: AuthKind, credential: &NewCredential) -> Result<()> {
    let (needed, optional, words) = members(kind);
    let given = credential.given();
    let all = needed.iter().all(|name| given.contains(name));
    match all && given.iter().all(|name| needed.contains(name) || optional.contains(name)) {
        true => Ok(()),
        false => {
            Err(Error::invalid_field("/credential", format!("a {kind} credential of {} needs {words}", connector.name)))
        }
    }
}

/// Parts in lines; none of them has a line break.
fn lines(parts: &[&[u8]]) -> Secret {
    Secret::new(parts.join(&b'\n'))
}

fn client(id: &str, secret: Option<&Secret>) -> Result<Secret> {
    check_id("/credential/client_id", id)?;
    if let Some(secret) = secret {
        check_text("/credential/client_secret", secret)?;
    }
    Ok(lines(&[id.as_bytes(), secret.map(Secret::expose_secret).unwrap_or_default()]))
}

fn access_key(id: &str, secret: &Secret, session_token: Option<&Secret>) -> Result<Secret> {
    check_id("/credential/access_key_id", id)?;
    check_text("/credential/secret_access_key", secret)?;
    match session_token {
        None => Ok(lines(&[id.as_bytes(), secret.expose_secret()])),
        Some(token) => {
            check_text("/credential/session_token", token)?;
            Ok(lines(&[id.as_bytes(), secret.expose_secret(), token.expose_secret()]))
        }
    }
}

/// What of a service account's key file is used. Its `token_uri` is not: where tokens come from is the connector's to say.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
}

fn account(file: &Secret) -> Result<Secret> {
    let at = "/credential/value";
    let unreadable = |_| Error::invalid_field(at, "the value is not the JSON key file of a service account");
    let file: KeyFile = serde_json::from_slice(file.expose_secret()).map_err(unreadable)?;
    let pem = Secret::from(file.private_key);
    if file.kind != "service_account" {
        return Err(Error::invalid_field(at, "the key file is not that of a service account"));
    }
    check_id(at, &file.client_email)?;
    check_id(at, &file.private_key_id)?;
    jwt::check_rsa_key(pem.expose_secret()).map_err(|refused| Error::invalid_field(at, refused.to_string()))?;
    Ok(lines(&[file.client_email.as_bytes(), file.private_key_id.as_bytes(), pem.expose_secret()]))
}

/// A name that is no secret, and stands in a line of its own.
fn check_id(pointer: &str, id: &str) -> Result<()> {
    match (1..=USERNAME_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => {
            let detail = format!("1 to {USERNAME_BYTES_MAX} visible ASCII characters without spaces");
            Err(Error::invalid_field(pointer, detail))
        }
    }
}

fn basic(username: &str, password: &Secret) -> Result<Secret> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if !(1..=USERNAME_BYTES_MAX).contains(&username.len()) || !username.bytes().all(plain) {
        let detail = format!("1 to {USERNAME_BYTES_MAX} visible ASCII characters without a colon");
        return Err(Error::invalid_field("/credential/username", detail));
    }
    check_text("/credential/password", password)?;
    let mut pair = Vec::with_capacity(username.len() + 1 + password.len());
    pair.extend_from_slice(username.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(password.expose_secret());
    Ok(Secret::new(pair))
}

fn check_text(pointer: &str, value: &Secret) -> Result<()> {
    let bytes = value.expose_secret();
    let refuse = |detail: String| Err(Error::invalid_field(pointer, detail));
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return refuse("the value holds a line break or a NUL, which could end a header early; send it without".into());
    }
    if bytes.len() < SECRET_BYTES_MIN {
        return refuse(format!(
            "the value is shorter than {SECRET_BYTES_MIN} bytes: answers are searched for it, and a shorter one cannot be told from \
             ordinary words"
        ));
    }
    if bytes.len() > VALUE_BYTES_MAX {
        return refuse(format!("the value is longer than {VALUE_BYTES_MAX} bytes"));
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return refuse("the value is visible ASCII without spaces: no header can carry anything else".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::connections::catalogue::recipe;

    fn check(connector: &str, settings: Value, credential: Value) -> Result<(AuthKind, String), String> {
        let settings = settings.as_object().unwrap().clone();
        let connector = recipe(connector).unwrap().unwrap().settle(&settings).unwrap();
        let checked = checked(&connector, serde_json::from_value(credential).unwrap());
        checked.map(|(kind, value)| (kind, String::from_utf8(value.expose_secret().to_vec()).unwrap())).map_err(
            |error| match error {
                Error::Invalid { errors, .. } => errors[0].pointer.clone(),
                other => panic!("{other}"),
            },
        )
    }

    #[test]
    fn a_value_fits_its_kind_and_can_be_searched_for() {
        let stripe = |credential| check("stripe", json!({}), credential);
        let key = "sk_test_0123456789";
        assert_eq!(stripe(json!({"value": key})), Ok((AuthKind::Bearer, key.into())));
        for value in [
            "",
            "short",
            "sk_test_01234\r\nx: y",
            "sk_test_0123\u{0}456789",
            "sk_test_0123456789\n",
            "sk test 0123456789",
            "sk_tést_0123456789",
        ] {
            assert_eq!(stripe(json!({"value": value})), Err("/credential/value".into()), "{value:?}");
        }
        assert_eq!(stripe(json!({"value": "x".repeat(4097)})), Err("/credential/value".into()));
        assert_eq!(stripe(json!({})), Err("/credential".into()));
        assert_eq!(stripe(json!({"value": key, "username": "a"})), Err("/credential".into()));
        assert_eq!(stripe(json!({"value": key, "kind": "basic"})), Err("/credential/kind".into()));
    }

    #[test]
    fn a_basic_credential_has_two_parts() {
        let jira = |credential| check("jira", json!({"site": "acme"}), credential);
        let good = jira(json!({"username": "ada@example.com", "password": "0123456789abcdef"}));
        assert_eq!(good, Ok((AuthKind::Basic, "ada@example.com:0123456789abcdef".into())));
        let refused =
            |username: &str, password: &str| jira(json!({"username": username, "password": password})).unwrap_err();
        assert_eq!(refused("ada:x", "0123456789abcdef"), "/credential/username");
        assert_eq!(refused("", "0123456789abcdef"), "/credential/username");
        assert_eq!(refused("ada\r\n", "0123456789abcdef"), "/credential/username");
        assert_eq!(refused("ada", "0123456789abcde"), "/credential/password");
        assert_eq!(jira(json!({"value": "0123456789abcdef"})), Err("/credential".into()));
    }

    /// R12: what answers with credentials is no connection's service.
    #[test]
    fn r12_a_service_that_hands_credentials_out_is_refused_by_its_field() {
        let refused = |connector: &str, settings: Value| {
            let settings = settings.as_object().unwrap().clone();
            let settled = recipe(connector).unwrap().unwrap().settle(&settings);
            settled.err().map(|errors| (errors[0].pointer.clone(), errors[0].detail.contains("hands credentials out")))
        };
        let slot = |service: &str| {
            let slot = json!({"in": "sigv4", "region": "eu-central-1", "service": service});
            json!({"base_url": "https://api.example.com", "slot": slot})
        };
        for service in ["sts", "sts-fips", "sso", "sso-oauth", "cognito-identity", "signin"] {
            let aws = refused("aws", json!({"region": "eu-central-1", "service": service}));
            assert_eq!(aws, Some(("/settings/service".to_owned(), true)), "{service}");
            assert_eq!(refused("http", slot(service)), Some(("/settings/slot".to_owned(), true)), "{service}");
        }
        assert_eq!(refused("aws", json!({"region": "eu-central-1", "service": "s3"})), None);
        assert_eq!(refused("http", slot("s3")), None);
    }

    #[test]
    fn the_slot_decides_which_kinds_fit() {
        let base = "https://api.example.com";
        let key = "0123456789abcdef";
        let basic = json!({"base_url": base, "slot": {"in": "basic"}});
        assert!(check("http", basic.clone(), json!({"username": "a", "password": key})).is_ok());
        assert_eq!(check("http", basic, json!({"kind": "bearer", "value": key})), Err("/credential/kind".into()));
        let query = json!({"base_url": base, "slot": {"in": "query", "name": "key"}});
        assert_eq!(check("http", query, json!({"kind": "api_key", "value": key})), Ok((AuthKind::ApiKey, key.into())));
    }
}
