//! What differs between the servers that speak Chat Completions, as data.

/// One server's habits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compat {}

impl Compat {
    /// The habits of the server at `base_url`; of a plain compatible server when it is not a known one.
    pub fn detect(_base_url: &str) -> Self {
        Self {}
    }
}
