//! A way to a database server: the same look-up, guard, dialling and TLS as for a request, with what PostgreSQL says before its
//! TLS. Without TLS only where the target says so, which the guard lets reach private networks the operator allowed alone.

use std::net::SocketAddr;
use std::time::Duration;

use livery_core::id::OrgId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Broker, Timeouts, dial};
use crate::error::{Phase, TlsFailure};
use crate::guard::{Scheme, Target};
use crate::{Error, Result};

/// "Is there TLS?", as PostgreSQL asks it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Anything a session can be spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection to a database server on which nothing was said yet.
pub(crate) struct Line {
    pub(crate) stream: Box<dyn Stream>,
    /// The checked address.
    pub(crate) peer: SocketAddr,
    /// The server's certificate, in DER; none without TLS.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Its place among the tenant's calls.
    pub(crate) permit: Option<Box<dyn Send + Sync>>,
}

impl Broker {
    /// Dials a database server for a tenant.
    ///
    /// # Errors
    /// Every [`Error`] of a way: the guard's, the resolver's, TLS; [`Error::Busy`].
    pub(crate) async fn line(&self, tenant: OrgId, target: &Target, timeouts: &Timeouts) -> Result<Line> {
        let permit = self.place_of(tenant)?;
        let line = self.line_in_place(target, timeouts).await?;
        Ok(Line { permit: Some(Box::new(permit)), ..line })
    }

    /// Dials it once more, to cancel what a session does that has its place already.
    pub(crate) async fn line_in_place(&self, target: &Target, timeouts: &Timeouts) -> Result<Line> {
        let (guard, resolver, tls) = self.way();
        let addresses = resolver.addresses(guard, target, timeouts.resolve).await?;
        let (mut stream, peer) = dial::connect(&addresses, timeouts.connect).await?;
        if target.scheme() == Scheme::Http {
            return Ok(Line { stream: Box::new(stream), peer, certificate: None, permit: None });
        }
        ask_for_tls(&mut stream, timeouts.tls).await?;
        let stream = tls.handshake_as(Some(b"postgresql"), stream, target.host(), timeouts.tls).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|found| found.to_vec());
        Ok(Line { stream: Box::new(stream), peer, certificate, permit: None })
    }
}

/// One byte is read and no more: what a stranger put behind it fails in the handshake.
async fn ask_for_tls(stream: &mut TcpStream, limit: Duration) -> Result<()> {
    let asked = async {
        stream.write_all(&SSL_REQUEST).await.ok()?;
        stream.read_u8().await.ok()
    };
    match timeout(limit, asked).await {
        Ok(Some(b'S')) => Ok(()),
        Ok(_) => Err(Error::Tls { why: TlsFailure::Handshake }),
        Err(_) => Err(Error::Timeout { phase: Phase::Tls }),
    }
}
