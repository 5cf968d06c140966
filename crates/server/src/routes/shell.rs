//! `/v1/runs/{id}/shell`: a terminal in the sandbox of a run, for a person. What is spoken there is in `shell.rs`.

use axum::extract::{Request, State};
use axum::response::Response;
use livery_core::id::RunId;
use livery_platform::shell::{COMMAND_BYTES_MAX, NewShell, SIDE_MAX};

use crate::app::App;
use crate::auth::{self, Acting};
use crate::params::Params;
use crate::path::Id;
use crate::problem::{Problem, Result};
use crate::schemas;
use crate::shell::{PROTOCOL, Session};
use crate::upgrade::Asked;

/// Open a shell in a run's sandbox
///
/// A WebSocket (RFC 6455) of the subprotocol `livery.shell.v1`. Binary messages are bytes: what is typed, and what is shown, made
/// harmless for a terminal. Text messages are JSON: `resize` and `close` from the client, `ready` and `closed` from the server. The
/// sandbox must stand, on the node that is asked; none is ever made for a shell (409: `no_sandbox`, `run_over`, `run_elsewhere`,
/// `no_shell`, `shell_failed`). For an end user only that one's runs count. Opening and closing are in the audit log and in the
/// run's events; what is typed is written nowhere. An `Origin` other than the server's own is refused.
#[utoipa::path(
    get, path = "/v1/runs/{id}/shell", operation_id = "open_run_shell", tag = "runs",
    params(
        ("id" = schemas::RunId, Path, description = "The run"),
        ("command" = Option<String>, Query, description = "A command line for `sh -c`, at most 4,096 bytes; the image's shell without it. A proxy before the server may log addresses: put no secret here"),
        ("columns" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "How wide the terminal begins (80)"),
        ("rows" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "How high it begins (24)"),
        ("plain" = Option<bool>, Query, description = "For programs: nothing is echoed, no key signals, byte 4 (Ctrl-D) ends the input"),
        ("Sec-WebSocket-Protocol" = String, Header, description = "Offers `livery.shell.v1`", example = "livery.shell.v1"),
    ),
    responses(
        (status = 101, description = "A WebSocket from here on"),
        (status = 426, description = "The request opens no WebSocket", body = schemas::Problem, content_type = "application/problem+json"),
    ),
    security(("api_key" = ["runs:shell"]))
)]
pub(super) async fn open(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<RunId>,
    params: Params,
    request: Request,
) -> Result<Response> {
    let of = app.platform.shell_of(&caller, id).await?;
    let new = wanted(&params)?;
    let bearer = auth::bearer(request.headers())?.to_owned();
    let asked = Asked::of(request, PROTOCOL)?;
    let size = (new.columns, new.rows);
    let shell = of.open(new).await?;
    Ok(asked.accept(|upgrade| Session { app, shell, bearer, size }.serve(upgrade)))
}

fn wanted(params: &Params) -> Result<NewShell> {
    let side = |name, usual: u16| {
        let side = params.whole(name, 1, SIDE_MAX.into())?;
        Ok::<_, Problem>(side.and_then(|side| u16::try_from(side).ok()).unwrap_or(usual))
    };
    let command = params.text("command").map(str::to_owned);
    if command.as_ref().is_some_and(|command| command.is_empty() || command.len() > COMMAND_BYTES_MAX) {
        return Err(Problem::invalid_parameter("command", &format!("must have 1 to {COMMAND_BYTES_MAX} bytes")));
    }
    let plain = params.value("plain", "true or false")?.unwrap_or(false);
    Ok(NewShell { command, columns: side("columns", 80)?, rows: side("rows", 24)?, plain })
}
