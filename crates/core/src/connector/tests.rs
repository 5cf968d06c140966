use proptest::prelude::*;
use serde_json::json;

use super::*;

fn reach(origins: &[&str], methods: &[Method], paths: &[&str]) -> Reach {
    Reach {
        origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
        base_path: String::new(),
        methods: methods.to_vec(),
        paths: paths.iter().map(|text| text.parse().unwrap()).collect(),
        plaintext: false,
        guarded: Vec::new(),
        graphql: None,
    }
}

fn at(host: &str) -> OriginRef<'_> {
    OriginRef { scheme: "https", host, port: 443 }
}

const RECIPE: &str = "
name: tracker
title: Tracker
about: Issues of a team.
auth: [basic]
settings:
  site: {kind: label, required: true, about: the part before .tracker.example}
origins: ['https://{site}.tracker.example', 'https://*.files.tracker.example']
methods: [GET, POST]
paths: [/rest/**]
slot: {in: basic}
headers: {accept: application/json}
test: {method: GET, path: /rest/me, expect: {pointer: /ok, equals: true}}
";

const ANY: &str = "
name: http
title: Any HTTP API
about: An API with a key.
auth: [bearer, api_key, basic]
settings:
  base_url: {kind: base_url, required: true, about: where the API is}
  slot: {kind: slot, about: where the credential goes}
  test_path: {kind: test_path, about: a harmless GET}
slot: {in: header, name: authorization, prefix: 'Bearer '}
";

fn settings(value: serde_json::Value) -> Settings {
    value.as_object().unwrap().clone()
}

#[test]
fn an_origin_is_exact_or_one_label_below() {
    let pattern: Origin = "https://*.files.example.com".parse().unwrap();
    assert!(pattern.matches(&at("a.files.example.com")));
    for host in [
        "files.example.com",
        "a.b.files.example.com",
        "afiles.example.com",
        ".files.example.com",
        "a.files.example.com.",
    ] {
        assert!(!pattern.matches(&at(host)), "{host}");
    }
    let exact: Origin = "https://api.example.com".parse().unwrap();
    assert!(exact.matches(&at("api.example.com")));
    for host in ["api.example.com.evil.com", "evilapi.example.com", "API.example.com", "example.com"] {
        assert!(!exact.matches(&at(host)), "{host}");
    }
    assert!(!exact.matches(&OriginRef { scheme: "http", ..at("api.example.com") }));
    assert!(!exact.matches(&OriginRef { port: 8443, ..at("api.example.com") }));
}

#[test]
fn what_has_two_readings_is_no_origin() {
    for text in [
        "api.example.com",
        "ftp://api.example.com",
        "https://",
        "https://*.com",
        "https://a.*.com",
        "https://*",
        "https://API.example.com",
        "https://user@example.com",
        "https://example.com/",
        "https://example.com:0",
        "https://example.com:0443",
        "https://example.com:99999",
        "https://127.1",
        "https://0x7f.1",
        "https://2130706433",
        "https://[::1",
        "https://::1",
        "https://[0::1]",
        "https://[127.0.0.1]",
        "https://-a.example.com",
        "https://example..com",
        "https://example.com.",
        "https://ex ample.com",
        "https://exämple.com",
    ] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
    for text in [
        "https://127.0.0.1:8443",
        "https://[::1]:8443",
        "http://10.0.0.1",
        "https://a_b.example.com",
        "https://localhost:9000",
    ] {
        assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
    }
}

#[test]
fn a_reach_refuses_what_it_does_not_name() {
    let reach =
        reach(&["https://api.example.com"], &[Method::Get, Method::Post], &["/v1/charges", "/v1/charges/*", "/v2/**"]);
    let ask = |method, path| reach.permits(method, &at("api.example.com"), path).map_err(|refusal| refusal.rule());
    assert_eq!(ask("GET", "/v1/charges"), Ok(()));
    assert_eq!(ask("POST", "/v1/charges/ch_1"), Ok(()));
    assert_eq!(ask("GET", "/v2/a/b/c"), Ok(()));
    assert_eq!(ask("GET", "/v2"), Ok(()));
    for path in ["/v1/charges/", "/v1/charges/ch_1/refunds", "/v1/Charges", "/v1", "/", "", "v1/charges", "/v2x"] {
        assert_eq!(ask("GET", path), Err("reach_path"), "{path}");
    }
    for method in ["DELETE", "get", "TRACE", "CONNECT", "GET ", "", "BREW"] {
        assert_eq!(ask(method, "/v1/charges"), Err("reach_method"), "{method}");
    }
    let refusal = reach.permits("DELETE", &at("api.example.com"), "/v1/charges").unwrap_err();
    assert_eq!(refusal.to_string(), "the method is not allowed on this connection; allowed: GET, POST");
    let refusal = reach.permits("GET", &at("evil.example.com"), "/v1/charges").unwrap_err();
    assert_eq!(refusal.to_string(), "this connection goes to https://api.example.com only");
}

#[test]
fn plain_text_needs_to_be_allowed_and_an_empty_reach_allows_nothing() {
    let mut reach = reach(&["http://10.0.0.1:8080"], &[], &[]);
    let origin = OriginRef { scheme: "http", host: "10.0.0.1", port: 8080 };
    assert_eq!(reach.permits("GET", &origin, "/"), Err(ReachRefusal::Plaintext));
    reach.plaintext = true;
    assert_eq!(reach.permits("GET", &origin, "/"), Ok(()));
    reach.origins.clear();
    let refusal = reach.permits("GET", &origin, "/").unwrap_err();
    assert_eq!(refusal.to_string(), "this connection goes to nothing only");
    assert_eq!(reach.base(), None);
}

#[test]
fn patterns_are_canonical_or_refused() {
    for text in [
        "", "v1", "//", "/a//b", "/**/a", "/a/**/b", "/a**", "/a*", "/../a", "/.", "/a/..", "/a%2fb", "/a%2Fb",
        "/a%41", "/a%7", "/a;b", "/a b", "/a?b", "/a#b", "/ä", "/a\\b", "/%00", "/%25",
    ] {
        assert!(text.parse::<PathPattern>().is_err(), "{text}");
    }
    for text in ["/", "/**", "/a", "/a/", "/*", "/*/a/**", "/a%20b", "/me/messages:send", "/@me", "/a.b-c_d~e"] {
        assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
    }
    assert!(format!("/{}", "a".repeat(1024)).parse::<PathPattern>().is_err());
    assert!("/a".repeat(65).parse::<PathPattern>().is_err());
}

#[test]
fn a_recipe_becomes_a_connector_with_its_settings() {
    let recipe = Recipe::parse("tracker.yaml", RECIPE).unwrap();
    let connector =
        recipe.settle(&settings(json!({"site": "acme", "methods": ["GET"], "paths": ["/rest/issues/*"]}))).unwrap();
    assert_eq!(connector.reach.base().unwrap(), "https://acme.tracker.example");
    assert_eq!(connector.reach.methods, [Method::Get]);
    assert_eq!(connector.headers, [("accept".to_owned(), "application/json".to_owned())]);
    assert_eq!(connector.reach.permits("GET", &at("acme.tracker.example"), "/rest/issues/1"), Ok(()));
    assert!(connector.reach.permits("GET", &at("other.tracker.example"), "/rest/issues/1").is_err());
    assert!(connector.reach.permits("GET", &at("acme.tracker.example"), "/rest/users").is_err());
}

#[test]
fn a_rule_about_operations_is_a_closed_list_at_one_place() {
    let recipe = Recipe::parse("any.yaml", ANY).unwrap();
    let settle = |rule: serde_json::Value| {
        let base = json!({"base_url": "https://api.example/v2", "graphql": rule});
        recipe.settle(&settings(base)).map(|connector| connector.reach)
    };
    let narrow = settle(json!({"queries": ["viewer"], "mutations": ["a", "b"]})).unwrap();
    let rule = narrow.graphql_at("/v2/graphql").unwrap();
    assert!(rule.allows(GraphqlKind::Query, "viewer") && rule.allows(GraphqlKind::Mutation, "b"));
    assert!(!rule.allows(GraphqlKind::Query, "Viewer") && !rule.allows(GraphqlKind::Subscription, "viewer"));
    for path in ["/v2/graphql/", "/V2/GraphQL", "/v2/GRAPHQL//", "/v2/graphql/x"] {
        assert!(narrow.graphql_at(path).is_some(), "{path}");
    }
    for path in ["/v2/graphq", "/v2/graphqls", "/v2", "/graphql"] {
        assert!(narrow.graphql_at(path).is_none(), "{path}");
    }
    let below = settle(json!({"path": "/v2/*/q/**", "queries": ["*"]})).unwrap();
    assert!(below.graphql_at("/v2/a/Q/b").is_some() && below.graphql_at("/v2/a/q/").is_some());
    assert!(below.graphql.as_ref().unwrap().allows(GraphqlKind::Query, "anything"));
    for bad in [
        json!([]),
        json!({}),
        json!({"queries": "viewer"}),
        json!({"queries": [""]}),
        json!({"queries": ["a-b"]}),
        json!({"queries": ["1a"]}),
        json!({"queries": ["ä"]}),
        json!({"querys": ["a"]}),
        json!({"persisted": ["abc"]}),
        json!({"queries": ["a"], "path": "/v3/graphql"}),
        json!({"queries": vec!["a"; 257]}),
    ] {
        assert_eq!(settle(bad.clone()).unwrap_err()[0].pointer, "/settings/graphql", "{bad}");
    }
    let open = recipe.settle(&settings(json!({"base_url": "https://api.example/v2"}))).unwrap().reach;
    let wide = settle(json!({"queries": ["*"], "mutations": ["a", "b", "c"]})).unwrap();
    assert!(narrow.is_within(&wide) && narrow.is_within(&open) && narrow.is_within(&narrow));
    assert!(!wide.is_within(&narrow) && !open.is_within(&narrow) && !below.is_within(&wide));
}

#[test]
fn settings_are_refused_by_their_place() {
    let recipe = Recipe::parse("tracker.yaml", RECIPE).unwrap();
    let pointers = |value| {
        let errors = recipe.settle(&settings(value)).unwrap_err();
        errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>()
    };
    assert_eq!(pointers(json!({})), ["/settings/site"]);
    for site in [json!("a.b"), json!("evil.example/"), json!("A"), json!("a@b"), json!(""), json!(7), json!("{site}")] {
        assert_eq!(pointers(json!({"site": site})), ["/settings/site"]);
    }
    assert_eq!(pointers(json!({"site": "a", "base_url": "https://evil.example"})), ["/settings/base_url"]);
    assert_eq!(pointers(json!({"site": "a", "methods": ["DELETE"]})), ["/settings/methods"]);
    assert_eq!(pointers(json!({"site": "a", "methods": []})), ["/settings/methods"]);
    for wider in [json!(["/**"]), json!(["/rest/../admin"]), json!(["/admin"]), json!([]), json!("/rest/**")] {
        assert_eq!(pointers(json!({"site": "a", "paths": wider})), ["/settings/paths"]);
    }
}

#[test]
fn any_http_api_is_what_its_connection_says() {
    let recipe = Recipe::parse("http.yaml", ANY).unwrap();
    let connector = recipe
        .settle(&settings(json!({
            "base_url": "https://api.example.com:8443/v2/", "slot": {"in": "query", "name": "key"}, "test_path": "/me",
        })))
        .unwrap();
    assert_eq!(connector.reach.base().unwrap(), "https://api.example.com:8443/v2");
    assert_eq!(connector.slot, CredentialSlot::Query { name: "key".into() });
    let origin = OriginRef { scheme: "https", host: "api.example.com", port: 8443 };
    assert_eq!(connector.reach.permits("DELETE", &origin, "/v2/me"), Ok(()));
    assert!(connector.reach.permits("GET", &origin, "/v1/me").is_err());
    assert!(!connector.reach.plaintext);
    assert!(recipe.settle(&settings(json!({"base_url": "http://10.0.0.1:9000"}))).unwrap().reach.plaintext);
    for base in [
        "https://*.example.com",
        "https://a.example/b?c",
        "https://a.example/../b",
        "https://a.example/*",
        "a.example",
        "https://u@a.example",
    ] {
        assert!(recipe.settle(&settings(json!({"base_url": base}))).is_err(), "{base}");
    }
    for slot in [
        json!({"in": "header", "name": "host"}),
        json!({"in": "header", "name": "Transfer-Encoding"}),
        json!({"in": "header", "name": "x_forwarded_for"}),
        json!({"in": "header", "name": "x-key", "prefix": "a\r\nb"}),
        json!({"in": "query", "name": "a&b"}),
        json!({"in": "cookie", "name": "a"}),
        json!({"in": "header", "name": "x-key", "extra": 1}),
        json!("basic"),
    ] {
        let errors = recipe.settle(&settings(json!({"base_url": "https://a.example", "slot": slot}))).unwrap_err();
        assert_eq!(errors[0].pointer, "/settings/slot");
    }
}

#[test]
fn a_malformed_recipe_is_no_recipe() {
    for (from, to) in [
        ("https://{site}.tracker.example'", "http://{site}.tracker.example'"),
        ("'https://{site}.tracker.example', ", ""),
        ("{site}", "{sight}"),
        ("auth: [basic]", "auth: []"),
        ("auth: [basic]", "auth: [bearer]"),
        ("slot: {in: basic}", "slot: {in: header, name: authorization}"),
        ("accept: application/json", "host: evil.example"),
        ("name: tracker", "name: Track/er"),
        ("kind: label", "kind: base_url"),
        ("paths: [/rest/**]", "paths: [/rest/**/x]"),
        ("title: Tracker", "title: Tracker\nextra: 1"),
    ] {
        assert!(RECIPE.contains(from));
        assert!(Recipe::parse("tracker.yaml", &RECIPE.replace(from, to)).is_err(), "{from} -> {to}");
    }
}

#[test]
fn a_test_answer_is_judged_without_quoting_it() {
    let test = Recipe::parse("tracker.yaml", RECIPE).unwrap().test.unwrap();
    assert_eq!(test.judge(200, br#"{"ok": true}"#), Ok(()));
    for (status, body) in [
        (200, r#"{"ok": false, "error": "SECRET"}"#),
        (200, "SECRET"),
        (401, "SECRET"),
        (403, ""),
        (500, ""),
        (302, ""),
        (404, ""),
    ] {
        let reason = test.judge(status, body.as_bytes()).unwrap_err();
        assert!(!reason.contains("SECRET"));
    }
    let any = TestCall { expect: Some(Expectation { pointer: "/data/id".into(), equals: None }), ..test };
    assert_eq!(any.judge(200, br#"{"data": {"id": 1}}"#), Ok(()));
    assert!(any.judge(200, br#"{"data": {"id": null}}"#).is_err());
}

/// The matcher as one would write it first, over whole lists of segments.
fn naive(pattern: &str, path: &str) -> bool {
    let (mut pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').skip(1).collect(), path.split('/').skip(1).collect());
    let rest = pattern.last() == Some(&"**");
    if rest {
        pattern.pop();
    }
    let long_enough = if rest { path.len() >= pattern.len() } else { path.len() == pattern.len() };
    long_enough && pattern.iter().zip(&path).all(|(p, s)| if *p == "*" { !s.is_empty() } else { p == s })
}

proptest! {
    #[test]
    fn patterns_match_as_the_plain_reading_says(
        pattern in "(/(a|b|\\*)){0,3}(/\\*\\*|/a)", path in "(/(a|b|c)?){1,5}",
    ) {
        let parsed: PathPattern = pattern.parse().unwrap();
        prop_assert_eq!(parsed.to_string(), pattern.clone());
        prop_assert_eq!(parsed.matches(&path), naive(&pattern, &path));
    }

    #[test]
    fn within_means_never_wider(
        inner in "(/(a|b|\\*)){0,3}(/\\*\\*|/a)", outer in "(/(a|b|\\*)){0,3}(/\\*\\*|/a)", path in "(/(a|b|c)?){1,5}",
    ) {
        let (inner, outer): (PathPattern, PathPattern) = (inner.parse().unwrap(), outer.parse().unwrap());
        if inner.is_within(&outer) && inner.matches(&path) {
            prop_assert!(outer.matches(&path));
        }
    }

    #[test]
    fn no_text_panics_and_what_parses_prints_itself(text in "\\PC{0,40}", tail in "[a-z0-9.:*/\\[\\]%-]{0,40}") {
        for text in [text.clone(), format!("https://{tail}"), format!("/{tail}")] {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
            }
            if let Ok(pattern) = text.parse::<PathPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }

    #[test]
    fn a_star_takes_one_label_and_no_more(label in "[a-z0-9-]{0,8}", more in "(\\.[a-z]{1,3}){0,2}") {
        let pattern: HostPattern = "*.api.example.com".parse().unwrap();
        let host = format!("{label}{more}.api.example.com");
        prop_assert_eq!(pattern.matches(&host), more.is_empty() && origin::is_label(&label));
    }
}
