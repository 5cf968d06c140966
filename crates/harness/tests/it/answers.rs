//! What a model's turn means: a run from start to end, text, silence, refusals, pauses, cut-off answers.

use livery_core::ErrorCode;
use livery_llm::message::{Part, Role, Thinking};
use livery_llm::stream::StopReason;
use serde_json::json;

use crate::run::{Run, agent, call, calls, counting, reply, says, shell, text_part};

#[test]
fn a_run_from_start_to_end() {
    let mut run = Run::started(counting());
    run.answer(calls([("c1", "shell", shell("ls | wc -l"))]));
    run.done("c1", "3");
    run.answer(calls([("c2", "finish", json!({"count": 3}))]));
    insta::assert_snapshot!(run.take_text(), @r#"
    > Start
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > answer to step 1 attempt 1
      model.responded 1 tool_use: c1 shell
      tool.requested {"arguments":{"command":"ls | wc -l"},"call_id":"c1","tool":"shell"}
      tool.started {"call_id":"c1","tool":"shell"}
      -> run c1 {"tool":"shell","command":"ls | wc -l","timeout_s":120,"cwd":null,"background":false}
    > c1 done
      tool.finished {"call_id":"c1","duration_ms":12,"ok":true,"result":"3","tool":"shell"}
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":2}
      -> ask acme/large 2, at most 16384, 3 messages, last: c1 = "3"
    > answer to step 2 attempt 1
      model.responded 2 tool_use: c2 finish
      tool.requested {"arguments":{"count":3},"call_id":"c2","tool":"finish"}
      tool.finished {"call_id":"c2","duration_ms":0,"ok":true,"result":"Finished.","tool":"finish"}
      run.succeeded {"output":{"count":3}}
      -> succeeded {"count":3}
    "#);
    assert_eq!(run.output(), json!({"count": 3}));
    assert!(run.machine.pending(&run.state).is_empty());
}

#[test]
fn plain_text_is_the_output_where_text_is_due() {
    let mut run = Run::started(agent());
    run.answer(says("Three files."));
    assert_eq!(run.output(), json!({"text": "Three files."}));
}

#[test]
fn a_stop_sequence_ends_a_turn_like_any_other() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("Done")], StopReason::StopSequence));
    assert_eq!(run.output(), json!({"text": "Done"}));
}

#[test]
fn text_where_an_output_is_due_is_reminded_once() {
    let mut run = Run::started(counting());
    run.answer(says("There are three."));
    run.answer(says("Three, as I said."));
    insta::assert_snapshot!(run.take_text(), @r#"
    > Start
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > answer to step 1 attempt 1
      model.responded 1 end_turn: "There are three."
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","note":{"kind":"call_finish","text":"You ended your turn without finishing. Call `finish` with your output, or go on working."},"step":2}
      -> ask acme/large 2, at most 16384, 3 messages, last: "You ended your turn without finishing. Call `finish` with your output, or go on working."
    > answer to step 2 attempt 1
      model.responded 2 end_turn: "Three, as I said."
      run.failed {"error":{"code":"output_invalid","message":"the model ended with text instead of an output that fits the agent's schema: Three, as I said.","retryable":false}}
      -> failed {"code":"output_invalid","message":"the model ended with text instead of an output that fits the agent's schema: Three, as I said.","retryable":false}
    "#);
}

#[test]
fn an_empty_answer_is_asked_again_once() {
    let mut run = Run::started(agent());
    let (_, _, first) = run.asked();
    run.answer(reply(vec![text_part(" \n")], StopReason::EndTurn));
    assert_eq!(run.asked().2, first, "the empty turn leaves no trace in the conversation");
    run.answer(says("Here I am."));
    assert_eq!(run.output(), json!({"text": "Here I am."}));

    // Reasoning alone is nothing to go on with.
    let thinking =
        Thinking { text: "hm".into(), signature: None, redacted: None, provider: "acme".into(), model: "large".into() };
    let mut run = Run::started(agent());
    run.answer(reply(vec![], StopReason::EndTurn));
    run.answer(reply(vec![Part::Thinking(thinking)], StopReason::EndTurn));
    assert_eq!(run.error().code, ErrorCode::EmptyResponse);
    assert!(run.error().retryable);
}

#[test]
fn empty_answers_count_in_a_row_only() {
    let mut run = Run::started(agent());
    for turn in 0..3 {
        run.answer(reply(vec![], StopReason::EndTurn));
        let id = format!("c{turn}");
        run.answer(calls([(&id, "shell", shell("true"))]));
        run.done(&id, "ok");
    }
    assert!(!run.state.is_finished());
}

#[test]
fn a_refusal_ends_the_run() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![Part::Refusal { text: "I will not.".into() }], StopReason::Refusal));
    assert_eq!(run.error().code, ErrorCode::ModelRefused);
    assert_eq!(run.error().message, "the model declined: I will not.");

    // Some formats refuse with an ordinary stop reason.
    let mut run = Run::started(agent());
    run.answer(reply(vec![Part::Refusal { text: String::new() }], StopReason::EndTurn));
    assert_eq!(run.error().code, ErrorCode::ModelRefused);

    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("Half a sen")], StopReason::ContentFilter));
    assert_eq!(run.error().code, ErrorCode::ModelRefused);
    assert_eq!(run.error().message, "the provider's filter stopped the answer: Half a sen");
}

#[test]
fn a_refusal_goes_to_the_next_model_which_never_sees_it() {
    let mut listed = agent();
    listed.model.push("other/small".parse().unwrap());
    let mut run = Run::started(listed);
    run.answer(reply(vec![Part::Refusal { text: "No.".into() }], StopReason::Refusal));
    insta::assert_snapshot!(run.take_text(), @r#"
    > Start
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > answer to step 1 attempt 1
      model.responded 1 refusal: refuses "No."
      model.retried {"attempt":1,"class":"refusal","delay_ms":0,"message":"the model declined: No.","model":"other/small","step":1}
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"other/small","step":2}
      -> ask other/small 2-2, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    "#);
    run.answer(reply(vec![Part::Refusal { text: "Neither.".into() }], StopReason::Refusal));
    assert_eq!(run.error().code, ErrorCode::ModelRefused);
}

#[test]
fn a_pause_sends_the_conversation_again() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("Searching…")], StopReason::Pause));
    let (step, _, request) = run.asked();
    assert_eq!((step, request.messages.len()), (2, 2));
    assert_eq!(request.messages[1].role, Role::Assistant);
    run.answer(says("Found."));
    assert_eq!(run.output(), json!({"text": "Found."}));
}

#[test]
fn a_full_window_ends_the_run() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("…")], StopReason::ContextOverflow));
    assert_eq!(run.error().code, ErrorCode::ContextOverflow);
    assert!(!run.error().retryable);
}

#[test]
fn cut_off_text_is_continued_once_and_joined() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("One, two, ")], StopReason::MaxTokens));
    run.answer(says("three."));
    assert_eq!(run.output(), json!({"text": "One, two, three."}));

    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("One, ")], StopReason::MaxTokens));
    run.answer(reply(vec![text_part("two, ")], StopReason::MaxTokens));
    assert_eq!(run.error().code, ErrorCode::OutputInvalid, "a piece of an answer is never called an answer");
}

#[test]
fn text_beside_calls_is_not_the_answer() {
    let mut run = Run::started(agent());
    run.answer(reply(vec![text_part("Let me look."), call("c1", "shell", shell("ls"))], StopReason::ToolUse));
    run.done("c1", "a");
    run.answer(says("One file."));
    assert_eq!(run.output(), json!({"text": "One file."}));
}
