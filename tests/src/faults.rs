//! Tools that break one thing each, for tests and drills.
//!
//! Invariant: what they have broken is whole again when the value goes.

pub mod clock;
pub mod falsifier;
pub mod fs;
pub mod netns;
pub mod proxy;
