//! TCP to one of the checked addresses, and to nothing else: a socket address goes in, never a name.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::error::Phase;
use crate::{Error, Result};

/// Addresses tried before giving up.
const ADDRESSES_TRIED_MAX: usize = 8;

/// Tries the addresses in order within `limit`; each gets an equal share of what is left, so one black hole does not use it up.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<(TcpStream, SocketAddr)> {
    let deadline = Instant::now() + limit;
    let tried = &addresses[..addresses.len().min(ADDRESSES_TRIED_MAX)];
    let mut slow = false;
    for (index, address) in tried.iter().enumerate() {
        let left = u32::try_from(tried.len() - index).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A failure here costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
            Ok(Err(_)) => {}
            Err(_) => slow = true,
        }
    }
    Err(if slow { Error::Timeout { phase: Phase::Connect } } else { Error::ConnectFailed })
}
