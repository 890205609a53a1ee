//! Promises of Postgres alone: opening and its checks, refusals, connections that break, the view, replicas.

mod faults;
mod heap;
mod opening;
mod proxy;
mod refusals;
mod replica;
mod view;
