//! Roles as processes on Kafka and Postgres: one file for each kind of promise.
//!
//! Invariant: every test has a deployment of its own, and an engine of its own where it breaks one.

mod broker;
mod cost;
mod handover;
mod init;
mod leaves;
pub(crate) mod load;
mod primary;
mod promotion;
mod queries;
mod refused;
mod remade;
mod repeats;
mod replica;
mod sharing;
mod unanswered;
