//! What programs and upstreams speak over HTTP: WebSockets, gRPC, GraphQL.

use livery_broker::grpc;
use livery_broker::policy::Sent;
use livery_broker::policy::graphql::{judge, operations};
use livery_broker::ws::{Event, Inlet, MESSAGE_BYTES_MAX, Sender, Violation};
use livery_core::connector::{GraphqlKind, GraphqlRule, Method};

use super::cut;

/// What is said over a WebSocket is the same however the bytes are cut, within its limits, and is heard as it was said when it is
/// written anew.
pub fn websocket(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    for sender in [Sender::Program, Sender::Upstream] {
        let (said, violation) = heard(sender, &[&bytes[1..]]);
        assert_eq!((&said, &violation), (&heard(sender, &[one, two]).0, &heard(sender, &[one, two]).1), "a cut changes what is said");
        for event in &said {
            if let Event::Message(_, message) = event {
                assert!(message.len() <= MESSAGE_BYTES_MAX, "a message beyond its limit");
            }
            let written = event.encode(sender, || [0x5a, 0, 0xff, 1]);
            assert_eq!(heard(sender, &[&written]), (vec![event.clone()], None), "said otherwise");
        }
    }
}

fn heard(sender: Sender, pieces: &[&[u8]]) -> (Vec<Event>, Option<Violation>) {
    let (mut inlet, mut said) = (Inlet::new(sender), Vec::new());
    for piece in pieces {
        inlet.push(piece);
        loop {
            match inlet.take() {
                Ok(Some(event)) => said.push(event),
                Ok(None) => break,
                Err(violation) => return (said, Some(violation)),
            }
        }
    }
    (said, None)
}

/// Messages of gRPC come alike however the bytes are cut, and stand in them as they came; what each says is within the limit, and is
/// read again when it is written anew.
pub fn grpc_message(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let read = |pieces: &[&[u8]]| {
        let (mut inlet, mut all) = (grpc::Inlet::in_coding("gzip"), Vec::new());
        for piece in pieces {
            inlet.push(piece);
            loop {
                match inlet.take() {
                    Ok(Some(message)) => all.push((inlet.said(&message), message)),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error)),
                }
            }
        }
        (all, None)
    };
    let whole = read(&[&bytes[1..]]);
    assert_eq!(whole, read(&[one, two]), "a cut changes messages");
    let mut stood = Vec::new();
    for (said, message) in &whole.0 {
        stood.extend_from_slice(&message.whole);
        let Ok(said) = said else { continue };
        assert!(said.len() <= grpc::MESSAGE_BYTES_MAX, "a message beyond its limit");
        let mut written = Vec::new();
        grpc::write(&mut written, said).expect("it is within the limit");
        let (again, error) = read(&[&written]);
        assert!(matches!(&again[..], [(Ok(heard), _)] if heard == said) && error.is_none(), "said otherwise");
    }
    assert!(bytes[1..].starts_with(&stood), "a message was changed or left out");
}

/// A request to a GraphQL API that a rule allows asks for nothing else, whoever reads it: every document in it, found by another
/// reader of JSON, has the allowed fields alone.
pub fn graphql_request(bytes: &[u8]) {
    let rule = serde_json::json!({"queries": ["viewer"], "mutations": ["add"]});
    let rule: GraphqlRule = serde_json::from_value(rule).expect("a plain rule");
    let sent = Sent::Whole { bytes, is_json: true };
    assert!(judge(&rule, Method::Post, &[], &Sent::Whole { bytes, is_json: false }).is_err());
    assert!(judge(&rule, Method::Get, &[], &sent).is_err());
    if judge(&rule, Method::Post, &[], &sent).is_err() {
        return;
    }
    let read: serde_json::Value = serde_json::from_slice(bytes).expect("what is allowed is JSON");
    let requests = read.as_array().cloned().unwrap_or_else(|| vec![read]);
    assert!(!requests.is_empty(), "nothing is allowed");
    for request in requests {
        let document = request["query"].as_str().expect("nothing persisted is on the list");
        for operation in operations(document).expect("what is allowed was read") {
            let allowed = if operation.kind == GraphqlKind::Query { "viewer" } else { "add" };
            assert_ne!(operation.kind, GraphqlKind::Subscription);
            assert!(operation.fields.iter().all(|field| field == allowed || field == "__typename"), "{operation:?}");
        }
    }
}

/// What follows a document hides nothing and is hidden by nothing: one more operation is one more, with its own field.
pub fn graphql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(known) = operations(text) else { return };
    assert!(!known.is_empty(), "a document that asks for nothing");
    let longer = format!("#\n,{text}\nmutation {{ query: last(x: \"}}\") }}");
    // It may have been as long as documents are.
    let Ok(more) = operations(&longer) else { return };
    assert_eq!(more[..known.len()], known, "what stood before reads otherwise");
    let last = &more[known.len()..];
    assert!(matches!(last, [one] if one.kind == GraphqlKind::Mutation && one.fields.iter().eq(["last"])), "{last:?}");
}
