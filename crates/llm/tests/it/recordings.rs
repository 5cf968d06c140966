//! Reads the recorded exchanges, whatever form their source kept them in. They are third-party data outside the project:
//! `LIVERY_FIXTURES`, or `shared/fixtures` beside the checkout. Without them the tests say so loudly; hand-written streams
//! inside the crate cover the same behaviour.

use std::io::Write;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// Which codec an exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    Anthropic,
    Chat,
}

/// One recorded request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) format: Format,
    /// `null` where the source has none.
    pub(crate) request: Value,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    pub(crate) fn is_stream(&self) -> bool {
        let text = self.body.trim_ascii_start();
        self.status == 200 && !text.starts_with(b"{") && !text.is_empty()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.status == 200 && self.body.trim_ascii_start().starts_with(b"{")
    }
}

/// All exchanges of the two formats, or `None` when the recordings are absent.
pub(crate) fn all() -> Option<Vec<Exchange>> {
    let shared = std::env::var_os("LIVERY_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"), PathBuf::from);
    let root = shared.join("llm");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    let mut out = Vec::new();
    for file in &files {
        read(file.strip_prefix(&root).unwrap().to_str().unwrap(), file, &mut out);
    }
    if out.is_empty() { None } else { Some(out) }
}

/// Says a line that the test harness does not swallow when the test passes.
pub(crate) fn say(line: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What a test says in place of its counts.
pub(crate) fn skipped(what: &str) {
    say(&format!("SKIPPED: {what} (0 recordings): set LIVERY_FIXTURES to the folder that holds llm/"));
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn read(name: &str, file: &Path, out: &mut Vec<Exchange>) {
    let mut parts = name.split('/');
    let (source, provider) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let text = std::fs::read_to_string(file).unwrap();
    match (source, name.rsplit('.').next().unwrap_or_default()) {
        ("rig", "yaml") => rig(name, provider, &text, out),
        ("pydantic-ai", "yaml") => vcr(name, provider, &text, out),
        ("anthropic-sdk-python", "txt") if provider == "anthropic" => {
            out.push(bare(name, provider, Format::Anthropic, text.into_bytes()));
        }
        ("vercel-ai", extension) => vercel(name, provider, extension, &text, out),
        _ => {}
    }
}

fn bare(name: &str, provider: &str, format: Format, body: Vec<u8>) -> Exchange {
    Exchange {
        name: name.to_owned(),
        provider: provider.to_owned(),
        format,
        request: Value::Null,
        status: 200,
        headers: Vec::new(),
        body,
    }
}

fn format_of(path: &str) -> Option<Format> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.ends_with("/messages") || path.ends_with("/messages/count_tokens") {
        Some(Format::Anthropic)
    } else if path.ends_with("/chat/completions") {
        Some(Format::Chat)
    } else {
        None
    }
}

/// Ordered exchanges `when`/`then`, one YAML document each.
fn rig(name: &str, provider: &str, text: &str, out: &mut Vec<Exchange>) {
    for (number, document) in Yaml::load_from_str(text).unwrap().iter().map(json).enumerate() {
        let (when, then) = (&document["when"], &document["then"]);
        let Some(format) = when["path"].as_str().and_then(format_of) else { continue };
        let pairs = then["header"].as_array().into_iter().flatten();
        out.push(Exchange {
            name: format!("{name}#{number}"),
            provider: provider.to_owned(),
            format,
            request: body_json(&when["body"]),
            status: u16::try_from(then["status"].as_u64().unwrap()).unwrap(),
            headers: pairs.map(|pair| (string(&pair["name"]), string(&pair["value"]))).collect(),
            body: body_bytes(&then["body"]),
        });
    }
}

/// VCR cassettes.
fn vcr(name: &str, provider: &str, text: &str, out: &mut Vec<Exchange>) {
    for document in Yaml::load_from_str(text).unwrap().iter().map(json) {
        for (number, interaction) in document["interactions"].as_array().unwrap().iter().enumerate() {
            let (request, response) = (&interaction["request"], &interaction["response"]);
            let Some(format) = request["uri"].as_str().and_then(format_of) else { continue };
            let body = match response.get("parsed_body") {
                Some(parsed) => body_bytes(parsed),
                None => body_bytes(&response["body"]["string"]),
            };
            let headers = response["headers"].as_object().into_iter().flatten();
            out.push(Exchange {
                name: format!("{name}#{number}"),
                provider: provider.to_owned(),
                format,
                request: request.get("parsed_body").cloned().unwrap_or_else(|| body_json(&request["body"])),
                status: u16::try_from(response["status"]["code"].as_u64().unwrap()).unwrap(),
                headers: headers.map(|(name, values)| (name.clone(), string(&values[0]))).collect(),
                body,
            });
        }
    }
}

/// Events without their frames, whole bodies, or raw streams; no status.
fn vercel(name: &str, provider: &str, extension: &str, text: &str, out: &mut Vec<Exchange>) {
    let format = match provider {
        "anthropic" => Format::Anthropic,
        "gemini" => return,
        _ if name.contains("/responses/") => return,
        _ => Format::Chat,
    };
    if extension != "txt" {
        return out.push(bare(name, provider, format, text.as_bytes().to_vec()));
    }
    // Some files hold several answers, one after the other.
    let mut bodies = vec![String::new()];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let body = bodies.last_mut().unwrap();
        match format {
            Format::Anthropic => {
                let event: Value = serde_json::from_str(line).unwrap();
                let kind = event["type"].as_str().unwrap();
                *body += &format!("event: {kind}\ndata: {line}\n\n");
                if kind == "message_stop" {
                    bodies.push(String::new());
                }
            }
            Format::Chat => *body += &format!("data: {line}\n\n"),
        }
    }
    for (number, mut body) in bodies.into_iter().enumerate().filter(|(_, body)| !body.is_empty()) {
        if format == Format::Chat {
            body += "data: [DONE]\n\n";
        }
        out.push(bare(&format!("{name}#{number}"), provider, format, body.into_bytes()));
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A body that is text, or JSON that the source has parsed.
fn body_bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::String(text) => text.clone().into_bytes(),
        Value::Null => Vec::new(),
        other => other.to_string().into_bytes(),
    }
}

fn body_json(body: &Value) -> Value {
    match body {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    }
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(map) => {
            Value::Object(map.iter().map(|(key, value)| (string(&json(key)), json(value))).collect::<Map<_, _>>())
        }
        Yaml::Tagged(_, node) => json(node),
        _ => Value::Null,
    }
}
