//! What reading a batch costs, for whoever wants to measure it.
//!
//! Not a part of serving. Invariant: it is read as `POST /batch` reads it, and nothing is sent.

use bytes::Bytes;
use millpond_schemas::{Tenant, UnixMillis, limits::VALUE_BYTES_MAX};

use super::{
    form::Form,
    operations::{Batch, Context},
};

/// Reads a batch of this content type: how many of its operations would be sent, and how many are refused. None where
/// all of it would be.
pub fn read_batch(content_type: &str, body: &Bytes) -> Option<(usize, usize)> {
    let tenant = Tenant::new("default").expect("it is a tenant's name");
    let context = Context {
        tenant: &tenant,
        body,
        now: UnixMillis::EPOCH,
        idempotency_key: None,
        value_bytes_max: VALUE_BYTES_MAX,
    };
    let batch = Batch::read(Form::named(content_type)?, &context).ok()?;
    Some((batch.mutations.len(), batch.operations.len() - batch.mutations.len()))
}
