//! Millpond in one process: the embedded default, for the binary and for tests that run the whole of it.

pub mod embedded;
pub mod greeting;
pub mod serve;
pub mod settings;
