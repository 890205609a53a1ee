//! Histories: what clients did and were told, what was injected, and what the log and its copies held in the end.
//!
//! JSON, an [`Event`] a line. Not here: judging (the checker). Invariant: a history is self-contained; whoever has the
//! file can check it again, with nothing running.

#[cfg(feature = "crates")]
mod answers;
#[cfg(feature = "crates")]
pub mod collect;
pub(crate) mod copies;
mod event;
mod intent;
mod recorder;
mod text;

pub use copies::{Copy, Letter, Part, Sums};
pub use event::{
    Consistency, Door, Event, Fault, Hole, Key, Lag, LogBounds, LogRecord, Look, Op, Published, Read, Run,
    Seen, SkippedTime, Told, Topology, WriteResult, Written,
};
pub use intent::{Change, Expiry, Id, Intent};
pub use recorder::Recorder;
pub use text::Text;
