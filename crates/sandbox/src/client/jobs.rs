//! Commands in the background: which of them run, and ending one.

use std::time::Duration;

use livery_guest::wire::job::Job;
use livery_guest::wire::{self, Kind, Reader, STREAMS_MAX};

use super::sandbox::Sandbox;
use crate::error::Error;

/// The signal that ends a process whatever it wants.
pub const SIGKILL: i32 = libc::SIGKILL;
/// How long a guest may take to say.
const ANSWER_MAX: Duration = Duration::from_secs(10);

impl Sandbox {
    /// The process numbers of the background commands that run, as the guest says, in the order they were started.
    ///
    /// # Errors
    /// The sandbox is gone.
    pub async fn jobs(&self) -> Result<Vec<u32>, Error> {
        let jobs = self.list_jobs().await?;
        Ok(jobs.into_iter().map(|job| job.pid).collect())
    }

    /// Sends a signal to the process group of a background command. `false`: none that runs has this process number.
    ///
    /// # Errors
    /// The sandbox is gone.
    pub async fn signal_job(&self, pid: u32, signal: i32) -> Result<bool, Error> {
        let jobs = self.list_jobs().await?;
        let Some(job) = jobs.into_iter().find(|job| job.pid == pid) else { return Ok(false) };
        self.inner.channel.send(Kind::Signal, job.stream, &signal.to_le_bytes()).await?;
        Ok(true)
    }

    async fn list_jobs(&self) -> Result<Vec<Job>, Error> {
        let mut call = self.inner.channel.open(0);
        call.send(Kind::Jobs, &[]).await?;
        let answer = match tokio::time::timeout(ANSWER_MAX, call.next()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.silent().await),
        };
        if answer.kind != Kind::Running {
            return Err(call.rubbish(wire::Error::Kind(answer.kind as u8)));
        }
        let (mut reader, mut jobs) = (Reader::new(&answer.payload), Vec::new());
        while !reader.is_empty() {
            if jobs.len() == STREAMS_MAX {
                return Err(call.rubbish(wire::Error::TooLong));
            }
            jobs.push(Job::decode(&mut reader).map_err(|error| call.rubbish(error))?);
        }
        jobs.sort_unstable_by_key(|job| job.stream);
        Ok(jobs)
    }
}
