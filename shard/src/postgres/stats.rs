//! How large the database is and what is dead in it, by what Postgres counts anyway.
//!
//! Invariant: no table is read for it but the index of tombstones, and of that a bounded part.

use millpond_schemas::UnixMillis;

use super::{error::during, session::Session};
use crate::{Error, Stats, decode, types::TOMBSTONES_COUNTED_MAX};

const DOING: &str = "ask how large a shard is";

pub(super) async fn read(session: &mut Session) -> Result<Stats, Error> {
    let row = sqlx::query(
        "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint, coalesce(sum(n_live_tup), 0)::bigint, \
         coalesce(sum(n_dead_tup), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint, \
         coalesce(sum(n_tup_hot_upd), 0)::bigint FROM pg_stat_user_tables",
    )
    .fetch_one(&mut session.connection)
    .await
    .map_err(during(DOING))?;
    let number = |at| decode::integer(&row, at).map(i64::unsigned_abs);
    let mut stats = Stats { bytes: number(0)?, ..Stats::default() };
    stats.rows = Some((number(1)?, number(2)?));
    stats.updates = Some((number(3)?, number(4)?));
    let row = sqlx::query(
        "SELECT count(*), min(expires_at) FROM (SELECT expires_at FROM kv WHERE tombstone \
         AND expires_at IS NOT NULL ORDER BY expires_at LIMIT $1) oldest",
    )
    .bind(i64::from(TOMBSTONES_COUNTED_MAX))
    .fetch_one(&mut session.connection)
    .await
    .map_err(during(DOING))?;
    stats.tombstones = decode::integer(&row, 0)?.unsigned_abs();
    stats.oldest_tombstone = decode::maybe_integer(&row, 1)?.map(UnixMillis);
    Ok(stats)
}
