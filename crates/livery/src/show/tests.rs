use super::{Paint, event_line, one_line, summary};
use serde_json::json;

const PLAIN: Paint = Paint { on: false };

#[test]
fn hostile_text_cannot_drive_a_terminal() {
    assert_eq!(one_line("a\x1b[2Jb\u{202e}c\r\nd"), "a [2Jbc d");
    assert_eq!(one_line(&"x".repeat(1000)).chars().count(), 160);
}

#[test]
fn events_read_as_sentences() {
    let event = |kind: &str, data| json!({"type": kind, "run_id": "run_1", "data": data});
    let line = |kind: &str, data| event_line(&event(kind, data), PLAIN).unwrap_or_default();
    assert_eq!(
        line("tool.requested", json!({"tool": "shell", "arguments": {"command": "wc -l *.csv"}})),
        "  → shell wc -l *.csv"
    );
    assert_eq!(
        line("tool.finished", json!({"tool": "shell", "ok": true, "duration_ms": 12, "result": "3\nlines"})),
        "  ← shell 12 ms 3 lines"
    );
    assert_eq!(
        line("run.failed", json!({"error": {"code": "model_error", "message": "gone"}})),
        "failed model_error: gone"
    );
    assert_eq!(
        line("model.requested", json!({"step": 2, "attempt": 1, "model": "scripted/hello"})),
        "turn 2 scripted/hello (scripted: no model is asked)"
    );
    assert_eq!(event_line(&event("state.saved", json!({})), PLAIN), None);
}

#[test]
fn the_summary_counts_like_people_do() {
    let run = json!({"model": "openai/gpt-5", "usage": {"turns": 1, "tool_calls": 2, "input_tokens": 5, "output_tokens": 6},
        "cost": {"usd": "0.01", "pricing": "priced"}});
    assert_eq!(summary(&run), "1 turn · 2 tool calls · 5 tokens in, 6 out · $0.01 · openai/gpt-5");
}
