//! Every test that needs more than one crate. One binary, so that it links once.

mod crash;
mod durability;
mod http;
mod import;
mod laws;
mod neighbours;
mod sweeper;
mod tidy;
mod writer;
