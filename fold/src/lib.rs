//! The pure function from a log to rows and outcomes.
//!
//! `fold(state, entries, given) → Flush`. Not here: I/O, clocks, randomness, live configuration.
//! Invariant: however a log is cut into flushes, the rows, outcomes, ids, operations and dead letters are the same.

mod cell;
mod entry;
mod fold;
pub mod model;
mod needs;
mod operations;
mod patch;
mod state;
mod window;

pub use entry::Entry;
pub use fold::{Given, Halt, fold};
pub use needs::{Due, DueKind, Needs, cut, needs};
pub use state::{State, StateInvalid};
