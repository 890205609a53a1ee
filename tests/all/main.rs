//! Every test that needs more than one crate. One binary, so that it links once.

mod bounds;
mod cli;
mod compose;
mod console;
mod crash;
mod deployment;
mod drills;
mod durability;
mod halts;
mod harness;
mod histories;
mod http;
mod import;
mod laws;
mod native;
mod neighbours;
mod observability;
mod openapi;
mod rebuild;
mod skip;
mod sweeper;
mod tidy;
mod time;
mod trimming;
mod verify;
mod writer;
