//! A write on Postgres: `begin` travels with the first statement, what nobody reads with the next one that is read, and
//! the rest with `commit`.
//!
//! The server answers in order and refuses everything after a failure until the end of the transaction, so sending ahead
//! changes no outcome: a statement that fails on its way to the commit undoes the transaction, and the commit with it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use tokio::time::timeout;

use super::connection::{Bound, Lent, read};
use super::{ANSWER_WAIT_MAX, WRITE_STATEMENT_TIME_MAX, errors};
use crate::error::{Error, Result};
use crate::sql::{Arg, FromRow, Statement};

/// Statements that wait for company at most; then they are sent.
const DEFERRED_MAX: usize = 64;

/// A statement with its arguments.
type Asked = (Statement, Vec<Arg>);
type DriverResult<T> = std::result::Result<T, tokio_postgres::Error>;

/// One transaction on a lent connection.
pub(crate) struct Transaction {
    lent: Lent,
    begun: bool,
    deferred: Vec<Asked>,
    /// The error that undid it, whatever the operation made of that.
    failed: Option<Error>,
}

/// What a statement answered.
#[derive(Default)]
struct Reply {
    rows: Vec<tokio_postgres::Row>,
    changed: u64,
}

impl Transaction {
    pub(super) fn new(lent: Lent) -> Self {
        Self { lent, begun: false, deferred: Vec::new(), failed: None }
    }

    /// Runs a statement with the next one: for those whose answer changes nothing in what the operation does.
    pub(crate) async fn defer(&mut self, statement: Statement, args: Vec<Arg>) -> Result<()> {
        self.deferred.push((statement, args));
        if self.deferred.len() >= DEFERRED_MAX {
            self.ask(Vec::new()).await?;
        }
        Ok(())
    }

    /// Runs a statement that answers no rows; says how many it changed.
    pub(crate) async fn execute(&mut self, statement: Statement, args: Vec<Arg>) -> Result<u64> {
        Ok(self.ask_one(statement, args).await?.changed)
    }

    /// The first row, if any.
    pub(crate) async fn fetch_optional<T: FromRow>(
        &mut self,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Option<T>> {
        self.ask_one(statement, args).await?.rows.first().map(read).transpose()
    }

    /// All rows. Every statement bounds its own number of rows.
    pub(crate) async fn fetch_all<T: FromRow>(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Vec<T>> {
        self.ask_one(statement, args).await?.rows.iter().map(read).collect()
    }

    /// The first row of the same statement for each of these arguments.
    pub(crate) async fn fetch_each<T: FromRow>(
        &mut self,
        statement: Statement,
        args: Vec<Vec<Arg>>,
    ) -> Result<Vec<Option<T>>> {
        let asked = args.into_iter().map(|args| (statement, args)).collect();
        let replies = self.ask(asked).await?;
        replies.iter().map(|reply| reply.rows.first().map(read).transpose()).collect()
    }

    async fn ask_one(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Reply> {
        let mut replies = self.ask(vec![(statement, args)]).await?;
        replies.pop().ok_or_else(|| Error::bug("a statement was not answered"))
    }

    /// Sends what was deferred and `asked` in one go; the replies to `asked`.
    async fn ask(&mut self, asked: Vec<Asked>) -> Result<Vec<Reply>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let answer = self.send(asked).await;
        if let Err(error) = &answer {
            self.failed = Some(error.clone());
        }
        answer
    }

    async fn send(&mut self, asked: Vec<Asked>) -> Result<Vec<Reply>> {
        let deferred = std::mem::take(&mut self.deferred);
        let ahead = deferred.len();
        let all: Vec<Asked> = deferred.into_iter().chain(asked).collect();
        self.lent.begin();
        let prepared = self.prepare(&all).await?;
        let client = self.lent.client()?;
        let mut sent: Vec<BoxFuture<'_, DriverResult<Reply>>> = Vec::with_capacity(all.len() + 1);
        if !self.begun {
            sent.push(client.batch_execute("begin").map(|done| done.map(|()| Reply::default())).boxed());
        }
        let leading = sent.len();
        sent.extend(prepared.iter().zip(&all).map(|(prepared, (_, args))| run(client, prepared, args).boxed()));
        let answers = in_time(in_order(sent)).await?;
        self.begun = true;
        let mut replies = Vec::with_capacity(all.len());
        for (place, answer) in answers.into_iter().enumerate() {
            let reply = answer.map_err(|error| match place.checked_sub(leading).and_then(|place| all.get(place)) {
                Some((statement, _)) => errors::of_statement(*statement, &error),
                None => errors::translate(&error),
            })?;
            if place >= leading + ahead {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    async fn prepare(&self, asked: &[Asked]) -> Result<Vec<tokio_postgres::Statement>> {
        let mut prepared = Vec::with_capacity(asked.len());
        for (statement, args) in asked {
            prepared.push(self.lent.prepared(*statement, args).await?);
        }
        Ok(prepared)
    }

    /// Commits. An error other than `Unknown` means that nothing was written.
    pub(crate) async fn commit(mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            // The operation went on after an error; the transaction cannot.
            self.rollback().await;
            return Err(error);
        }
        if !self.begun {
            if self.deferred.is_empty() {
                return Ok(());
            }
            // Statements that were all deferred still need their `begin`.
            if let Err(error) = self.ask(Vec::new()).await {
                self.rollback().await;
                return Err(error);
            }
        }
        let deferred = std::mem::take(&mut self.deferred);
        let prepared = match self.prepare(&deferred).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.rollback().await;
                return Err(error);
            }
        };
        let client = self.lent.client()?;
        let mut sent: Vec<BoxFuture<'_, DriverResult<Reply>>> =
            prepared.iter().zip(&deferred).map(|(prepared, (_, args))| run(client, prepared, args).boxed()).collect();
        sent.push(client.batch_execute("commit").map(|done| done.map(|()| Reply::default())).boxed());
        let Ok(answers) = in_time(in_order(sent)).await else {
            return Err(Error::Unknown { reason: "the database did not answer the commit in time".into() });
        };
        let committed = judge(answers, &deferred);
        if !matches!(committed, Err(Error::Unknown { .. })) {
            self.lent.end();
        }
        committed
    }

    /// Undoes everything. A connection that cannot even do that is closed, which undoes it as well.
    pub(crate) async fn rollback(mut self) {
        if !self.begun {
            // Nothing reached the server, or the connection broke on the way: `asking` knows which.
            return;
        }
        let Ok(client) = self.lent.client() else { return };
        if matches!(in_time(client.batch_execute("rollback")).await, Ok(Ok(()))) {
            self.lent.end();
        }
    }
}

/// What the answers to the last statements and to the commit after them mean.
fn judge(answers: Vec<DriverResult<Reply>>, deferred: &[Asked]) -> Result<()> {
    let mut answers = answers.into_iter();
    for ((statement, _), answer) in deferred.iter().zip(answers.by_ref()) {
        match answer {
            Ok(_) => {}
            // The server refused a statement, and so the commit behind it.
            Err(error) if error.as_db_error().is_some() => return Err(errors::of_statement(*statement, &error)),
            Err(error) => return Err(errors::of_commit(&error)),
        }
    }
    match answers.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(errors::of_commit(&error)),
        None => Err(Error::bug("a commit was not answered")),
    }
}

async fn run(
    client: &deadpool_postgres::Client,
    prepared: &tokio_postgres::Statement,
    args: &[Arg],
) -> DriverResult<Reply> {
    let stream = client.query_raw(prepared, args.iter().map(Bound)).await?;
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Reply { rows, changed: stream.rows_affected().unwrap_or(0) })
}

/// All answers. The driver sends a request when its future is first looked at, so they are looked at in order.
async fn in_order<T: Send>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<(BoxFuture<'_, T>, Option<T>)> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(move |context| {
        let mut all = true;
        for (future, answer) in &mut waiting {
            if answer.is_none() {
                match Pin::new(future).poll(context) {
                    Poll::Ready(value) => *answer = Some(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if !all {
            return Poll::Pending;
        }
        Poll::Ready(waiting.drain(..).filter_map(|(_, answer)| answer).collect())
    })
    .await
}

async fn in_time<F: Future>(future: F) -> Result<F::Output> {
    let limit = WRITE_STATEMENT_TIME_MAX + ANSWER_WAIT_MAX;
    timeout(limit, future)
        .await
        .map_err(|_| Error::Unavailable { reason: "the database did not answer in time".into() })
}
