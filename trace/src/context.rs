//! Which trace and which span: W3C `traceparent`, as it travels in HTTP headers and in records' headers.
//!
//! The library's own reader takes more than the W3C's grammar (short ids, signs), and makes garbage for every record.
//! Invariant: what is malformed is as if it had not come, and what is written is valid.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Name of the header, in HTTP and on the log.
pub const TRACEPARENT: &str = "traceparent";

/// Length of a `traceparent` of version 0, bytes.
const BYTES: usize = 55;
/// The flags that have a meaning: sampled, and random trace id.
const FLAGS_KNOWN: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A span of some trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl Context {
    /// As the libraries name it.
    pub(crate) fn to_library(self, is_remote: bool) -> SpanContext {
        let (trace, span) = (TraceId::from(self.trace_id), SpanId::from(self.span_id));
        SpanContext::new(trace, span, TraceFlags::new(self.flags), is_remote, TraceState::NONE)
    }

    /// From what the libraries made; it is valid.
    pub(crate) fn of(made: &SpanContext) -> Self {
        Self {
            trace_id: u128::from_be_bytes(made.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(made.span_id().to_bytes()),
            flags: made.trace_flags().to_u8(),
        }
    }

    /// Reads a `traceparent`. None: it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (own, more) = text.split_at_checked(BYTES)?;
        let mut fields = own.split('-');
        let version = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let trace_id = hex(fields.next()?, 32)?;
        let span_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()? & FLAGS_KNOWN;
        // A later version may have more fields, and 255 is none.
        let ends = match version {
            0 => more.is_empty(),
            u8::MAX => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let valid = ends && fields.next().is_none() && trace_id != 0 && span_id != 0;
        valid.then_some(Self { trace_id, span_id, flags })
    }

    /// The trace; not 0.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span; not 0.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether its span may have been recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As a `traceparent` of version 0.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && lower).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_reads_back() {
        let context = Context::parse(GOOD).unwrap();
        assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span_id(), context.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(Context::of(&context.to_library(true)), context);
    }

    #[test]
    fn what_is_malformed_is_none() {
        let later = GOOD.replacen("00", "cc", 1);
        assert!(Context::parse(&format!("{later}-more")).is_some());
        for bad in ["", "00", &GOOD.to_uppercase(), &format!("{GOOD}-more"), &GOOD.replacen("00", "ff", 1)] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }
}
