//! The watermark: read, compared and set.
//!
//! Invariant: it changes only here, and only when it is what the flush was folded from.

use std::{collections::HashSet, sync::Arc};

use millpond_schemas::{Flush, Mutant, OutcomeRange, PartitionId, Seen, Watermark};
use sqlx::PgConnection;

use super::{
    error::{INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE, during, says},
    parameters::{Parameters, number},
    session::Session,
};
use crate::{
    Error,
    decode::{self, WATERMARK},
};

const READING: &str = "read watermarks";

/// What [`SET`] compares besides partition and log.
const COMPARED: &str =
    "AND applied_offset = n.applied AND applied_digest = n.digest AND owner <= n.next_owner ";
/// Compares and sets, and keeps ids and outcomes of those that were set: one row a flush.
const SET: &str = "WITH n AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], \
    $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bytea[], $12::boolean[], \
    $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[], $17::bigint[], $18::bigint[], $19::bigint[], \
    $20::bytea[]) AS n (partition, log_id, applied, digest, generation, next_applied, next_digest_offset, \
    next_digest, next_time, next_owner, next_claim, next_sealed, seen_from, seen_to, seen_time, ids, from_offset, \
    to_offset, range_time, range)), \
    w AS (UPDATE watermark SET generation = n.generation, applied_offset = n.next_applied, \
    digest_offset = n.next_digest_offset, applied_digest = n.next_digest, applied_time = n.next_time, \
    owner = n.next_owner, claim = n.next_claim, sealed = n.next_sealed FROM n \
    WHERE watermark.partition = n.partition AND watermark.log_id = n.log_id \
    AND applied_offset = n.applied AND applied_digest = n.digest AND owner <= n.next_owner \
    RETURNING watermark.partition), \
    s AS (INSERT INTO seen SELECT n.partition, n.generation, n.seen_from, n.seen_to, n.seen_time, n.ids \
    FROM n JOIN w ON w.partition = n.partition WHERE n.ids IS NOT NULL), \
    o AS (INSERT INTO outcome SELECT n.partition, n.generation, n.from_offset, n.to_offset, n.range_time, n.range \
    FROM n JOIN w ON w.partition = n.partition WHERE n.range IS NOT NULL) \
    SELECT w.partition FROM w";

/// Those of `partitions` that there are, by partition.
pub(super) async fn of(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
) -> Result<Vec<Watermark>, Error> {
    let sql = format!("SELECT {WATERMARK} FROM watermark WHERE partition = ANY($1) ORDER BY partition");
    let rows = among(partitions).query(sql).fetch_all(connection).await.map_err(during(READING))?;
    rows.iter().map(decode::watermark).collect()
}

fn among(partitions: &[PartitionId]) -> Parameters {
    Parameters::default().column(partitions, |partition| number(*partition))
}

/// All that there are. Every commit that was answered outlasts a power loss.
pub(super) async fn all(session: &mut Session) -> Result<Vec<Watermark>, Error> {
    let sql = format!("SELECT {WATERMARK} FROM watermark ORDER BY partition");
    let query = Parameters::default().query(sql);
    let rows = query.fetch_all(&mut session.connection).await.map_err(during(READING))?;
    rows.iter().map(decode::watermark).collect()
}

/// As [`of`]. On a new connection a transaction that an older one left at work is waited for: whether its COMMIT
/// arrived is known only then.
pub(super) async fn settled(
    session: &mut Session,
    partitions: Vec<PartitionId>,
) -> Result<Vec<Watermark>, Error> {
    let new: Vec<PartitionId> =
        partitions.iter().copied().filter(|partition| !session.settled.contains(partition)).collect();
    if session.writes && !new.is_empty() {
        settle(&mut session.connection, &new).await?;
        session.settled.extend(new);
    }
    of(&mut session.connection, &partitions).await
}

async fn settle(connection: &mut PgConnection, partitions: &[PartitionId]) -> Result<(), Error> {
    const SQL: &str = "SELECT 1 FROM watermark WHERE partition = ANY($1) ORDER BY partition FOR UPDATE";
    match among(partitions).query(SQL).execute(&mut *connection).await {
        Ok(_) => return Ok(()),
        Err(error) if says(&error, LOCK_NOT_AVAILABLE) => end_holders(connection, partitions).await?,
        Err(error) => return Err(during(READING)(error)),
    }
    among(partitions).query(SQL).execute(connection).await.map_err(during(READING))?;
    Ok(())
}

/// Ends older sessions of our kind that hold these watermarks: writers that hang, or lost their way to the server.
async fn end_holders(connection: &mut PgConnection, partitions: &[PartitionId]) -> Result<(), Error> {
    const DOING: &str = "end a session that holds a watermark";
    let ended = among(partitions)
        .query(
            "SELECT pg_terminate_backend(old.pid) FROM pg_stat_activity old, pg_stat_activity own \
             WHERE own.pid = pg_backend_pid() AND old.pid <> own.pid AND old.backend_start < own.backend_start \
             AND old.datid = own.datid AND old.application_name = own.application_name \
             AND old.backend_xid IN (SELECT xmax FROM watermark WHERE partition = ANY($1))",
        )
        .fetch_all(connection)
        .await;
    match ended {
        Ok(ended) => {
            tracing::warn!(sessions = ended.len(), "ended older sessions that held a watermark");
            Ok(())
        }
        Err(error) if says(&error, INSUFFICIENT_PRIVILEGE) => Err(Error::unavailable(DOING, error)),
        Err(error) => Err(during(DOING)(error)),
    }
}

/// Sets those that are as expected, and answers which. The rows stay locked until the transaction ends, so of two
/// writers one goes first and the other finds its own out of date.
pub(super) async fn set(
    connection: &mut PgConnection,
    flushes: &[Flush],
) -> Result<HashSet<PartitionId>, Error> {
    let mut sent: Vec<(&Flush, Option<SeenRow<'_>>, Option<&OutcomeRange>)> =
        flushes.iter().map(|flush| (flush, seen(flush), outcomes(flush))).collect();
    // In one order always, so that two writers do not wait for one another.
    sent.sort_by_key(|(flush, ..)| flush.next.partition);
    let parameters = Parameters::default()
        .column(&sent, |(flush, ..)| number(flush.next.partition))
        .column(&sent, |(flush, ..)| flush.previous.log_id.0.as_slice())
        .column(&sent, |(flush, ..)| flush.previous.applied.0)
        .column(&sent, |(flush, ..)| flush.previous.digest.0.as_slice())
        .column(&sent, |(flush, ..)| i64::from(flush.next.generation.0))
        .column(&sent, |(flush, ..)| flush.next.applied.0)
        .column(&sent, |(flush, ..)| flush.next.digest_offset.0)
        .column(&sent, |(flush, ..)| flush.next.digest.0.as_slice())
        .column(&sent, |(flush, ..)| flush.next.time.0)
        .column(&sent, |(flush, ..)| flush.next.owner.0)
        .column(&sent, |(flush, ..)| flush.next.claim.as_ref())
        .column(&sent, |(flush, ..)| flush.next.sealed)
        .column(&sent, |(_, seen, _)| seen.as_ref().map(|seen| seen.first.offset.0))
        .column(&sent, |(_, seen, _)| seen.as_ref().map(|seen| seen.last.offset.0))
        .column(&sent, |(_, seen, _)| seen.as_ref().map(|seen| seen.last.time.0))
        .column(&sent, |(_, seen, _)| {
            seen.as_ref().map(|seen| Vec::from(Seen::pack(seen.first.offset, seen.all)))
        })
        .column(&sent, |(.., range)| range.map(|range| range.from.0))
        .column(&sent, |(.., range)| range.map(|range| range.to.0))
        .column(&sent, |(.., range)| range.map(|range| range.time.0))
        .column(&sent, |(.., range)| range.map(|range| Vec::from(range.encode())));
    let sql =
        if Mutant::NoCompareAndSet.is_picked() { SET.replace(COMPARED, "").into() } else { Arc::from(SET) };
    let set = parameters.query(sql).fetch_all(connection).await.map_err(during("set watermarks"))?;
    set.iter().map(|row| decode::partition(row, 0)).collect()
}

/// The ids of a flush as one row.
struct SeenRow<'f> {
    first: &'f Seen,
    last: &'f Seen,
    all: &'f [Seen],
}

fn seen(flush: &Flush) -> Option<SeenRow<'_>> {
    let (first, last) = flush.seen.first().zip(flush.seen.last())?;
    Some(SeenRow { first, last, all: &flush.seen })
}

fn outcomes(flush: &Flush) -> Option<&OutcomeRange> {
    Some(&flush.outcomes).filter(|range| !range.exceptions.is_empty())
}
