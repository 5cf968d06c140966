//! Placeholders in every spelling and at every cut; and where they may stand.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const TOKEN: &str = "lvp_0123456789ABCDEFGHIJKLMNOPQRSTUV";

fn count(text: impl AsRef<[u8]>) -> usize {
    Finder::all_in(text.as_ref()).len()
}

#[test]
fn minted_ones_have_the_shape_and_differ() {
    let (one, two) = (of("run_1"), of("run_2"));
    assert_eq!(one, of("run_1"), "a node that starts again makes the same");
    assert_ne!(one, two);
    assert_eq!((one.as_str().len(), count(one.as_str())), (36, 1));
}

#[test]
fn spellings() {
    assert_eq!(Finder::all_in(TOKEN.as_bytes()), [<[u8; 36]>::try_from(TOKEN.as_bytes()).unwrap()]);
    let percent: String = TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(count(&percent), 1, "every byte");
    assert_eq!(count(TOKEN.replace('_', "%5F").replace('A', "%41")), 1, "some bytes");
    assert_eq!(count(format!("%{TOKEN}")), 1, "after a broken escape");
    assert_eq!(count(format!("%6{TOKEN}")), 1);
    assert_eq!(count(format!("lvp_lvp_lvp{TOKEN}")), 1, "after false starts");
    assert_eq!(count(format!("{TOKEN}{TOKEN}")), 2);
    for before in ["", "u:", "us:", "use:", "user:"] {
        let text = format!("{before}{TOKEN}:x");
        assert!(count(STANDARD.encode(&text)) >= 1, "base64 after {before:?}");
        assert!(count(URL_SAFE_NO_PAD.encode(&text)) >= 1);
        for junk in ["Basic ", "a", "ab", "abc"] {
            assert!(count(format!("{junk}{}", STANDARD.encode(&text))) >= 1, "{junk:?} before base64");
        }
        let wrapped: String =
            STANDARD.encode(&text).as_bytes().chunks(7).map(|line| format!("{}\r\n", line.escape_ascii())).collect();
        assert!(count(&wrapped) >= 1, "wrapped: {wrapped}");
    }
    for harmless in [&TOKEN[..35], "lvp_0123456789-ABCDEFGHIJKLMNOPQRSTU", "LVP_0123456789ABCDEFGHIJKLMNOPQRSTUV", ""] {
        assert_eq!(count(harmless), 0, "{harmless}");
    }
}

proptest! {
    /// Where a stream is cut makes no difference, whatever surrounds a placeholder and however it is written.
    #[test]
    fn cuts(before in "[ -~\r\n]{0,40}", after in "[ -~]{0,40}", style in 0..3, step in 1_usize..50) {
        let token = match style {
            0 => TOKEN.to_owned(),
            1 => TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            _ => STANDARD.encode(format!("user:{TOKEN}")),
        };
        let text = format!("{before} {token} {after}");
        let whole = Finder::all_in(text.as_bytes());
        prop_assert!(!whole.is_empty());
        let mut finder = Finder::default();
        let pieces: Vec<_> = text.as_bytes().chunks(step).flat_map(|piece| finder.push(piece)).collect();
        prop_assert_eq!(pieces, whole);
    }

    /// No spelling is longer than what is held back.
    #[test]
    fn a_spelling_fits_what_is_held_back(escaped in proptest::collection::vec(any::<bool>(), 36)) {
        let text: String = TOKEN.bytes().zip(escaped)
            .map(|(byte, escape)| if escape { format!("%{byte:02X}") } else { char::from(byte).to_string() })
            .collect();
        prop_assert!(text.len() <= HOLD_BYTES);
        prop_assert_eq!(count(&text), 1);
    }

    #[test]
    fn other_text_is_none(text in "[ -^`-~]{0,300}") {
        // No underscore, so no prefix as it is; base64 and escapes of one are beyond chance.
        prop_assert_eq!(count(&text), 0);
    }
}

fn of(run: &str) -> Placeholder {
    Placeholder::derived(&Secret::new(vec![7; 32]), &[run, "api"]).unwrap()
}

fn pinned(run: &str, name: &str, slot: CredentialSlot) -> Pinned {
    let origins = vec!["https://api.example.com".parse().unwrap()];
    Pinned { placeholder: of(run), name: name.to_owned(), origins, slot }
}

fn placeholders(run: &str) -> (Placeholder, Placeholders) {
    let slot = CredentialSlot::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    (of(run), Placeholders::new(vec![pinned(run, "api", slot)]))
}

fn judge(all: &Placeholders, url: &str, headers: &[(&'static str, String)]) -> Result<Vec<String>, Misplaced> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    all.judge(&Target::full_url(url).unwrap(), &mut map)?;
    Ok(map.keys().map(ToString::to_string).collect())
}

#[test]
fn in_its_own_place_it_makes_room_for_the_key() {
    let (placeholder, all) = placeholders("run_1");
    let token = placeholder.as_str();
    let basic = format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}")));
    for value in [token.to_owned(), format!("Bearer {token}"), basic] {
        let kept = judge(&all, "https://api.example.com/v1", &[("authorization", value), ("accept", "*/*".into())]);
        assert_eq!(kept.unwrap(), ["accept"]);
    }
}

/// F4, A24: another host or port, another header, the target, another run's, one that never was.
#[test]
fn f4_anywhere_else_it_is_refused() {
    let (placeholder, all) = placeholders("run_1");
    let (foreign, _) = placeholders("run_2");
    let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
    let token = placeholder.as_str();
    for url in ["https://evil.example.com/", "https://api.example.com:8443/", "https://example.com/"] {
        assert_eq!(judge(&all, url, &bearer(token)), Err(Misplaced::Header), "{url}");
    }
    let home = "https://api.example.com/";
    for name in ["x-api-key", "cookie", "user-agent"] {
        assert_eq!(judge(&all, home, &[(name, token.to_owned())]), Err(Misplaced::Header), "{name}");
    }
    for other in [foreign.as_str(), TOKEN, &format!("{token} {TOKEN}")] {
        assert_eq!(judge(&all, home, &bearer(other)), Err(Misplaced::Header), "another run's is like an unknown one");
    }
    for path in [format!("v1?key={token}"), token.to_owned(), format!("%6{}", &token.replace('l', "c"))] {
        assert_eq!(judge(&all, &format!("{home}{path}"), &[]), Err(Misplaced::Target), "{path}");
    }
}

/// R11: the parameter of a connection that has its credential there, by any spelling of its name, and no other parameter.
#[test]
fn in_the_query_it_belongs_in_its_own_parameter_alone() {
    let all = Placeholders::new(vec![pinned("run_1", "maps", CredentialSlot::Query { name: "key".to_owned() })]);
    let token = of("run_1");
    let token = token.as_str();
    let whose = |path: &str| {
        let target = Target::full_url(&format!("https://api.example.com{path}")).unwrap();
        all.judge(&target, &mut HeaderMap::new()).map(|whose| whose.map(str::to_owned))
    };
    assert_eq!(whose(&format!("/v1?a=1&key={token}")), Ok(Some("maps".to_owned())));
    assert_eq!(whose(&format!("/v1?%6Bey={token}")), Ok(Some("maps".to_owned())));
    assert_eq!(whose("/v1?a=1"), Ok(None));
    for path in [format!("/v1?other={token}"), format!("/v1?{token}=key"), format!("/{token}?key={token}")] {
        assert_eq!(whose(&path), Err(Misplaced::Target), "{path}");
    }
    assert_eq!(judge(&all, "https://api.example.com/", &[("authorization", token.into())]), Err(Misplaced::Header));
}

/// Two connections at one host: the placeholder says which, and two of them say nothing.
#[test]
fn a_placeholder_says_which_connection_is_meant() {
    let header = |name: &str| CredentialSlot::Header { name: name.to_owned(), prefix: String::new() };
    let all = Placeholders::new(vec![
        pinned("run_1", "one", header("authorization")),
        pinned("run_2", "two", header("x-api-key")),
    ]);
    let target = Target::full_url("https://api.example.com/").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(of("run_2").as_str()).unwrap());
    assert_eq!(all.judge(&target, &mut headers.clone()), Ok(Some("two")));
    headers.insert("authorization", HeaderValue::from_str(of("run_1").as_str()).unwrap());
    assert_eq!(all.judge(&target, &mut headers), Err(Misplaced::Header));
}
