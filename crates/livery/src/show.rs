//! How runs and events look to people. Plain words first; colour only on a terminal, and never the only carrier.

use std::io::IsTerminal as _;

use serde_json::Value;

/// Longest line of text shown for one event.
const LINE_CHARS_MAX: usize = 160;

/// Colours, or none when the stream is no terminal or `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For what goes to standard error.
    pub(crate) fn stderr() -> Self {
        Self { on: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// For what goes to standard output.
    pub(crate) fn stdout() -> Self {
        Self { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Whether a person sits in front of it.
    pub(crate) const fn is_terminal(self) -> bool {
        self.on
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }
}

/// Text of others with its lines, and without anything that a terminal obeys.
pub(crate) fn harmless(text: &str) -> String {
    livery_core::terminal::text(text.as_bytes()).chars().filter(|c| !is_bidi_control(*c)).collect()
}

/// Text from a model, a tool or a tenant on one line, without control characters (an escape sequence must not reach the
/// operator's terminal) and not longer than a line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !is_bidi_control(*c))
        .take(LINE_CHARS_MAX + 1)
        .collect();
    if line.chars().count() > LINE_CHARS_MAX {
        line = line.chars().take(LINE_CHARS_MAX - 1).chain(['…']).collect();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same for a text of several lines, which keeps them and its indentation.
pub(crate) fn tame(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !(c.is_control() || is_bidi_control(*c))).collect()
}

const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One stored event as a line, or nothing for events that say nothing new to a person.
pub(crate) fn event_line(event: &Value, paint: Paint) -> Option<String> {
    let data = &event["data"];
    let text = |field: &str| one_line(data[field].as_str().unwrap_or_default());
    Some(match event["type"].as_str()? {
        "run.started" => {
            format!("{} {}", paint.dim("started"), paint.dim(event["run_id"].as_str().unwrap_or_default()))
        }
        "model.requested" if data["attempt"].as_u64().unwrap_or(1) == 1 => {
            format!("{} {}", paint.bold(&format!("turn {}", data["step"])), paint.dim(&model_name(&data["model"])))
        }
        "model.responded" => return answer_text(&data["message"]).map(|text| format!("  {}", one_line(&text))),
        "model.retried" => format!(
            "  {} {} ({}), again in {} ms",
            paint.bad("retry"),
            text("message"),
            text("class"),
            data["delay_ms"]
        ),
        "tool.requested" => {
            format!("  {} {} {}", paint.bold("→"), text("tool"), paint.dim(&arguments_line(&data["arguments"])))
        }
        "tool.finished" => {
            let mark = if data["ok"] == Value::Bool(true) { paint.good("←") } else { paint.bad("←") };
            format!(
                "  {mark} {} {} {}",
                text("tool"),
                paint.dim(&format!("{} ms", data["duration_ms"])),
                text("result")
            )
        }
        "tool.outcome_unknown" => format!("  {} {}: interrupted, outcome unknown", paint.bad("←"), text("tool")),
        "sandbox.started" => paint.dim(&format!("  sandbox ({}) ready in {} ms", text("tier"), data["start_ms"])),
        "sandbox.lost" => format!("  {} {}", paint.bad("sandbox lost:"), text("message")),
        "shell.opened" => {
            format!("  {} {}", paint.bold("shell opened by"), one_line(event["actor"].as_str().unwrap_or("?")))
        }
        "shell.closed" => format!("  {} ({})", paint.dim("shell closed"), text("reason")),
        "artifact.created" => format!("  {} {} ({} bytes)", paint.dim("artifact"), text("path"), data["bytes"]),
        "run.recovered" => paint.bad("recovered after an interruption"),
        "budget.warning" | "log.written" => format!("  {} {}", paint.dim("note"), text("message")),
        "run.succeeded" => paint.good("succeeded"),
        "run.failed" | "run.timed_out" | "run.cancelled" => {
            let name = event["type"].as_str().unwrap_or_default().trim_start_matches("run.").replace('_', " ");
            let error = &data["error"];
            let code = error["code"].as_str().unwrap_or_default();
            format!("{} {code}: {}", paint.bad(&name), one_line(error["message"].as_str().unwrap_or_default()))
        }
        _ => return None,
    })
}

/// `PROVIDER/MODEL`, whichever way the event spells it; scripted models are called what they are.
fn model_name(model: &Value) -> String {
    let name = match model {
        Value::String(name) => name.clone(),
        other => format!("{}/{}", other["provider"].as_str().unwrap_or("?"), other["model"].as_str().unwrap_or("?")),
    };
    label_model(&name)
}

/// A model's name with the word "scripted" in the open.
pub(crate) fn label_model(name: &str) -> String {
    if name.starts_with("scripted/") {
        format!("{} (scripted: no model is asked)", one_line(name))
    } else {
        one_line(name)
    }
}

fn answer_text(message: &Value) -> Option<String> {
    let parts = message["parts"].as_array()?;
    let texts: Vec<&str> =
        parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

fn arguments_line(arguments: &Value) -> String {
    match arguments {
        Value::Object(fields) if fields.len() == 1 => fields
            .values()
            .next()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .map(|text| one_line(&text))
            .unwrap_or_default(),
        other => one_line(&other.to_string()),
    }
}

/// The last line about a run: what it took.
pub(crate) fn summary(run: &Value) -> String {
    let usage = &run["usage"];
    let count = |value: &Value, noun: &str| {
        let number = value.as_u64().unwrap_or(0);
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    let cost = match run["cost"]["pricing"].as_str() {
        Some("priced") => format!("${}", run["cost"]["usd"].as_str().unwrap_or("?")),
        Some("free") => "no cost".to_owned(),
        _ => "cost unknown".to_owned(),
    };
    format!(
        "{} · {} · {} tokens in, {} out · {cost} · {}",
        count(&usage["turns"], "turn"),
        count(&usage["tool_calls"], "tool call"),
        usage["input_tokens"],
        usage["output_tokens"],
        label_model(run["model"].as_str().unwrap_or("?")),
    )
}

#[cfg(test)]
mod tests;
