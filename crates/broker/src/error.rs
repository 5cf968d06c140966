//! What can go wrong on the way out and back, in words that carry nothing of the request.
//!
//! Every text here is a constant of this crate: no URL, header, library message or byte of an upstream ever enters an
//! error, so an error can be logged, stored in an event and shown to a tenant. [`Error::kind`] is stable.

/// `Result` with the broker's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the address guard said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// Loopback, private or shared address space that no `--allow-upstream` network covers.
    PrivateAddress,
    /// An address range that is never a public service (link-local, multicast, reserved, documentation, …).
    ReservedAddress,
    /// A cloud metadata address or name.
    Metadata,
    /// An address or name Livery itself listens on.
    OwnAddress,
    /// `http` to an address that is not an allowed private one.
    PlaintextUpstream,
    /// A port that no HTTP service of ours uses.
    Port,
    /// More answers or aliases than the resolver limits allow.
    TooManyAnswers,
}

impl DenyReason {
    /// A sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PrivateAddress => "the address is private; an operator can allow it with --allow-upstream",
            Self::ReservedAddress => "the address is in a reserved range",
            Self::Metadata => "the address is a cloud metadata service",
            Self::OwnAddress => "the address is Livery's own",
            Self::PlaintextUpstream => "http is only for private addresses the operator allowed; use https",
            Self::Port => "the port is not allowed",
            Self::TooManyAnswers => "the name has too many addresses or aliases",
        }
    }
}

/// Why a TLS handshake was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The certificate has expired or is not valid yet.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// No trusted root signed it.
    Untrusted,
    /// This host has no root certificates at all.
    NoRoots,
    /// Anything else: protocol version, alert, broken handshake.
    Handshake,
}

impl TlsFailure {
    const fn text(self) -> &'static str {
        match self {
            Self::Expired => "its certificate is not valid at this time",
            Self::WrongName => "its certificate is for another name",
            Self::Untrusted => "no trusted root signed its certificate",
            Self::NoRoots => "this host has no root certificates; install them or give --upstream-ca",
            Self::Handshake => "the handshake failed",
        }
    }
}

/// Which wait ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking the name up.
    Resolve,
    /// TCP connect.
    Connect,
    /// TLS handshake.
    Tls,
    /// Waiting for the head of the answer (sending the request included).
    FirstByte,
    /// Between two pieces of the answer.
    Idle,
    /// The deadline of the whole call.
    Total,
}

impl Phase {
    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

/// What can go wrong with one outbound call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The guard refused the destination; nothing was sent.
    #[error("upstream refused by the address guard: {}", .reason.text())]
    Denied {
        /// Which rule.
        reason: DenyReason,
    },
    /// The name does not exist or has no address.
    #[error("the upstream's name has no address")]
    Unresolvable,
    /// The resolver did not answer usefully (server failure, refused).
    #[error("the resolver could not look the upstream's name up")]
    ResolverFailed,
    /// No checked address accepted a connection.
    #[error("could not connect to the upstream")]
    ConnectFailed,
    /// The upstream's TLS was not acceptable. There is no fallback.
    #[error("TLS to the upstream failed: {}", .why.text())]
    Tls {
        /// Which check.
        why: TlsFailure,
    },
    /// A wait ran out.
    #[error("the upstream was too slow ({})", .phase.as_str())]
    Timeout {
        /// Which wait.
        phase: Phase,
    },
    /// The upstream closed or reset the connection before the answer was complete.
    #[error("the upstream cut the connection before its answer was complete")]
    Cut,
    /// A size limit was hit; nothing is silently truncated.
    #[error("{what} is larger than the limit")]
    TooLarge {
        /// What was too large.
        what: &'static str,
    },
    /// The upstream sent something that is not the HTTP we asked for.
    #[error("the upstream sent {why}")]
    BadGateway {
        /// What it sent, as a noun phrase.
        why: &'static str,
    },
    /// The caller asked for something that can not be sent (a header, a path, a credential with a line break).
    #[error("the request cannot be sent: {why}")]
    BadRequest {
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the call was sent with is not good any more; its answer was broken off.
    #[error("the connection was revoked or its credential replaced while the answer came")]
    Revoked,
    /// Too many calls of this tenant are in flight.
    #[error("too many upstream calls at once")]
    Busy,
}

impl Error {
    /// Stable name for logs, metrics and events.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Unresolvable => "unresolvable",
            Self::ResolverFailed => "resolver_failed",
            Self::ConnectFailed => "connect_failed",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Cut => "cut",
            Self::TooLarge { .. } => "too_large",
            Self::BadGateway { .. } => "bad_gateway",
            Self::BadRequest { .. } => "bad_request",
            Self::Revoked => "revoked",
            Self::Busy => "busy",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything. It says nothing about whether sending it
    /// twice is *safe*: a [`Error::Cut`] request may have had its effect.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::ResolverFailed | Self::ConnectFailed | Self::Cut | Self::Busy | Self::BadGateway { .. } => true,
            // A call that used up its own deadline gets no second one here.
            Self::Timeout { phase } => !matches!(phase, Phase::Total),
            Self::Tls { why } => matches!(why, TlsFailure::Handshake),
            Self::Denied { .. }
            | Self::Unresolvable
            | Self::TooLarge { .. }
            | Self::BadRequest { .. }
            | Self::Revoked => false,
        }
    }

    /// Whether it is certain that no byte of the request reached the upstream.
    pub const fn nothing_sent(&self) -> bool {
        match self {
            Self::Denied { .. }
            | Self::Unresolvable
            | Self::ResolverFailed
            | Self::ConnectFailed
            | Self::Tls { .. }
            | Self::BadRequest { .. }
            | Self::Busy => true,
            Self::Timeout { phase } => matches!(phase, Phase::Resolve | Phase::Connect | Phase::Tls),
            Self::Cut | Self::TooLarge { .. } | Self::BadGateway { .. } | Self::Revoked => false,
        }
    }
}
