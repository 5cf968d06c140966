//! `RunTool`: a checked call, performed in the run's sandbox. What goes wrong inside is the tool's answer to the model; only a
//! sandbox that is gone ends the run.

pub(super) mod api;
mod code;
mod email;
mod files;
mod search;
mod sql;
pub(super) mod terminal;

use std::time::{Duration, Instant};

use livery_core::agent::OwnTool;
use livery_core::{ErrorCode, RunError};
use livery_harness::outcome::ShellOutput;
use livery_harness::prompt::AGENT_DIR;
use livery_harness::tools::{OwnCall, Shell};
use livery_harness::{Input, Invocation, ToolOutcome};
use livery_sandbox::{Exec, ExecResult, Sandbox, Stream};

use super::ask::{self, Denied};
use super::hands::{Hands, WORKSPACE, lost_or};
use crate::effects::{EffectKind, Phase};
use crate::traces::ToolCall;

/// Output of one command kept for the model; the sandbox keeps all of it.
const OUTPUT_BYTES_MAX: u32 = 64 * 1024;

/// Why a tool gave no outcome.
pub(super) enum Trouble {
    /// For the model.
    Answer(String),
    /// Ends the run.
    Fatal(RunError),
    /// It waits for a person; nothing of it was done.
    Held,
}

/// Performs a call and says how it went; `None`: it waits for a person, and nothing of it was done.
pub(super) async fn perform(hands: &Hands, call_id: String, invocation: Invocation) -> Option<Input> {
    let (begun, tool, asked) = (hands.platform.clock.now(), name_of(&invocation), Instant::now());
    let named = match &invocation {
        Invocation::Own(call) => call.name.clone(),
        _ => tool.to_owned(),
    };
    let wanted = hands.platform.wants_content();
    let arguments = wanted.then(|| serde_json::to_string(&invocation).unwrap_or_default());
    let outcome = match invocation {
        // They need no sandbox, and so make none.
        Invocation::CallApi(call) => Box::pin(api::call(hands, &call_id, call)).await,
        Invocation::SendEmail(call) => Box::pin(email::send(hands, &call_id, call)).await,
        Invocation::QuerySql(call) => Box::pin(sql::call(hands, &call_id, call)).await,
        invocation => match Box::pin(may_run(hands, &call_id, &named, &invocation)).await {
            Ok(()) => match hands.sandbox().await {
                Ok(sandbox) => Box::pin(run(hands, &sandbox, &call_id, invocation)).await,
                Err(error) => Err(Trouble::Fatal(error)),
            },
            Err(trouble) => Err(trouble),
        },
    };
    let outcome_word = word_of(&outcome);
    hands.platform.metrics.tool_called(tool, outcome_word, asked.elapsed());
    let result = || outcome.as_ref().ok().and_then(|outcome| serde_json::to_string(outcome).ok()).unwrap_or_default();
    let span = ToolCall {
        row: (hands.row.org, hands.row.id),
        name: &named,
        call_id: &call_id,
        outcome: outcome_word,
        content: arguments.map(|arguments| (arguments, result())),
        begun,
    };
    hands.platform.trace_tool(span).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(Trouble::Answer(message)) => ToolOutcome::failed(message),
        Err(Trouble::Fatal(error)) => return Some(Input::Fatal { error }),
        Err(Trouble::Held) => return None,
    };
    Some(Input::ToolDone { call_id, outcome, duration_ms: hands.platform.clock.now().millis_since(begun) })
}

/// What policies and people say to a tool that carries no credential.
async fn may_run(hands: &Hands, call_id: &str, name: &str, invocation: &Invocation) -> Result<(), Trouble> {
    match ask::tool(&hands.door, call_id, name, invocation).await {
        Ok(leave) if leave.is_noted_first() => leave.note(&hands.door, Vec::new()).await.map_err(Trouble::Fatal),
        Ok(_) => Ok(()),
        Err(Denied::Held) => Err(Trouble::Held),
        Err(Denied::Gone(error)) => Err(Trouble::Fatal(error)),
        Err(Denied::No { reason, .. }) => {
            Err(Trouble::Answer(format!("policy_denied: {reason}. The tool was not used.")))
        }
    }
}

/// The tool as the metrics call it: never a name out of an agent.
const fn name_of(invocation: &Invocation) -> &'static str {
    match invocation {
        Invocation::Shell(_) => "shell",
        Invocation::RunCode(_) => "run_code",
        Invocation::Terminal(_) => "terminal",
        Invocation::Own(_) => "own",
        Invocation::ReadFile(_) => "read_file",
        Invocation::WriteFile(_) => "write_file",
        Invocation::EditFile(_) => "edit_file",
        Invocation::ListFiles(_) => "list_files",
        Invocation::SearchFiles(_) => "search_files",
        Invocation::CallApi(_) => "call_api",
        Invocation::SendEmail(_) => "send_email",
        Invocation::QuerySql(_) => "query_sql",
    }
}

const fn word_of(outcome: &Result<ToolOutcome, Trouble>) -> &'static str {
    match outcome {
        Ok(ToolOutcome::Failed { .. }) | Err(Trouble::Answer(_)) => "failed",
        Ok(_) => "ok",
        Err(Trouble::Fatal(_)) => "fatal",
        Err(Trouble::Held) => "held",
    }
}

async fn run(hands: &Hands, sandbox: &Sandbox, call_id: &str, invocation: Invocation) -> Result<ToolOutcome, Trouble> {
    let platform = &hands.platform;
    match invocation {
        Invocation::Shell(call) => shell(hands, sandbox, call_id, call).await,
        Invocation::RunCode(call) => code::run(hands, sandbox, call_id, call).await,
        Invocation::Terminal(call) => {
            platform.during(EffectKind::Shell, terminal::call(hands, sandbox, call_id, call)).await
        }
        Invocation::Own(call) => own(hands, sandbox, call_id, call).await,
        Invocation::ReadFile(call) => platform.during(EffectKind::ReadTool, files::read(sandbox, &call)).await,
        Invocation::WriteFile(call) => platform.during(EffectKind::WriteFile, files::write(sandbox, call)).await,
        Invocation::EditFile(call) => platform.during(EffectKind::EditFile, files::edit(sandbox, &call)).await,
        Invocation::ListFiles(call) => platform.during(EffectKind::ReadTool, files::list(sandbox, &call)).await,
        Invocation::SearchFiles(call) => platform.during(EffectKind::ReadTool, search::search(sandbox, &call)).await,
        Invocation::CallApi(call) => Box::pin(api::call(hands, call_id, call)).await,
        Invocation::SendEmail(call) => Box::pin(email::send(hands, call_id, call)).await,
        Invocation::QuerySql(call) => sql::call(hands, call_id, call).await,
    }
}

async fn shell(hands: &Hands, sandbox: &Sandbox, call_id: &str, call: Shell) -> Result<ToolOutcome, Trouble> {
    let mut exec = Exec::new(["sh", "-c", call.command.as_str()]);
    exec.cwd = Some(call.cwd.as_deref().map_or_else(|| WORKSPACE.to_owned(), absolute));
    exec.timeout = Duration::from_secs(call.timeout_s.into());
    exec.background = call.background;
    let result = execute(hands, sandbox, EffectKind::Shell, call_id, exec).await?;
    Ok(ToolOutcome::Shell(output_of(result)))
}

async fn own(hands: &Hands, sandbox: &Sandbox, call_id: &str, call: OwnCall) -> Result<ToolOutcome, Trouble> {
    let tool = hands.agent.agent.own_tools.iter().find(|tool| tool.name == call.name);
    let tool = tool.ok_or_else(|| {
        Trouble::Fatal(RunError::fatal(ErrorCode::AgentError, format!("the agent has no tool `{}`", call.name)))
    })?;
    let folder = format!("{AGENT_DIR}/{}", tool.folder());
    let mut exec = Exec::new(command_of(tool, &folder));
    exec.cwd = Some(WORKSPACE.to_owned());
    exec.env = vec![("LIVERY_TOOL_DIR".to_owned(), folder)];
    exec.timeout = Duration::from_secs(tool.timeout_s);
    exec.stdin = serde_json::Value::Object(call.arguments).to_string().into_bytes();
    let result = execute(hands, sandbox, EffectKind::OwnTool, call_id, exec).await?;
    Ok(ToolOutcome::Own(output_of(result)))
}

/// A program with a `/` is relative to the tool's folder; any other is found on the path.
fn command_of(tool: &OwnTool, folder: &str) -> Vec<String> {
    let mut command = tool.command.clone();
    if let Some(program) = command.first_mut()
        && program.contains('/')
        && !program.starts_with('/')
    {
        *program = format!("{folder}/{}", program.trim_start_matches("./"));
    }
    command
}

async fn execute(
    hands: &Hands,
    sandbox: &Sandbox,
    effect: EffectKind,
    call_id: &str,
    mut exec: Exec,
) -> Result<ExecResult, Trouble> {
    exec.output_limit = OUTPUT_BYTES_MAX;
    let show = |stream, bytes: &[u8]| show(hands, effect, call_id, stream, bytes);
    sandbox.exec(exec, show).await.map_err(|error| trouble(&error, "the command could not be run"))
}

fn show(hands: &Hands, effect: EffectKind, call_id: &str, stream: Stream, bytes: &[u8]) {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    hands.show(call_id, name, bytes);
    // What it prints shows that it is under way.
    hands.platform.reached(effect, Phase::During);
}

fn output_of(result: ExecResult) -> ShellOutput {
    ShellOutput {
        exit_code: result.exit_code,
        signal: result.signal,
        background_pid: result.background_pid,
        stdout: String::from_utf8_lossy(&result.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&result.stderr).into_owned(),
        truncated: result.truncated,
        full_output: result.full_output,
        timed_out: result.timed_out,
    }
}

/// Paths of a call are relative to the workspace.
pub(super) fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{WORKSPACE}/{}", path.trim_start_matches("./")) }
}

/// A sandbox that is gone ends the run; everything else is told to the model.
pub(super) fn trouble(error: &livery_sandbox::Error, doing: &str) -> Trouble {
    match error {
        livery_sandbox::Error::Lost(_) | livery_sandbox::Error::LauncherGone => {
            Trouble::Fatal(lost_or(error, || RunError::retryable(ErrorCode::Internal, error.to_string())))
        }
        _ => Trouble::Answer(format!("{doing}: {error}")),
    }
}
