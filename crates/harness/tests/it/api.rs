//! `call_api`: offered to a run with connections, read strictly, repeated after a crash when its method is safe.

use livery_core::agent::Slot;
use livery_harness::record::{Recovery, SandboxFate};
use livery_harness::{Effect, Input, Invocation, Loop, Record, Setup};
use serde_json::{Value, json};

use crate::run::{Run, agent, calls, setup};

fn connected() -> Setup {
    let mut agent = agent();
    agent.connections.insert("pay".into(), Slot { connector: "stripe".into(), required: true });
    Setup { connections: [("pay".to_owned(), "stripe".to_owned())].into(), ..setup(agent) }
}

fn started() -> Run {
    let mut run = Run::of(connected());
    run.put(Input::Start);
    run
}

fn get() -> Value {
    json!({"connection": "pay", "method": "GET", "path": "/v1/charges", "query": {"limit": 3, "expand": ["a", "b"]}})
}

#[test]
fn it_is_offered_with_the_slots_that_are_bound_and_to_nobody_else() {
    let names = |setup: Setup| {
        let machine = Loop::new(setup).unwrap();
        machine.tools().iter().map(|tool| tool.name.clone()).collect::<Vec<_>>()
    };
    assert!(names(connected()).contains(&"call_api".to_owned()));
    assert!(!names(setup(agent())).contains(&"call_api".to_owned()));
    let mut chosen = connected();
    chosen.agent.tools = Some(vec!["shell".into()]);
    assert_eq!(names(chosen), ["finish", "shell"]);
    let mut no_sandbox = connected();
    no_sandbox.can_sandbox = false;
    assert_eq!(names(no_sandbox), ["call_api", "finish"]);

    let machine = Loop::new(connected()).unwrap();
    let tool = machine.tools().iter().find(|tool| tool.name == "call_api").unwrap().clone();
    assert_eq!(tool.input_schema["properties"]["connection"]["enum"], json!(["pay"]));
    assert!(machine.system().contains("- `pay` (stripe)"), "{}", machine.system());
    assert!(!Loop::new(setup(agent())).unwrap().system().contains("call_api"));
}

/// D3, and whatever else does not fit: an answer for the model, and nothing is sent.
#[test]
fn d3_what_does_not_fit_is_refused_by_its_schema() {
    for (name, value) in [
        ("method", json!("get")),
        ("method", json!("TRACE")),
        ("method", json!("G".repeat(200))),
        ("connection", json!("bank")),
        ("path", json!("")),
        ("query", json!({"a": {"b": 1}})),
        ("query", json!("a=b")),
        ("headers", json!({"a": 1})),
        ("host", json!("evil.com")),
    ] {
        let mut run = started();
        let mut arguments = get();
        arguments[name] = value.clone();
        run.answer(calls([("a", "call_api", arguments)]));
        let refused = run.records().into_iter().any(
            |record| matches!(&record, Record::ToolFinished(data) if !data.ok && data.result.contains("nothing was run")),
        );
        assert!(refused, "{name}: {value}");
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::RunTool { .. })));
    }
}

#[test]
fn a_safe_method_is_repeated_after_a_crash_and_no_other_is() {
    for (method, repeats) in
        [("GET", true), ("HEAD", true), ("POST", false), ("PUT", false), ("PATCH", false), ("DELETE", false)]
    {
        let mut run = started();
        let mut arguments = get();
        arguments["method"] = method.into();
        run.answer(calls([("a", "call_api", arguments)]));
        let [Effect::RunTool { invocation: Invocation::CallApi(call), safe, .. }] = run.effects.as_slice() else {
            panic!("{:?}", run.effects);
        };
        assert_eq!((call.method.as_str(), *safe), (method, repeats));
        let before = run.effects.clone();
        run.state = run.folded();
        run.effects.clear();
        run.put(Input::Recovered { sandbox: SandboxFate::Untouched, recovery: Recovery::default() });
        let told = run.records().iter().any(|record| matches!(record, Record::ToolOutcomeUnknown(_)));
        assert_eq!((run.effects == before, told), (repeats, !repeats), "{method}");
    }
}

/// D5: a name is a tool's or a connection's to the letter, or nobody's.
#[test]
fn d5_names_that_only_look_alike_are_nobodys() {
    let lookalikes = [
        "Call_api",
        "CALL_API",
        "call_api ",
        " call_api",
        "call_\u{430}pi",
        "\u{ff43}all_api",
        "call\u{2010}api",
        "call_api\u{200b}",
    ];
    for name in lookalikes {
        let mut run = started();
        run.answer(calls([("a", name, get())]));
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::RunTool { .. })), "{name:?}");
    }
    for connection in ["Pay", "PAY", "pay ", "p\u{430}y", "\u{ff50}ay", "pay\u{200b}", "pa\u{0301}y"] {
        let mut run = started();
        let mut arguments = get();
        arguments["connection"] = connection.into();
        run.answer(calls([("a", "call_api", arguments)]));
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::RunTool { .. })), "{connection:?}");
    }
}

fn mail() -> Value {
    json!({"connection": "post", "to": ["ada@example.com"], "subject": "Hello", "text": "Hi."})
}

fn postal() -> Setup {
    let mut setup = connected();
    setup.agent.connections.insert("post".into(), Slot { connector: "smtp".into(), required: true });
    setup.connections.insert("post".into(), "smtp".into());
    setup
}

#[test]
fn a_mail_connection_brings_send_email_and_no_other_tool_reaches_it() {
    let machine = Loop::new(postal()).unwrap();
    let slots = |name: &str| {
        let tool = machine.tools().iter().find(|tool| tool.name == name).unwrap();
        tool.input_schema["properties"]["connection"]["enum"].clone()
    };
    assert_eq!((slots("call_api"), slots("send_email")), (json!(["pay"]), json!(["post"])));
    assert!(machine.system().contains("- `post` (smtp)"), "{}", machine.system());
    let without = Loop::new(connected()).unwrap();
    assert!(!without.system().contains("send_email") && !without.tools().iter().any(|tool| tool.name == "send_email"));
}

#[test]
fn a_message_is_never_sent_again_after_a_crash() {
    let mut run = Run::of(postal());
    run.put(Input::Start);
    run.answer(calls([("a", "send_email", mail())]));
    assert!(matches!(run.effects.as_slice(), [Effect::RunTool { safe: false, .. }]), "{:?}", run.effects);
    run.state = run.folded();
    run.effects.clear();
    run.put(Input::Recovered { sandbox: SandboxFate::Untouched, recovery: Recovery::default() });
    assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::RunTool { .. })), "{:?}", run.effects);
    let told = run.records().into_iter().find_map(|record| match record {
        Record::ToolOutcomeUnknown(unknown) => Some(unknown.result),
        _ => None,
    });
    assert!(told.is_some_and(|told| told.contains("may have been sent")));
}
