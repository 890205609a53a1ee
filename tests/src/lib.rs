//! The harness: the embedded default in one process, real processes, and real engines, on free ports in temporary
//! folders.
//!
//! Invariant: everything that it starts ends with the value that started it, or is written down in a stack's folder.

#[cfg(feature = "crates")]
pub mod browser;
#[cfg(feature = "checker")]
pub mod checker;
#[cfg(feature = "crates")]
pub mod collector;
#[cfg(feature = "crates")]
pub mod deployment;
#[cfg(feature = "crates")]
pub mod drills;
pub mod engines;
pub mod faults;
pub mod folder;
pub mod frames;
#[cfg(feature = "checker")]
pub mod history;
pub mod http;
pub mod kafka;
#[cfg(feature = "crates")]
pub mod pond;
pub mod ports;
pub mod postgres;
#[cfg(feature = "crates")]
pub mod power;
pub mod process;
pub mod roles;
pub mod server;
pub mod signals;
pub mod stack;
#[cfg(feature = "crates")]
pub mod timed;
pub mod wire;
#[cfg(feature = "crates")]
pub mod workload;
