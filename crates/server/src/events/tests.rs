use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use livery_core::id::RunId;
use livery_core::{Event, EventType, Timestamp};
use livery_platform::runs::Followed;
use serde_json::json;

use super::{after, frame};
use crate::params::Params;

#[test]
fn an_event_is_one_id_one_name_and_one_line() {
    let event = Event {
        seq: 5,
        run_id: RunId::from_bits(7),
        event_type: EventType::ToolFinished,
        at: Timestamp::from_micros(0),
        actor: "worker".into(),
        digest: String::new(),
        data: json!({"result": "two\nlines\rand \u{2028} more"}),
        deleted: false,
    };
    let mut out = BytesMut::new();
    frame(&Followed::Event(event.clone().into()), &mut out);
    frame(&Followed::Live { name: "model.delta", data: json!({"text": "a\nb"}) }, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let line = serde_json::to_string(&event).unwrap();
    assert_eq!(
        text,
        format!("id: 5\nevent: tool.finished\ndata: {line}\n\nevent: model.delta\ndata: {{\"text\":\"a\\nb\"}}\n\n")
    );
    assert!(!line.contains(['\n', '\r']));
}

#[test]
fn the_header_wins_over_the_parameter() {
    let place = |header: Option<&str>, query: &str| {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("last-event-id", HeaderValue::from_str(header).unwrap());
        }
        after(&headers, &Params::parse(query).unwrap()).map_err(|problem| problem.parts().code)
    };
    assert_eq!(place(None, ""), Ok(0));
    assert_eq!(place(None, "after=3"), Ok(3));
    assert_eq!(place(Some("7"), "after=3"), Ok(7));
    for bad in ["", "x", "-1", "+1", "1.0", " 1 2", "9223372036854775808"] {
        assert_eq!(place(Some(bad), ""), Err("invalid_header"), "{bad}");
    }
    assert_eq!(place(Some("7"), "after=x"), Err("invalid_parameter"));
}
