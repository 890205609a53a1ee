//! The harness: the embedded default in one process, and real processes on free ports in temporary folders.
//!
//! Invariant: everything that it starts ends with the value that started it.

pub mod http;
pub mod pond;
pub mod server;
pub mod timed;
pub mod wire;
