//! What a registry asks for before it gives anything: one challenge, read strictly.

/// Longest one that is read.
const BYTES_MAX: usize = 4096;

/// What is asked for.
#[derive(PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password, each time.
    Basic,
    /// A token from somewhere.
    Bearer {
        /// Where it is to be had.
        realm: String,
        /// For whom it is; may be empty.
        service: String,
    },
}

impl Challenge {
    /// Reads the first challenge. `None`: it is none of those we can meet.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, String::new());
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if rest.is_empty() {
                return Some(Self::Bearer { realm: realm?, service });
            }
            let (key, value) = rest.split_once('=')?;
            // Escapes within quotes: no registry has any, so one that has is not understood.
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
                None => value.split_at(value.find(',').unwrap_or(value.len())),
            };
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => value.clone_into(&mut service),
                _ => {}
            }
            rest = after;
        }
    }
}

/// Parameters as a query, the empty ones left out.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let encoded = |value: &str| {
        value.bytes().fold(String::new(), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
            text
        })
    };
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::{Challenge, query};

    #[test]
    fn challenges_are_read_or_refused() {
        let read = |text: &str| match Challenge::read(text) {
            Some(Challenge::Basic) => "basic".to_owned(),
            Some(Challenge::Bearer { realm, service }) => format!("{realm} {service}"),
            None => "no".to_owned(),
        };
        let usual =
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        assert_eq!(read(usual), "https://auth.example/token registry.example");
        assert_eq!(read(r#"bearer service=s, realm="r""#), "r s");
        assert_eq!((read("Basic realm=x"), read("Basic")), ("basic".to_owned(), "basic".to_owned()));
        for bad in [
            "",
            "Digest a=b",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "Bearer realm=\"a\\\"b\"",
            "Bearer realm",
        ] {
            assert_eq!(read(bad), "no", "{bad}");
        }
        assert_eq!(read(&format!("Bearer realm=\"{}\"", "x".repeat(5000))), "no");
        assert_eq!(
            query(&[("service", "a b"), ("scope", "repository:a/b:pull"), ("x", "")]),
            "service=a%20b&scope=repository%3Aa%2Fb%3Apull"
        );
    }
}
