//! `query_sql`: one statement for a database of the run, asked for by the model. What leaves passes the run's
//! [`Door`](crate::worker::egress::Door), as a request does.

use livery_broker::postgres::{Answer, Failure};
use livery_broker::sql::{Class, Refused};
use livery_harness::ToolOutcome;
use livery_harness::outcome::{SqlColumn, SqlOutput};
use livery_harness::tools::QuerySql;

use super::Trouble;
use super::api::{denied, unavailable};
use crate::worker::egress::{FrontEnd, Told, Unqueried, Wanted, word};
use crate::worker::hands::Hands;

/// Performs a call that fits the tool's schema.
pub(super) async fn call(hands: &Hands, call_id: &str, call: QuerySql) -> Result<ToolOutcome, Trouble> {
    let (door, slot) = (&hands.door, call.connection.clone());
    let bound = door.bound(&slot).await.map_err(unavailable)?;
    let no_database = || Trouble::Answer(format!("policy_denied: the run has no database `{slot}`."));
    let bound = bound.ok_or_else(no_database)?;
    let server = bound.connector.postgres.clone().ok_or_else(no_database)?;
    let told = Told::new(FrontEnd::QuerySql { call_id: call_id.to_owned() }, slot.clone(), bound);
    let wanted = Wanted::judged(&server, call.sql, call.parameters).and_then(alone);
    let leave = door.admit_statement(&told, wanted.as_ref()).await.map_err(denied)?;
    let wanted = wanted.map_err(|refused| Trouble::Answer(format!("policy_denied: {refused}. Nothing was sent.")))?;
    match door.query(&told, wanted, leave).await {
        Ok(answer) => Ok(ToolOutcome::Sql(shown(answer, server.row_limit))),
        Err(Unqueried::Unavailable(why)) => Err(unavailable(why)),
        Err(Unqueried::Failed(failure)) => Err(Trouble::Answer(words(&failure))),
        Err(Unqueried::Gone(error)) => Err(Trouble::Fatal(error)),
    }
}

/// One statement with an answer of rows: no text of several, and no stream.
fn alone(wanted: Wanted) -> Result<Wanted, Refused> {
    match (wanted.judged.statements, wanted.judged.class) {
        (_, Class::Copy) => Err(Refused::Never("query_sql has no stream for COPY".to_owned())),
        (1, _) => Ok(wanted),
        _ => Err(Refused::Never("query_sql takes one statement".to_owned())),
    }
}

fn shown(answer: Answer, row_limit: u64) -> SqlOutput {
    let columns = answer.columns.into_iter().map(|column| SqlColumn { name: column.name, kind: column.kind });
    let truncated =
        answer.cut.map(|cut| format!("{}: there are more rows than came back; at most {row_limit}", word(cut)));
    SqlOutput { columns: columns.collect(), rows: answer.rows, command: answer.command, truncated }
}

/// What the server says of a statement is scrubbed; everything else is words of ours.
fn words(failure: &Failure) -> String {
    match failure {
        Failure::Refused(complaint) => format!("sql_error: {complaint}"),
        other if other.nothing_sent() => format!("{}: {other}. Nothing was sent.", other.kind()),
        other => format!("{}: {other}. The statement may have had its effect.", other.kind()),
    }
}
