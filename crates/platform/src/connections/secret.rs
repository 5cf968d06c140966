//! What a connection's value may be: something a request can carry, and an answer can be searched for.

use livery_broker::Secret;
use livery_broker::scrub::SECRET_BYTES_MIN;
use livery_core::connector::{AuthKind, Connector, CredentialSlot};
use livery_core::{Error, Result};

use super::NewCredential;

/// Longest value in bytes: what fits into a request's head.
const VALUE_BYTES_MAX: usize = 4096;
/// Longest user name in bytes.
const USERNAME_BYTES_MAX: usize = 256;

/// The kind and the value of a credential; that of a basic one is `username:password`.
///
/// # Errors
/// [`Error::Invalid`] that says what is wrong and repeats nothing of the value.
pub(super) fn checked(connector: &Connector, credential: NewCredential) -> Result<(AuthKind, Secret)> {
    let basic_slot = connector.slot == CredentialSlot::Basic;
    let fits = |kind: &AuthKind| (*kind == AuthKind::Basic) == basic_slot;
    let kinds: Vec<AuthKind> = connector.auth.iter().copied().filter(fits).collect();
    let kind = match (credential.kind, kinds.first()) {
        (Some(kind), _) if kinds.contains(&kind) => kind,
        (None, Some(first)) => *first,
        _ => {
            let known = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            let detail = format!("{} takes credentials of these kinds with its slot: {known}", connector.name);
            return Err(Error::invalid_field("/credential/kind", detail));
        }
    };
    let value = match (kind, credential.value, credential.username, credential.password) {
        (AuthKind::Basic, None, Some(username), Some(password)) => basic(&username, &password)?,
        (AuthKind::Basic, ..) => {
            let detail = format!("{} needs `username` and `password` (a token goes into the password)", connector.name);
            return Err(Error::invalid_field("/credential", detail));
        }
        (_, Some(value), None, None) => {
            check_text("/credential/value", &value)?;
            value
        }
        _ => return Err(Error::invalid_field("/credential", format!("{} needs `value`", connector.name))),
    };
    Ok((kind, value))
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
