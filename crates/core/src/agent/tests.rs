//! Findings as the author of an agent sees them.
