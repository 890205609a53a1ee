//! The api over real sockets, on a real log and a real shard, with a hand in place of the writer.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod auth;
mod limits;
mod ops;
mod outcomes;
mod pond;
mod reads;
mod replicas;
mod wire;
mod writes;
