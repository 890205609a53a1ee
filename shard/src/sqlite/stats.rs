//! How large the file is, by its count of pages.
//!
//! Invariant: no table is read for it but the index of tombstones, and of that a bounded part.

use millpond_schemas::UnixMillis;
use sqlx::SqliteConnection;

use super::error::during;
use crate::{Error, Stats, decode, types::TOMBSTONES_COUNTED_MAX};

const DOING: &str = "ask how large a shard is";

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Stats, Error> {
    let row = sqlx::query(
        "SELECT page_count * page_size, (SELECT count(*) FROM (SELECT 1 FROM watermark w CROSS JOIN kv \
         ON kv.partition = w.partition AND kv.tombstone = 1 AND kv.expires_at IS NOT NULL LIMIT ?)), \
         (SELECT min((SELECT min(expires_at) FROM kv WHERE kv.partition = w.partition AND kv.tombstone = 1 \
         AND kv.expires_at IS NOT NULL)) FROM watermark w) FROM pragma_page_count, pragma_page_size",
    )
    .bind(TOMBSTONES_COUNTED_MAX)
    .fetch_one(connection)
    .await
    .map_err(during(DOING))?;
    Ok(Stats {
        bytes: decode::integer(&row, 0)?.unsigned_abs(),
        tombstones: decode::integer(&row, 1)?.unsigned_abs(),
        oldest_tombstone: decode::maybe_integer(&row, 2)?.map(UnixMillis),
        ..Stats::default()
    })
}
