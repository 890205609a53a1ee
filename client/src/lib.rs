//! The Rust SDK: batching, retries, resume.
