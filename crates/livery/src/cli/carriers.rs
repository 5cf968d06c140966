//! The flags that name the operator's own programs: shared by whatever makes sandboxes.

use std::path::PathBuf;

use clap::Args;

/// The programs of the tiers beyond `container`, which are the operator's.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Carriers {
    /// Offer the tier gvisor with this runsc.
    #[arg(long, value_name = "FILE", env = "LIVERY_RUNSC", requires = "runsc_sha256")]
    pub(crate) runsc: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_RUNSC_SHA256", requires = "runsc")]
    pub(crate) runsc_sha256: Option<String>,
    /// Offer the tier isolate with this deno.
    #[arg(long, value_name = "FILE", env = "LIVERY_ISOLATE_HOST", requires = "isolate_host_sha256")]
    pub(crate) isolate_host: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_ISOLATE_HOST_SHA256", requires = "isolate_host")]
    pub(crate) isolate_host_sha256: Option<String>,
}
