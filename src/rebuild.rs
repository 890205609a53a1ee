//! Rebuilding copies from the log: what is read, where it goes, and how the result is made to serve.
//!
//! Not here: replaying (the writer's), and how it is shown. Invariant: nothing that serves is touched before its
//! successor is complete, and what serves then is decided by the topology or by one rename, never by this process.

mod keep;
mod replace;
mod serve;
mod source;
mod target;

pub use self::{
    replace::{Replaced, beside, replace},
    serve::{Awaited, Place, Served, caught_up, serve, shard_name},
    source::Source,
    target::{Opened, Target, TargetInvalid},
};
