//! Millpond as processes: the embedded default in one, or a role each; for the binary and for tests that run the whole.

mod deciding;
pub mod decisions;
pub mod deployment;
pub mod embedded;
pub mod greeting;
pub mod lag;
pub mod mac_key;
mod nodes;
mod observed;
mod open_files;
mod process_metrics;
pub mod rebuild;
pub mod roles;
pub mod serve;
pub mod settings;
mod stalls;
mod supervise;
pub mod tokens;
pub mod verify;
