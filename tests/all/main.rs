//! Every test that needs more than one crate. One binary, so that it links once.

mod crash;
mod durability;
mod laws;
mod tidy;
mod writer;
