//! [`Socket`]: a WebSocket that an upstream has opened, before the program's side is there.

use std::fmt;
use std::sync::Arc;

use http::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::pool::Permit;
use super::wire::Wire;
use crate::scrub::Matcher;
use crate::ws::{Bridge, Ended, Stream, bridge};
use crate::{Error, Result};

/// The upstream's side of a WebSocket. Dropping it hangs up.
pub struct Socket {
    bridge: Bridge,
    /// What drives the connection, and counts the call as in flight.
    held: (Wire, Permit),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.held.0.peer).finish_non_exhaustive()
    }
}

impl Socket {
    /// Of a `101` that was checked.
    pub(super) async fn of(
        response: Response<Incoming>,
        held: (Wire, Permit),
        matcher: Option<Arc<Matcher>>,
        deadline: Instant,
    ) -> Result<Self> {
        let upstream = TokioIo::new(hyper::upgrade::on(response).await.map_err(|_| Error::Cut)?);
        Ok(Self { bridge: Bridge { upstream, matcher, deadline }, held })
    }

    /// Passes messages between the two sides until it ends: by itself, at the call's deadline, or with `cut`. `allows` is asked
    /// for each message to the program, with its bytes. Dropping the future hangs up on both without a word.
    pub async fn serve(
        self,
        program: Stream,
        allows: impl FnMut(usize) -> bool + Send,
        cut: impl Future<Output = ()> + Send,
    ) -> Ended {
        let Self { bridge: sides, held } = self;
        let ended = bridge(sides, program, allows, cut).await;
        drop(held);
        ended
    }
}
