//! The Rust SDK: calls with retries that take effect once, batches, and imports that resume.
//!
//! Speaks the HTTP contract and nothing else: no shape is shared with the server, so that it builds without it.
//! Not here: a cache, a queue on disk, a command line. Keys and values never reach a log line.
//! Invariant: a write whose outcome is unknown is sent again only with the Idempotency-Key it had before.
//!
//! ```no_run
//! # async fn example() -> Result<(), millpond_client::Error> {
//! use millpond_client::{Client, Fetched, Options, ReadOptions, WriteOptions};
//!
//! let client = Client::new(&Options::at("http://127.0.0.1:7420"))?;
//! let written = client.put(b"greeting", "hello".into(), "text/plain", &WriteOptions::default()).await?;
//! let read = ReadOptions { min_position: vec![written.position], ..ReadOptions::default() };
//! if let Fetched::Value(value) = client.get(b"greeting", &read).await? {
//!     assert_eq!(value.bytes, "hello");
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod batch;
mod client;
mod error;
pub mod import;
mod opaque;
mod operation;
pub mod ops;
mod options;
mod path;
mod position;
mod problem;
mod query;
mod retry;
#[cfg(test)]
mod test_server;
mod token;
mod transport;
mod ttl;

pub use answer::{Fetched, Mutation, Status, Value, Written};
pub use batch::{BatchAnswer, BatchOptions, LineFailure, LineResult};
pub use client::{Client, Pages};
pub use error::Error;
pub use operation::{Change, Condition, Encoding, Expiry, Operation};
pub use options::{Consistency, IdempotencyKey, Options, ReadOptions, Wait, WriteOptions};
pub use position::Position;
pub use problem::Problem;
pub use query::{Item, Items, Meta, PAGE_ROWS_MAX, Page, Query, Select};
pub use retry::{Retry, RetryPolicy};
pub use token::Token;
pub use ttl::{Expires, Ttl, TtlChange, TtlMode};
