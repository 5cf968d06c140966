use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BodyError, Filter, Message, Path, Template, read_body, read_query};

const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");

fn message() -> Message {
    Message {
        body: json!({"action": "opened", "n": 7, "user": {"name": "Ada", "tags": ["a", "b"]}, "none": null, "deep/er": {"~": 1}}),
        headers: [("x-event".to_owned(), "push".to_owned())].into(),
        query: [("team".to_owned(), "ops".to_owned())].into(),
    }
}

fn rendered(template: Value) -> Value {
    Template::new(&template).unwrap().render(&message(), 10_000).unwrap()
}

#[test]
fn a_whole_placeholder_keeps_its_type_and_one_in_a_text_is_text() {
    let template = json!({
        "n": "{{body.n}}", "user": "{{ body.user }}", "second": "{{body.user.tags.1}}", "event": "{{headers.X-Event}}",
        "said": "{{body.user.name}} did {{headers.x-event}} {{body.n}} times: {{body.user.tags}}{{body.nothing}}.",
        "missing": "{{body.nothing}}", "null": "{{body.none}}", "three": "{{body.nothing | 3}}", "word": "{{query.nothing | some words}}",
        "list": ["{{query.team}}", 5, true], "plain": "no placeholder", "whole": "{{body}}",
    });
    let got = rendered(template);
    assert_eq!(got["n"], 7);
    assert_eq!(got["user"], message().body["user"]);
    assert_eq!((&got["second"], &got["event"]), (&json!("b"), &json!("push")));
    assert_eq!(got["said"], "Ada did push 7 times: [\"a\",\"b\"].");
    assert_eq!((&got["missing"], &got["null"], &got["three"]), (&Value::Null, &Value::Null, &json!(3)));
    assert_eq!((&got["word"], &got["list"]), (&json!("some words"), &json!(["ops", 5, true])));
    assert_eq!((&got["plain"], &got["whole"]), (&json!("no placeholder"), &message().body));
}

#[test]
fn what_is_inserted_is_never_a_template() {
    let mut message = message();
    message.body["user"]["name"] = json!("{{headers.x-event}}");
    let template = Template::new(&json!({"a": "{{body.user.name}}", "b": "-{{body.user.name}}-"})).unwrap();
    let got = template.render(&message, 1000).unwrap();
    assert_eq!(got, json!({"a": "{{headers.x-event}}", "b": "-{{headers.x-event}}-"}));
}

#[test]
fn a_wrong_template_is_named_by_its_place() {
    let wrong = |template: Value| Template::new(&template).unwrap_err();
    assert_eq!(wrong(json!({"a": {"b/c": ["x", "{{body.x"]}})).0, "/a/b~1c/1");
    assert!(wrong(json!("{{env.HOME}}")).1.contains("begins with none"));
    for path in ["", "headers", "headers.a.b", "body..x", "body.a b", "body.{x"] {
        assert!(path.parse::<Path>().is_err(), "{path}");
    }
    assert!(wrong(json!(vec!["{{body}}"; 201])).1.contains("at most 200"));
    assert!(wrong(json!("x".repeat(70_000))).1.contains("bytes"));
}

#[test]
fn many_insertions_of_much_are_stopped() {
    let template = Template::new(&json!(vec!["{{body}}"; 200])).unwrap();
    let message = Message { body: json!("x".repeat(100_000)), ..Message::default() };
    assert_eq!(template.render(&message, 1_000_000).unwrap_err().limit_bytes, 1_000_000);
}

#[test]
fn a_filter_wants_every_condition() {
    let filter = |value: Value| serde_json::from_value::<Filter>(value).unwrap();
    let met = |value: Value| filter(value).matches(&message());
    assert!(met(json!({})));
    assert!(met(json!({"body.action": ["closed", "opened"], "headers.x-event": ["push"], "body.n": [7]})));
    assert!(!met(json!({"body.action": ["opened"], "body.n": ["7"]})), "a number is no text");
    assert!(!met(json!({"body.nothing": [null]})), "what is not there equals nothing");
    assert!(met(json!({"body.none": [null]})));
    assert_eq!(filter(json!({"body.x": []})).check().unwrap_err().0, "body.x");
    assert_eq!(filter(json!({"x": [1]})).check().unwrap_err().0, "x");
}

#[test]
fn bodies_are_read_by_their_type() {
    assert_eq!(read_body(None, b""), Ok(Value::Null));
    assert_eq!(read_body(Some("application/vnd.x+json"), b"[1]"), Ok(json!([1])));
    assert_eq!(
        read_body(FORM, b"a=1&b=x+y%26&b=%e2%82%ac&c&=&%zz=%4"),
        Ok(json!({
            "a": "1", "b": ["x y&", "\u{20ac}"], "c": "", "": "", "%zz": "%4"
        }))
    );
    assert_eq!(read_body(FORM, b"payload=%7B%22a%22%3A1%7D"), Ok(json!({"a": 1})));
    assert_eq!(read_body(FORM, b"payload=text"), Ok(json!({"payload": "text"})));
    assert_eq!(read_body(Some("text/xml"), b"<a/>"), Err(BodyError::Type));
    for (kind, bytes) in [(None, &b"{"[..]), (FORM, b"a=%ff"), (None, "[".repeat(1000).as_bytes())] {
        assert!(matches!(read_body(kind, bytes), Err(BodyError::Malformed(_))));
    }
    let many = "a=1&".repeat(1001);
    assert!(matches!(read_body(FORM, many.as_bytes()), Err(BodyError::Malformed(_))));
    assert_eq!(read_query("a=1&a=2&b=%ff&c"), [("a".into(), "2".into()), ("c".into(), String::new())].into());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[{}a-z|. ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn forms_come_back_as_they_went(fields in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..5)) {
        let encode = |text: &String| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let text: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let read = super::form::read(text.join("&").as_bytes()).unwrap();
        let read: std::collections::BTreeMap<_, _> =
            read.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect();
        prop_assert_eq!(read, fields);
    }

    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200), form in any::<bool>()) {
        let _ = read_body(if form { FORM } else { None }, &bytes);
        let _ = read_query(&String::from_utf8_lossy(&bytes));
    }

    /// Any template that is read can be filled in from any message, within its limit.
    #[test]
    fn templates_stay_within_their_limit(template in any_json(), body in any_json()) {
        let Ok(read) = Template::new(&template) else { return Ok(()) };
        let message = Message { body, ..Message::default() };
        if let Ok(value) = read.render(&message, 500) {
            prop_assert!(value.to_string().len() <= 2 * (500 + template.to_string().len()));
        }
    }

    #[test]
    fn what_has_no_placeholder_stays(value in any_json()) {
        prop_assume!(!value.to_string().contains("{{"));
        let template = Template::new(&value).unwrap();
        prop_assert_eq!(template.render(&Message::default(), 0).unwrap(), value);
    }
}
