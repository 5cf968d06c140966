//! What may leave and what may not, by the numbers of the attack list; nothing here opens a connection.

use livery_core::connector::{CredentialSlot, Method, Reach};
use livery_core::id::OrgId;
use proptest::prelude::*;

use super::{Access, Call, Passing, Prepared, Refusal};
use crate::guard::CanonicalRequest;
use crate::policy::Sent;
use crate::transport::{Speech, Upload};

fn reach(origins: &[&str], paths: &[&str]) -> Reach {
    Reach {
        origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        base_path: String::new(),
        methods: Vec::new(),
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        plaintext: false,
        guarded: Vec::new(),
        graphql: None,
    }
}

fn access() -> Access {
    Access {
        org: OrgId::from_bits(1),
        connection: "con_1".to_owned(),
        name: "stripe".to_owned(),
        reach: reach(&["https://api.stripe.com"], &["/v1/**"]),
        slot: CredentialSlot::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() },
        headers: vec![("stripe-version".to_owned(), "2026-01-01".to_owned())],
    }
}

fn call(method: &str, path: &str) -> Call {
    Call { method: method.to_owned(), path: path.to_owned(), ..Call::default() }
}

fn prepare(method: &str, path: &str) -> Result<Prepared, Refusal> {
    Prepared::new(access(), call(method, path))
}

fn rule(method: &str, path: &str) -> &'static str {
    prepare(method, path).err().map_or("", |refusal| refusal.rule())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn d1_a_path_has_one_form_which_is_matched_and_sent() {
    for (given, sent) in [
        ("/v1/charges", "/v1/charges"),
        ("/v1/./charges", "/v1/charges"),
        ("/v1/x/../charges", "/v1/charges"),
        ("/v1/%63harges", "/v1/charges"),
        ("/v1/a%c3%a4", "/v1/a%C3%A4"),
    ] {
        assert_eq!(prepare("GET", given).unwrap().facts().path, sent, "{given}");
    }
    for given in ["/v1/../admin", "/./admin", "/v2/charges", "/v1x", "/V1/charges", "/"] {
        assert_eq!(rule("GET", given), "reach_path", "{given}");
    }
    for given in [
        "/v1/%2e%2e/admin",
        "/v1/..;/admin",
        "//admin",
        "/v1//admin",
        "/v1/%2fadmin",
        "/v1/%5cadmin",
        "/v1/a%00",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%252e%252e/admin",
        "/../v1/charges",
        "/v1/\\admin",
        "/v1/a b",
        "",
        "v1/charges",
    ] {
        assert_eq!(rule("GET", given), "canonical_form", "{given}");
    }
}

/// B7, B8, C7: a caller gives a path; whatever looks like a host, a scheme or an authority is none.
#[test]
fn b7_b8_c7_a_path_names_no_host() {
    for given in [
        "https://evil.com/v1/charges",
        "https://api.stripe.com@evil.com/v1/",
        "https://api.stripe.com/v1/charges",
        "@evil.com/v1",
        ":443@evil.com/v1",
        "//evil.com/v1",
        "/\\evil.com/v1",
        "\\\\evil.com",
        "file:///etc/passwd",
        "gopher://evil.com",
        "data:text/plain,x",
        ".evil.com/v1",
        "/v1/#@evil.com",
        "/v1/\tx",
        "/v1/\r\nhost: evil.com",
        " /v1/x",
        "/v1/x ",
    ] {
        assert_eq!(rule("GET", given), "canonical_form", "{given:?}");
    }
    let at = prepare("GET", "/v1/a@evil.com").unwrap().facts();
    assert_eq!((at.host.as_str(), at.port, at.scheme), ("api.stripe.com", 443, "https"));
}

/// B9 to B12: the rule is asked about scheme, host and port as they are dialled.
#[test]
fn b9_to_b12_only_the_origins_of_the_connection() {
    let wide = reach(&["https://api.stripe.com", "https://*.stripe.com"], &[]);
    let permits = |url: &str| {
        let request = CanonicalRequest::at("GET", url).map_err(|_| ())?;
        wide.permits("GET", &request.origin(), request.target().path()).map_err(|_| ())
    };
    for url in ["https://api.stripe.com/", "https://API.stripe.com./", "https://files.stripe.com/"] {
        assert_eq!(permits(url), Ok(()), "{url}");
    }
    for url in [
        "https://api.stripe.com.evil.com/",
        "https://evilstripe.com/",
        "https://stripe.com./",
        "https://stripe.com/",
        "https://a.b.stripe.com/",
        "https://api.stripe.com:22/",
        "https://api.stripe.com:25/",
        "https://api.stripe.com:5432/",
        "https://api.stripe.com:80/",
        "https://api.stripe.com:8443/",
        "http://api.stripe.com/",
        "http://api.stripe.com:443/",
        "https://127.1/",
        "https://[::ffff:169.254.169.254]/",
    ] {
        assert_eq!(permits(url), Err(()), "{url}");
    }
    let mut plain = access();
    plain.reach = reach(&["http://api.stripe.com"], &[]);
    assert_eq!(Prepared::new(plain, call("GET", "/v1/x")).unwrap_err().rule(), "reach_plaintext");
}

#[test]
fn d2_one_method_in_the_clothes_of_another_is_refused() {
    for path in ["/v1/x?_method=DELETE", "/v1/x?a=1&%5fMETHOD=DELETE"] {
        assert_eq!(rule("POST", path), "method_override", "{path}");
    }
    let mut form = call("POST", "/v1/x");
    form.headers = pairs(&[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]);
    form.body = "a=1&_method=delete".into();
    assert_eq!(Prepared::new(access(), form).unwrap_err().rule(), "method_override");
    let mut parameter = call("POST", "/v1/x");
    parameter.query = pairs(&[("_method", "DELETE")]);
    assert_eq!(Prepared::new(access(), parameter).unwrap_err().rule(), "method_override");
}

#[test]
fn d2_a_body_that_says_another_method_is_refused_however_it_is_written() {
    let rule = |method: &str, types: &[(&str, &str)], body: Upload| {
        let target = crate::guard::Target::full_url("https://api.stripe.com/v1/x").unwrap();
        let headers = pairs(types);
        let passing = Passing { target, method: method.to_owned(), headers, body, speech: Speech::Http };
        Prepared::passing(access(), passing).err().map_or("", |refusal| refusal.rule())
    };
    let pieces = |first: &str| Upload::Pieces {
        first: first.to_owned().into(),
        pieces: Box::pin(futures_util::stream::empty()),
        length: None,
    };
    let whole = |text: &str| Upload::from(text.to_owned());
    let (form, parts) =
        (("Content_Type", "application/x-www-form-urlencoded"), ("Content-Type", "multipart/form-data; boundary=b"));
    let (json, none) = (("Content-Type", "application/json"), &[][..]);
    assert_eq!(rule("POST", none, whole("a=1&_method=delete")), "method_override");
    assert_eq!(rule("POST", none, whole("a=1&%2eMethod=delete")), "method_override", "PHP's reading");
    assert_eq!(rule("POST", &[form], whole("_method=delete")), "method_override");
    assert_eq!(rule("PUT", none, whole("a=1&_method=delete")), "", "an upload without a type");
    assert_eq!(rule("POST", none, pieces("a=1")), "large_form");
    assert_eq!(rule("PUT", none, pieces("a=1")), "");
    let part = |head: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n{head}\r\n\r\nDELETE\r\n--b--\r\n"
        )
    };
    for head in [
        "Content-Disposition: form-data; name=\"_method\"",
        "content-disposition:form-data;name=_METHOD",
        "Content-Type: text/plain\r\nCONTENT-DISPOSITION: form-data; filename=\"x\"; Name = '_method'",
        "Content-Disposition: form-data;\r\n name=\"_method\"\r\nX: y",
        "Content-Disposition: form-data; name*=utf-8''%5Fmethod",
        "Content-Disposition: form-data; name*0=\"_method\"",
    ] {
        assert_eq!(rule("POST", &[parts], whole(&part(head))), "method_override", "{head}");
        assert_eq!(rule("POST", &[parts], pieces(&part(head))), "method_override", "{head}");
    }
    for head in [
        "Content-Disposition: form-data; name=\"file\"; filename=\"_method\"",
        "Content-Disposition: form-data; name=\"_methodology\"",
        "X: y\r\n\r\n<input name=\"_method\">",
    ] {
        assert_eq!(rule("POST", &[parts], whole(&part(head))), "", "{head}");
        assert_eq!(rule("POST", &[parts], pieces(&part(head))), "", "{head}");
    }
    for body in ["{\"a\": [{}], \"_method\": \"DELETE\"}", "\u{feff} {\"\\u005fMethod\": 1}", "{\"_method\": 1, broken"]
    {
        assert_eq!(rule("POST", &[json], whole(body)), "method_override", "{body}");
    }
    assert_eq!(rule("POST", &[json], whole("{\"a\": {\"_method\": 1}, \"b\": \"_method\"}")), "");
}

#[test]
fn d4_at_the_address_of_a_graphql_api_the_body_is_judged_in_both_front_ends() {
    let limited = || {
        let rule = serde_json::json!({"path": "/v1/graphql", "queries": ["viewer"]});
        let reach =
            Reach { graphql: Some(serde_json::from_value(rule).unwrap()), ..reach(&["https://api.stripe.com"], &[]) };
        Access { reach, ..access() }
    };
    let json = || pairs(&[("content-type", "application/json")]);
    let called = |path: &str, body: &str| {
        let call = Call { headers: json(), body: body.to_owned().into(), ..call("POST", path) };
        Prepared::new(limited(), call).err().map_or("", |refusal| refusal.rule())
    };
    let passed = |path: &str, body: &str| {
        let target = crate::Target::full_url(&format!("https://api.stripe.com{path}")).unwrap();
        let passing = Passing {
            target,
            method: "POST".to_owned(),
            headers: json(),
            body: body.to_owned().into(),
            speech: Speech::Http,
        };
        Prepared::passing(limited(), passing).err().map_or("", |refusal| refusal.rule())
    };
    let (fine, hidden) = (r#"{"query":"{ viewer { id } }"}"#, r#"{"query":"{ viewer } mutation { issueDelete }"}"#);
    for ask in [&called as &dyn Fn(&str, &str) -> &'static str, &passed] {
        assert_eq!(ask("/v1/graphql", fine), "");
        for path in ["/v1/graphql", "/v1/graphql/", "/V1/GraphQL", "/v1/./graphql", "/v1/graphql/below"] {
            assert_eq!(ask(path, hidden), "graphql", "{path}");
        }
        assert_eq!(ask("/v1/graphql?query=mutation", fine), "graphql");
        assert_eq!(ask("/v1/graphql", ""), "graphql");
        assert_eq!(ask("/v1/graphqls", hidden), "");
    }
    let long = Upload::Pieces { first: "{".into(), pieces: Box::pin(futures_util::stream::empty()), length: None };
    let target = crate::Target::full_url("https://api.stripe.com/v1/graphql").unwrap();
    let passing = Passing { target, method: "POST".to_owned(), headers: json(), body: long, speech: Speech::Http };
    assert_eq!(Prepared::passing(limited(), passing).unwrap_err().rule(), "graphql");
}

#[test]
fn a24_d2_a_body_is_searched_as_it_reads_once_decoded() {
    use std::io::Write as _;
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let ask = |coding: &str, body: Vec<u8>| {
        let headers = pairs(&[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", coding)]);
        Prepared::new(access(), Call { headers, body: body.into(), ..call("POST", "/v1/x") })
    };
    let rule = |coding: &str, body: Vec<u8>| ask(coding, body).err().map_or("", |refusal| refusal.rule());
    let (fine, placeholder) = ("a=1&b=2", "note=lvp_0123456789abcdefghijklmnopqrstuv");
    assert_eq!(rule("gzip", gzip(fine)), "");
    assert_eq!(ask("gzip", gzip(fine)).unwrap().body(), Some(&gzip(fine)[..]), "it is sent as it came");
    assert_eq!(rule("gzip", gzip("a=1&_method=DELETE")), "method_override");
    assert_eq!(rule("gzip", gzip(placeholder)), "placeholder");
    assert_eq!(rule("identity, gzip", gzip(placeholder)), "placeholder");
    let twice = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&gzip(text)).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(rule("gzip, gzip", twice(placeholder)), "placeholder");
    for (coding, body) in [
        ("gzip", fine.as_bytes().to_vec()),
        ("compress", fine.as_bytes().to_vec()),
        ("gzip, gzip, gzip", twice(fine)),
        ("gzip", gzip(fine)[..12].to_vec()),
        ("gzip", gzip(&"a".repeat(64 << 20))),
    ] {
        assert_eq!(rule(coding, body), "encoded_body", "{coding}");
    }
    assert_eq!(rule("identity", fine.into()), "");
    let long = Upload::Pieces { first: "{".into(), pieces: Box::pin(futures_util::stream::empty()), length: None };
    let target = crate::Target::full_url("https://api.stripe.com/v1/x").unwrap();
    let headers = pairs(&[("content-type", "application/json"), ("Content_Encoding", "gzip")]);
    let passing = Passing { target, method: "POST".to_owned(), headers, body: long, speech: Speech::Http };
    assert_eq!(Prepared::passing(access(), passing).unwrap_err().rule(), "encoded_body");
}

/// A20, A24: messages that are compressed one by one are taken apart in gRPC over HTTP/2 alone; in other clothes they do not leave.
#[test]
fn a20_a24_messages_that_nobody_looks_into_do_not_leave() {
    let ask = |header: (&str, &str), speech: Speech| {
        let headers = pairs(&[("content-type", "application/grpc"), header]);
        let target = crate::Target::full_url("https://api.stripe.com/v1/x").unwrap();
        let body = Upload::from("\u{1}\0\0\0\u{1}x");
        let passing = Passing { target, method: "POST".to_owned(), headers, body, speech };
        Prepared::passing(access(), passing).err().map_or("", |refusal| refusal.rule())
    };
    for hidden in [("grpc-encoding", "gzip"), ("Grpc_Encoding", "gzip"), ("connect-content-encoding", "br")] {
        assert_eq!(ask(hidden, Speech::Http), "encoded_body", "{hidden:?}");
    }
    assert_eq!(ask(("grpc-encoding", "gzip"), Speech::Grpc), "");
    assert_eq!(ask(("grpc-encoding", " Identity "), Speech::Http), "");
}

#[test]
fn what_a_person_approved_is_not_sent_twice() {
    let put = || prepare("PUT", "/v1/charges").unwrap();
    assert!(put().again().is_some());
    let digest = put().digest().unwrap().to_owned();
    assert!(put().only_as(digest).again().is_none());
}

#[test]
fn d3_methods_are_upper_case_and_on_the_list() {
    let long = "G".repeat(200);
    for method in ["get", "PoSt", "TRACE", "TRACK", "CONNECT", "OPTIONS", "PURGE", "", "GET ", "GET /v1", &long] {
        assert_eq!(rule(method, "/v1/x"), "canonical_form", "{method:?}");
    }
    let mut read_only = access();
    read_only.reach.methods = vec![Method::Get];
    let refusal = Prepared::new(read_only, call("DELETE", "/v1/x")).unwrap_err();
    assert_eq!(refusal.rule(), "reach_method");
    assert_eq!(refusal.to_string(), "the method is not allowed on this connection; allowed: GET");
}

#[test]
fn a24_a_placeholder_outside_its_slot_never_leaves() {
    let placeholder = "lvp_0123456789abcdefghijklmnopqrstuv";
    let escaped = "%6cvp_0123456789abcdefghijklmnopqrstu%76";
    let with = |change: &dyn Fn(&mut Call)| {
        let mut call = call("POST", "/v1/customers");
        change(&mut call);
        Prepared::new(access(), call).err().map(|refusal| refusal.rule())
    };
    let refused = Some("placeholder");
    assert_eq!(with(&|call| call.body = format!("{{\"note\":\"{placeholder}\"}}").into()), refused);
    assert_eq!(with(&|call| call.body = format!("note={escaped}").into()), refused);
    assert_eq!(with(&|call| call.query = pairs(&[("note", placeholder)])), refused);
    assert_eq!(with(&|call| call.headers = pairs(&[("x-note", placeholder)])), refused);
    assert_eq!(with(&|call| call.path = format!("/v1/customers/{placeholder}")), refused);
    assert_eq!(with(&|call| call.path = format!("/v1/customers?a={escaped}")), refused);
    assert_eq!(with(&|call| call.body = "lvp_ is only a prefix".into()), None);
}

/// R7: what authenticates, and every spelling of the pinned parameter, is gone before the rules look.
#[test]
fn a_callers_own_authentication_is_not_part_of_the_request() {
    let mut access = access();
    access.slot = CredentialSlot::Query { name: "appid".to_owned() };
    let mut asked = call("GET", "/v1/x?a=1&key=theirs&%41PPID=theirs&a=2");
    asked.query = pairs(&[("access_token", "theirs"), ("expand[]", "a&b=c"), ("b", "ä +\u{1f600}")]);
    let prepared = Prepared::new(access, asked).unwrap();
    assert_eq!(prepared.facts().query_keys, ["a", "expand[]", "b"]);
    assert_eq!(
        prepared.request.line(),
        "GET https://api.stripe.com/v1/x?a=1&a=2&expand%5B%5D=a%26b%3Dc&b=%C3%A4+%2B%F0%9F%98%80"
    );
}

#[test]
fn e2_a_line_break_in_a_parameter_is_refused() {
    for value in ["a\r\nx: 1", "a\nb", "\0"] {
        let mut asked = call("GET", "/v1/x");
        asked.query = pairs(&[("a", value)]);
        assert_eq!(Prepared::new(access(), asked).unwrap_err().rule(), "canonical_form", "{value:?}");
    }
}

#[test]
fn the_digest_tells_requests_apart_and_the_connections_headers_win() {
    let digest = |change: &dyn Fn(&mut Call)| {
        let mut call = call("POST", "/v1/x");
        change(&mut call);
        let prepared = Prepared::new(access(), call).unwrap();
        assert!(prepared.headers.contains(&("stripe-version".to_owned(), "2026-01-01".to_owned())));
        prepared.digest().unwrap().to_owned()
    };
    let same = digest(&|_| {});
    assert_eq!(same, digest(&|call| call.headers = pairs(&[("Stripe-Version", "evil")])));
    assert_ne!(same, digest(&|call| call.body = "a".into()));
    assert_ne!(same, digest(&|call| call.headers = pairs(&[("a", "b")])));
    assert_ne!(
        digest(&|call| call.headers = pairs(&[("a", "bc")])),
        digest(&|call| call.headers = pairs(&[("ab", "c")]))
    );
}

/// `Connection` in a caller's hand takes away neither what the rules looked at nor what the connection adds.
#[test]
fn what_was_judged_is_what_is_sent_whatever_connection_names() {
    let mut asked = call("POST", "/v1/x");
    asked.body = "{}".into();
    asked.headers = pairs(&[
        ("Content-Type", "application/json"),
        ("Connection", "close, content-type, Content_Encoding, Stripe-Version, x-hop"),
        ("X_Hop", "theirs"),
        ("Stripe_Version", "theirs"),
        ("Authorization", "theirs"),
        ("X-Kept", "1"),
    ]);
    let prepared = Prepared::new(access(), asked).unwrap();
    let kept = pairs(&[("Content-Type", "application/json"), ("X-Kept", "1"), ("stripe-version", "2026-01-01")]);
    assert_eq!(prepared.headers(), kept);
    let is_taken = crate::transport::taken(prepared.headers());
    assert!(prepared.headers().iter().all(|(name, _)| is_taken(name)), "the transport takes nothing more away");
}

#[test]
fn a_second_spelling_of_the_content_type_is_no_json() {
    let is_json = |headers: &[(&str, &str)]| {
        let mut asked = call("POST", "/v1/x");
        (asked.body, asked.headers) = ("{}".into(), pairs(headers));
        let prepared = Prepared::new(access(), asked);
        prepared.is_ok_and(|prepared| matches!(prepared.sent(), Sent::Whole { is_json: true, .. }))
    };
    let json = ("Content-Type", "application/json");
    assert!(is_json(&[json]) && is_json(&[json, ("Connection", "content-type")]));
    assert!(!is_json(&[json, ("Content_Type", "text/plain")]));
    assert!(!is_json(&[("content_type", "application/json")]));
    assert!(!is_json(&[json, ("content_encoding", "gzip")]));
    assert!(!is_json(&[json, ("content-encoding", "gzip"), ("connection", "content-encoding")]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What the rules saw is what is sent, and reading it again changes nothing.
    #[test]
    fn the_canonical_form_is_its_own(
        path in "/[a-zA-Z0-9./%;:@~+?&=_-]{0,24}",
        name in "[a-z\\[\\]&=#% ]{0,6}",
        value in "\\PC{0,8}",
    ) {
        let base = crate::guard::Target::base_url("https://api.example/v1").unwrap();
        if let Ok(request) = CanonicalRequest::below(&base, "PUT", &path, &[(name.clone(), value.clone())]) {
            let (_, url) = request.line().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            let again = CanonicalRequest::at("PUT", &url).unwrap();
            prop_assert_eq!(again.line(), request.line());
            prop_assert_eq!(again.query_keys(), request.query_keys());
            prop_assert_eq!(request.origin().host, "api.example");
            prop_assert!(request.target().path().starts_with("/v1/"));
            prop_assert!(request.query_keys().contains(&name));
        }
    }
}

/// What a person approves is what leaves: no header stands on the card that makes room for the credential later.
#[test]
fn every_spelling_of_the_slots_own_header_is_gone_before_anybody_looks() {
    let slot = CredentialSlot::Header { name: "x-account-key".to_owned(), prefix: String::new() };
    let mut asked = call("GET", "/v1/x");
    asked.headers = pairs(&[("X-Account-Key", "theirs"), ("x_account_KEY", "theirs"), ("X-Account", "kept")]);
    let prepared = Prepared::new(Access { slot, ..access() }, asked).unwrap();
    assert_eq!(prepared.headers(), pairs(&[("X-Account", "kept"), ("stripe-version", "2026-01-01")]));
}

/// Nobody knows what will be said on a WebSocket: it is no read, and a policy about bodies says no.
#[test]
fn what_opens_a_websocket_is_neither_safe_nor_seen() {
    let target = crate::guard::Target::full_url("https://api.stripe.com/v1/x").unwrap();
    let of = |speech| {
        let passing =
            Passing { target: target.clone(), method: "GET".to_owned(), headers: Vec::new(), body: "".into(), speech };
        Prepared::passing(access(), passing).unwrap()
    };
    let (plain, socket) = (of(Speech::Http), of(Speech::WebSocket));
    assert_eq!((plain.is_safe(), plain.sent()), (true, Sent::Nothing));
    assert_eq!((socket.is_safe(), socket.sent()), (false, Sent::Unseen));
    assert_eq!(socket.again().unwrap().facts().speech, Speech::WebSocket);
}
