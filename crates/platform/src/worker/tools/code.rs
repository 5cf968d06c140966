//! `run_code`: a program in an isolate of its own. Whatever goes wrong in it is the tool's answer, with its kind.

use std::time::Duration;

use livery_harness::ToolOutcome;
use livery_harness::outcome::{CodeError, CodeErrorKind, CodeOutput};
use livery_harness::tools::{Language, RunCode};
use livery_sandbox::{Code, CodeOutcome, CodeResult, Sandbox};

use super::{OUTPUT_BYTES_MAX, Trouble, show, trouble};
use crate::effects::EffectKind;
use crate::worker::hands::Hands;

pub(super) async fn run(
    hands: &Hands,
    sandbox: &Sandbox,
    call_id: &str,
    call: RunCode,
) -> Result<ToolOutcome, Trouble> {
    let language = match call.language {
        Language::Js => livery_sandbox::Language::Js,
        Language::Ts => livery_sandbox::Language::Ts,
    };
    let timeout = Duration::from_secs(call.timeout_s.into());
    let code = Code { timeout, output_limit: OUTPUT_BYTES_MAX, ..Code::new(language, call.source) };
    let shown = |stream, bytes: &[u8]| show(hands, EffectKind::Shell, call_id, stream, bytes);
    let result = sandbox.run_code(code, shown).await;
    let result = result.map_err(|error| trouble(&error, "the program could not be run"))?;
    Ok(ToolOutcome::Code(output_of(result, call.timeout_s, sandbox.spec().memory_mb)))
}

fn output_of(result: CodeResult, timeout_s: u32, memory_mb: u64) -> CodeOutput {
    let wrong = |kind, message: String, stack| (None, Some(CodeError { kind, message, stack }));
    let (value, error) = match result.outcome {
        CodeOutcome::Value(value) => (value, None),
        CodeOutcome::Syntax(message) => wrong(CodeErrorKind::Syntax, message, None),
        CodeOutcome::Exception { message, stack } => wrong(CodeErrorKind::Exception, message, stack),
        CodeOutcome::Timeout => {
            let message = format!("The program was stopped at its time limit of {timeout_s} s.");
            wrong(CodeErrorKind::Timeout, message, None)
        }
        CodeOutcome::Memory => {
            let message = format!("The program needed more memory than there is ({memory_mb} MiB) and was stopped.");
            wrong(CodeErrorKind::Memory, message, None)
        }
        CodeOutcome::Crashed { exit_code, signal } => {
            let how = match (exit_code, signal) {
                (Some(code), _) => format!("with exit code {code}"),
                (None, Some(signal)) => format!("by signal {signal}"),
                (None, None) => "without a reason".to_owned(),
            };
            wrong(CodeErrorKind::Crashed, format!("The program ended {how}, and left no value."), None)
        }
    };
    CodeOutput {
        value,
        error,
        stdout: String::from_utf8_lossy(&result.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&result.stderr).into_owned(),
        truncated: result.truncated,
        full_output: result.full_output,
    }
}
