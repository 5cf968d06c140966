//! The W3C trace context: `traceparent: 00-TRACE-PARENT-FLAGS`. It names a trace and nothing else: no right and no stored
//! thing ever depends on it.

use std::fmt;

/// Characters of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span; never zero.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a header (W3C Trace Context, level 1 §3.2), of this or a later version. What is not valid is no context.
    pub fn parse(header: &str) -> Option<Self> {
        let (known, rest) = (header.get(..LENGTH)?, header.get(LENGTH..)?);
        let mut parts = known.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let lengths = [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2] && parts.next().is_none();
        let later = version != "00" && (rest.is_empty() || rest.starts_with('-'));
        let ends = rest.is_empty() || later;
        if !lengths || !ends || version == "ff" || ![version, trace, parent, flags].into_iter().all(hex) {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            span_id: u64::from_str_radix(parent, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// The last 64 bits.
pub(super) fn low_half(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}

tokio::task_local! {
    /// The span of the request that this task answers.
    static CURRENT: TraceContext;
}

/// Answers a request within its trace, if it has one.
pub async fn within<F: Future>(trace: Option<TraceContext>, answer: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, answer).await,
        None => answer.await,
    }
}

/// The trace of the request that is being answered.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|trace| *trace).ok()
}
