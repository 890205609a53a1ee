//! What statements that read rows beside the states of their partitions are made of.
//!
//! Such a statement is a `UNION ALL`: first the states, then the rows, each with NULL for the other's columns.
//! Invariant: whether a row exists now is told by one clock, the shard's.

use sqlx::{PgConnection, postgres::PgRow};

use super::{
    error::{UNDEFINED_TABLE, during, says},
    parameters::{NOW, Parameters},
};
use crate::Error;

pub(super) const READING: &str = "read rows";

/// Whether a row `kv` exists now.
pub(super) fn live() -> String {
    format!("NOT kv.tombstone AND (kv.expires_at IS NULL OR kv.expires_at > {NOW})")
}

/// The columns of a state, of `watermark w`.
pub(super) fn state() -> String {
    format!("w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}")
}

pub(super) fn nulls(columns: usize) -> String {
    vec!["NULL"; columns].join(", ")
}

/// How many columns a list of them names.
pub(super) fn count(columns: &str) -> usize {
    columns.split(',').count()
}

/// One that names a leaf that is not there fails as a whole: none then.
pub(super) async fn rows_of(
    connection: &mut PgConnection,
    parameters: Parameters,
    sql: String,
) -> Result<Option<Vec<PgRow>>, Error> {
    match parameters.query(sql).fetch_all(connection).await {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if says(&error, UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(during(READING)(error)),
    }
}
