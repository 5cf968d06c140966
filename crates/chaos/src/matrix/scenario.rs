//! The run that has an effect: an agent, what its model says, and what to look for afterwards.

use base64::Engine as _;
use livery_platform::effects::{EffectKind, Phase, Recovery};
use serde_json::{Map, Value, json};

use super::door::Door;
use super::outside::{CELL, SLOT, Way};

/// The name of every scenario's agent.
pub const AGENT: &str = "crash-test";
/// Leaves one mark; a second one would be an effect done twice.
const MARK: &str = "echo mark >> trace";
/// Shows the marks.
const LOOK: &str = r#"  - tools: [{name: shell, arguments: {command: "cat trace 2>/dev/null; echo looked"}}]"#;
/// Longer than the pause between two heartbeats.
const LONGER_THAN_A_HEARTBEAT_MS: u64 = 12_000;
/// Quotes that fit a script and, each escaped in JSON, are more than an event's payload may be.
const LARGE_CHARACTERS: usize = 140 * 1024;

/// What a cell plays.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// What the model says, turn by turn.
    pub script: String,
    /// Files of the agent's folder.
    pub files: Vec<(&'static str, String)>,
    /// How often the model says 429 first.
    pub refusals: u64,
    /// Which time the place is reached the process dies; the first when nothing is said.
    pub nth: Option<u32>,
    /// What has the run made.
    pub door: Door,
    /// Whether the caller uploads a file for the run.
    pub uploads: bool,
    /// Whether the caller cancels the run when its first tool has begun.
    pub cancels: bool,
    /// Whether the last look shows marks.
    pub marks: bool,
    /// The content of `outputs/report.txt`, when the run leaves one.
    pub artifact: Option<&'static str>,
    /// What the run reaches through its connection, if it has one.
    pub way: Option<Way>,
    /// Whether a person is asked first, and says yes.
    pub asks: bool,
}

/// The scenario of an effect.
pub fn of(effect: EffectKind) -> Scenario {
    let plain = Scenario { script: script(&[]), ..Scenario::default() };
    let reaching = |way, arguments: &str| Scenario {
        script: script(&[&outside(way, arguments)]),
        way: Some(way),
        ..Scenario::default()
    };
    let marking = |turn: &str| Scenario { script: script(&[turn, LOOK]), marks: true, ..Scenario::default() };
    match effect {
        EffectKind::RunAcceptance | EffectKind::QueueClaim | EffectKind::Finish | EffectKind::WebhookDelivery => plain,
        EffectKind::ScheduleFire => Scenario { door: Door::Schedule, ..plain },
        EffectKind::TriggerReceipt => Scenario { door: Door::Trigger, ..plain },
        // The second call: the run has a sandbox by then, of which recovery has something to tell.
        EffectKind::ModelCall => Scenario { nth: Some(2), script: script(&[&shell(MARK)]), ..Scenario::default() },
        EffectKind::FileUpload => {
            Scenario { script: script(&[&shell("cat input.txt")]), uploads: true, ..Scenario::default() }
        }
        EffectKind::LeaseRenewal => Scenario {
            script: format!("turns:\n  - text: done\n    delay_ms: {LONGER_THAN_A_HEARTBEAT_MS}\n"),
            ..Scenario::default()
        },
        EffectKind::RetryWait => Scenario { refusals: 1, ..plain },
        EffectKind::SandboxCreate | EffectKind::SandboxFill => {
            Scenario { files: vec![("files/notes.txt", "begin\n".into())], ..marking(&shell(MARK)) }
        }
        EffectKind::WorkspaceOpen | EffectKind::WorkspaceSave => {
            Scenario { door: Door::EndUser, ..marking(&shell(MARK)) }
        }
        EffectKind::ReadTool => Scenario {
            script: script(&["  - tools: [{name: read_file, arguments: {path: notes.txt}}]"]),
            files: vec![("files/notes.txt", "begin\n".into())],
            ..Scenario::default()
        },
        // Says that it has begun, and stays long enough to be met.
        EffectKind::Shell => marking(&shell(&format!("{MARK}; echo begun; sleep 0.2"))),
        EffectKind::OwnTool => Scenario {
            files: vec![
                ("tools/mark/tool.yaml", TOOL.to_owned()),
                ("tools/mark/run.sh", format!("#!/bin/sh\n{MARK}\necho begun\nsleep 0.2\n")),
            ],
            ..marking("  - tools: [{name: mark, arguments: {}}]")
        },
        EffectKind::WriteFile => {
            marking("  - tools: [{name: write_file, arguments: {path: trace, content: \"mark\\n\"}}]")
        }
        EffectKind::EditFile => Scenario {
            files: vec![("files/trace", "begin\n".into())],
            ..marking("  - tools: [{name: edit_file, arguments: {path: trace, old: begin, new: \"begin mark\"}}]")
        },
        EffectKind::ApiRead => reaching(Way::Api, &format!("method: GET, path: /{CELL}")),
        EffectKind::ApiWrite => reaching(Way::Api, &post()),
        EffectKind::QuerySql => {
            reaching(Way::Database, &format!("sql: \"insert into marks values ($1)\", parameters: [{CELL}]"))
        }
        EffectKind::SendEmail => reaching(Way::Mail, &format!("to: [bob@example.com], subject: {CELL}, text: Hello.")),
        EffectKind::ApprovalRequest | EffectKind::RunWait | EffectKind::ApprovalDecision | EffectKind::ApprovedCall => {
            Scenario { asks: true, ..reaching(Way::Api, &post()) }
        }
        EffectKind::Spill => {
            let large = "\"".repeat(LARGE_CHARACTERS);
            let write = format!("  - tools: [{{name: write_file, arguments: {{path: large, content: '{large}'}}}}]");
            Scenario { script: script(&[&write, &shell("wc -c large")]), ..Scenario::default() }
        }
        EffectKind::Artifact => Scenario {
            script: script(&[&shell("mkdir -p outputs; echo kept > outputs/report.txt")]),
            artifact: Some("kept\n"),
            ..Scenario::default()
        },
        EffectKind::SandboxRemoval => marking(&shell(MARK)),
        EffectKind::Cancel => {
            let wait = shell("echo begun; sleep 60");
            Scenario { script: script(&[&wait, &wait]), cancels: true, ..Scenario::default() }
        }
    }
}

const TOOL: &str = "description: Leaves a mark.\ninput: {type: object}\ncommand: [\"./run.sh\"]\n";

fn script(turns: &[&str]) -> String {
    format!("turns:\n{}\n  - text: done\n", turns.join("\n")).replace("turns:\n\n", "turns:\n")
}

fn shell(command: &str) -> String {
    format!("  - tools: [{{name: shell, arguments: {{command: \"{command}\"}}}}]")
}

/// A call through the connection.
fn outside(way: Way, arguments: &str) -> String {
    format!("  - tools: [{{name: {}, arguments: {{connection: {SLOT}, {arguments}}}}}]", way.tool())
}

fn post() -> String {
    format!("method: POST, path: /{CELL}, body: {{n: 1}}")
}

impl Scenario {
    /// The agent, inline, with the model of this name.
    pub fn agent(&self, model: &str) -> Value {
        let own = if self.files.iter().any(|(path, _)| path.starts_with("tools/")) { ", mark" } else { "" };
        let (outside, connections) = self.way.map_or_else(Default::default, |way| {
            let connections = format!("connections:\n  {SLOT}: {{connector: {}}}\n", way.connector());
            (format!(", {}", way.tool()), connections)
        });
        let tools = format!("shell, read_file, write_file, edit_file{own}{outside}");
        let workspace = if self.door == Door::EndUser { "workspace: {persist: end_user}\n" } else { "" };
        let agent_md = format!(
            "---\nname: {AGENT}\ndescription: Works.\nmodel: fake/{model}\ntools: [{tools}]\n{connections}{workspace}---\nWork.\n"
        );
        let encode = |text: &String| Value::from(base64::engine::general_purpose::STANDARD.encode(text));
        let files: Map<String, Value> =
            self.files.iter().map(|(path, text)| ((*path).to_owned(), encode(text))).collect();
        json!({"agent_md": agent_md, "files": files})
    }
}

/// How many calls the model may be told nothing certain about, when the process dies there.
pub fn unknown_outcomes(effect: EffectKind, phase: Phase) -> Option<usize> {
    let interrupted = matches!(phase, Phase::Before | Phase::During | Phase::After);
    match effect {
        EffectKind::Shell
        | EffectKind::OwnTool
        | EffectKind::WriteFile
        | EffectKind::EditFile
        | EffectKind::ApiWrite
        | EffectKind::QuerySql
        | EffectKind::SendEmail
        | EffectKind::ApprovalRequest
        | EffectKind::ApprovedCall => Some(usize::from(interrupted && effect.recovery() == Recovery::OutcomeUnknown)),
        EffectKind::ApiRead | EffectKind::RunWait | EffectKind::ApprovalDecision => Some(0),
        // The intent of its second call is written with the result of the command before it.
        EffectKind::ModelCall => Some(usize::from(phase == Phase::BeforeIntent)),
        EffectKind::ReadTool | EffectKind::RetryWait | EffectKind::Finish => Some(0),
        _ => None,
    }
}
